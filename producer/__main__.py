"""`python -m producer [--connector ID] [--since DATE]`: the producer as a process."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from frame_gainsight.connectors import ConnectorError
from frame_gainsight.gainsight import parse_date
from frame_gainsight.runtime import OperationalError, load_settings
from frame_gainsight.runtime.logging import set_up_logging
from frame_gainsight.runtime.terminal import one_line
from producer.app import run
from schemas import SchemaError


def main(
    connector: Annotated[str | None, typer.Option(help="Poll this connector alone.")] = None,
    since: Annotated[str | None, typer.Option(help="Read again from this date, such as 2026-01-01.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Poll each connector once and end.")] = False,
) -> None:
    """Polls the registered connectors until stopped."""
    if since is not None and connector is None:
        raise typer.BadParameter("name the connector that it is for: --connector ID", param_hint="--since")
    try:
        start = parse_date(since)
    except ValueError as error:
        raise typer.BadParameter(
            f"{error}; write it as 2026-01-01 or 2026-01-01T08:00:00Z", param_hint="--since"
        ) from None
    try:
        settings = load_settings()
        set_up_logging(settings.log_level)
        failures = run(settings, only=connector, since=start, once=once)
    except (OperationalError, ConnectorError, SchemaError) as error:
        sys.stderr.write(f"{error if isinstance(error, OperationalError) else one_line(str(error))}\n")
        raise typer.Exit(1) from None
    raise typer.Exit(1 if once and failures else 0)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()
