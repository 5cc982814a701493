"""Output for people: one console for answers, one for everything else, and errors without a traceback."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn, TextIO

import orjson
import typer
from rich import markup
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.panel import Panel
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from frame_gainsight.connectors import ConnectorError, DefinitionError
from frame_gainsight.gainsight import GainsightError
from frame_gainsight.runtime import OperationalError, SettingsError
from frame_gainsight.runtime.terminal import escaped, one_line, strip_control_characters
from schemas import SchemaError

UNFOLDED = 160  # characters of a line where there is no terminal: names and paths can be searched for, unbroken

BODY_LINES = 12  # of a conversation's text that are shown
NARROW = 72  # characters of a line below which a table has only what matters most


class HarmlessConsole(Console):
    """A console that leaves out control characters, wherever they come from, so that no text steers the terminal.

    Nothing moves by that, as such characters take no room. Codes such as `:warning:` stay as they are."""

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


def escape(text: str) -> str:
    """Text of other people for a console's markup: in one line, and shown as it is."""
    return markup.escape(one_line(text))


@contextlib.contextmanager
def waiting(text: str) -> Iterator[None]:
    """Shows that something takes a while: a spinner at a terminal, a line elsewhere."""
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
    """Prints an error on standard error. One text, so that it is wrapped as one."""
    notes.print(Text.assemble(("Error", "bold red"), f" {text}"))


def wrong_use(text: str) -> NoReturn:
    """Prints what is wrong with how a command was called, and ends it with code 2."""
    error(text)
    raise typer.Exit(WRONG_USE)


def fail(failure: Exception) -> int:
    """Prints a failure, which says what to do about it; returns the exit code."""
    # What we run on is described by ourselves, also in several lines; a tenant's words are within the other errors.
    error(str(failure) if isinstance(failure, OperationalError) else one_line(str(failure)))
    return WRONG_USE if isinstance(failure, SettingsError | DefinitionError) else FAILED


def sample(c: Mapping[str, Any]) -> Panel:
    """A conversation as people like to read it."""
    grid = Table(show_header=False, box=None, padding=(0, 1))
    grid.add_column(style="dim", justify="right")
    grid.add_column(overflow="fold")
    for p in c["participants"]:
        identity = f"[green]{p['role']}[/]" if p["user_id"] else f"[yellow]{p['role']}[/]"
        name = escape(p["name"] or "")
        grid.add_row(identity, f"{name} <{escape(p['email'] or '')}>  [dim]{_profile(p['profile'])}[/]")
    if c["account"]:
        grid.add_row("account", f"{escape(c['account']['name'] or '')}  [dim]{_profile(c['account']['profile'])}[/]")
    if c["relationship"]:
        grid.add_row("relationship", escape(c["relationship"]["name"] or ""))
    if c["tags"]:
        grid.add_row("tags", escape("  ".join(f"{t['name']}={t['value']}" for t in c["tags"])))
    at = datetime.fromtimestamp((c["occurred_at"] or c["version"]) / 1000, UTC).strftime("%Y-%m-%d %H:%M")
    # A text: of markup, codes such as :warning: would become pictures.
    title = Text(one_line(c["subject"] or "(no subject)"))
    return Panel(Group(grid, Text(), _Body(c["body_text"] or "")), title=title, subtitle=at, width=100)


@dataclass(frozen=True, slots=True)
class _Body:
    """The beginning of a body, wrapped to the room that there is, and how much more of it there would be."""

    text: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        paragraphs = [strip_control_characters(line) for line in self.text.splitlines() if line.strip()]
        lines = Text("\n".join(paragraphs)).wrap(console, options.max_width, overflow="fold", no_wrap=False)
        yield from lines[:BODY_LINES]
        if (more := len(lines) - BODY_LINES) > 0:
            yield Text(f"… {more:,} more {'line' if more == 1 else 'lines'}", style="dim")


def _profile(profile: Mapping[str, Any]) -> str:
    return escape(", ".join(f"{k} {v}" for k, v in profile.items()))
