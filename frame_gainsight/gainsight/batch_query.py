"""Batch queries: all rows whose field is one of many values, or an object's rows page by page, in few calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from dataclasses import field as dataclass_field

import structlog

from frame_gainsight.gainsight.client import GainsightClient
from frame_gainsight.gainsight.envelope import Row, UnreadableRow, refuse_repeated, value_of
from frame_gainsight.gainsight.errors import RefusedQueryError
from frame_gainsight.gainsight.query import LEAST_CAP, MAX_ROWS, Condition, Query, is_full

log = structlog.get_logger(__name__)

KEY = "Gsid"
START = 1000  # values of an IN list: its maximum is unknown, so start large and halve when refused
MAX_LEFT_OUT = 8  # values of one look-up that are left out for being refused: each costs up to ten calls to find
MAX_REMEMBERED = 1000  # values that were refused
# Values of the usual form that no record has: where even such a one is refused, it is the query that is.
NO_EMAIL, NO_GSID = "nobody@nowhere.example", "1P01" + "0" * 32


@dataclass
class Chunking:
    """The size of `IN` list that a tenant takes, learnt from its refusals.

    Attributes:
        refused: (field, value) of the values that a tenant refused one by one; each is queried apart from then on.
    """

    size: int = START
    refused: dict[tuple[str, str], None] = dataclass_field(default_factory=dict, compare=False)

    def note_refused(self, field: str, value: str) -> None:
        self.refused[field, value] = None
        if len(self.refused) > MAX_REMEMBERED:
            del self.refused[next(iter(self.refused))]


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

    An `IN` list is halved when the tenant refuses it. Where that was for its size, the size that works is kept in
    `chunking`; where it was for one value, that one is left out, which is logged.
    Raises as `GainsightClient.query` does; RefusedQueryError when the tenant refuses the query whatever its values, or
    more than MAX_LEFT_OUT of them.

    Args:
        page_cap: saves the call after a page that is shorter than another one was. Without it, only a page of fewer
            than LEAST_CAP rows is the last one.
    """
    return await _LookUp(client, object_name, select, field, chunking, page_cap).rows_of(values)


class _LookUp:
    """One look-up by value: what was read, and whether the tenant took any of its lists."""

    def __init__(
        self,
        client: GainsightClient,
        object_name: str,
        select: Sequence[str],
        field: str,
        chunking: Chunking,
        page_cap: PageCap | None,
    ) -> None:
        self._client = client
        self._object_name = object_name
        self._select = select
        self._field = field
        self._order = KEY if KEY in select else field  # some custom objects have no Gsid
        self._chunking = chunking
        self._page_cap = page_cap
        self._rows: list[Row] = []
        self._taken = False
        self._left_out = 0

    async def rows_of(self, values: Sequence[str]) -> list[Row]:
        refused, before = self._chunking.refused, self._chunking.size
        apart = [value for value in values if (self._field, value) in refused]
        sound = [value for value in values if (self._field, value) not in refused] if apart else values
        try:
            start = 0
            while start < len(sound):
                chunk = sound[start : start + self._chunking.size]
                await self._read(chunk)
                start += len(chunk)
            for value in apart:
                await self._read([value])
        except RefusedQueryError:  # not the size: forget what it seemed to teach
            self._chunking.size = before
            raise
        return self._rows

    async def _read(self, chunk: Sequence[str]) -> bool:
        """Reads the rows of a list of values, in parts where it is refused; returns whether all of them were taken."""
        try:
            self._rows += await self._query(chunk)
        except RefusedQueryError as error:
            if (error.code or "").startswith("P_"):
                raise
            if len(chunk) == 1:
                await self._leave_out(chunk[0], error)
                return False
        else:
            self._taken = True
            return True
        half, size, start, all_taken = (len(chunk) + 1) // 2, self._chunking.size, 0, True
        while start < len(chunk):
            # What the parts before have taught of the size counts for those after it.
            part = chunk[start : start + min(half, self._chunking.size)]
            all_taken = await self._read(part) and all_taken
            start += len(part)
        if all_taken and self._chunking.size == size:  # in parts it was taken: it was too long
            self._chunking.size = min(size, half)
        return all_taken

    async def _leave_out(self, value: str, error: RefusedQueryError) -> None:
        """Leaves a value out that is refused by itself. Raises the error where that is not for the value."""
        if not self._taken:
            await self._query([NO_EMAIL if "@" in value else NO_GSID])
            self._taken = True
        self._left_out += (self._field, value) not in self._chunking.refused
        if self._left_out > MAX_LEFT_OUT:
            raise error
        self._chunking.note_refused(self._field, value)
        log.warning(
            "value_left_out",
            object=self._object_name,
            field=self._field,
            cause=str(error),
            hint=f"the tenant refuses one value of {len(value)} characters: what refers to it stays unresolved",
        )

    async def _query(self, values: Sequence[str]) -> list[Row]:
        query = Query(self._object_name, self._select, [Condition(self._field, "IN", values)], {self._order: "asc"})
        return await _all_pages(self._client, query, len(values) if self._field == KEY else None, self._page_cap)


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
