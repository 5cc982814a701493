"""What people are shown: one console for answers, one for everything else, and errors without a traceback."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NoReturn

import orjson
import typer
from rich.console import Console
from rich.text import Text

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


def print_json(value: Any, *, indented: bool = False) -> None:
    """JSON on standard output, in one line unless it is for people."""
    text = orjson.dumps(value, option=orjson.OPT_INDENT_2 if indented else None).decode()
    answers.print(text, markup=False, emoji=False)


def error(text: str) -> None:
    """Says on standard error what is wrong. One text, so that it is wrapped as one."""
    notes.print(Text.assemble(("Error", "bold red"), f" {text}"))


def wrong_use(text: str) -> NoReturn:
    """Says what is wrong with how a command was called, and ends it."""
    error(text)
    raise typer.Exit(WRONG_USE)


def fail(failure: Exception) -> int:
    """Says what went wrong and what to do; returns the exit code."""
    error(str(failure))
    return WRONG_USE if isinstance(failure, SettingsError | DefinitionError) else FAILED
