"""The timeline's columns as one tenant accepts them: a column that a query is refused for is left out, where it can be.

Polls, previews and checks of a tenant use the same rules, so that a check shows what polls will meet.
"""

from __future__ import annotations

from collections.abc import Mapping

from frame_gainsight.connectors.columns import required
from frame_gainsight.connectors.definition.model import Definition
from frame_gainsight.gainsight import ObjectDescription, RefusedQueryError, ReplyTooLargeError, UnknownFieldError


class Selection:
    """The columns to select: those that are required and described, less those that a query was refused for.

    The columns of the activity's company and relationship are joined where the tenant accepts that: they save the
    enricher its calls. A query that is refused again goes without its author's columns too, whose id is in the row.
    Columns that are mapped through a look-up stay: without them, a value would silently be empty.

    Attributes:
        absent: columns that the tenant describes no more, or that a query did not find.
        doubted: those of the absent columns one of which a query was refused for, without a word of which. They are
            tried again when columns are chosen anew.
    """

    def __init__(self, definition: Definition) -> None:
        self._definition = definition
        self._mapped = {c.lower() for c in required.mapped_columns(definition, required.ACTIVITY)}
        self._refused: set[str] = set()
        self._joined: set[str] = set()
        self._own: set[str] = set()  # look-ups of the activity itself that are not mapped
        self._joined_accepted: bool | None = None  # not known before the first reply
        self._own_accepted: bool | None = None
        self.select: list[str] = []
        self.absent: list[str] = []
        self.doubted: frozenset[str] = frozenset()

    @property
    def has_joined_columns(self) -> bool:
        """Whether the query joins columns of companies and relationships, unless the tenant has refused that."""
        return bool(self._joined)

    @property
    def accepts_lookups(self) -> bool | None:
        """Whether the tenant accepts columns through look-ups at all; None: no reply has shown it yet."""
        if self._joined_accepted or self._own_accepted:
            return True
        return False if self._own_accepted is False else None

    def is_mapped(self, column: str) -> bool:
        return column.lower() in self._mapped

    def take(self, described: Mapping[str, ObjectDescription]) -> None:
        """Chooses anew from the described columns; those that were refused before stay out."""
        activity = described[required.ACTIVITY]
        own = required.columns(self._definition, required.ACTIVITY, activity)
        wanted = own if self._joined_accepted is False else required.timeline_columns(self._definition, described)
        self._joined = {c.lower() for c in wanted} - {c.lower() for c in own}
        self._own = {c.lower() for c in own if "." in c} - self._mapped
        if self._own_accepted is False:
            wanted = [c for c in wanted if c.lower() not in self._own]
            self._own = set()
        absent = self._refused | {c for c in self._mapped if "." not in c and activity.field(c) is None}
        self.select = [c for c in wanted if c.lower() not in absent]
        self.absent = [c for c in wanted if c.lower() in absent]
        self.doubted = frozenset()

    def answered(self) -> None:
        """Notes that a query with these columns was answered."""
        if self._joined:
            self._joined_accepted = True
        if self._own:
            self._own_accepted = True

    def drop(self, error: BaseException) -> bool:
        """Leaves out the columns that a query was refused for; False when that is not possible."""
        if self._is_for(self._joined, self._joined_accepted, error):
            self._joined_accepted = False
            self._leave(self._joined)
            self._joined = set()
            return True
        if self._is_for(self._own, self._own_accepted, error):
            self._own_accepted = False
            self._leave(self._own)
            self._own = set()
            return True
        return isinstance(error, UnknownFieldError) and (self._drop_column(error) or self._drop_optional(error))

    def _is_for(self, paths: set[str], accepted: bool | None, error: BaseException) -> bool:
        """Whether the refusal may be for these look-ups. An unknown column may be named without its path."""
        if isinstance(error, ReplyTooLargeError) or not paths:
            return False
        if isinstance(error, UnknownFieldError):
            name = (error.field or "").lower()
            return any(path == name or path.endswith(f".{name}") or not name for path in paths)
        return isinstance(error, RefusedQueryError) and not accepted

    def _drop_column(self, error: UnknownFieldError) -> bool:
        name = (error.field or "").lower()
        column = next((c for c in self.select if c.lower() == name), None)
        if column is None or name in {c.lower() for c in required.ACTIVITY_REQUIRED}:
            return False
        self._refused.add(name)
        self._leave({name})
        self.absent.append(column)
        return True

    def _drop_optional(self, error: UnknownFieldError) -> bool:
        """Leaves out what the query may be refused for, where that names none of its columns: the tenant's own fields
        at first, and then all others that are neither required nor mapped."""
        name = (error.field or "").lower()
        if name in {c.lower() for c in self.select}:
            return False
        required_ones = {c.lower() for c in required.ACTIVITY_REQUIRED}
        optional = [c for c in self.select if c.lower() not in required_ones | self._mapped | self._joined | self._own]
        left_out = [c for c in optional if required.is_custom(c)] or optional
        self._leave({c.lower() for c in left_out})
        self.absent += left_out
        self.doubted |= set(left_out)
        return bool(left_out)

    def _leave(self, columns: set[str]) -> None:
        self.select = [c for c in self.select if c.lower() not in columns]
