"""Look-ups in batches: all rows whose field is one of many values, or all rows at all, in as few calls as possible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from frame_gainsight.gainsight.client import GainsightClient
from frame_gainsight.gainsight.envelope import Row, value_of
from frame_gainsight.gainsight.errors import RefusedQueryError
from frame_gainsight.gainsight.query import LEAST_CAP, MAX_ROWS, Condition, Query, is_full

KEY = "Gsid"
START = 1000  # values of an IN list: its maximum is unknown, so start large and halve when refused


@dataclass
class Chunking:
    """The size of `IN` list that a tenant takes, learnt as it refuses."""

    size: int = START


@dataclass
class PageCap:
    """The most rows that a tenant has been seen to give at once: a shorter page is the last one.

    A tenant may cap its pages below what is asked for, without saying so; the cap is taken to be one for all objects.
    Caps are round numbers: a page of such a length is not believed to be the last one, should the cap be lowered.
    """

    rows: int = 0

    def is_last(self, rows: int, limit: int = MAX_ROWS) -> bool:
        """Whether surely nothing follows a page of so many rows; the page counts for those after it."""
        before, self.rows = self.rows, max(self.rows, rows)
        return rows < max(before, LEAST_CAP) and not is_full(range(rows), limit)


async def fetch_where_in(
    client: GainsightClient,
    object_name: str,
    select: Sequence[str],
    field: str,
    values: Sequence[str],
    chunking: Chunking,
    *,
    surely: bool = False,
    proven: PageCap | None = None,
) -> list[Row]:
    """Every row of the object whose `field` is one of `values`.

    Also where the tenant caps its pages at an odd number: with `surely`, at the price of a call more for each page, or
    with `proven`, for each page that is larger than any before.
    The `IN` list is halved when the tenant refuses it, and the size that works is kept in `chunking`.
    Raises as `GainsightClient.query` does; RefusedQueryError when even one value is refused.
    """
    rows: list[Row] = []
    order = KEY if KEY in select else field  # some custom objects have no Gsid
    start = 0
    before = chunking.size
    while start < len(values):
        chunk = values[start : start + chunking.size]
        try:
            query = Query(object_name, select, [Condition(field, "IN", chunk)], {order: "asc"})
            rows += await _all(client, query, len(chunk) if field == KEY else None, surely, proven)
        except RefusedQueryError as error:
            if len(chunk) == 1 or (error.code or "").startswith("P_"):  # not the size: forget what it seemed to teach
                chunking.size = before
                raise
            chunking.size = len(chunk) // 2
            continue
        start += len(chunk)
    return rows


async def _all(
    client: GainsightClient, query: Query, most: int | None, surely: bool, proven: PageCap | None
) -> list[Row]:
    """All pages: an ordered offset is safe here, since these rows do not leave the condition while being read.

    Args:
        most: how many rows there can be, where that is known.
    """
    rows: list[Row] = []
    while True:
        page = await client.query(replace(query, offset=len(rows)))
        rows += page
        if proven is not None:
            last = proven.is_last(len(page), query.limit)
        else:
            last = len(page) < LEAST_CAP if surely else not is_full(page, query.limit)
        if last or not page or (most is not None and len(rows) >= most):
            return rows


@dataclass(frozen=True, slots=True)
class ScanPage:
    """A stretch of an object's rows in the order of a key.

    `last`: the key's value to read on from. `ended`: whether it reached the end; `surely`: whether beyond doubt.
    `full`: it has not, and its last page had as many rows as were asked for.
    """

    rows: list[Row]
    last: str
    ended: bool
    surely: bool
    full: bool = False


async def scan_from(
    client: GainsightClient, query: Query, key: str, proven: PageCap, *, after: str = "", most: int
) -> ScanPage:
    """Rows of a query without conditions, by a key, from behind `after` on: about `most`, or all there are.

    Several rows may have one key: where a page may have cut them apart, they are read again from there on.
    Of a page that is larger than any before nobody knows whether it was the last: then `surely` is false.
    Raises as `GainsightClient.query` does, and RefusedQueryError for a page from which nothing leads on.
    """
    rows: list[Row] = []
    order = {key: "asc"} if key == KEY else {key: "asc", KEY: "asc"}
    while True:
        where = [Condition(key, "GT", [after])] if after else []
        before = proven.rows
        page = await client.query(replace(query, where=where, order_by=order))
        if proven.is_last(len(page), query.limit) or not page:
            return ScanPage(rows + page, _last(page, key) or after, True, True)
        after, whole = _cut(page, key)
        if not is_full(page, query.limit) and len(page) != before:
            return ScanPage(rows + page, after, True, False)
        rows += page[:whole]
        if len(rows) >= most:
            return ScanPage(rows, after, False, False, len(page) >= query.limit)


def _cut(page: Sequence[Row], key: str) -> tuple[str, int]:
    """The last key whose rows are surely all on the page, and how many rows those up to it are."""
    end = _last(page, key)
    if key == KEY:
        return end, len(page)
    whole = next((n for n in range(len(page), 0, -1) if _text(page[n - 1], key) not in ("", end)), 0)
    if not end or not whole:
        raise RefusedQueryError(f"A page holds only one {key}: the object cannot be read in this order.")
    return _text(page[whole - 1], key), whole


def _last(page: Sequence[Row], key: str) -> str:
    """The last row's key; rows without one, wherever they are put, lead nowhere and are passed over."""
    return next((value for row in reversed(page) if (value := _text(row, key))), "")


def _text(row: Row, key: str) -> str:
    value = value_of(row, key)
    return value if isinstance(value, str) else ""
