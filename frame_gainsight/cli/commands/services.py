"""`poll` and `enrich`: the two services."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from frame_gainsight.cli.output import FAILED, answers, escape, notes
from frame_gainsight.runtime import load_settings
from frame_gainsight.runtime.logging import set_up_logging

if TYPE_CHECKING:
    from producer import PollResult


def poll(
    once: Annotated[bool, typer.Option("--once", help="Poll each connector once and end.")] = False,
    connector: Annotated[str | None, typer.Option(help="Poll this connector alone.")] = None,
) -> None:
    """Run the producer: poll the registered connectors and write raw activities, until stopped."""
    from producer import run

    settings = load_settings()
    set_up_logging(settings.log_level)
    failures = run(settings, only=connector, once=once, on_poll=_show_poll if once else None)
    if once and failures:
        for name, cause in failures.items():
            notes.print(f"[bold]{name}[/]: {escape(cause)}")
        raise typer.Exit(FAILED)


def _show_poll(result: PollResult) -> None:
    """Prints a poll's outcome in a line."""
    parts = [f"{result.written:,} written", f"{result.unchanged:,} known already"]
    if result.tombstones:
        parts.append(f"{result.tombstones:,} deleted")
    if result.dead:
        parts.append(f"[yellow]{result.dead:,} dead letters[/]")
    answers.print(f"[bold]{result.connector}[/]: {', '.join(parts)}  [dim]{result.window or 'nothing to read yet'}[/]")


def enrich(
    web_port: Annotated[int | None, typer.Option(help="Port of Faust's own pages; none without it.")] = None,
) -> None:
    """Run an enricher worker: raw activities in, conversations out, until stopped."""
    from enricher.app import run

    settings = load_settings()
    set_up_logging(settings.log_level)
    raise typer.Exit(run(settings, web_port=web_port))
