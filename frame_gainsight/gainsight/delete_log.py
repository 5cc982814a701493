"""Sources of deletions: two logs, and a call of its own for activities. A tenant may have none of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from frame_gainsight.gainsight.client import GainsightClient
from frame_gainsight.gainsight.dates import format_date, parse_date, whole_second
from frame_gainsight.gainsight.envelope import Row, refuse_repeated, value_of
from frame_gainsight.gainsight.errors import RefusedQueryError, TransientError
from frame_gainsight.gainsight.query import LEAST_CAP, Condition, Query
from frame_gainsight.runtime.pauses import with_pauses

ACTIVITY = "activity_timeline"
# The high-volume log holds the objects that the first does not; which of them activities are, is not documented.
LOGS = ("record_delete_log", "record_delete_log_high_volume")
CALL = "activity/deleted"
SOURCES = (*LOGS, CALL)
LOG_DAYS = 15  # the logs keep no older entries

MOST = 10_000  # entries of a log that are read at once, where the next reading can go on behind them
MOST_BY_FAR = 50_000  # where it cannot

_PATH = "/v1/ant/es/activity/deleted"
_IDS = ("Gsid", "RecordId", "ActivityId", "Id")
_DATES = ("DeletedOn", "DeletedDate", "DeletedAt")


async def deleted_in(client: GainsightClient, source: str, start: int, end: int) -> tuple[dict[str, int], int]:
    """Gsid → time of deletion (milliseconds) of the activities deleted in `[start, end)`, by one of SOURCES; and up to
    where it was read: `end`, or the second in which to go on, where a log has more than MOST entries.

    Raises TransientError for a log that has more than MOST_BY_FAR and leads nowhere, and UnknownObjectError or another
    ConfigError, or RefusedQueryError, where the tenant has no such source.
    """
    if source == CALL:
        return await _from_call(client, start, end), end
    return await _from_log(client, source, start, end)


async def deleted_records(
    client: GainsightClient, log: str, start: int, end: int, objects: Sequence[str]
) -> set[tuple[str, str]]:
    """(object, Gsid), the object in lower case, of the records of these objects that were deleted in `[start, end)`.

    Raises UnknownObjectError or another ConfigError, or RefusedQueryError, where the tenant has no such log.
    """
    found: set[tuple[str, str]] = set()
    async for row in _entries(client, log, start, end, Condition("ObjectName", "IN", list(objects))):
        gsid, name = _first(row, _IDS), value_of(row, "ObjectName")
        if isinstance(gsid, str) and isinstance(name, str):
            found.add((name.lower(), gsid))
    return found


async def _from_log(client: GainsightClient, name: str, start: int, end: int) -> tuple[dict[str, int], int]:
    found: dict[str, int] = {}
    latest, rows = start, 0
    async for row in _entries(client, name, start, end, Condition("ObjectName", "EQ", [ACTIVITY])):
        _take(found, row, end)
        rows += 1
        at = whole_second(_deleted_at(row, start))
        # Those that follow are later, or of this second: unless the log does not heed its order, or its dates.
        if rows >= MOST and max(latest, start + 1) <= at < end:
            return found, at
        latest = max(latest, at)
    return found, end


async def _entries(client: GainsightClient, log: str, start: int, end: int, of: Condition) -> AsyncIterator[Row]:
    where = [
        Condition("DeletedOn", "GTE", [format_date(start)]),
        Condition("DeletedOn", "LT", [format_date(end)]),
        of,
    ]
    select = ["RecordId", "DeletedOn", "ObjectName"]
    offset, before = 0, list[Row]()
    while True:
        query = Query(log, select, where, {"DeletedOn": "asc", "RecordId": "asc"}, offset=offset)
        rows = await client.query(query)
        refuse_repeated(rows, before, log)
        before = rows
        for row in rows:
            yield row
        if len(rows) < LEAST_CAP:
            return
        offset += len(rows)
        if offset >= MOST_BY_FAR:
            raise TransientError(
                f"{log} has more than {MOST_BY_FAR:,} deletions between {format_date(start)} and {format_date(end)}, "
                "and their dates lead no further: they are of one second, in no order, or not those asked for. "
                "Deletions wait. Ask the Gainsight admin whether the log heeds the query's dates and order.",
                status=200,
            )


async def _from_call(client: GainsightClient, start: int, end: int) -> dict[str, int]:
    """The deletions by CALL, whose body and reply are not documented: any known shape of a reply is read.

    Raises RefusedQueryError for a reply that has rows and none that can be read.
    """
    rows = await client.post(_PATH, {"fromDate": format_date(start), "toDate": format_date(end)}, CALL)
    found: dict[str, int] = {}
    async for row in with_pauses(rows):
        _take(found, row if isinstance(row, dict) else {"Gsid": row}, end)
    if rows and not found:
        raise RefusedQueryError(f"The tenant's answer to {_PATH} has rows of an unknown shape.")
    return found


def _take(found: dict[str, int], row: Row, end: int) -> None:
    gsid = _first(row, _IDS)
    if isinstance(gsid, str) and gsid:
        found[gsid] = _deleted_at(row, end)


def _deleted_at(row: Row, end: int) -> int:
    """The time of deletion; the range's end where the row has no readable one."""
    try:
        at = parse_date(_first(row, _DATES))
    except ValueError:
        at = None
    return at if at is not None else end


def _first(row: Row, names: tuple[str, ...]) -> Any:
    return next((value for name in names if (value := value_of(row, name)) is not None), None)
