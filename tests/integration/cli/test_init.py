"""`connector init` as a person meets it: nothing asked in vain, nothing taken in silence, every path to be read."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from frame_gainsight.cli.commands import init
from frame_gainsight.cli.output import HarmlessConsole
from frame_gainsight.connectors import parse_yaml
from frame_gainsight.connectors.onboarding.propose import Proposed
from frame_gainsight.sandbox import Morning, Sandbox, Tenant
from tests.fixtures.cluster import unlimited
from tests.fixtures.commands import Terminal

COMMAND = str(Path(sys.executable).with_name("frame-gainsight"))
WRONG_USE = 2


@pytest.fixture(scope="module")
def tenant() -> Tenant:
    return unlimited(seed=12, scenario=Morning(emails=10, periods=1))


@pytest.fixture(scope="module")
def host(tenant: Tenant) -> Iterator[str]:
    with Sandbox(tenant) as sandbox:
        yield sandbox.url


def person(folder: Path, *arguments: str) -> Terminal:
    """Somebody at a terminal; no Kafka is needed."""
    place: Any = SimpleNamespace(command=COMMAND, env={**os.environ, "COLUMNS": "80"}, folder=folder)
    return Terminal(place, "connector", "init", *arguments)


def takes_all(somebody: Terminal) -> str:
    """Answers the rest with Enter; all that was seen, on one line."""
    for _ in range(3):
        somebody.asked("?", "")
    assert somebody.end() == 0, somebody.seen
    return " ".join(re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", somebody.seen).split())


@pytest.mark.parametrize("out", ["nowhere/x.yaml", ".", "n" * 300])
def test_init_that_cannot_write_its_file_asks_nothing(out: str, tmp_path: Path, host: str, tenant: Tenant) -> None:
    tenant.reset_calls()
    done = subprocess.run(
        [COMMAND, "connector", "init", "--yes", "--id", "x", "--host", host, "--out", out, "--force"],
        input=tenant.access_key,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == WRONG_USE
    assert done.stderr.startswith("Error ") and "Traceback" not in done.stderr
    assert tenant.calls()["total"] == 0
    assert list(tmp_path.iterdir()) == []


def test_init_also_checks_that_it_can_write_the_schema_file(tmp_path: Path) -> None:
    (tmp_path / "connector.schema.json").mkdir()
    with pytest.raises(typer.Exit):
        init._writable(tmp_path / "x.yaml")
    init._writable(tmp_path / "connector.schema.json" / "x.yaml")


def test_init_asks_again_for_a_refused_key(tmp_path: Path, host: str, tenant: Tenant) -> None:
    somebody = person(tmp_path, "--id", "x", "--host", host, "--max", "0")
    somebody.asked("API access key", "wrong")
    somebody.asked("API access key", "wrong too")
    assert somebody.end() == WRONG_USE, "two words are no key"
    somebody = person(tmp_path, "--id", "x", "--host", host, "--max", "0")
    for _ in range(2):
        somebody.asked("API access key", "wrong")
    somebody.asked("API access key", tenant.access_key)
    somebody.asked("Activity types", "")
    assert takes_all(somebody).count("The tenant does not accept this key. Try again.") == 2
    somebody = person(tmp_path, "--id", "x", "--host", host, "--out", "y.yaml")
    for _ in range(3):
        somebody.asked("API access key", "wrong")
    assert somebody.end() == 1
    assert "wrong" not in somebody.seen and not (tmp_path / "y.yaml").exists()


def test_init_asks_again_for_an_activity_type_that_the_tenant_lacks(tmp_path: Path, host: str, tenant: Tenant) -> None:
    somebody = person(tmp_path, "--id", "x", "--host", host, "--max", "0")
    somebody.asked("API access key", tenant.access_key)
    somebody.asked("Activity types", "Emial, Meeting")
    somebody.asked("Activity types", "email, QBR")
    somebody.asked("Activity types", "email, QBR")
    seen = takes_all(somebody)
    assert "Error Not seen in this tenant: Emial. Seen: Email" in seen
    assert parse_yaml((tmp_path / "x.yaml").read_text()).activity_types == ("Email", "QBR")


LONG = "company.A_Very_Long_Look_Up_Indeed__gr.Another_Of_Some_Length__gr.Email_Of_The_Manager__gc"


@pytest.mark.parametrize("width", [40, 80, 160])
def test_init_shows_every_path_whole_at_any_width(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    console = HarmlessConsole(width=width, soft_wrap=True)
    monkeypatch.setattr(init, "answers", console)
    fields = [
        Proposed("user_profile", "title", "company_person.Title", "STRING", 0.5),
        Proposed("org_profile", "manager_email", LONG, "EMAIL", 1.0),
        Proposed("tags", "sentiment", "activity.Ant__Sentiment__c", "MULTISELECTDROPDOWNLIST", 0.02),
    ]
    with console.capture() as capture:
        init._show_fields(fields)
    shown = capture.get()
    assert max(map(len, shown.splitlines())) <= width
    assert "…" not in shown and shown.count("filled") == 3
    letters = re.sub(r"\s|\d+%|email(?!_)", "", shown)
    assert "company_person.Title" in shown.replace("\n", "") or width == 40
    if width == 160:
        assert LONG in shown
    assert all(heading in shown for heading in init.PARTS.values())
    assert len(re.findall("[A-Za-z_.]", letters)) >= sum(len(f.path) + len(f.name) for f in fields)
