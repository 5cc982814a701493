"""`frame-gainsight`: the entry point, and the table of its commands."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import stamina
import stamina.instrumentation
import typer

from frame_gainsight.cli.commands import (
    backfill,
    connector,
    dead_letters,
    definitions,
    init,
    local,
    preview,
    remove,
    replay,
    services,
    status,
    tail,
    topics,
)
from frame_gainsight.cli.demo import command as demo
from frame_gainsight.cli.output import EXPECTED, fail
from frame_gainsight.runtime.logging import set_up_logging

app = typer.Typer(
    name="frame-gainsight",
    help="Brings Gainsight NXT Timeline activities, emails first, into Frame AI's event bus.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command("demo")(demo.demo)
connector.app.command("init")(init.init)
connector.app.command("preview")(preview.preview_command)
connector.app.command("remove")(remove.remove)
connector.app.command("export")(definitions.export)
connector.app.command("import")(definitions.import_)
connector.app.command("status")(status.status)
connector.app.command("schema")(definitions.schema)
app.add_typer(connector.app, name="connector", help="Register, check and manage customers' connectors.")
app.command("status")(status.status)
app.command("poll")(services.poll)
app.command("backfill")(backfill.backfill)
app.command("enrich")(services.enrich)
app.command("replay")(replay.replay)
app.command("tail")(tail.tail)
app.add_typer(dead_letters.app, name="dead-letters", help="Records that could not be converted, and trying them again.")
app.add_typer(topics.app, name="topics", help="Create and check the topics.")
app.command("kafka")(local.kafka)
app.command("sandbox")(local.sandbox)


def main() -> None:
    """Runs a command. Exit codes: 0 fine, 1 the job failed, 2 wrong use."""
    if sys.stdin is None:  # it was closed (`<&-`): for whoever reads it, it is empty
        sys.stdin = Path(os.devnull).open()  # noqa: SIM115 - until the end
    set_up_logging("WARNING")  # never on standard output; the services set their own level
    stamina.instrumentation.set_on_retry_hooks([])  # a retry is no news; giving up is
    try:
        app()
    except EXPECTED as error:
        sys.exit(fail(error))


if __name__ == "__main__":
    main()
