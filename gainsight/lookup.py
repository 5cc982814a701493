"""Look-ups in batches: all rows whose field is one of many values, in as few calls as the tenant takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gainsight.client import GainsightClient
from gainsight.envelope import Row
from gainsight.errors import RefusedQueryError
from gainsight.query import LEAST_CAP, Condition, Query, is_full

KEY = "Gsid"
START = 1000  # values of an IN list: its maximum is unknown, so start large and halve when refused


@dataclass
class Chunking:
    """The size of `IN` list that a tenant takes, learnt as it refuses."""

    size: int = START


async def fetch_in(
    client: GainsightClient,
    object_name: str,
    select: Sequence[str],
    field: str,
    values: Sequence[str],
    chunking: Chunking,
    *,
    surely: bool = False,
) -> list[Row]:
    """Every row of the object whose `field` is one of `values`.

    `surely`: also where the tenant caps its pages at an odd number, at the price of a call more for each page.
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
            rows += await _all(client, query, len(chunk) if field == KEY else None, surely)
        except RefusedQueryError as error:
            if len(chunk) == 1 or (error.code or "").startswith("P_"):  # not the size: forget what it seemed to teach
                chunking.size = before
                raise
            chunking.size = len(chunk) // 2
            continue
        start += len(chunk)
    return rows


async def _all(client: GainsightClient, query: Query, most: int | None, surely: bool) -> list[Row]:
    """All pages: an ordered offset is safe here, since these rows do not leave the condition while being read.

    Args:
        most: how many rows there can be, where that is known.
    """
    rows: list[Row] = []
    while True:
        page = await client.query(
            Query(query.object_name, query.select, query.where, query.order_by, query.limit, len(rows))
        )
        rows += page
        more = len(page) >= LEAST_CAP if surely else is_full(page, query.limit)
        if not more or (most is not None and len(rows) >= most):
            return rows
