"""The findings of a check: shown in full, with the way around the check where it helps."""

from __future__ import annotations

import io

import pytest

from frame_gainsight.cli import show_findings
from frame_gainsight.cli.output import HarmlessConsole
from frame_gainsight.connectors import Finding
from frame_gainsight.connectors.onboarding.findings import KEY, REACHABLE


@pytest.mark.parametrize(("need", "advised"), [(REACHABLE, True), (KEY, False)])
def test_no_check_is_advised_only_for_tenants_that_do_not_answer(
    need: str, advised: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.StringIO()
    monkeypatch.setattr(show_findings, "notes", HarmlessConsole(file=out))
    show_findings.refuse("acme", "Not registered.", [Finding(need, "failed", "so it is")])
    assert ("--no-check" in out.getvalue()) is advised
    assert "Nothing was written" in out.getvalue()


def test_a_long_finding_is_folded_and_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(show_findings, "answers", HarmlessConsole(width=40, file=out, soft_wrap=True))
    long = "company.Some_Look_Up__gr.Another__gr.A_Field_Of_Its_Own__gc"
    show_findings.show([Finding(f"field {long}", "ok", long)], 3)
    assert "…" not in out.getvalue() and "3 API calls" in out.getvalue()
