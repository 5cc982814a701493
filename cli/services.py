"""`poll` and `enrich`: the two services."""

from __future__ import annotations

from typing import Annotated

import typer

from bus import load_settings
from bus.logs import set_up_logging
from cli.output import FAILED, notes


def poll(
    once: Annotated[bool, typer.Option("--once", help="Poll each connector once and end.")] = False,
    connector: Annotated[str | None, typer.Option(help="Poll this connector alone.")] = None,
) -> None:
    """Run the producer: poll the registered connectors and write raw activities, until stopped."""
    from producer import run

    settings = load_settings()
    set_up_logging(settings.log_level)
    failures = run(settings, only=connector, once=once)
    if once and failures:
        for name, cause in failures.items():
            notes.print(f"[bold]{name}[/]: {cause}")
        raise typer.Exit(FAILED)


def enrich(
    web_port: Annotated[int | None, typer.Option(help="Port of Faust's own pages; none without it.")] = None,
) -> None:
    """Run an enricher worker: raw activities in, conversations out, until stopped."""
    from enricher.app import run

    settings = load_settings()
    set_up_logging(settings.log_level)
    raise typer.Exit(run(settings, web_port=web_port))
