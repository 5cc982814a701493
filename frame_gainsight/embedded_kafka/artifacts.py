"""The Java files that the embedded broker runs from: locked by checksum, fetched once into a per-user cache.

`kafka.lock.json` names every file with its sha256.  `fetch` makes sure that they are in the cache; nothing is used
that was not verified in the same call.  `python -m frame_gainsight.embedded_kafka.artifacts` resolves the roots again
and re-writes the lock.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from frame_gainsight.embedded_kafka.errors import ArtifactError
from frame_gainsight.embedded_kafka.lockfile import (
    HTTP_TIMEOUT,
    LOCK_FILE,
    THREADS,
    Artifact,
    Lock,
    read_lock,
    sha256_of,
    write_lock,
)
from frame_gainsight.runtime.errors import MissingExtraError, OperationalError

CACHE_VARIABLE = "FRAME_GAINSIGHT_CACHE_DIR"

_PEER_TIMEOUT = 900.0  # seconds to wait for another process that is fetching
_MTIME = 1_577_836_800  # every stored file gets this date: a JVM's AOT cache checks the dates of its jars

Progress = Callable[[int, int], None]
"""A function called with (bytes done, bytes in all) while files are fetched; from several threads, one at a time."""


class Downloader(Protocol):
    """Puts one artifact's file somewhere below `folder`; calls `received` with each chunk's length.

    Raises OSError or RuntimeError when it cannot be had.
    """

    def __call__(self, artifact: Artifact, folder: Path, received: Callable[[int], None]) -> Path: ...


def cache_dir() -> Path:
    """The per-user cache folder; `FRAME_GAINSIGHT_CACHE_DIR` overrides where the system would put it."""
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named).expanduser().absolute()
    try:
        import platformdirs
    except ImportError as missing:
        raise MissingExtraError("platformdirs") from missing
    return Path(platformdirs.user_cache_dir("frame-gainsight", appauthor=False))


def fetch(
    lock: Lock | None = None,
    *,
    folder: Path | None = None,
    progress: Progress | None = None,
    download: Downloader | None = None,
) -> list[Path]:
    """Returns the verified local paths of all the lock's files, in its order, fetching those that are missing.

    Arguments:
        lock: what to fetch; the broker's own lock by default.
        folder: the cache; `cache_dir()` by default.
        progress: called with fetched bytes; not at all when everything is there already.
        download: downloads one file; jgo by default.

    Raises `ArtifactError` when a file is missing and cannot be had, is not the locked one even when fetched again,
    or cannot be stored; `MissingExtraError` when a download is needed and its packages are not installed.
    """
    lock = lock or read_lock()
    folder = folder or cache_dir()
    with ThreadPoolExecutor(THREADS) as pool:
        if all(pool.map(lambda artifact: _is_intact(folder / artifact.path, artifact), lock.artifacts)):
            return [folder / artifact.path for artifact in lock.artifacts]
    with exclusive(folder, "fetch.lock"):
        _fetch_missing(lock, folder, _ProgressSum(lock, progress), download or jgo_download)
    return [folder / artifact.path for artifact in lock.artifacts]


def jgo_download(artifact: Artifact, folder: Path, received: Callable[[int], None]) -> Path:
    """Downloads through jgo from its default repository (proxy variables are honoured)."""
    try:
        from jgo.maven import MavenContext, PythonResolver
    except ImportError as missing:
        raise MissingExtraError("jgo") from missing

    @contextmanager
    def on_file(_name: str, _size: int) -> Iterator[Callable[[int], None]]:
        yield received

    resolver = PythonResolver(progress_callback=on_file)
    context = MavenContext(repo_cache=folder, resolver=resolver, timeout=HTTP_TIMEOUT)
    component = context.project(artifact.group, artifact.artifact).at_version(artifact.version)
    found = component.artifact(classifier=artifact.classifier, packaging=artifact.packaging)
    return Path(found.resolve())


@contextmanager
def exclusive(folder: Path, name: str) -> Iterator[None]:
    """Holds `name` in `folder` as a lock between processes: one does the work, the others wait for it."""
    try:
        from filelock import FileLock, Timeout
    except ImportError as missing:
        raise MissingExtraError("filelock") from missing
    try:
        folder.mkdir(parents=True, exist_ok=True)
        guard = FileLock(folder / name, timeout=_PEER_TIMEOUT)
        guard.acquire()
    except Timeout as error:
        raise ArtifactError(
            f"Another process has been busy in the cache for {_PEER_TIMEOUT / 60:.0f} minutes "
            f"(it holds {folder / name}). End it and try again."
        ) from error
    except OSError as error:
        raise ArtifactError(_unusable(folder, error)) from error
    try:
        yield
    finally:
        guard.release()


class _ProgressSum:
    """Adds up the bytes of all threads; a file that is fetched again counts once."""

    def __init__(self, lock: Lock, report: Progress | None) -> None:
        self._total = lock.size
        self._report = report
        self._done: dict[Artifact, int] = {}
        self._guard = threading.Lock()

    def add(self, artifact: Artifact, count: int) -> None:
        self._set(artifact, self._done.get(artifact, 0) + count)

    def restart(self, artifact: Artifact) -> None:
        self._set(artifact, 0)

    def finish(self, artifact: Artifact) -> None:
        self._set(artifact, artifact.size)

    def _set(self, artifact: Artifact, count: int) -> None:
        with self._guard:
            self._done[artifact] = min(count, artifact.size)
            if self._report is not None:
                self._report(sum(self._done.values()), self._total)


def _fetch_missing(lock: Lock, folder: Path, progress: _ProgressSum, download: Downloader) -> None:
    stop = threading.Event()

    def job(artifact: Artifact) -> None:
        if stop.is_set():
            return
        try:
            _fetch_one(artifact, folder, progress, download)
        except BaseException:
            stop.set()  # the others would only fail the same way, later
            raise

    with ThreadPoolExecutor(THREADS, thread_name_prefix="fetch") as pool:
        for future in [pool.submit(job, artifact) for artifact in lock.artifacts]:
            try:
                future.result()
            except BaseException:
                stop.set()
                raise


def _fetch_one(artifact: Artifact, folder: Path, progress: _ProgressSum, download: Downloader) -> None:
    target = folder / artifact.path
    if _is_intact(target, artifact):
        progress.finish(artifact)
        return
    got = ""
    for _attempt in range(2):
        progress.restart(artifact)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as staging:
            try:
                file = download(artifact, Path(staging), lambda count: progress.add(artifact, count))
            except (OSError, RuntimeError) as error:
                raise ArtifactError(_unreachable(artifact, folder, error)) from error
            got = sha256_of(file)
            if got == artifact.sha256:
                os.utime(file, (_MTIME, _MTIME))
                target.parent.mkdir(parents=True, exist_ok=True)
                file.replace(target)
                progress.finish(artifact)
                return
    raise ArtifactError(
        f"{artifact.filename} arrived twice with contents other than the locked ones and was deleted.\n"
        f"  expected sha256 {artifact.sha256}\n  received sha256 {got}\n"
        "Something between here and the Maven repository changes downloads (a proxy's error page, for example): "
        "try from another network, or ask whoever runs the proxy."
    )


def _is_intact(path: Path, artifact: Artifact) -> bool:
    """Whether the file is the locked one; a file that is not gets deleted."""
    try:
        if path.stat().st_size == artifact.size and sha256_of(path) == artifact.sha256:
            return True
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ArtifactError(_unusable(path, error)) from error
    return False


def _unreachable(artifact: Artifact, folder: Path, error: Exception) -> str:
    return (
        f"{artifact.filename} is not in the cache ({folder}) and could not be downloaded: {_short(error)}\n"
        "The embedded broker needs the network once (about 45 MB); later starts work offline. Check the connection "
        f"and the proxy (HTTPS_PROXY), or copy the cache of a machine that has it and point {CACHE_VARIABLE} to it, "
        "or use a broker of your own: KAFKA_BOOTSTRAP_SERVERS."
    )


def _unusable(path: Path, error: OSError) -> str:
    return (
        f"The cache cannot be used: {path}: {error.strerror or error}.\n"
        f"Name a folder that you may write to: {CACHE_VARIABLE}=/some/folder"
    )


def _short(error: Exception) -> str:
    """The type and the beginning of a download's error; its rest is the library's innards."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}{'…' if len(text) > 200 else ''}"


def main(arguments: Sequence[str]) -> int:
    """Run as a program with `[FILE [ROOT…]]`: re-writes FILE (the broker's lock) from ROOTs (its own ones)."""
    path = Path(arguments[0]) if arguments else LOCK_FILE
    try:
        lock = write_lock(path, tuple(arguments[1:]) or read_lock(path).roots)
    except OperationalError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except (OSError, RuntimeError) as error:
        sys.stderr.write(f"The lock was not written: {_short(error)}\nCheck the network and the named versions.\n")
        return 1
    sys.stdout.write(f"{path.name}: {len(lock.artifacts)} files, {lock.size / 1e6:.0f} MB\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
