"""Ways of learning which activities were deleted: two logs, and a call of its own. No tenant need have any of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from frame_gainsight.gainsight.client import GainsightClient
from frame_gainsight.gainsight.dates import format_date, parse_date
from frame_gainsight.gainsight.envelope import value_of
from frame_gainsight.gainsight.errors import RefusedQueryError
from frame_gainsight.gainsight.query import LEAST_CAP, Condition, Query

ACTIVITY = "activity_timeline"
# The high-volume log holds the objects that the first does not; which of them activities are, is not documented.
LOGS = ("record_delete_log", "record_delete_log_high_volume")
CALL = "activity/deleted"
WAYS = (*LOGS, CALL)
LOG_DAYS = 15  # they keep no older entries

_PATH = "/v1/ant/es/activity/deleted"
_IDS = ("Gsid", "RecordId", "ActivityId", "Id")
_DATES = ("DeletedOn", "DeletedDate", "DeletedAt")


async def deleted_in(client: GainsightClient, way: str, start: int, end: int) -> dict[str, int]:
    """Gsid → time of deletion (milliseconds) of the activities deleted in `[start, end)`, as one way tells it.

    Raises UnknownObjectError or another ConfigError, or RefusedQueryError, where the tenant has no such way.
    """
    return await _call(client, start, end) if way == CALL else await _log(client, way, start, end)


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


async def _log(client: GainsightClient, name: str, start: int, end: int) -> dict[str, int]:
    found: dict[str, int] = {}
    async for row in _entries(client, name, start, end, Condition("ObjectName", "EQ", [ACTIVITY])):
        _take(found, row, end)
    return found


async def _entries(
    client: GainsightClient, log: str, start: int, end: int, of: Condition
) -> AsyncIterator[dict[str, Any]]:
    where = [
        Condition("DeletedOn", "GTE", [format_date(start)]),
        Condition("DeletedOn", "LT", [format_date(end)]),
        of,
    ]
    select = ["RecordId", "DeletedOn", "ObjectName"]
    offset = 0
    while True:
        query = Query(log, select, where, {"DeletedOn": "asc", "RecordId": "asc"}, offset=offset)
        rows = await client.query(query)
        for row in rows:
            yield row
        if len(rows) < LEAST_CAP:
            return
        offset += len(rows)


async def _call(client: GainsightClient, start: int, end: int) -> dict[str, int]:
    """Body and reply of the call are not documented: its range is sent as named here, and any known shape is read.

    Raises RefusedQueryError for a reply that has rows and none that can be read.
    """
    rows = await client.post(_PATH, {"fromDate": format_date(start), "toDate": format_date(end)}, CALL)
    found: dict[str, int] = {}
    for row in rows:
        _take(found, row if isinstance(row, Mapping) else {"Gsid": row}, end)
    if rows and not found:
        raise RefusedQueryError(f"The tenant's answer to {_PATH} has rows of an unknown shape.")
    return found


def _take(found: dict[str, int], row: Mapping[str, Any], end: int) -> None:
    gsid = _first(row, _IDS)
    if isinstance(gsid, str) and gsid:
        found[gsid] = _deleted_at(row, end)


def _deleted_at(row: Mapping[str, Any], end: int) -> int:
    """A deletion whose time does not read still counts, as of the range's end."""
    try:
        at = parse_date(_first(row, _DATES))
    except ValueError:
        at = None
    return at if at is not None else end


def _first(row: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((value for name in names if (value := value_of(dict(row), name)) is not None), None)
