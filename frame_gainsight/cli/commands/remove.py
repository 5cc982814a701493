"""`connector remove`: taking a connector out, and everything that was read of its tenant."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from frame_gainsight.cli.commands.connector import Id, registry_of
from frame_gainsight.cli.operations.purge import Purge, Purged
from frame_gainsight.cli.output import FAILED, WRONG_USE, answers, escape, notes, wrong_use
from frame_gainsight.connectors import UnknownConnectorError
from frame_gainsight.runtime import Settings, SystemClock, load_settings


def remove(
    connector: Id,
    purge: Annotated[
        bool,
        typer.Option("--purge", help="Also delete all that was read of its tenant, conversations included."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether to remove it.")] = False,
    confirm: Annotated[
        str | None, typer.Option("--confirm", help="The id again, instead of being asked for it before a purge.")
    ] = None,
) -> None:
    """Take a connector and its key out. What was read of its tenant stays, unless it is purged.

    A purge writes a tombstone for each of its keys: raw activities, entities, conversations, checkpoints and what is
    parked. It can be run again, also for a connector that is removed already.
    """
    settings = load_settings()
    registry = registry_of(settings)
    known, unreadable = registry.read()
    registered = connector in known or connector in unreadable
    if not registered and not purge:
        raise UnknownConnectorError(connector, list(known))
    if not yes:
        what = "its definition and its API key are deleted" if registered else "it is not registered (any more)"
        with _answered(connector, purge):
            agreed = typer.confirm(f"Remove {connector}: {what}. Go on?", err=True)
        if not agreed:
            raise typer.Abort
    if purge:
        with _answered(connector, purge):
            _ask_again(connector, confirm)
    if registered:
        registry.remove(connector)
        answers.print(f"[bold green]Removed[/] {connector}. Calls to its tenant stop within seconds.")
    if purge:
        _purge(settings, connector)
    elif registered:
        notes.print(f"What was read of it stays. To delete that too: connector remove {connector} --purge")


@contextlib.contextmanager
def _answered(connector: str, purge: bool) -> Iterator[None]:
    """Ends with how a script answers, where no answer comes."""
    try:
        yield
    except typer.Abort:
        if sys.stdin.isatty():
            raise
        notes.print()  # the question's line has not ended
        options = f"--purge --yes --confirm {connector}" if purge else "--yes"
        wrong_use(f"Nothing was done: no answer came. In a script: connector remove {connector} {options}")


def _ask_again(connector: str, confirm: str | None) -> None:
    typed = confirm
    if typed is None:
        notes.print("[bold red]A purge deletes its conversations for every consumer of the bus, for good.[/]")
        typed = typer.prompt("Type the connector's id to go on", default="", show_default=False, err=True)
    if typed.strip() != connector:
        notes.print(f"[bold red]Nothing was done.[/] '{escape(typed)}' is not '{escape(connector)}'.")
        raise typer.Exit(WRONG_USE)


def _purge(settings: Settings, connector: str) -> None:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=notes) as progress:
        bars = {}

        def show(state: Purged) -> None:
            for topic, found in state.found.items():
                if topic not in bars:
                    bars[topic] = progress.add_task(topic, total=found)
                progress.update(bars[topic], total=found, completed=found - state.left.get(topic, 0))

        state = Purge(settings, connector, SystemClock().now(), show).run()
    if not state.found:
        answers.print(f"There was nothing of {connector} in the topics.")
        return
    counts = ", ".join(f"{count:,} of {topic}" for topic, count in state.found.items())
    answers.print(f"[bold green]Purged[/] {connector}: {counts}; nothing of it is left there.", soft_wrap=True)
    notes.print(f"Dead letters of it, if there are any, go with their retention ({settings.dead_letters_topic}).")
    if state.left:
        raise typer.Exit(FAILED)
