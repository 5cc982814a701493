"""Text of others in commands' output: whatever breaks of lines and control characters it has, it begins no line."""

from __future__ import annotations

import io
from typing import Any

import pytest

from frame_gainsight.cli import output, show_findings
from frame_gainsight.cli.commands import dead_letters, status, tail
from frame_gainsight.cli.commands.dead_letters import Letter
from frame_gainsight.cli.operations.connector_status import ConnectorStatus, Services
from frame_gainsight.cli.output import HarmlessConsole, sample
from frame_gainsight.connectors import Finding
from frame_gainsight.gainsight import GainsightError
from frame_gainsight.kafka import ConsumedRecord
from frame_gainsight.runtime.metrics import Metrics
from frame_gainsight.runtime.terminal import one_line
from schemas import Codec
from tests.unit.cli.test_output import conversation

BREAKS = ("\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x1e", "\x85", "\u2028", "\u2029", "\n\n\x1b[2K\u202e")


@pytest.fixture(params=BREAKS, ids=[repr(mark) for mark in BREAKS])
def evil(request: pytest.FixtureRequest) -> str:
    """A text that would begin a line of its own."""
    return f"said{request.param}FORGED ok"


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Where every command prints."""
    out = io.StringIO()
    console = HarmlessConsole(file=out, width=400, soft_wrap=True)
    for module in (output, show_findings, dead_letters, status, tail):
        for name in ("answers", "notes"):
            monkeypatch.setattr(module, name, console, raising=False)
    return out


def holds(screen: io.StringIO, count: int) -> None:
    """Everything is shown, and begins no line."""
    shown = screen.getvalue()
    assert shown.count("FORGED") >= count, shown
    assert not [line for line in shown.splitlines() if line.strip().startswith("FORGED")], shown


def test_status(screen: io.StringIO, evil: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [ConnectorStatus(evil, "broken", None, None, 0, False, 0, 1, 1, 0, 0, f"The tenant says: {evil}")]
    for name in ("load_settings", "require", "codec_for"):
        monkeypatch.setattr(status, name, lambda *_: _Settings())
    monkeypatch.setattr(status, "connector_statuses", lambda *_: (found, Services(1, 1)))
    with pytest.raises(status.typer.Exit):
        status.status(None, False)
    holds(screen, 3)


def test_dead_letters(screen: io.StringIO, evil: str, monkeypatch: pytest.MonkeyPatch) -> None:
    letter = Letter("0:1", evil, evil, f"It does not read: {evil}", 0, 0, evil, evil.encode())
    monkeypatch.setattr(dead_letters, "_start", lambda: (None, Codec()))
    monkeypatch.setattr(dead_letters, "letters", lambda *_: iter([letter]))
    dead_letters.list_()
    holds(screen, 3)
    dead_letters.show("0:1")
    holds(screen, 6)


def test_tail(screen: io.StringIO, evil: str) -> None:
    tail.show(Codec(), ConsumedRecord("t", 0, 1, f"acme/{evil}".encode(), None), False)
    tail.show(Codec(), ConsumedRecord("t", 0, 1, f"acme/{evil}".encode(), evil.encode()), False)
    holds(screen, 2)


def test_check(screen: io.StringIO, evil: str) -> None:
    findings = [Finding(f"activity type {evil}", "missing", evil, f"Please look at {evil}.")]
    show_findings.show(findings, 1)
    show_findings.warn_of_types(findings)
    holds(screen, 5)


def test_preview(screen: io.StringIO, evil: str) -> None:
    person = {"email": evil, "name": evil, "role": "customer", "user_id": "1", "profile": {evil: evil}}
    output.answers.print(
        sample(conversation(participants=[person], subject=evil, tags=[{"name": evil, "value": evil}]))
    )
    holds(screen, 7)


def test_an_error_that_names_what_a_tenant_said(screen: io.StringIO, evil: str) -> None:
    output.fail(GainsightError(f"The tenant answers: {evil}"))
    holds(screen, 1)


def test_labels_of_metrics(evil: str) -> None:
    metrics = Metrics()
    metrics.set_failing(evil, "config")
    text = metrics.text()
    assert "FORGED" in text
    assert not [line for line in text.splitlines() if line.startswith("FORGED")]
    metrics.forget(evil)
    assert "FORGED" not in metrics.text()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("one", "one"),
        ("one\ntwo", "one two"),
        ("one \r\n\t two", "one two"),
        ("a\tb  c", "a\tb  c"),
        ("\nfirst", " first"),
        ("Grüße 日本語 👩‍👩‍👧 مرحبا", "Grüße 日本語 👩‍👩‍👧 مرحبا"),
    ],
)
def test_one_line(text: str, shown: str) -> None:
    assert one_line(text) == shown


class _Settings:
    schema_registry_url: Any = None
