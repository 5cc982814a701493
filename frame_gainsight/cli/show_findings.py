"""Findings as people read them: a line a need, and the words to send to the customer's admin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from frame_gainsight.cli.output import answers, escape, notes, print_json
from frame_gainsight.connectors import Finding
from frame_gainsight.connectors.onboarding.findings import ACTIVITY_TYPE, REACHABLE
from frame_gainsight.runtime.terminal import one_line

MARKS = {"ok": "[green]✓[/]", "missing": "[yellow]–[/]", "failed": "[bold red]✗[/]", "unknown": "[dim]?[/]"}


def show(findings: Sequence[Finding], calls: int) -> None:
    """The table, the requests to the customer's admin, and the number of calls that the checks took."""
    table = Table("", box=None, padding=(0, 1))
    for name in ("need", "evidence"):
        table.add_column(name, overflow="fold")
    for finding in findings:
        table.add_row(MARKS[finding.state], escape(finding.need), escape(finding.evidence))
    answers.print(table)
    if requests := list(dict.fromkeys(f.ask for f in findings if f.ask)):
        answers.print("\n[bold]To send to the customer's Gainsight admin:[/]")
        for request in requests:
            answers.print(f"  • {one_line(request)}", markup=False)
    answers.print(f"[dim]{counted(calls)}[/]")


def show_json(connector: str, findings: Sequence[Finding], calls: int, **more: Any) -> None:
    """The findings and the number of calls as one JSON object."""
    print_json({"id": connector, **more, "findings": [f.plain() for f in findings], "api_calls": calls})


def refuse(connector: str, what: str, findings: Sequence[Finding]) -> None:
    """Prints that a failed check wrote nothing; and how to go on unchecked, where the tenant did not answer at all."""
    notes.print(f"[bold red]{what}[/] Nothing was written. Settle what failed (✗), and try again.")
    failed = [finding for finding in findings if finding.blocks]
    if any(finding.need == REACHABLE and finding.blocks for finding in findings):
        notes.print(f"Is the tenant only not to be reached yet? --no-check stores {escape(connector)} unchecked.")
    elif failed and all(finding.need.startswith(ACTIVITY_TYPE) for finding in failed):
        notes.print(f"Will there be activities of that type yet? --no-check stores {escape(connector)} unchecked.")


def warn_of_types(findings: Sequence[Finding]) -> None:
    """Warns of types of activities that the tenant does not have, though others of the definition are there."""
    for finding in findings:
        if finding.state == "missing" and finding.need.startswith(ACTIVITY_TYPE):
            notes.print("[bold yellow]Note[/]", end=" ")
            notes.print(one_line(f"{finding.need}: {finding.evidence}."), markup=False)


def counted(calls: int) -> str:
    return "1 API call" if calls == 1 else f"{calls} API calls"
