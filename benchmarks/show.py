"""What a benchmark has to say: tables for people, one JSON object for programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table

_notes = Console(stderr=True, highlight=False)


def note(text: str) -> None:
    """What is being done, on standard error."""
    _notes.print(f"[dim]{text}[/]")


class Report:
    """Tables, remarks, and the data behind them."""

    def __init__(self, name: str, given: dict[str, Any]) -> None:
        self.name = name
        self.data: dict[str, Any] = {"benchmark": name, **given}
        self._parts: list[Table | str] = []

    def table(self, title: str, *columns: str) -> Callable[..., None]:
        """Begins a table; returns what adds a row."""
        made = Table(title=title, title_justify="left", title_style="bold")
        for index, column in enumerate(columns):
            made.add_column(column, justify="right" if index else "left")
        self._parts.append(made)
        return made.add_row

    def note(self, text: str) -> None:
        self._parts.append(text)

    def show(self, console: Console) -> None:
        for part in self._parts:
            console.print(part)
