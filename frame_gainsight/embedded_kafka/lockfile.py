"""Lock files: which Maven artifacts a set of Java files is made of, each with its sha256.

`python -m frame_gainsight.embedded_kafka.artifacts` resolves the roots of a lock again and re-writes it.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from frame_gainsight.embedded_kafka.errors import ArtifactError
from frame_gainsight.runtime.errors import MissingExtraError

LOCK_FILE = Path(__file__).with_name("kafka.lock.json")

HTTP_TIMEOUT = 30
"""seconds without a byte before a download is given up"""

THREADS = 8
"""downloads at a time"""

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file of a Maven repository; `packaging` is its file ending, `classifier` may be empty."""

    group: str
    artifact: str
    version: str
    classifier: str
    packaging: str
    sha256: str
    size: int

    @property
    def filename(self) -> str:
        classifier = f"-{self.classifier}" if self.classifier else ""
        return f"{self.artifact}-{self.version}{classifier}.{self.packaging}"

    @property
    def path(self) -> Path:
        """Where it lies below the cache's root (a Maven repository's layout)."""
        return Path(*self.group.split("."), self.artifact, self.version, self.filename)


@dataclass(frozen=True, slots=True)
class Lock:
    """The requested roots (`group:artifact:version[:packaging[:classifier]]`) and all their files."""

    roots: tuple[str, ...]
    artifacts: tuple[Artifact, ...]

    @property
    def size(self) -> int:
        return sum(artifact.size for artifact in self.artifacts)

    @property
    def digest(self) -> str:
        """Names this set of files: equal digests mean equal contents."""
        joined = "\n".join(f"{artifact.path.as_posix()} {artifact.sha256}" for artifact in self.artifacts)
        return hashlib.sha256(joined.encode()).hexdigest()[:16]


def read_lock(path: Path = LOCK_FILE) -> Lock:
    """Reads a lock file; raises `ArtifactError` when it is missing or not of this format."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != _FORMAT:
            raise ArtifactError(
                f"{path} has format {document['format']}, this version reads {_FORMAT}. Install a matching version."
            )
        return Lock(tuple(document["roots"]), tuple(Artifact(**entry) for entry in document["artifacts"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"The list of the broker's files cannot be read: {path} ({error!r}).\n"
            "Reinstall the package, or restore the file from the repository."
        ) from error


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def parse_root(root: str) -> tuple[str, str, str, str, str]:
    """Splits `group:artifact:version[:packaging[:classifier]]`; a jar without a classifier by default."""
    parts = root.split(":")
    if not 3 <= len(parts) <= 5 or not all(parts[:3]):
        raise ArtifactError(f"'{root}' is not group:artifact:version[:packaging[:classifier]].")
    group, artifact, version, packaging, classifier = [*parts, "jar", ""][:5] if len(parts) != 4 else [*parts, ""]
    return group, artifact, version, packaging, classifier


def write_lock(path: Path, roots: Sequence[str]) -> Lock:
    """Resolves `roots` anew from the network, without any cache, and writes the lock file.

    Jars come with all that they depend on, other packagings alone.  Raises what jgo raises (OSError, RuntimeError).
    """
    with tempfile.TemporaryDirectory() as folder:
        lock = _resolve(roots, Path(folder))
    document = {
        "format": _FORMAT,
        "roots": lock.roots,
        "artifacts": [asdict(entry) for entry in lock.artifacts],
    }
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return lock


def _resolve(roots: Sequence[str], folder: Path) -> Lock:
    try:
        from jgo.maven import MavenContext, PythonResolver
    except ImportError as missing:
        raise MissingExtraError("jgo") from missing
    context = MavenContext(repo_cache=folder, resolver=PythonResolver(), timeout=HTTP_TIMEOUT)
    found: list[Any] = []
    jars: list[Any] = []
    for group, artifact, version, packaging, classifier in map(parse_root, roots):
        if packaging == "jar" and not classifier:
            jars.append(context.create_dependency(f"{group}:{artifact}:{version}"))
        else:
            component = context.project(group, artifact).at_version(version)
            found.append(component.artifact(classifier=classifier, packaging=packaging))
    if jars:
        inputs, dependencies = context.resolver.resolve(jars)
        found += [dependency.artifact for dependency in (*inputs, *dependencies)]
    with ThreadPoolExecutor(THREADS) as pool:
        paths = list(pool.map(lambda entry: Path(entry.resolve()), found))
    locked = [
        Artifact(
            group=entry.groupId,
            artifact=entry.artifactId,
            version=entry.version,
            classifier=entry.classifier,
            packaging=entry.packaging,
            sha256=sha256_of(file),
            size=file.stat().st_size,
        )
        for entry, file in zip(found, paths, strict=True)
    ]
    return Lock(tuple(roots), tuple(sorted(locked, key=lambda entry: entry.path.as_posix())))
