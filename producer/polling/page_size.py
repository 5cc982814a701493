"""Pages of the timeline over the API: how many rows, which columns, and what to do when refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial

import structlog

from frame_gainsight.connectors import Definition, Selection
from frame_gainsight.connectors.columns import required
from frame_gainsight.gainsight import (
    Condition,
    GainsightClient,
    GainsightError,
    ObjectDescription,
    Priority,
    Query,
    ReplyTooLargeError,
    Row,
    UnknownFieldError,
    UnknownObjectError,
    parse_date,
    value_of,
)
from frame_gainsight.gainsight.query import LEAST_CAP, ROUND
from frame_gainsight.runtime import Clock
from producer.state.write_order import WriteOrder
from producer.timeline.keyset_reader import BY_GSID, GSID, MODIFIED, PageReply, Tail

log = structlog.get_logger(__name__)

DESCRIBE_EVERY = 86_400.0  # seconds: field sets change rarely, and a describe is a call
PAGE_BYTES = 64 * 1024 * 1024  # of a decoded reply, at the most
AIM = 0.75  # of that is what the next page is expected to have, since bodies differ
LEAST_ROWS = 2


class PageEnd(Enum):
    """What a page's length says of what follows it."""

    LAST = "last"
    FULL = "full"  # as many as were asked for
    RECORD = "record"  # the tenant has not been seen to give so many: it may have given all it gives at once
    REPEATED = "repeated"  # as many as it ever gave: the more likely


@dataclass(slots=True)
class PageSize:
    """How many rows to ask for, and whether a page that came back shorter is the last one.

    A tenant may cap its pages below what is asked for, without saying so. Shorter than one that was seen before, a
    page cannot be capped.

    Attributes:
        most: rows, never more than the API takes.
        proven: the most rows that the tenant has been seen to give at once.
        asked_at: when it was last asked how many it gives; seconds of the steady clock.
    """

    most: int
    proven: int = 0
    asked_at: float | None = None
    _bytes: float = field(default=0.0, init=False)
    _rows: float = field(default=0.0, init=False)

    def limit(self) -> int:
        """Rows to ask for, so that the reply is likely to fit into PAGE_BYTES."""
        if not self._rows:
            return self.most
        return max(LEAST_ROWS, min(self.most, int(AIM * PAGE_BYTES * self._rows / self._bytes)))

    def came(self, rows: int, size: int) -> None:
        """A page of that many rows had `size` bytes. The last ten thousand rows count most."""
        if rows:
            fade = 0.5 if self._rows > self.most else 1.0
            self._rows = self._rows * fade + rows
            self._bytes = self._bytes * fade + max(size, rows)

    def too_large(self, limit: int) -> None:
        """A reply of up to `limit` rows did not fit: from now on half as many, until rows are seen to be smaller."""
        self._rows, self._bytes = limit / 2, AIM * PAGE_BYTES

    def belief(self, rows: int, limit: int) -> PageEnd:
        """What a page of that many rows says, and remembers it."""
        before, self.proven = self.proven, max(self.proven, rows)
        if rows >= limit:
            return PageEnd.FULL
        if rows < max(before, LEAST_CAP):
            return PageEnd.LAST
        return PageEnd.RECORD if rows > before else PageEnd.REPEATED


class Columns:
    """The columns that are selected, as the tenant takes them: see `Selection`."""

    def __init__(self, definition: Definition, client: GainsightClient, clock: Clock) -> None:
        self._definition = definition
        self._client = client
        self.clock = clock
        self._selection = Selection(definition)
        self._described_at: float | None = None
        self.version = ""
        self.missing: dict[str, str] = {}
        """Mapped or once selected column → what to do about its absence."""

    @property
    def select(self) -> list[str]:
        return self._selection.select

    async def ensure(self) -> None:
        """Fetches the field list, now and then: one unknown name would fail every query.

        Raises UnknownObjectError, and UnknownFieldError for a column without which nothing can be read.
        """
        now = self.clock.monotonic()
        if self._described_at is not None and now - self._described_at < DESCRIBE_EVERY:
            return
        objects = await self._describe()
        described = objects.get(required.ACTIVITY)
        if described is None:
            raise UnknownObjectError(
                f"The tenant does not describe {required.ACTIVITY} to this key. Ask the Gainsight admin to let the "
                "key's owner read Timeline activities."
            )
        for column in required.ACTIVITY_REQUIRED:
            if described.field(column) is None:
                raise UnknownFieldError(required.ACTIVITY, column, None)
        self._selection.take(objects)
        self.missing.clear()
        self._chosen()
        self._described_at = now

    async def _describe(self) -> dict[str, ObjectDescription]:
        """The timeline's fields, and those of what may ride on it; without the latter where they cannot be had."""
        try:
            return await self._client.describe(required.TIMELINE_OBJECTS)
        except GainsightError as error:
            described = await self._client.describe([required.ACTIVITY])
            log.info("nothing_rides_along", connector=self._definition.id, cause=str(error))
            return described

    def answered(self) -> None:
        """A query with these columns was answered."""
        self._selection.answered()

    def drop(self, error: BaseException) -> bool:
        """Does without what a query was refused for; False when that is not possible."""
        before = set(self.select)
        if not self._selection.drop(error):
            return False
        if looked_up := sorted(before - set(self.select) - set(self._selection.absent)):
            log.info("without_look_ups", connector=self._definition.id, columns=looked_up, cause=str(error))
        self._chosen()
        return True

    def _chosen(self) -> None:
        self.version = required.columns_version(self.select)
        for column in self._selection.absent:
            if column in self.missing:
                continue
            mapped = self._selection.is_mapped(column)
            use = "it is in the mapping, whose value stays empty" if mapped else "it is left out"
            self.missing[column] = (
                f"The tenant has no field '{column}' on {required.ACTIVITY} (any more): {use}. Ask the Gainsight admin "
                "whether it was renamed or hidden from the key's owner, and correct the mapping."
            )
            log.warning("field_missing", connector=self._definition.id, field=column, hint=self.missing[column])


class TimelineSource:
    """Pages for one reading, within the call budget. To be closed after it, whatever happened."""

    def __init__(
        self,
        definition: Definition,
        client: GainsightClient,
        columns: Columns,
        size: PageSize,
        ledger: WriteOrder,
        priority: Priority,
    ) -> None:
        self._definition = definition
        self._client = client
        self._columns = columns
        self._size = size
        self._ledger = ledger
        self._priority = priority
        self._may_defer = priority is Priority.LIVE
        self._held: dict[int, Callable[[], None]] = {}
        self.calls = 0

    async def fetch(
        self, conditions: Sequence[Condition], order: Mapping[str, str], offset: int = 0, *, tail: Tail | None = None
    ) -> PageReply:
        """One page; asked again with fewer rows when it is too large, or without a column that has vanished."""
        where = list(conditions)
        if self._definition.activity_types:
            where.append(Condition("TypeName", "IN", list(self._definition.activity_types)))
        while True:
            limit = self._size.limit()
            query = Query(required.ACTIVITY, self._columns.select, where, order, limit, offset)
            asked = self._ledger.ask()
            try:
                self.calls += 1
                got = await self._client.fetch(query, priority=self._priority)
            except BaseException as error:
                self._ledger.settle(asked)
                if isinstance(error, ReplyTooLargeError) and limit > LEAST_ROWS:
                    self._size.too_large(limit)
                elif not self._columns.drop(error):
                    raise
                continue
            self._columns.answered()
            self._held[asked] = got.release
            self._size.came(len(got.rows), got.size)
            belief = self._size.belief(len(got.rows), limit)
            # What may follow is read at once, or by live polling at its next window: where it can only be a few rows,
            # and where the page's length is no round number, which is what caps are.
            unsure = belief is not PageEnd.LAST and leaves_few(got.rows, tail)
            unsure = unsure or (belief is PageEnd.RECORD and self._may_defer and len(got.rows) % ROUND != 0)
            if belief is PageEnd.REPEATED and not unsure and await self._gives_more(len(got.rows)):
                belief = PageEnd.LAST
            full = belief is not PageEnd.LAST and not unsure
            return PageReply(got.rows, full, belief is not PageEnd.FULL, unsure, asked, partial(self._release, asked))

    async def _gives_more(self, rows: int) -> bool:
        """Whether the tenant gives more rows than that at once, as one narrow question shows where it has so many."""
        now = self._columns.clock.monotonic()
        if self._size.asked_at is not None and now - self._size.asked_at < DESCRIBE_EVERY:
            return False
        self._size.asked_at = now
        self.calls += 1
        narrow = Query(required.ACTIVITY, [GSID], order_by=BY_GSID, limit=self._size.most)
        given = len(await self._client.query(narrow, priority=self._priority))
        self._size.proven = max(self._size.proven, given)
        return given > rows

    def close(self) -> None:
        """Gives back what is still held."""
        for asked in list(self._held):
            self._release(asked)

    def _release(self, asked: int) -> None:
        if (release := self._held.pop(asked, None)) is not None:
            release()
            self._ledger.settle(asked)


def leaves_few(rows: Sequence[Row], tail: Tail | None) -> bool:
    """Whether only a few rows of the tail can follow; False also where the last row does not lead on."""
    gsid = value_of(rows[-1], GSID) if rows else None
    if tail is None or not isinstance(gsid, str) or not gsid:
        return False
    try:
        first, last = (parse_date(value_of(row, MODIFIED)) for row in (rows[0], rows[-1]))
    except ValueError:
        return False
    return first is not None and last is not None and tail.is_all_that_follows(first, last)
