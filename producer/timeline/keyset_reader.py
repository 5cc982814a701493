"""Reading a window of the timeline completely, although rows are edited while it is read.

Keyset, not offset: ascending LastModifiedDate and Gsid; the next page is requested from the last row's second on, and
the rows of that second that were given already are dropped. A row that is edited meanwhile leaves the window, which
ends in the past, and is met again in the next one; nothing shifts. A second that fills a whole page is drained by Gsid.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from frame_gainsight.gainsight import (
    Condition,
    RefusedQueryError,
    Row,
    TransientError,
    UnreadableRow,
    format_date,
    parse_date,
    value_of,
    whole_second,
)
from producer.timeline.window import Window

MODIFIED = "LastModifiedDate"
GSID = "Gsid"
SECOND = 1000
BY_DATE = {MODIFIED: "asc", GSID: "asc"}
BY_GSID = {GSID: "asc"}
LONGEST_GSID = 256  # characters, of which Gainsight's have 36; they are in keys, checkpoints and queries
MAX_RESTARTS = 100  # of one second read by offset, in which rows keep being edited


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class PageReply:
    """The rows of one reply.

    `full`: more rows may follow; `doubted`: the page is shorter than requested, and it is not known whether the tenant
    gives more at once. `unsure`: the same of a page that is taken for the last one; rows that may follow are requested
    later. `request`: the request's sequence number, by which the writer knows what it has written since. `release`
    gives back what the reply holds, and is called when its page is done with.
    """

    rows: Sequence[Row]
    full: bool
    doubted: bool = False
    unsure: bool = False
    request: int = 0
    release: Callable[[], None] = _nothing


class Source(Protocol):
    """A source of pages."""

    async def fetch(self, conditions: Sequence[Condition], order: Mapping[str, str], offset: int = 0) -> PageReply:
        """One page of the rows for which all conditions hold; as many as the source finds wise to request.

        Raises RefusedQueryError when the tenant does not take such a query.
        """


@dataclass(frozen=True, slots=True)
class Position:
    """The beginning of the next page: at a second (milliseconds), and inside a crowded one after a Gsid.

    `drained_after` is None when the page is requested by date; "" at the start of a drained second.
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
    """A row without Gsid, whose LastModifiedDate is no date, or that was not asked for."""

    row: Row
    cause: str


@dataclass(frozen=True, slots=True)
class Page:
    """Rows not given before in this reading.

    `next` is None when the window has been read; from `unsure_from` on (milliseconds) it may then not have been, and is
    to be read again with the next one. `taken` are the Gsids already given of the second in which `next` begins: a
    reading that is taken up there gives none of them again. `request` and `release` are the reply's.
    """

    activities: Sequence[Activity]
    unreadable: Sequence[Unreadable] = field(default=())
    next: Position | None = None
    taken: frozenset[str] = frozenset()
    request: int = 0
    release: Callable[[], None] = _nothing
    unsure_from: int | None = None


class StuckError(Exception):
    """A full page holds no readable date: the reading cannot go on from it."""


async def read_pages(
    source: Source, window: Window, position: Position, taken: Collection[str] = ()
) -> AsyncGenerator[Page]:
    """The window's pages, from a position on (at the beginning, the window's start) without the `taken` rows.

    Every row that is in the window during the whole reading is given once, but for those that may be behind an
    `unsure` reply (`Page.unsure_from`). Raises what `fetch` raises, and StuckError.
    """
    reading = _Reading(source, set(taken))
    while True:
        if position.drained_after is None:
            asked = Window(position.at, window.end)
            reply = await source.fetch(_between(asked.start, asked.end), BY_DATE)
            activities, unreadable = _read(reply.rows, asked)
            fresh = reading.fresh(activities, reply)
            if _is_last(activities, unreadable, reply):
                yield reading.page(fresh, unreadable, None, reply)
                return
            following = _after(activities, position)
            # In the same second still: late rows may have pushed those of the page before out of this one.
            if following.at != position.at:
                reading.taken = set()
            reading.taken |= {a.gsid for a in activities if whole_second(a.modified_at) == following.at}
            position = following
            yield reading.page(fresh, unreadable, position, reply)
        else:
            async for page in _drain(reading, position, window):
                position = page.next or position
                yield page
                if page.next is None:
                    return


async def _drain(reading: _Reading, position: Position, window: Window) -> AsyncIterator[Page]:
    """The pages of one crowded second, the last of which leads behind it."""
    second = Window(position.at, position.at + SECOND)
    behind = None if second.end >= window.end else Position(second.end)
    after = position.drained_after or ""
    while True:
        conditions = _between(second.start, second.end)
        if after:
            conditions.append(Condition(GSID, "GT", [after]))
        try:
            reply = await reading.source.fetch(conditions, BY_GSID)
        except RefusedQueryError:
            if not after:
                raise
            async for page in _drain_by_offset(reading, second, behind):
                yield page
            return
        activities, unreadable = _read(reply.rows, second)
        fresh = reading.fresh(activities, reply)
        if _is_last(activities, unreadable, reply):
            reading.taken = set()
            yield reading.page(fresh, unreadable, behind, reply)
            return
        if activities[-1].gsid == after:
            raise TransientError(
                f"The tenant does not heed `Gsid GT` in the second {format_date(second.start)}: a page comes back. "
                "Ask the Gainsight admin, or make pages larger than that second's rows (FRAME_GAINSIGHT_PAGE_ROWS)."
            )
        if not after:  # should the next request be refused, this page comes again
            reading.taken |= {a.gsid for a in activities}
        after = activities[-1].gsid
        yield reading.page(fresh, unreadable, Position(position.at, after), reply)


async def _drain_by_offset(reading: _Reading, second: Window, behind: Position | None) -> AsyncIterator[Page]:
    """The crowded second's pages for a tenant that takes no `Gsid GT` beside the dates: by offset, from its start.

    Each page has the last row of the one before again: when another row is there, one has left the second and
    the rest has moved up, so the second is begun anew.
    """
    conditions, offset, last, restarts = _between(second.start, second.end), 0, "", 0
    while True:
        reply = await reading.source.fetch(conditions, BY_GSID, offset)
        activities, unreadable = _read(reply.rows, second)
        if last and (not activities or activities[0].gsid != last):
            reply.release()
            offset, last, restarts = 0, "", restarts + 1
            if restarts > MAX_RESTARTS:
                raise TransientError(f"The rows of {format_date(second.start)} change faster than they can be read.")
            continue
        fresh = reading.fresh(activities, reply)
        reading.taken |= {a.gsid for a in activities}
        if _is_last(activities, unreadable, reply) or (last and len(reply.rows) == 1):
            reading.taken = set()
            yield reading.page(fresh, unreadable, behind, reply)
            return
        last = activities[-1].gsid
        offset += len(reply.rows) - 1
        yield reading.page(fresh, unreadable, Position(second.start, last), reply)


class _Reading:
    """The state of one reading: the rows given of the present second, and from where on a page was not sure."""

    def __init__(self, source: Source, taken: set[str]) -> None:
        self.source = source
        self.taken = taken
        self._unsure_from: int | None = None

    def fresh(self, activities: Sequence[Activity], reply: PageReply) -> list[Activity]:
        if reply.unsure and activities and self._unsure_from is None:
            self._unsure_from = whole_second(activities[-1].modified_at)
        return [a for a in activities if a.gsid not in self.taken]

    def page(
        self, fresh: Sequence[Activity], unreadable: Sequence[Unreadable], following: Position | None, reply: PageReply
    ) -> Page:
        unsure_from = self._unsure_from if following is None else None
        return Page(fresh, unreadable, following, frozenset(self.taken), reply.request, reply.release, unsure_from)


async def ahead(pages: AsyncGenerator[Page]) -> AsyncGenerator[Page]:
    """The same pages, the next one fetched while the present one is worked on."""
    following = asyncio.create_task(_next(pages))
    try:
        while (page := await following) is not None:
            following = asyncio.create_task(_next(pages))
            yield page
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await pages.aclose()


async def _next(pages: AsyncGenerator[Page]) -> Page | None:
    return await anext(pages, None)


def _is_last(activities: Sequence[Activity], unreadable: Sequence[Unreadable], reply: PageReply) -> bool:
    """Whether nothing follows the page. Raises StuckError for a full one from which nothing leads on."""
    if reply.full and not reply.doubted and not activities:
        raise StuckError(_stuck(unreadable))
    return not reply.full or not activities


def _after(activities: Sequence[Activity], position: Position) -> Position:
    """The position behind a full page."""
    last = whole_second(activities[-1].modified_at)
    # The whole page lies in the second from which it was requested: a request by date again would give the same page.
    return Position(last, "") if last <= position.at else Position(last)


def _between(start: int, end: int) -> list[Condition]:
    return [Condition(MODIFIED, "GTE", [format_date(start)]), Condition(MODIFIED, "LT", [format_date(end)])]


def _read(rows: Sequence[Row], asked: Window | None = None) -> tuple[list[Activity], list[Unreadable]]:
    """The activities among the rows, and the others with why they are none.

    A row from outside of the span that was `asked` for is none of its versions: where it stands says nothing of what
    follows it, and what is remembered does not reach to it, so that every poll would write it again.
    """
    activities, unreadable = [], []
    for row in rows:
        if isinstance(row, UnreadableRow):
            unreadable.append(Unreadable(row, row.cause))
            continue
        gsid = value_of(row, GSID)
        if not isinstance(gsid, str) or not gsid:
            unreadable.append(Unreadable(row, "The row has no Gsid: it cannot be keyed."))
            continue
        if len(gsid) > LONGEST_GSID:
            unreadable.append(Unreadable(row, f"The Gsid {gsid[:64]}… has {len(gsid):,} characters, and not 36."))
            continue
        try:
            modified_at = parse_date(value_of(row, MODIFIED))
        except ValueError as error:
            unreadable.append(Unreadable(row, f"LastModifiedDate of {gsid[:64]} cannot be read: {error}."))
            continue
        if modified_at is None:
            unreadable.append(Unreadable(row, f"{gsid[:64]} has no LastModifiedDate."))
            continue
        if asked is not None and not asked.start <= modified_at < asked.end:
            unreadable.append(Unreadable(row, _not_asked(gsid, modified_at, asked)))
            continue
        activities.append(Activity(gsid, modified_at, row))
    return activities, unreadable


def _not_asked(gsid: str, modified_at: int, asked: Window) -> str:
    return (
        f"The tenant was asked for rows modified in {asked}, and gave {gsid[:64]}, modified at "
        f"{format_date(modified_at)}. Ask the Gainsight admin why the query's dates are not heeded. Once they are, a "
        "poll or a backfill of its time reads it."
    )


def _stuck(unreadable: Sequence[Unreadable]) -> str:
    causes = " ".join(dict.fromkeys(row.cause for row in unreadable[:3]))
    return (
        f"None of the {len(unreadable)} rows of a full page can be read: the reading cannot go on. The first of them: "
        f"{causes} Ask the tenant's Gainsight admin what these rows are."
    )
