"""The installed package: its names in site-packages, and its entry points from a folder with clashing names."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from setuptools import find_packages

from tests.fixtures.cluster import Cluster

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = ["enricher", "frame_gainsight", "producer", "schemas"]
MODULE, _, FUNCTION = PROJECT["project"]["scripts"]["frame-gainsight"].partition(":")
COMMANDS = {
    "producer": ("-m", "producer", "--help"),
    "frame-gainsight": ("-c", f"from {MODULE} import {FUNCTION}; {FUNCTION}()", "--help"),
    "imports": ("-c", "import enricher, producer, schemas, frame_gainsight.cli.main"),
}
PATIENCE = 60.0


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder whose modules end every process that imports one of them."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    for name in ("bus", "cli", "kafka", "runtime"):
        (folder / f"{name}.py").write_text('raise SystemExit("hostile")\n')
    return folder


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_an_entry_point_imports_nothing_from_the_current_folder(command: tuple[str, ...], hostile: Path) -> None:
    done = subprocess.run([sys.executable, *command], cwd=hostile, capture_output=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_faust_finds_the_app_from_a_hostile_folder(hostile: Path, cluster: Cluster) -> None:
    command = [str(Path(sys.executable).with_name("faust")), "-A", "enricher.app", "--help"]
    done = subprocess.run(command, cwd=hostile, env=cluster.env, capture_output=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert b"worker" in done.stdout


def test_a_wheel_has_four_typed_packages_and_all_that_is_in_them() -> None:
    options = PROJECT["tool"]["setuptools"]
    found = find_packages(str(ROOT), include=options["packages"]["find"]["include"])
    assert sorted({name.partition(".")[0] for name in found}) == PACKAGES
    folders = {file.parent.relative_to(ROOT) for name in PACKAGES for file in (ROOT / name).rglob("*.py")}
    assert sorted(found) == sorted(".".join(folder.parts) for folder in folders), "a folder has no __init__.py"
    assert "py.typed" in options["package-data"]["*"]
    assert [name for name in PACKAGES if not (ROOT / name / "py.typed").exists()] == []
