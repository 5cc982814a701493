"""Pages of the timeline over the API, and what to do when a query is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from frame_gainsight.connectors import Definition
from frame_gainsight.connectors.columns import required
from frame_gainsight.gainsight import (
    Condition,
    GainsightClient,
    Priority,
    Query,
    ReplyTooLargeError,
)
from frame_gainsight.gainsight.client import Reply
from frame_gainsight.gainsight.query import ROUND
from frame_gainsight.runtime import Clock
from producer.polling.columns import Columns
from producer.polling.page_size import LEAST_ROWS, PageEnd, PageSize
from producer.state.write_order import WriteOrder
from producer.timeline.keyset_reader import BY_GSID, GSID, PageReply

PROBE_EVERY = 86_400.0  # seconds between two queries for the most rows that the tenant gives


class TimelineSource:
    """A `Source` of one connector's activities; to be closed after the reading.

    Attributes:
        calls: queries made so far.
    """

    def __init__(
        self,
        definition: Definition,
        client: GainsightClient,
        clock: Clock,
        columns: Columns,
        size: PageSize,
        write_order: WriteOrder,
        priority: Priority,
    ) -> None:
        self._definition = definition
        self._client = client
        self._clock = clock
        self._columns = columns
        self._size = size
        self._write_order = write_order
        self._priority = priority
        self._may_defer = priority is Priority.LIVE
        self._unreleased: dict[int, Callable[[], None]] = {}
        self.calls = 0

    async def fetch(self, conditions: Sequence[Condition], order: Mapping[str, str], offset: int = 0) -> PageReply:
        """One page; requested again with fewer rows when it is too large, or without a column that has vanished."""
        where = list(conditions)
        if self._definition.activity_types:
            where.append(Condition("TypeName", "IN", list(self._definition.activity_types)))
        while True:
            limit = self._size.limit()
            select = list(self._columns.select)
            query = Query(required.ACTIVITY, select, where, order, limit, offset)
            request = self._write_order.begin_request()
            try:
                self.calls += 1
                got = await self._client.fetch(query, priority=self._priority)
            except BaseException as error:
                self._write_order.end_request(request)
                if isinstance(error, ReplyTooLargeError) and limit > LEAST_ROWS:
                    self._size.too_large(limit)
                elif not self._columns.drop(error, select):
                    raise
                continue
            self._columns.answered(select)
            self._unreleased[request] = partial(_done_with, got)
            rows = len(got.rows)
            self._size.received(rows, got.size)
            end = self._size.end_of(rows, limit)
            # Live polling leaves what may follow to its next window only where hardly anything does: behind a short
            # page whose length is no round number, which is what caps are.
            unsure = end is PageEnd.MAY_BE_CAPPED and self._may_defer and rows % ROUND != 0
            if end is PageEnd.LIKELY_CAPPED and await self._gives_more(rows):
                end = PageEnd.LAST
            full = end is not PageEnd.LAST and not unsure
            release = partial(self._release, request)
            return PageReply(got.rows, full, end is not PageEnd.FULL, unsure, request, release)

    async def _gives_more(self, rows: int) -> bool:
        """Whether the tenant gives longer pages than this: probed by a query of Gsids alone, at most once a day."""
        now = self._clock.monotonic()
        if self._size.probed_at is not None and now - self._size.probed_at < PROBE_EVERY:
            return False
        self._size.probed_at = now
        self.calls += 1
        narrow = Query(required.ACTIVITY, [GSID], order_by=BY_GSID, limit=self._size.max_rows)
        given = len(await self._client.query(narrow, priority=self._priority))
        self._size.proven = max(self._size.proven, given)
        return given > rows

    def close(self) -> None:
        """Releases the replies whose pages were given up."""
        for request in list(self._unreleased):
            self._release(request)

    def _release(self, request: int) -> None:
        if (release := self._unreleased.pop(request, None)) is not None:
            release()
            self._write_order.end_request(request)


def _done_with(reply: Reply) -> None:
    """Gives a reply's slot back, and the memory of its rows first: the reading that goes on still refers to them."""
    if reply.slot is not None:
        for row in reply.rows:
            row.clear()
    reply.release()
