"""The broker's files: what the lock holds, and that nothing unverified is ever used."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from frame_gainsight.embedded_kafka.artifacts import cache_dir, fetch
from frame_gainsight.embedded_kafka.errors import ArtifactError
from frame_gainsight.embedded_kafka.lockfile import LOCK_FILE, Artifact, Lock, parse_root, read_lock


def contents(name: str) -> bytes:
    return f"contents of {name}".encode() * 10


def locked(name: str, *, classifier: str = "", packaging: str = "jar") -> Artifact:
    data = contents(name)
    return Artifact("org.example", name, "1.0", classifier, packaging, hashlib.sha256(data).hexdigest(), len(data))


class Repository:
    """A downloader that serves `contents`, or what `wrong` says for the first few downloads of a file."""

    def __init__(self, wrong: dict[str, list[bytes]] | None = None) -> None:
        self.wrong = wrong or {}
        self.served: list[str] = []
        self._guard = threading.Lock()

    def __call__(self, artifact: Artifact, folder: Path, received: Callable[[int], None]) -> Path:
        with self._guard:
            self.served.append(artifact.artifact)
            replies = self.wrong.get(artifact.artifact)
            data = replies.pop(0) if replies else contents(artifact.artifact)
        file = folder / artifact.filename
        file.write_bytes(data)
        received(len(data))
        return file


def offline(artifact: Artifact, folder: Path, received: Callable[[int], None]) -> Path:
    raise OSError("network is unreachable")


ALL = Lock(("org.example:a:1.0",), (locked("a"), locked("b"), locked("c", classifier="all", packaging="tar.gz")))


def test_the_lock_names_every_file_with_its_checksum_and_no_address() -> None:
    lock = read_lock()
    names = {f"{entry.group}:{entry.artifact}" for entry in lock.artifacts}
    assert {"org.apache.kafka:kafka_2.13", "org.slf4j:slf4j-simple", "org.scala-lang:scala-library"} <= names
    assert all(re.fullmatch(r"[0-9a-f]{64}", entry.sha256) and entry.size > 0 for entry in lock.artifacts)
    assert len({entry.path for entry in lock.artifacts}) == len(lock.artifacts)
    assert "://" not in LOCK_FILE.read_text(encoding="utf-8")


def test_every_root_of_the_lock_is_among_its_files() -> None:
    lock = read_lock()
    present = {(a.group, a.artifact, a.version, a.packaging, a.classifier) for a in lock.artifacts}
    assert {parse_root(root) for root in lock.roots} <= present


def test_a_root_may_name_packaging_and_classifier() -> None:
    assert parse_root("g:a:1") == ("g", "a", "1", "jar", "")
    assert parse_root("g:a:1:tar.gz") == ("g", "a", "1", "tar.gz", "")
    assert parse_root("g:a:1:tar.gz:all") == ("g", "a", "1", "tar.gz", "all")
    with pytest.raises(ArtifactError, match="group:artifact:version"):
        parse_root("g:a")


@pytest.mark.parametrize("text", ["", "{}", '{"format": 99}', '{"format": 1, "roots": [], "artifacts": [{}]}'])
def test_a_damaged_lock_is_a_clear_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "kafka.lock.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"kafka\.lock\.json"):
        read_lock(path)


def test_files_are_fetched_once_and_then_found_without_network(tmp_path: Path) -> None:
    repository = Repository()
    paths = fetch(ALL, folder=tmp_path, download=repository)
    assert [path.read_bytes() for path in paths] == [contents(name) for name in "abc"]
    assert paths[2].name == "c-1.0-all.tar.gz"
    assert sorted(repository.served) == ["a", "b", "c"]
    assert fetch(ALL, folder=tmp_path, download=offline) == paths


def test_a_wrong_file_is_fetched_again_once(tmp_path: Path) -> None:
    repository = Repository({"b": [b"an error page"]})
    paths = fetch(ALL, folder=tmp_path, download=repository)
    assert paths[1].read_bytes() == contents("b")
    assert repository.served.count("b") == 2


def test_a_file_that_stays_wrong_is_an_error_and_is_not_kept(tmp_path: Path) -> None:
    repository = Repository({"b": [b"an error page"] * 9})
    with pytest.raises(ArtifactError, match=r"b-1\.0\.jar arrived twice"):
        fetch(ALL, folder=tmp_path, download=repository)
    assert repository.served.count("b") == 2
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name.startswith("b-")]
    assert not list(tmp_path.glob(".fetch-*"))


@pytest.mark.parametrize("damage", [b"", contents("a")[:-1], b"X" * len(contents("a"))], ids=["empty", "cut", "other"])
def test_a_damaged_file_in_the_cache_is_replaced(tmp_path: Path, damage: bytes) -> None:
    first = fetch(ALL, folder=tmp_path, download=Repository())[0]
    first.write_bytes(damage)
    repository = Repository()
    assert fetch(ALL, folder=tmp_path, download=repository)[0].read_bytes() == contents("a")
    assert repository.served == ["a"]


def test_without_network_and_cache_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError) as caught:
        fetch(ALL, folder=tmp_path, download=offline)
    text = str(caught.value)
    assert "network is unreachable" in text
    assert "HTTPS_PROXY" in text and "FRAME_GAINSIGHT_CACHE_DIR" in text and "KAFKA_BOOTSTRAP_SERVERS" in text


def test_the_real_downloader_reports_an_unreachable_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ArtifactError, match=r"(?s)could not be downloaded: ProxyError.*Check the connection"):
        fetch(folder=tmp_path)


def test_a_cache_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    with pytest.raises(ArtifactError, match="FRAME_GAINSIGHT_CACHE_DIR"):
        fetch(ALL, folder=tmp_path / "file" / "cache", download=Repository())


def test_progress_ends_at_the_whole_size_and_never_exceeds_it(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    fetch(ALL, folder=tmp_path, download=Repository({"b": [b"an error page"]}), progress=lambda *at: seen.append(at))
    assert seen[-1] == (ALL.size, ALL.size)
    assert all(done <= total for done, total in seen)
    seen.clear()
    fetch(ALL, folder=tmp_path, download=offline, progress=lambda *at: seen.append(at))
    assert seen == []


def test_many_at_once_fetch_each_file_once(tmp_path: Path) -> None:
    repository = Repository()
    threads = [
        threading.Thread(target=fetch, args=(ALL,), kwargs={"folder": tmp_path, "download": repository})
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(repository.served) == ["a", "b", "c"]


def test_the_cache_folder_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAME_GAINSIGHT_CACHE_DIR", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("FRAME_GAINSIGHT_CACHE_DIR")
    assert cache_dir().name == "frame-gainsight"
