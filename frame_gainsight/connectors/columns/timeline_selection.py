"""The timeline's columns as one tenant takes them: what a query is refused for is done without, where that can be.

Polls, previews and checks of a tenant go by the same rules, so that a check tells what polls will meet.
"""

from __future__ import annotations

from collections.abc import Mapping

from frame_gainsight.connectors.columns import required as needs
from frame_gainsight.connectors.definition.model import Definition
from frame_gainsight.gainsight import ObjectDescription, RefusedQueryError, ReplyTooLargeError, UnknownFieldError


class Selection:
    """The columns to select: those that are wanted and described, less those that a query was refused for.

    The columns of the activity's company and relationship ride along where the tenant takes them: they save the
    enricher its calls. Refused again, a query goes without its author's columns too, whose id is in the row. What is
    mapped through a look-up stays: without it, a value would silently be empty.

    Attributes:
        absent: columns that the tenant describes no more, or that a query did not find.
    """

    def __init__(self, definition: Definition) -> None:
        self._definition = definition
        self._mapped = {c.lower() for c in needs.mapped_columns(definition, needs.ACTIVITY)}
        self._refused: set[str] = set()
        self._riding: set[str] = set()
        self._own: set[str] = set()  # look-ups of the activity itself that are not mapped
        self._rides_taken: bool | None = None  # not known before the first answer
        self._own_taken: bool | None = None
        self.select: list[str] = []
        self.absent: list[str] = []

    @property
    def rides(self) -> bool:
        """Whether companies and relationships come with the rows, as far as is known."""
        return bool(self._riding)

    @property
    def takes_look_ups(self) -> bool | None:
        """Whether the tenant takes columns through look-ups at all; None: it has not been seen."""
        if self._rides_taken or self._own_taken:
            return True
        return False if self._own_taken is False else None

    def is_mapped(self, column: str) -> bool:
        return column.lower() in self._mapped

    def take(self, described: Mapping[str, ObjectDescription]) -> None:
        """Chooses anew by what is described; what was refused before stays away."""
        activity = described[needs.ACTIVITY]
        own = needs.columns(self._definition, needs.ACTIVITY, activity)
        wanted = own if self._rides_taken is False else needs.timeline_columns(self._definition, described)
        self._riding = {c.lower() for c in wanted} - {c.lower() for c in own}
        self._own = {c.lower() for c in own if "." in c} - self._mapped
        if self._own_taken is False:
            wanted = [c for c in wanted if c.lower() not in self._own]
            self._own = set()
        absent = self._refused | {c for c in self._mapped if "." not in c and activity.field(c) is None}
        self.select = [c for c in wanted if c.lower() not in absent]
        self.absent = [c for c in wanted if c.lower() in absent]

    def answered(self) -> None:
        """A query with these columns was answered."""
        if self._riding:
            self._rides_taken = True
        if self._own:
            self._own_taken = True

    def drop(self, error: BaseException) -> bool:
        """Does without what a query was refused for; False when that is not possible."""
        if self._is_for(self._riding, self._rides_taken, error):
            self._rides_taken = False
            self._leave(self._riding)
            self._riding = set()
            return True
        if self._is_for(self._own, self._own_taken, error):
            self._own_taken = False
            self._leave(self._own)
            self._own = set()
            return True
        return isinstance(error, UnknownFieldError) and self._drop_column(error)

    def _is_for(self, paths: set[str], taken: bool | None, error: BaseException) -> bool:
        """Whether the refusal may be for these look-ups. An unknown column may be named without its path."""
        if isinstance(error, ReplyTooLargeError) or not paths:
            return False
        if isinstance(error, UnknownFieldError):
            name = (error.field or "").lower()
            return any(path == name or path.endswith(f".{name}") or not name for path in paths)
        return isinstance(error, RefusedQueryError) and not taken

    def _drop_column(self, error: UnknownFieldError) -> bool:
        name = (error.field or "").lower()
        required = {c.lower() for c in needs.ACTIVITY_REQUIRED}
        column = next((c for c in self.select if c.lower() == name), None)
        if column is None or name in required:
            return False
        self._refused.add(name)
        self._leave({name})
        self.absent.append(column)
        return True

    def _leave(self, columns: set[str]) -> None:
        self.select = [c for c in self.select if c.lower() not in columns]
