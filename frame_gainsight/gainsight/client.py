"""One tenant's API: calls within the budget, retried with jitter, never redirected, the key never shown."""

from __future__ import annotations

import asyncio
import functools
import math
import ssl
import zlib
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self

import httpx
import orjson
import stamina
import structlog

from frame_gainsight.gainsight import jsontext
from frame_gainsight.gainsight.auth import GRANT, TOKEN_PATH, Credentials, OAuthClient
from frame_gainsight.gainsight.budget import Budget, Priority
from frame_gainsight.gainsight.describe import Listed, ObjectDescription, parse_listed, parse_object
from frame_gainsight.gainsight.envelope import Row, normalised, rows_of
from frame_gainsight.gainsight.errors import (
    BAD_CLIENT,
    BAD_TOKEN,
    NOT_A_LOOKUP,
    NOT_THE_API,
    Action,
    BadKeyError,
    CallsSpentError,
    ConfigError,
    RefusedQueryError,
    ReplyTooLargeError,
    ThrottledError,
    TransientError,
    UnknownObjectError,
    code_of,
    error_for,
    is_empty_result,
    rule_for,
)
from frame_gainsight.gainsight.query import Query
from frame_gainsight.gainsight.reply_slots import LARGE, LargeReplies, Slot
from frame_gainsight.runtime.clock import Clock

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
MAX_REPLY_BYTES = 64 * 1024 * 1024
_WHOLE_REPLY = 5  # times `timeout`, which only bounds the wait for the next bytes
TOKEN = "token"  # noqa: S105 - what calls for an OAuth token are counted as
_UNASKED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
_PIECE = 64 * 1024  # bytes decompressed at once: a compressed byte can stand for a thousand
_EPOCH_SECONDS, _EPOCH_MILLISECONDS = 1e9, 1e12  # from here on a time is no span


@dataclass(slots=True)
class Reply:
    """Rows of one reply, keys spelled as selected.

    Attributes:
        size: bytes of the decoded body.
        asked: the query.
    """

    rows: list[Row]
    size: int
    asked: Query
    _slot: Slot | None = field(default=None, repr=False, compare=False)

    def release(self) -> None:
        """Gives back the memory's slot, which a large reply keeps; may be called again. The rows stay readable."""
        if self._slot is not None:
            self._slot.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


@dataclass(slots=True)
class _Body:
    """A body being read, and the slot that it keeps once it is large."""

    content: bytearray = field(default_factory=bytearray)
    slot: Slot | None = None

    def release(self) -> None:
        if self.slot is not None:
            self.slot.release()


@functools.cache
def _tls() -> ssl.SSLContext:
    """One for all clients: to build one takes 15 ms and a megabyte. Of the environment it takes nothing."""
    return httpx.create_ssl_context(trust_env=False)


class GainsightClient:
    """The read API of one tenant.

    Args:
        host: `https://tenant.gainsightcloud.com`.
        credentials: what authenticates the calls.
        budget: asked before every call, retries included.
        retry_seconds: how long one call is tried again before its error is raised.
        timeout: seconds in which a reply must begin and go on; five times as many for the whole of it.
        max_reply_bytes: of a decoded body; reading stops there.
        large: the slots for large replies that this process's clients share; None is no bound.

    Attributes:
        calls: object, or name of the call → how often it was asked, failures and retries included. Where no connection
            came about, nothing was asked.
        most_calls: made in all; the next one raises CallsSpentError, and none is tried again beyond it. None: no bound.
        allowance: limit, remaining calls and seconds until the reset, as the last reply's headers told them.
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
        max_reply_bytes: int = MAX_REPLY_BYTES,
        large: LargeReplies | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._host = host
        self._credentials = credentials
        self._budget = budget
        self._clock = clock
        self._retry_seconds = retry_seconds
        self._reply_seconds = _WHOLE_REPLY * timeout
        self._max_reply_bytes = max_reply_bytes
        self._large = large
        self._offset: float | None = None
        self._latency: float | None = None
        self.calls: Counter[str] = Counter()
        self.most_calls: int | None = None
        self.last_reply_at: int | None = None
        self.allowance: tuple[int | None, int | None, float | None] = (None, None, None)
        self._http = httpx.AsyncClient(
            base_url=host,
            timeout=httpx.Timeout(timeout, connect=min(10.0, timeout)),
            limits=httpx.Limits(max_connections=8, max_keepalive_connections=4, keepalive_expiry=120),
            follow_redirects=False,
            headers={"content-type": "application/json", "accept-encoding": "gzip"},
            trust_env=False,
            verify=_tls(),
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

    @property
    def clock_skew(self) -> float | None:
        """Seconds that the tenant's clock is ahead of ours, to the second; None before any reply told it."""
        if self._offset is None:
            return None
        return self._clock.monotonic() + self._offset - self._clock.now() / 1000

    @property
    def has_oauth_client(self) -> bool:
        """Whether its calls are authenticated by an OAuth client, and not by the API access key."""
        return isinstance(self._credentials, OAuthClient)

    @property
    def calls_per_minute(self) -> int:
        """Our share of the tenant's allowance."""
        return self._budget.per_minute

    @property
    def calls_per_day(self) -> int:
        """Our share of the tenant's allowance."""
        return self._budget.per_day

    @property
    def left_today(self) -> int:
        """Calls of our share of the day that are not made yet."""
        return self._budget.left_today

    @property
    def spent(self) -> tuple[int, int]:
        """Today's number (days since 1970, UTC) and the calls made in it: `spent_today` of the budget's successor."""
        return self._budget.spent

    @property
    def latency(self) -> float:
        """Seconds that replies took lately, waiting for memory left out; 0 before any."""
        return self._latency or 0.0

    async def fetch(self, query: Query, *, priority: Priority = Priority.LIVE) -> Reply:
        """One reply, to be released when its rows are no longer needed: see `LargeReplies`.

        No row at all is an empty list. Raises TransientError when `retry_seconds` of tries did not help, ConfigError
        when somebody must set something right, RefusedQueryError when the tenant does not take the query as such,
        ReplyTooLargeError when the reply has more than `max_reply_bytes`.
        """
        path = f"/v1/data/objects/query/{query.object_name}"
        try:
            answer, size, slot = await self._call("POST", path, query.object_name, query.body(), priority)
        except RefusedQueryError as error:
            if error.code == NOT_A_LOOKUP and (paths := [column for column in query.select if "." in column]):
                said = f"{error} Look-ups in it: {', '.join(paths)}."
                raise RefusedQueryError(said, code=error.code, status=error.status) from error
            raise
        try:
            select = list(query.select)
            wanted = set(select)
            rows = rows_of(answer, query.object_name)
            rows = [row if row.keys() <= wanted else normalised(row, select) for row in rows]
        except BaseException:
            if slot is not None:
                slot.release()
            raise
        return Reply(rows, size, query, slot)

    async def query(self, query: Query, *, priority: Priority = Priority.LIVE) -> list[Row]:
        """The rows of one reply, for those who need few of them. Raises as `fetch` does."""
        with await self.fetch(query, priority=priority) as reply:
            return reply.rows

    async def post(self, path: str, payload: dict[str, Any], name: str) -> list[Any]:
        """What another call of the API answers with as its `data`, or `data.records`; `name` is for errors and counts.

        Raises as `fetch` does, and TransientError when there is no list.
        """
        answer, _, slot = await self._call("POST", path, name, payload)
        if slot is not None:
            slot.release()
        data = answer.get("data") if isinstance(answer, dict) else answer
        data = data.get("records") if isinstance(data, dict) else data
        if data is not None and not isinstance(data, list):
            raise TransientError(f"The tenant's answer for {name} is not a list.", status=200)
        return data or []

    async def list_objects(self) -> dict[str, Listed]:
        """Every object of the tenant, by its name in lower case. Raises as `fetch` does."""
        body, _, slot = await self._call("GET", "/v1/meta/services/objects/list?po=company&em=false", "list", None)
        if slot is not None:
            slot.release()
        found = (parse_listed(row) for row in rows_of(body, "list"))
        return {listed.name.lower(): listed for listed in found if listed.name}

    async def describe(self, objects: Sequence[str]) -> dict[str, ObjectDescription]:
        """The named objects that exist, by the name asked for. Raises as `fetch` does.

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
        """Those that the tenant lists; none where it has no list for us."""
        try:
            listed = await self.list_objects()
        except (ConfigError, RefusedQueryError):
            return []
        return [name for name in objects if name.lower() in listed]

    async def _describe(self, objects: Sequence[str]) -> dict[str, ObjectDescription]:
        body, _, slot = await self._call(
            "POST",
            "/v1/meta/services/objects/describe",
            "describe",
            {"objectNames": list(objects), **_DESCRIBE_FLAGS},
        )
        if slot is not None:
            slot.release()
        found = {d.name.lower(): d for d in (parse_object(raw) for raw in rows_of(body, "describe"))}
        return {name: found[name.lower()] for name in objects if name.lower() in found}

    async def _call(
        self,
        method: str,
        path: str,
        object_name: str,
        payload: dict[str, Any] | None,
        priority: Priority = Priority.LIVE,
    ) -> tuple[Any, int, Slot | None]:
        """The answer, the size of its body, and its slot when it is large."""
        content = b"" if payload is None else orjson.dumps(payload)
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
                return await self._once(method, path, object_name, content, priority)
        raise AssertionError("unreachable")

    @property
    def _is_spent(self) -> bool:
        return self.most_calls is not None and sum(self.calls.values()) >= self.most_calls

    def _backoff(self, error: Exception) -> bool | float:
        if isinstance(error, ThrottledError):
            if error.status is None:  # the budget's own word, which it need not be told
                return False
            wait = self._budget.throttled(error.retry_after)
            log.info("throttled", host=self._host, wait_seconds=round(wait, 1))
            return max(wait, _LEAST_WAIT) if wait <= self._retry_seconds and not self._is_spent else False
        return isinstance(error, TransientError) and not self._is_spent

    async def _once(
        self, method: str, path: str, object_name: str, content: bytes, priority: Priority
    ) -> tuple[Any, int, Slot | None]:
        headers = await self._credentials.headers(self._grant)
        try:
            return await self._ask(method, path, object_name, content, priority, headers)
        except ConfigError as error:
            if error.status != 401 or not self._credentials.refused(headers):
                raise
        headers = await self._credentials.headers(self._grant)
        return await self._ask(method, path, object_name, content, priority, headers)

    async def _grant(self, headers: Mapping[str, str]) -> Mapping[str, Any]:
        """The reply with an OAuth token. Raises as `fetch` does."""
        body, _, slot = await self._ask("POST", TOKEN_PATH, TOKEN, GRANT, Priority.LIVE, headers)
        if slot is not None:
            slot.release()
        if not isinstance(body, dict) or not body.get("access_token"):
            raise TransientError("The tenant's answer to the OAuth client has no token.", status=200)
        return body

    async def _ask(
        self,
        method: str,
        path: str,
        object_name: str,
        content: bytes,
        priority: Priority,
        headers: Mapping[str, str],
    ) -> tuple[Any, int, Slot | None]:
        if self._is_spent:
            raise CallsSpentError(self.most_calls or 0)
        await self._budget.acquire(priority)
        body, asked = _Body(), True
        bearer = headers.get("authorization", "").startswith("Bearer ")
        try:
            try:
                reply = await self._receive(method, path, object_name, content, body, headers)
            except (httpx.TimeoutException, TimeoutError) as error:
                asked = not isinstance(error, _UNASKED)
                raise TransientError(f"{self._host} did not answer in time ({object_name}).") from error
            except httpx.InvalidURL as error:
                asked = False
                raise TransientError(f"{self._host} is not an address.") from error
            except (httpx.DecodingError, zlib.error) as error:
                raise TransientError(f"{self._host} sent what does not decompress ({object_name}).") from error
            except (httpx.HTTPError, OSError) as error:
                asked = not isinstance(error, _UNASKED)
                raise TransientError(
                    f"{self._host} cannot be reached ({object_name}: {type(error).__name__}). Check the connector's "
                    "host and this machine's way to it."
                ) from error
            finally:
                if asked:
                    self.calls[object_name] += 1
            return self._read(reply, body.content, object_name, bearer), len(body.content), body.slot
        except BaseException:
            body.release()
            raise

    async def _receive(
        self, method: str, path: str, object_name: str, content: bytes, body: _Body, headers: Mapping[str, str]
    ) -> httpx.Response:
        """Reads a reply into `body`, within the time for a whole one. Of a failing one no more than says why."""
        loop = asyncio.get_running_loop()
        began = self._clock.monotonic()
        async with (
            asyncio.timeout(self._reply_seconds) as deadline,
            self._http.stream(method, path, content=content, headers=headers) as reply,
        ):
            self._note_time(reply)
            self._tell(reply)
            async with aclosing(_pieces(reply)) as pieces:
                async for piece in pieces:
                    body.content += piece
                    if len(body.content) > LARGE and reply.status_code != 200:
                        break
                    if len(body.content) > self._max_reply_bytes:
                        raise ReplyTooLargeError(object_name, self._max_reply_bytes)
                    if len(body.content) > LARGE and body.slot is None and self._large is not None:
                        ends, waits = deadline.when(), self._clock.monotonic()
                        left = (ends if ends is not None else math.inf) - loop.time()
                        deadline.reschedule(None)
                        body.slot = await self._large.acquire()
                        deadline.reschedule(loop.time() + left)
                        began += self._clock.monotonic() - waits
        took = max(0.0, self._clock.monotonic() - began)
        self._latency = took if self._latency is None else 0.8 * self._latency + 0.2 * took
        return reply

    def _tell(self, reply: httpx.Response) -> None:
        ours = self._clock.now() / 1000
        tenants = ours if self._offset is None else self._clock.monotonic() + self._offset
        self.allowance = rate_of(reply.headers, tenants)
        self._budget.told(*self.allowance)

    def _note_time(self, reply: httpx.Response) -> None:
        self.last_reply_at = self._clock.now()
        try:
            date = parsedate_to_datetime(reply.headers["date"]).timestamp()
        except (KeyError, ValueError, TypeError):
            return
        # The server cuts its Date to the second, so that an earlier reading may be nearer to the truth; but the
        # tenant's clock may have been set back since, and a window that ends too late loses rows.
        self._offset = date - self._clock.monotonic()

    def _read(self, reply: httpx.Response, content: bytearray, object_name: str, bearer: bool) -> Any:
        try:
            body = jsontext.loads(content)
        except orjson.JSONDecodeError:
            body = None
        ok = reply.status_code == 200 and isinstance(body, dict)
        ok = ok and (body.get("result") is True or (object_name == TOKEN and "access_token" in body))
        if ok:
            self._budget.succeeded()
            return body
        if object_name == TOKEN and reply.status_code in (400, 401, 403):  # RFC 6749, 5.2: 400 is as good as 401 here
            raise error_for(BAD_CLIENT, object_name, reply.status_code, body)
        if reply.status_code in (200, 400) and is_empty_result(body):
            return {"data": []}
        rule = rule_for(reply.status_code, code_of(body))
        if rule.action is Action.EMPTY:
            return {"data": []}
        if bearer and rule.error is BadKeyError:
            rule = BAD_TOKEN
        elif reply.status_code == 200 and body is None:
            rule = NOT_THE_API
        raise error_for(rule, object_name, reply.status_code, body, _retry_after(reply))


def _retry_after(reply: httpx.Response) -> float | None:
    """Seconds from `Retry-After`, where it is a number; a date or nonsense counts as absent. A day at the most."""
    try:
        seconds = float(reply.headers["retry-after"])
    except (KeyError, ValueError):
        return None
    return min(max(0.0, seconds), _LONGEST_WINDOW) if math.isfinite(seconds) else None


async def _pieces(reply: httpx.Response) -> AsyncGenerator[bytes, None]:
    """The decoded body, piece by piece; of a compressed one never more than a piece at once."""
    if reply.headers.get("content-encoding", "").strip().lower() not in ("gzip", "x-gzip"):
        async for piece in reply.aiter_bytes():
            yield piece
        return
    gunzip = zlib.decompressobj(16 + zlib.MAX_WBITS)
    async for arrived in reply.aiter_raw():
        compressed = arrived
        while compressed:
            yield gunzip.decompress(compressed, _PIECE)
            compressed = gunzip.unconsumed_tail
    yield gunzip.flush()


def rate_of(headers: Mapping[str, str], now: float) -> tuple[int | None, int | None, float | None]:
    """Limit, remaining calls and seconds until the reset from the `x-ratelimit-*` headers; nonsense counts as absent.

    Of several values ("100, 50000": the windows' forms are not documented) those of the window with the fewest calls
    left count.

    Args:
        now: the tenant's clock, seconds since 1970, for resets that are a time (in seconds or milliseconds).
    """
    limits, remains, resets = (_numbers(headers.get(f"x-ratelimit-{n}")) for n in ("limit", "remaining", "reset"))
    scarce = remains.index(min(remains)) if remains else 0

    def of_scarce(values: list[float]) -> float | None:
        return values[scarce] if len(values) > scarce else min(values, default=None)

    limit, remaining, reset = of_scarce(limits), of_scarce(remains), of_scarce(resets)
    if reset is not None and reset >= _EPOCH_SECONDS:
        reset = (reset / 1000 if reset >= _EPOCH_MILLISECONDS else reset) - now
    return (
        None if limit is None else int(limit),
        None if remaining is None else int(remaining),
        None if reset is None or reset < 0 else reset,
    )


def _numbers(header: str | None) -> list[float]:
    """The numbers of a header; `100;w=60` is 100. Empty when one of them is not a number from 0 on."""
    try:
        numbers = [float(part.partition(";")[0]) for part in (header or "").split(",")]
    except ValueError:
        return []
    return numbers if all(math.isfinite(n) and n >= 0 for n in numbers) else []
