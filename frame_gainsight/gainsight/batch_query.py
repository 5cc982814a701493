"""Batch queries: all rows whose field is one of many values, or an object's rows page by page, in few calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from frame_gainsight.gainsight.client import GainsightClient
from frame_gainsight.gainsight.envelope import Row, UnreadableRow, refuse_repeated, value_of
from frame_gainsight.gainsight.errors import RefusedQueryError
from frame_gainsight.gainsight.query import LEAST_CAP, MAX_ROWS, Condition, Query, is_full

KEY = "Gsid"
START = 1000  # values of an IN list: its maximum is unknown, so start large and halve when refused


@dataclass
class Chunking:
    """The size of `IN` list that a tenant takes, learnt from its refusals."""

    size: int = START


@dataclass
class PageCap:
    """The most rows that a tenant has been seen to give in one page: a shorter page is the last one.

    A tenant may cap its pages below the requested limit without saying so; the cap is taken to be one for all objects.
    Caps are round numbers: a page of such a length is not taken to be the last one, should the cap be lowered.
    """

    rows: int = 0

    def is_last(self, rows: int, limit: int = MAX_ROWS) -> bool:
        """Whether a page of `rows` rows is confirmed to be the last one; the page counts for those after it."""
        before, self.rows = self.rows, max(self.rows, rows)
        return rows < max(before, LEAST_CAP) and not is_full(range(rows), limit)


async def fetch_where_in(
    client: GainsightClient,
    object_name: str,
    select: Sequence[str],
    field: str,
    values: Sequence[str],
    chunking: Chunking,
    page_cap: PageCap | None = None,
) -> list[Row]:
    """Every row of the object whose `field` is one of `values`, also where the tenant caps its pages at an odd number.

    The `IN` list is halved when the tenant refuses it, and the size that works is kept in `chunking`.
    Raises as `GainsightClient.query` does; RefusedQueryError when even one value is refused.

    Args:
        page_cap: saves the call after a page that is shorter than another one was. Without it, only a page of fewer
            than LEAST_CAP rows is the last one.
    """
    rows: list[Row] = []
    order = KEY if KEY in select else field  # some custom objects have no Gsid
    start = 0
    before = chunking.size
    while start < len(values):
        chunk = values[start : start + chunking.size]
        try:
            query = Query(object_name, select, [Condition(field, "IN", chunk)], {order: "asc"})
            rows += await _all_pages(client, query, len(chunk) if field == KEY else None, page_cap)
        except RefusedQueryError as error:
            if len(chunk) == 1 or (error.code or "").startswith("P_"):  # not the size: forget what it seemed to teach
                chunking.size = before
                raise
            chunking.size = len(chunk) // 2
            continue
        start += len(chunk)
    return rows


async def _all_pages(
    client: GainsightClient, query: Query, max_rows: int | None, page_cap: PageCap | None
) -> list[Row]:
    """The rows of all pages: an ordered offset is safe, since these rows do not leave the condition while being read.

    Args:
        max_rows: how many rows there can be, where that is known.
    """
    rows: list[Row] = []
    page: list[Row] = []
    while True:
        before, page = page, await client.query(replace(query, offset=len(rows)))
        refuse_repeated(page, before, query.object_name)
        rows += page
        is_last = len(page) < LEAST_CAP if page_cap is None else page_cap.is_last(len(page), query.limit)
        if is_last or not page or (max_rows is not None and len(rows) >= max_rows):
            return rows


@dataclass(frozen=True, slots=True)
class ScanPage:
    """One page of an object's rows in the order of a key.

    Attributes:
        last: the key's value to scan on from.
        exhausted: whether no row is taken to follow.
        confirmed: whether that is certain.
        full: whether rows may follow, and the page has as many as were requested.
    """

    rows: list[Row]
    last: str
    exhausted: bool
    confirmed: bool
    full: bool = False


async def scan_from(client: GainsightClient, query: Query, key: str, page_cap: PageCap, *, after: str = "") -> ScanPage:
    """The page of a query without conditions, in the order of `key`, that follows the key's value `after`.

    Several rows may have one key: where the page may have cut them apart, the next one begins with them.
    A page that is larger than any before may or may not be the last one: it is exhausted and not confirmed.
    Raises as `GainsightClient.query` does, and RefusedQueryError for a page from which no key leads on.
    """
    order = {key: "asc"} if key == KEY else {key: "asc", KEY: "asc"}
    where = [Condition(key, "GT", [after])] if after else []
    before = page_cap.rows
    page = await client.query(replace(query, where=where, order_by=order))
    if page_cap.is_last(len(page), query.limit) or not page:
        return ScanPage(page, _last_key(page, key) or after, exhausted=True, confirmed=True)
    last, complete = _cut(page, key)
    if not is_full(page, query.limit) and len(page) != before:
        return ScanPage(page, last, exhausted=True, confirmed=False)
    return ScanPage(page[:complete], last, exhausted=False, confirmed=False, full=len(page) >= query.limit)


def _cut(page: Sequence[Row], key: str) -> tuple[str, int]:
    """The last key whose rows are all on the page, and how many rows there are up to it."""
    end = _last_key(page, key)
    if key == KEY:
        return end, len(page)
    complete = next((n for n in range(len(page), 0, -1) if _text(page[n - 1], key) not in ("", end)), 0)
    if not end or not complete:
        raise RefusedQueryError(f"{_stuck(page, key)}: the object cannot be read in this order.")
    return _text(page[complete - 1], key), complete


def _stuck(page: Sequence[Row], key: str) -> str:
    """The cause for which no key of a page leads on."""
    if end := _last_key(page, key):
        return f"A page of {len(page)} rows holds only one {key}, {end[:64]!r}"
    unreadable = next((f" {row.cause}" for row in page if isinstance(row, UnreadableRow)), "")
    return f"None of the {len(page)} rows of a page has a text as its {key}.{unreadable}".rstrip(".")


def _last_key(page: Sequence[Row], key: str) -> str:
    """The last row's key; rows without one, wherever they are sorted, lead nowhere and are passed over."""
    return next((value for row in reversed(page) if (value := _text(row, key))), "")


def _text(row: Row, key: str) -> str:
    value = value_of(row, key)
    return value if isinstance(value, str) else ""
