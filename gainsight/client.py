"""One tenant's API: calls within the budget, retried with jitter, never redirected, the key never shown."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self

import httpx
import orjson
import stamina
import structlog

from gainsight.auth import Credentials
from gainsight.budget import Budget
from gainsight.clock import Clock
from gainsight.describe import ObjectDescription, parse_object
from gainsight.envelope import Row, normalised, rows_of
from gainsight.errors import (
    Action,
    ThrottledError,
    TransientError,
    UnknownObjectError,
    code_of,
    error_for,
    is_empty_result,
    rule_for,
)
from gainsight.query import Query

log = structlog.get_logger(__name__)

_DESCRIBE_FLAGS = {
    "includeChilds": "false",
    "childLevels": "0",
    "populatePickListOptions": "true",
    "removeHidden": "false",
    "honorUserContext": "true",
}
# Queries only read: repeating one is safe.
_MAX_RETRY_WAIT = 5.0
_LEAST_WAIT = 0.5  # a tenant that throttles with `Retry-After: 0` is not asked in a tight loop
_LONGEST_WINDOW = 86_400.0


class GainsightClient:
    """The read API of one tenant.

    Args:
        host: `https://tenant.gainsightcloud.com`.
        credentials: what authenticates the calls.
        budget: asked before every call, retries included.
        retry_seconds: how long one call is tried again before its error is raised.
        timeout: seconds for one reply.
    """

    def __init__(
        self,
        host: str,
        credentials: Credentials,
        budget: Budget,
        clock: Clock,
        *,
        retry_seconds: float = 10.0,
        timeout: float = 60.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._host = host
        self._credentials = credentials
        self._budget = budget
        self._clock = clock
        self._retry_seconds = retry_seconds
        self._offset: float | None = None
        self.calls: Counter[str] = Counter()
        self.last_reply_at: int | None = None
        self._http = httpx.AsyncClient(
            base_url=host,
            timeout=httpx.Timeout(timeout, connect=min(10.0, timeout)),
            limits=httpx.Limits(max_connections=8, max_keepalive_connections=4, keepalive_expiry=120),
            follow_redirects=False,
            headers={"content-type": "application/json", "accept-encoding": "gzip"},
            trust_env=False,
            transport=transport,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    def tenant_now(self) -> int | None:
        """The tenant's clock in milliseconds, never ahead of it and never ahead of ours; None before any reply.

        The HTTP `Date` of the last reply, cut to the second by the server, plus the time that has passed since.
        """
        if self._offset is None:
            return None
        return min(int((self._clock.monotonic() + self._offset) * 1000), self._clock.now())

    async def query(self, query: Query) -> list[Row]:
        """The rows of one reply, keys spelled as selected; no row at all is an empty list.

        Raises TransientError when `retry_seconds` of tries did not help, ConfigError when somebody must set
        something right, RefusedQueryError when the tenant does not take the query as such.
        """
        body = await self._call("POST", f"/v1/data/objects/query/{query.object_name}", query.object_name, query.body())
        rows = rows_of(body, query.object_name)
        select = list(query.select)
        wanted = set(select)
        return [row if row.keys() <= wanted else normalised(row, select) for row in rows]

    async def describe(self, objects: Sequence[str]) -> dict[str, ObjectDescription]:
        """The named objects that exist, by the name asked for. Raises as `query` does.

        One call; where an object does not exist and the tenant refuses them all for it, one call for each.
        """
        try:
            body = await self._call(
                "POST",
                "/v1/meta/services/objects/describe",
                "describe",
                {"objectNames": list(objects), **_DESCRIBE_FLAGS},
            )
        except UnknownObjectError:
            if len(objects) < 2:
                return {}
            return {name: one for o in objects for name, one in (await self.describe([o])).items()}
        found = {d.name.lower(): d for d in (parse_object(raw) for raw in rows_of(body, "describe"))}
        return {name: found[name.lower()] for name in objects if name.lower() in found}

    async def _call(self, method: str, path: str, object_name: str, payload: dict[str, Any]) -> Any:
        content = orjson.dumps(payload)
        retries = stamina.retry_context(
            on=self._backoff,
            attempts=None if self._retry_seconds else 1,
            timeout=self._retry_seconds or None,
            wait_initial=0.2,
            wait_max=_MAX_RETRY_WAIT,
            wait_jitter=0.5,
        )
        async for attempt in retries:
            with attempt:
                return await self._once(method, path, object_name, content)
        raise AssertionError("unreachable")

    def _backoff(self, error: Exception) -> bool | float:
        if isinstance(error, ThrottledError):
            wait = self._budget.throttled(error.retry_after)
            log.info("throttled", host=self._host, wait_seconds=round(wait, 1))
            return max(wait, _LEAST_WAIT) if wait <= self._retry_seconds else False
        return isinstance(error, TransientError)

    async def _once(self, method: str, path: str, object_name: str, content: bytes) -> Any:
        await self._budget.acquire()
        self.calls[object_name] += 1
        try:
            reply = await self._http.request(method, path, content=content, headers=self._credentials.headers())
        except httpx.TimeoutException as error:
            raise TransientError(f"{self._host} did not answer in time ({object_name}).") from error
        except httpx.InvalidURL as error:
            raise TransientError(f"{self._host} is not an address.") from error
        except (httpx.HTTPError, OSError) as error:
            raise TransientError(
                f"{self._host} cannot be reached ({object_name}: {type(error).__name__}). Check the connector's host "
                "and this machine's way to it."
            ) from error
        self._note_time(reply)
        return self._read(reply, object_name)

    def _note_time(self, reply: httpx.Response) -> None:
        self.last_reply_at = self._clock.now()
        try:
            date = parsedate_to_datetime(reply.headers["date"]).timestamp()
        except (KeyError, ValueError, TypeError):
            return
        # The server cuts its Date to the second, so that an earlier reading may be nearer to the truth; but the
        # tenant's clock may have been set back since, and a window that ends too late loses rows.
        self._offset = date - self._clock.monotonic()

    def _read(self, reply: httpx.Response, object_name: str) -> Any:
        try:
            body = orjson.loads(reply.content)
        except orjson.JSONDecodeError:
            body = None
        ok = reply.status_code == 200 and isinstance(body, dict) and body.get("result") is True
        if ok:
            return body
        if reply.status_code in (200, 400) and is_empty_result(body):
            return {"data": []}
        rule = rule_for(reply.status_code, code_of(body))
        if rule.action is Action.EMPTY:
            return {"data": []}
        raise error_for(rule, object_name, reply.status_code, body, _retry_after(reply))


def _retry_after(reply: httpx.Response) -> float | None:
    """Seconds from `Retry-After`, where it is a number; a date or nonsense counts as absent. A day at the most."""
    try:
        seconds = float(reply.headers["retry-after"])
    except (KeyError, ValueError):
        return None
    return min(max(0.0, seconds), _LONGEST_WINDOW) if math.isfinite(seconds) else None
