"""The read API of one tenant: queries, descriptions and lists, over a transport."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import orjson
import structlog

from frame_gainsight.gainsight.budget import Priority
from frame_gainsight.gainsight.describe import Listed, ObjectDescription, parse_listed, parse_object
from frame_gainsight.gainsight.envelope import Row, UnreadableRow, normalised, rows_of
from frame_gainsight.gainsight.errors import (
    NOT_A_LOOKUP,
    ConfigError,
    RefusedQueryError,
    TransientError,
    UnknownObjectError,
)
from frame_gainsight.gainsight.query import Query
from frame_gainsight.gainsight.rate_headers import Allowance
from frame_gainsight.gainsight.reply_json import MAX_ITEMS
from frame_gainsight.gainsight.reply_slots import SlotHolder
from frame_gainsight.gainsight.transport import Answer, Request, Transport

log = structlog.get_logger(__name__)

_DESCRIBE_FLAGS = {
    "includeChilds": "false",
    "childLevels": "0",
    "populatePickListOptions": "true",
    "removeHidden": "false",
    "honorUserContext": "true",
}


@dataclass(slots=True)
class Reply(SlotHolder):
    """Rows of one reply, keys spelled as selected.

    Attributes:
        size: bytes of the decoded body.
    """

    rows: list[Row]
    size: int


def _object_of(row: Row) -> str:
    name = row.get("objectName")
    return name.lower() if isinstance(name, str) else ""


class GainsightClient:
    """The read API of one tenant; what it counts and bounds is described at `Caller`.

    Args:
        priority: every call has this one, or a less urgent one.
    """

    def __init__(self, transport: Transport, *, priority: Priority = Priority.LIVE) -> None:
        self._transport = transport
        self.priority = priority
        self.calls: Counter[str] = Counter()
        self.max_calls: int | None = None

    def with_priority(self, priority: Priority) -> GainsightClient:
        """A view of this client, whose calls have that priority and are counted apart.

        Connections, budget and the tenant's clock are shared; the view is not to be closed.
        """
        return GainsightClient(self._transport, priority=priority)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._transport.close()

    def tenant_now(self) -> int | None:
        """The tenant's time in milliseconds, never ahead of its clock; None before any reply. See `TenantClock.now`."""
        return self._transport.tenant_clock.now()

    @property
    def clock_skew(self) -> float | None:
        """Seconds that the tenant's clock is ahead of ours, to the second; None before any reply."""
        return self._transport.tenant_clock.skew()

    @property
    def has_oauth_client(self) -> bool:
        """Whether calls are authenticated by an OAuth client, and not by the API access key."""
        return self._transport.has_oauth_client

    @property
    def allowance(self) -> Allowance:
        """The tenant's allowance, as the last reply's headers give it."""
        return self._transport.allowance

    @property
    def calls_per_minute(self) -> int:
        """Our share of the tenant's allowance."""
        return self._transport.budget.per_minute

    @property
    def calls_per_day(self) -> int:
        """Our share of the tenant's allowance."""
        return self._transport.budget.per_day

    @property
    def left_today(self) -> int:
        """Calls of our share of the day that are not made yet."""
        return self._transport.budget.left_today

    @property
    def spent(self) -> tuple[int, int]:
        """Today's number (days since 1970, UTC) and the calls made in it: `spent_today` of the budget's successor."""
        return self._transport.budget.spent

    @property
    def latency(self) -> float:
        """Seconds that replies took lately, waiting for a slot left out; 0 before any."""
        return self._transport.latency or 0.0

    async def fetch(self, query: Query, *, priority: Priority = Priority.LIVE) -> Reply:
        """One reply, to be released when its rows are no longer needed: see `ReplySlots`. No row at all is an empty
        list. Raises as `Transport.send` does.
        """
        path = f"/v1/data/objects/query/{query.object_name}"
        try:
            answer = await self._send("POST", path, query.object_name, query.body(), priority)
        except RefusedQueryError as error:
            if error.code == NOT_A_LOOKUP and (paths := [column for column in query.select if "." in column]):
                text = f"{error} Look-ups in it: {', '.join(paths)}."
                raise RefusedQueryError(text, code=error.code, status=error.status) from error
            raise
        try:
            select = list(query.select)
            requested = set(select)
            rows = rows_of(answer.body, query.object_name)
            rows = [row if row.keys() <= requested else normalised(row, select) for row in rows]
        except BaseException:
            answer.release()
            raise
        return Reply(rows, answer.size, slot=answer.slot)

    async def query(self, query: Query, *, priority: Priority = Priority.LIVE) -> list[Row]:
        """The rows of one reply that is expected to be small; of those that cannot be read, it is logged why.

        Raises as `fetch` does.
        """
        with await self.fetch(query, priority=priority) as reply:
            unreadable = [row.cause for row in reply.rows if isinstance(row, UnreadableRow)]
            if unreadable:
                log.warning("rows_unreadable", object=query.object_name, rows=len(unreadable), cause=unreadable[0])
            return reply.rows

    async def post(self, path: str, payload: dict[str, Any], name: str) -> list[Any]:
        """The list that another call of the API has in `data`, or `data.records`; `name` is for errors and counts.

        Raises as `fetch` does, and TransientError when there is no list.
        """
        with await self._send("POST", path, name, payload) as answer:
            data = answer.body.get("data") if isinstance(answer.body, dict) else answer.body
        data = data.get("records") if isinstance(data, dict) else data
        if data is not None and not isinstance(data, list):
            raise TransientError(f"The tenant's answer for {name} is not a list.", status=200)
        if len(data or ()) > MAX_ITEMS:
            raise TransientError(f"The tenant's answer for {name} has more than {MAX_ITEMS:,} items.", status=200)
        return data or []

    async def list_objects(self) -> dict[str, Listed]:
        """Every object of the tenant, by its name in lower case. Raises as `fetch` does."""
        with await self._send("GET", "/v1/meta/services/objects/list?po=company&em=false", "list") as answer:
            found = [parse_listed(row) for row in rows_of(answer.body, "list")]
        return {listed.name.lower(): listed for listed in found if listed.name}

    async def describe(self, objects: Sequence[str]) -> dict[str, ObjectDescription]:
        """The named objects that exist, by the requested name. Raises as `fetch` does.

        One call; where an object does not exist and the tenant refuses them all for it, those that it lists, or one
        call for each.
        """
        try:
            return await self._describe(objects)
        except UnknownObjectError:
            if len(objects) < 2:
                return {}
        if len(objects) > 2 and (listed := await self._listed_of(objects)):
            with suppress(UnknownObjectError):
                return await self._describe(listed)
        return {name: one for o in objects for name, one in (await self.describe([o])).items()}

    async def _listed_of(self, objects: Sequence[str]) -> list[str]:
        """The objects that the tenant lists; none where it refuses the list."""
        try:
            listed = await self.list_objects()
        except (ConfigError, RefusedQueryError):
            return []
        return [name for name in objects if name.lower() in listed]

    async def _describe(self, objects: Sequence[str]) -> dict[str, ObjectDescription]:
        payload = {"objectNames": list(objects), **_DESCRIBE_FLAGS}
        with await self._send("POST", "/v1/meta/services/objects/describe", "describe", payload) as answer:
            wanted = {name.lower() for name in objects}
            rows = rows_of(answer.body, "describe")
            described = {name: row for row in reversed(rows) if (name := _object_of(row)) in wanted}
            found = {name: parse_object(row) for name, row in described.items()}
        unreadable = next((row.cause for row in rows if isinstance(row, UnreadableRow)), None)
        if unreadable is not None and wanted - found.keys():  # one of them may be what cannot be read
            raise TransientError(f"The tenant's description of its objects cannot be read. {unreadable}", status=200)
        return {name: found[name.lower()] for name in objects if name.lower() in found}

    async def _send(
        self,
        method: str,
        path: str,
        name: str,
        payload: dict[str, Any] | None = None,
        priority: Priority = Priority.LIVE,
    ) -> Answer:
        content = b"" if payload is None else orjson.dumps(payload)
        return await self._transport.send(Request(method, path, name, content, max(priority, self.priority)), self)
