"""`topics create|check`."""

from __future__ import annotations

import typer

from frame_gainsight.cli.output import FAILED, answers
from frame_gainsight.kafka.topics import create as create_topics
from frame_gainsight.kafka.topics import inspect
from frame_gainsight.runtime import load_settings

app = typer.Typer(no_args_is_help=True)


@app.command()
def create() -> None:
    """Create the topics that are missing; refuse when one exists that is not as it must be."""
    created = create_topics(load_settings())
    for spec in created:
        answers.print(f"created  {spec.name}  ({spec.cleanup}, {spec.partitions} partitions)")
    if not created:
        answers.print("All topics exist and are as they must be.")


@app.command()
def check() -> None:
    """Check that every topic exists, with its cleanup policy, partition count and size of records."""
    states = inspect(load_settings())
    for state in states:
        fault = state.fault or state.too_small
        mark = "[green]ok[/]    " if fault is None else "[bold red]wrong[/] "
        answers.print(f"{mark} {state.spec.name}  ({state.spec.cleanup}, {state.spec.partitions} partitions)")
        if fault:
            answers.print(f"       {fault}", markup=False)
    if any(state.fault or state.too_small for state in states):
        raise typer.Exit(FAILED)
