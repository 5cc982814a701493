"""Reading a window of the timeline completely, although rows are edited while it is read.

Keyset, not offset: ascending LastModifiedDate and Gsid, and the next page asks from the last row's second again and
drops what it has. A row that is edited meanwhile leaves the window, which ends in the past, and is met again in the
next one; nothing shifts. A second that fills a whole page is drained by Gsid.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from gainsight import Condition, Row, format_date, is_full, parse_date, value_of, whole_second
from producer.windows import Window

MODIFIED = "LastModifiedDate"
GSID = "Gsid"
SECOND = 1000

Fetch = Callable[[Sequence[Condition], Mapping[str, str], int], Awaitable[list[Row]]]
"""Fetches one page: conditions that hold together, order, limit."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where the next page begins: at a second (milliseconds), and inside a crowded one after a Gsid.

    `drained_after` is None when the page is asked by date; "" at the start of a drained second.
    """

    at: int
    drained_after: str | None = None


@dataclass(frozen=True, slots=True)
class Activity:
    """A row with what makes it a version: its Gsid and LastModifiedDate (milliseconds)."""

    gsid: str
    modified_at: int
    row: Row


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A row without Gsid, or whose LastModifiedDate is no date."""

    row: Row
    cause: str


@dataclass(frozen=True, slots=True)
class Page:
    """Rows not given before in this reading. `next` is None when the window has been read."""

    activities: Sequence[Activity]
    unreadable: Sequence[Unreadable] = field(default=())
    next: Position | None = None


class StuckError(Exception):
    """A full page holds no readable date: the reading cannot go on from it."""


async def read_pages(fetch: Fetch, window: Window, position: Position, limit: int) -> AsyncIterator[Page]:
    """The window's pages, from a position on; at the beginning that is the window's start.

    Every row that is in the window during the whole reading is given once. Raises what `fetch` raises, and StuckError.
    """
    taken: set[str] = set()  # of the second from which the next page is asked
    while True:
        if position.drained_after is None:
            rows = await fetch(_between(position.at, window.end), {MODIFIED: "asc", GSID: "asc"}, limit)
            activities, unreadable = _read(rows)
            fresh = [a for a in activities if a.gsid not in taken]
            if not is_full(rows, limit):
                yield Page(fresh, unreadable)
                return
            asked, position = position.at, _after(activities, position, len(rows))
            # In the same second still: late rows may have pushed those of the page before out of this one.
            taken = taken if position.at == asked else set()
            taken |= {a.gsid for a in activities if whole_second(a.modified_at) == position.at}
            yield Page(fresh, unreadable, position)
        else:
            until = position.at + SECOND
            conditions = _between(position.at, until)
            if position.drained_after:
                conditions.append(Condition(GSID, "GT", [position.drained_after]))
            rows = await fetch(conditions, {GSID: "asc"}, limit)
            activities, unreadable = _read(rows)
            fresh = [a for a in activities if a.gsid not in taken]
            if is_full(rows, limit):
                if not activities:
                    raise StuckError(_stuck(len(rows)))
                position = Position(position.at, activities[-1].gsid)
            elif until >= window.end:
                yield Page(fresh, unreadable)
                return
            else:
                position, taken = Position(until), set()
            yield Page(fresh, unreadable, position)


def _after(activities: Sequence[Activity], position: Position, length: int) -> Position:
    """Where to ask on after a full page of that many rows."""
    if not activities:
        raise StuckError(_stuck(length))
    last = whole_second(activities[-1].modified_at)
    # The whole page lies in the second it was asked from: asking by date again would give the same page.
    return Position(last, "") if last <= position.at else Position(last)


def _between(start: int, end: int) -> list[Condition]:
    return [Condition(MODIFIED, "GTE", [format_date(start)]), Condition(MODIFIED, "LT", [format_date(end)])]


def _read(rows: Sequence[Row]) -> tuple[list[Activity], list[Unreadable]]:
    activities, unreadable = [], []
    for row in rows:
        gsid = value_of(row, GSID)
        if not isinstance(gsid, str) or not gsid:
            unreadable.append(Unreadable(row, "The row has no Gsid: it cannot be keyed."))
            continue
        try:
            modified_at = parse_date(value_of(row, MODIFIED))
        except ValueError as error:
            unreadable.append(Unreadable(row, f"LastModifiedDate of {gsid} cannot be read: {error}."))
            continue
        if modified_at is None:
            unreadable.append(Unreadable(row, f"{gsid} has no LastModifiedDate."))
            continue
        activities.append(Activity(gsid, modified_at, row))
    return activities, unreadable


def _stuck(length: int) -> str:
    return (
        f"None of the {length} rows of a full page has both a Gsid and a readable LastModifiedDate: the reading cannot "
        "go on. Ask the tenant's Gainsight admin what these rows are."
    )
