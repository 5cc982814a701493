"""What people are shown: one console for answers, one for everything else, and errors without a traceback."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn, TextIO

import orjson
import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from frame_gainsight.connectors import ConnectorError, DefinitionError
from frame_gainsight.gainsight import GainsightError
from frame_gainsight.runtime import OperationalError, SettingsError
from frame_gainsight.runtime.terminal import escaped, strip_control_characters
from schemas import SchemaError

UNFOLDED = 160  # characters of a line where nobody looks at a terminal: names and paths stay whole, to be searched for

NARROW = 72  # characters of a line below which a table has only what matters most


class HarmlessConsole(Console):
    """A console on which text can do nothing but be read: what would steer a terminal is left out, wherever it comes
    from. Nothing moves by it, as such characters take no room. Codes such as `:warning:` stay what they are."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, emoji=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            text, style, control = segment
            # Control segments are rich's own: a spinner's, a bar's.
            yield segment if control or text.isprintable() else Segment(strip_control_characters(text), style)


def _width(stream: TextIO | None) -> int | None:
    """None: the terminal's own, or COLUMNS."""
    return None if os.environ.get("COLUMNS") or (stream and stream.isatty()) else UNFOLDED


answers = HarmlessConsole(soft_wrap=True, width=_width(sys.stdout))
notes = HarmlessConsole(stderr=True, width=_width(sys.stderr))

FAILED = 1
WRONG_USE = 2

# What ends a command with a message; anything else is a defect and shows its traceback.
EXPECTED = (OperationalError, ConnectorError, GainsightError, SchemaError)


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
    answers.print(escaped(text), markup=False)


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
