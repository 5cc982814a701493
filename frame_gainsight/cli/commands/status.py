"""`status`: the state of every connector, and what to do where one needs something."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from frame_gainsight.cli.operations.connector_status import ConnectorStatus, ago, connector_statuses
from frame_gainsight.cli.output import FAILED, NARROW, answers, escape, notes, print_json
from frame_gainsight.connectors import UnknownConnectorError
from frame_gainsight.kafka.topics import require
from frame_gainsight.runtime import SystemClock, load_settings
from schemas import codec_for

STYLES = {
    "active": "green",
    "starting": "cyan",
    "paused": "dim",
    "waiting": "yellow",
    "late": "bold red",
    "broken": "bold red",
    "unreadable": "bold red",
}
HEADINGS = ("connector", "state", "read up to", "to enrich", "parked", "dead", "calls today")


def status(
    connector: Annotated[str | None, typer.Argument(help="Only this connector.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show every connector: how fresh it is, what waits, the calls of today, and what to do about its last error.

    Exit code 1 when somebody must do something about one of them.
    """
    settings = load_settings()
    require(settings)
    found, services = connector_statuses(settings, codec_for(settings.schema_registry_url), SystemClock().now())
    if connector is not None:
        known = [one.id for one in found]
        found = [one for one in found if one.id == connector]
        if not found:
            raise UnknownConnectorError(connector, known)
    if as_json:
        running = {"producers": services.producers, "enrichers": services.enrichers}
        print_json(running | {"connectors": [one.plain() for one in found]})
    elif not found:
        answers.print("No connector is registered yet. Add one: frame-gainsight connector add FILE")
    else:
        if answers.width < NARROW:
            for one in found:
                answers.print(card(one))
                answers.print()
        else:
            answers.print(table(found))
        for one in found:
            if one.last_error:
                answers.print(f"\n[{STYLES[one.state]}]{escape(one.id)}[/]: {escape(one.last_error)}")
        if any(one.dead for one in found):
            answers.print("\nLook into the dead letters with: frame-gainsight dead-letters list")
        notes.print(f"\n{_running(services.producers, 'producer')}, {_running(services.enrichers, 'enricher')} running")
    if any(one.state in ("late", "broken", "unreadable") for one in found):
        raise typer.Exit(FAILED)


def table(found: list[ConnectorStatus]) -> Table:
    """A line a connector."""
    shown = Table(box=None, padding=(0, 1))
    for name in HEADINGS:
        shown.add_column(
            name,
            justify="left" if name in ("connector", "state") else "right",
            overflow="fold",
            no_wrap=name != "connector",
        )
    for one in found:
        shown.add_row(*_cells(one))
    return shown


def card(one: ConnectorStatus) -> Table:
    """A connector's cells below each other, for where a line has too little room."""
    shown = Table(box=None, padding=(0, 1), show_header=False)
    shown.add_column(style="dim", no_wrap=True)
    shown.add_column(overflow="fold")
    for heading, cell in zip(HEADINGS, _cells(one), strict=True):
        shown.add_row(heading, cell)
    return shown


def _cells(one: ConnectorStatus) -> tuple[str, ...]:
    """A connector's cells, one for each of HEADINGS."""
    return (
        escape(one.id),
        f"[{STYLES[one.state]}]{one.state}[/]",
        "never" if one.fresh_seconds is None else f"{ago(one.fresh_seconds)} ago",
        f"{one.lag:,}" + ("+" if one.lag_more else ""),
        _warned(one.parked),
        _warned(one.dead),
        f"{one.calls_today:,} of {one.calls_ours:,}",
    )


def _warned(count: int) -> str:
    return f"[yellow]{count:,}[/]" if count else "0"


def _running(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")
