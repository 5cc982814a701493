"""Estimating a backfill with a few narrow queries: how many rows a span has, and how they are spread over it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from frame_gainsight.connectors import Definition
from frame_gainsight.connectors.columns import required
from frame_gainsight.gainsight import (
    Condition,
    GainsightClient,
    GainsightError,
    Priority,
    Query,
    RefusedQueryError,
    format_date,
    parse_date,
    value_of,
)
from producer.state.backfill import SLICE_PAGES, Mark
from producer.timeline.keyset_reader import BY_DATE, GSID, MODIFIED

GROWTH = 4
MAX_ROWS = 100_000_000
CLOSER = 3  # halvings between the last row found and the first not found


@dataclass(frozen=True, slots=True)
class Estimate:
    """Rows of a span, the calls that reading it takes, and the calls that the estimate took.

    `marks` end with the whole number, which is exact to about an eighth of its order of magnitude.
    """

    rows: int
    calls: int
    probes: int
    marks: tuple[Mark, ...]

    def minutes(self, calls_per_minute: int) -> float:
        """The reading's minutes with that many calls a minute."""
        return self.calls / calls_per_minute

    def days_share(self, calls_per_day: int) -> float:
        """The reading's part of a day's calls; above 1 it takes several days."""
        return self.calls / calls_per_day


async def estimate(client: GainsightClient, definition: Definition, since: int, until: int, page_rows: int) -> Estimate:
    """Queries single rows at growing offsets. A tenant that refuses large ones gives a coarser estimate.

    Raises GainsightError when the tenant does not answer.
    """
    probe = _Probe(client, definition, since, until)
    marks: list[Mark] = []
    low, high = 0, page_rows
    while True:
        at = await probe.date_of(high)
        if at is None:
            break
        marks.append(Mark(high, at))
        low, high = high, high * GROWTH
        if high > MAX_ROWS:
            break
    for _ in range(CLOSER if low else 0):
        middle = (low + high) // 2
        at = await probe.date_of(middle)
        if at is None:
            high = middle
        else:
            marks.append(Mark(middle, at))
            low = middle
    rows = (low + high) // 2 if low else high
    marks = [*sorted((m for m in marks if m.rows < rows), key=lambda m: m.rows), Mark(rows, until)]
    return Estimate(rows, _calls(rows, page_rows, marks), probe.calls, tuple(marks))


def _calls(rows: int, page_rows: int, marks: Sequence[Mark]) -> int:
    """The calls of reading them: one a full page, and half a page more for each slice."""
    return math.ceil(rows / page_rows) + round(rows / (SLICE_PAGES * page_rows) / 2)


class _Probe:
    def __init__(self, client: GainsightClient, definition: Definition, since: int, until: int) -> None:
        self._client = client
        self._where = [
            Condition(MODIFIED, "GTE", [format_date(since)]),
            Condition(MODIFIED, "LT", [format_date(until)]),
        ]
        if definition.activity_types:
            self._where.append(Condition("TypeName", "IN", list(definition.activity_types)))
        self.calls = 0

    async def date_of(self, row: int) -> int | None:
        """LastModifiedDate of the row with that number, from 0; None where there are fewer rows."""
        query = Query(required.ACTIVITY, [GSID, MODIFIED], self._where, BY_DATE, limit=1, offset=row)
        self.calls += 1
        try:
            rows = (await self._client.fetch(query, priority=Priority.BACKFILL)).rows
        except RefusedQueryError:
            return None
        try:
            return parse_date(value_of(rows[0], MODIFIED)) if rows else None
        except ValueError as error:
            raise GainsightError(f"LastModifiedDate cannot be read: {error}.") from error
