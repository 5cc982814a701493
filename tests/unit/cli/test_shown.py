"""What the commands show of connectors, at every width."""

from __future__ import annotations

import io
from typing import Any

import pytest

from frame_gainsight.cli import show_findings as findings
from frame_gainsight.cli.commands import status
from frame_gainsight.cli.operations.connector_status import Overview, Services
from frame_gainsight.cli.output import HarmlessConsole
from frame_gainsight.connectors import Finding
from frame_gainsight.connectors.onboarding.findings import KEY, REACHABLE

HOSTILE = "we[i]rd-and-rather-a-long-name"
FOUND = [
    Overview(
        HOSTILE, "unreadable", 7200.0, 60.0, 123_456, True, 12_345, 25_000, 50_000, 1_234, 12, "It does not read."
    ),
    Overview("acme", "active", None, None, 0, False, 0, 25_000, 50_000, 0, 0, ""),
]


@pytest.mark.parametrize("width", [40, 60, 80, 160])
def test_the_status_has_every_number_and_every_id(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(status, "answers", HarmlessConsole(width=width, file=out, soft_wrap=True))
    monkeypatch.setattr(status, "notes", HarmlessConsole(file=io.StringIO()))
    for name in ("load_settings", "require", "codec_for"):
        monkeypatch.setattr(status, name, lambda *_: FakeSettings())
    monkeypatch.setattr(status, "overview", lambda *_: (FOUND, Services(1, 1)))
    with pytest.raises(status.typer.Exit):
        status.status(None, False)
    shown = out.getvalue()
    lines = shown[: shown.index(f"{HOSTILE}:")].splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in shown
    for text in (*status.HEADINGS[1:], "123,456+", "1,234", "12,345 of 25,000", "2 h ago", "unreadable", "never"):
        assert text in shown, text
    assert f"{HOSTILE}: It does not read." in shown
    assert HOSTILE in "".join("".join(line[:12] if width == 80 else line for line in lines).split())


class FakeSettings:
    schema_registry_url = None


@pytest.mark.parametrize(("need", "advised"), [(REACHABLE, True), (KEY, False)])
def test_the_way_around_the_check_is_for_tenants_that_do_not_answer(
    need: str, advised: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.StringIO()
    monkeypatch.setattr(findings, "notes", HarmlessConsole(file=out))
    findings.refuse("acme", "Not registered.", [Finding(need, "failed", "so it is")])
    assert ("--no-check" in out.getvalue()) is advised
    assert "Nothing was written" in out.getvalue()


def test_findings_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(findings, "answers", HarmlessConsole(width=40, file=out, soft_wrap=True))
    long: Any = "company.Some_Look_Up__gr.Another__gr.A_Field_Of_Its_Own__gc"
    findings.show([Finding(f"field {long}", "ok", long)], 3)
    assert "…" not in out.getvalue() and "3 API calls" in out.getvalue()
