"""What people are shown: one console for answers, one for everything else, and errors without a traceback."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import orjson
from rich.console import Console

from bus import BusError, SettingsError
from connectors import ConnectorError, DefinitionError
from gainsight import GainsightError
from schemas import SchemaError

answers = Console(highlight=False, soft_wrap=True)
notes = Console(stderr=True, highlight=False)

FAILED = 1
WRONG_USE = 2

# What ends a command with a message; anything else is a defect and shows its traceback.
EXPECTED = (BusError, ConnectorError, GainsightError, SchemaError)


@contextlib.contextmanager
def waiting(text: str) -> Iterator[None]:
    """Tells what takes a while: a spinner at a terminal, a line elsewhere."""
    if notes.is_terminal:
        with notes.status(text):
            yield
    else:
        notes.print(text, markup=False)
        yield


def print_json(value: Any) -> None:
    """One line of JSON on standard output."""
    answers.print(orjson.dumps(value).decode(), markup=False, emoji=False)


def fail(error: Exception) -> int:
    """Says what went wrong and what to do; returns the exit code."""
    notes.print("[bold red]Error[/]", end=" ")
    notes.print(str(error), markup=False, emoji=False)
    return WRONG_USE if isinstance(error, SettingsError | DefinitionError) else FAILED
