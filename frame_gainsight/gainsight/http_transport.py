"""One tenant's calls over HTTP: within the budget, retried with jitter, never redirected, the key never shown."""

from __future__ import annotations

import asyncio
import functools
import math
import ssl
import traceback
import zlib
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import httpx
import stamina
import structlog

from frame_gainsight.gainsight.auth import GRANT, TOKEN_PATH, Credentials, OAuthClient
from frame_gainsight.gainsight.budget import Budget
from frame_gainsight.gainsight.connecting import CheckedTransport, NoCookies, tls_fault, without_location
from frame_gainsight.gainsight.errors import (
    BAD_CLIENT,
    BAD_TOKEN,
    NOT_THE_API,
    UNAVAILABLE,
    Action,
    BadKeyError,
    CallsSpentError,
    ConfigError,
    GainsightError,
    ReplyTooLargeError,
    ThrottledError,
    TransientError,
    UnavailableError,
    code_of,
    error_for,
    is_empty_result,
    rule_for,
)
from frame_gainsight.gainsight.host_policy import HostPolicy, HostRefusedError
from frame_gainsight.gainsight.rate_headers import allowance_of, retry_after_of
from frame_gainsight.gainsight.reply_body import ENCODING, pieces_of, value_of_body
from frame_gainsight.gainsight.reply_slots import LARGE_REPLY_BYTES, Pace, ReplySlots, SlotHolder
from frame_gainsight.gainsight.transport import Answer, Caller, Request, Transport
from frame_gainsight.runtime.clock import Clock

log = structlog.get_logger(__name__)

# Queries only read: repeating one is safe.
_MAX_RETRY_WAIT = 5.0
_MIN_THROTTLED_WAIT = 0.5  # a tenant that throttles with `Retry-After: 0` is not called in a tight loop
MAX_REPLY_BYTES = 64 * 1024 * 1024
_WHOLE_REPLY = 5  # times `timeout`, which only bounds the wait for the next bytes
TOKEN = "token"  # noqa: S105 - the name by which calls for an OAuth token are counted
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)
PUBLIC_HOSTS = HostPolicy()  # of a transport that is told of no other policy


@dataclass(slots=True)
class _Body(SlotHolder):
    """A body being read."""

    content: bytearray = field(default_factory=bytearray)


@functools.cache
def _tls() -> ssl.SSLContext:
    """One context for all transports: to build one takes 15 ms and a megabyte. The environment is not read."""
    return httpx.create_ssl_context(trust_env=False)


class HttpTransport(Transport):
    """Calls over HTTP, on connections that are kept open.

    Args:
        host: `https://tenant.gainsightcloud.com`.
        credentials: what authenticates the calls.
        retry_seconds: how long one call is tried again before its error is raised.
        timeout: seconds in which a reply must begin and go on; five times as many for the whole of it.
        max_reply_bytes: of a decoded body; reading stops there.
        reply_slots: the slots for large replies that this process's clients share; None is no bound.
        hosts: where it may connect to; None: public hosts only.
        http: what carries the requests, in place of sockets.
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
        reply_slots: ReplySlots | None = None,
        hosts: HostPolicy | None = None,
        http: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__(budget, clock)
        self.has_oauth_client = isinstance(credentials, OAuthClient)
        self._host = host
        self._credentials = credentials
        self._clock = clock
        self._retry_seconds = retry_seconds
        self._reply_seconds = _WHOLE_REPLY * timeout
        self._max_reply_bytes = max_reply_bytes
        self._reply_slots = reply_slots
        self._hosts = PUBLIC_HOSTS if hosts is None else hosts
        limits = httpx.Limits(max_connections=8, max_keepalive_connections=4, keepalive_expiry=120)
        self._http = httpx.AsyncClient(
            timeout=httpx.Timeout(timeout, connect=min(10.0, timeout)),
            follow_redirects=False,
            headers={"content-type": "application/json", "accept-encoding": ENCODING},
            cookies=NoCookies(),
            event_hooks={"response": [without_location]},
            trust_env=False,
            transport=http or CheckedTransport(self._hosts, _tls(), limits),
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def send(self, request: Request, caller: Caller) -> Answer:
        retries = stamina.retry_context(
            on=functools.partial(self._retry, caller),
            attempts=None if self._retry_seconds else 1,
            timeout=self._retry_seconds or None,
            wait_initial=0.2,
            wait_max=_MAX_RETRY_WAIT,
            wait_jitter=0.5,
        )
        async for attempt in retries:
            with attempt:
                return await self._send_authenticated(request, caller)
        raise AssertionError("unreachable")

    def _retry(self, caller: Caller, error: Exception) -> bool | float:
        """Whether the call is tried again, or after how many seconds."""
        if isinstance(error, ThrottledError):
            if error.status is None:  # raised by the budget itself
                return False
            unavailable = isinstance(error, UnavailableError)
            wait = self.budget.throttled(error.retry_after, unavailable=unavailable)
            log.info("throttled", host=self._host, wait_seconds=round(wait, 1))
            is_near = wait <= self._retry_seconds and not _is_spent(caller)
            return max(wait, _MIN_THROTTLED_WAIT) if is_near else False
        return isinstance(error, TransientError) and not _is_spent(caller)

    async def _send_authenticated(self, request: Request, caller: Caller) -> Answer:
        """The answer; with new credentials, once, where the tenant refuses those of an OAuth client."""
        grant = functools.partial(self._grant, caller)
        headers = await self._credentials.headers(grant)
        try:
            return await self._send_once(request, caller, headers)
        except ConfigError as error:
            if error.status != 401 or not self._credentials.refused(headers):
                raise
        return await self._send_once(request, caller, await self._credentials.headers(grant))

    async def _grant(self, caller: Caller, headers: Mapping[str, str]) -> Mapping[str, Any]:
        """The reply with an OAuth token. Raises as `send` does."""
        request = Request("POST", TOKEN_PATH, TOKEN, GRANT, caller.priority)
        with await self._send_once(request, caller, headers) as answer:
            if not isinstance(answer.body, dict) or not answer.body.get("access_token"):
                raise TransientError("The tenant's answer to the OAuth client has no token.", status=200)
            return answer.body

    async def _send_once(self, request: Request, caller: Caller, headers: Mapping[str, str]) -> Answer:
        if _is_spent(caller):
            raise CallsSpentError(caller.max_calls or 0)
        self._hosts.require(self._host)
        await self.budget.acquire(request.priority)
        body, sent = _Body(), True
        try:
            try:
                reply = await self._receive(request, headers, body)
            except HostRefusedError:
                sent = False
                raise
            except GainsightError:
                raise
            except (httpx.TimeoutException, TimeoutError) as error:
                sent = not isinstance(error, _NOT_SENT)
                raise TransientError(f"{self._host} did not answer in time ({request.name}).") from error
            except httpx.InvalidURL as error:
                sent = False
                raise HostRefusedError(f"{self._host} is not an address. Correct the connector's host.") from error
            except (httpx.DecodingError, zlib.error) as error:
                raise TransientError(f"{self._host} sent what does not decompress ({request.name}).") from error
            except (httpx.HTTPError, OSError) as error:
                sent = not isinstance(error, _NOT_SENT)
                if (fault := tls_fault(error)) is not None:
                    raise TransientError(
                        f"{self._host} cannot be trusted ({request.name}): {fault}. Check the connector's host, and "
                        "whether a proxy is before it."
                    ) from error
                raise TransientError(
                    f"{self._host} cannot be reached ({request.name}: {type(error).__name__}). Check the connector's "
                    "host and this machine's way to it."
                ) from error
            except Exception as error:
                where = traceback.extract_tb(error.__traceback__)[-1]
                log.error(
                    "reply_unreadable",
                    host=self._host,
                    call=request.name,
                    cause=type(error).__name__,  # its text may quote what is secret
                    where=f"{where.filename}:{where.lineno}",
                )
                raise TransientError(
                    f"What {self._host} sent cannot be read ({request.name}: {type(error).__name__})."
                ) from error
            finally:
                if sent:
                    caller.calls[request.name] += 1
            bearer = headers.get("authorization", "").startswith("Bearer ")
            size = len(body.content)
            value = await value_of_body(body.content, request)
            body.content = bytearray()
            return Answer(self._read(reply, value, request.name, bearer), size, slot=body.slot)
        except BaseException:
            body.content = bytearray()  # the error's traceback has the body
            body.release()
            raise

    async def _receive(self, request: Request, headers: Mapping[str, str], body: _Body) -> httpx.Response:
        """Reads a reply into `body`, within the time for a whole one; of a failing one, enough to see its cause."""
        loop = asyncio.get_running_loop()
        began = self._clock.monotonic()
        pace: Pace | None = None
        try:
            async with (
                asyncio.timeout(self._reply_seconds) as deadline,
                self._http.stream(
                    request.method, f"{self._host}{request.path}", content=request.content, headers=headers
                ) as reply,
            ):
                self.tenant_clock.update_from_headers(reply.headers)
                self.allowance = allowance_of(reply.headers, self.tenant_clock.seconds())
                self.budget.update_from_headers(*self.allowance)
                async with aclosing(pieces_of(reply, request.name, self._max_reply_bytes)) as pieces:
                    async for piece in pieces:
                        body.content += piece
                        if len(body.content) > LARGE_REPLY_BYTES and reply.status_code != 200:
                            break
                        if len(body.content) > self._max_reply_bytes:
                            raise ReplyTooLargeError(request.name, self._max_reply_bytes)
                        slots, size = self._reply_slots, len(body.content)
                        if slots is None or size <= LARGE_REPLY_BYTES:
                            continue
                        if body.slot is None or (size > slots.heavy_bytes and not body.slot.heavy):
                            ends, waits = deadline.when(), self._clock.monotonic()
                            left = (ends if ends is not None else math.inf) - loop.time()
                            deadline.reschedule(None)
                            if body.slot is None:
                                body.slot = await slots.acquire(self._host)
                                pace = Pace(slots, self._host, body.content, deadline, body.slot)
                            if pace is not None and size > slots.heavy_bytes:
                                await pace.widen()
                            deadline.reschedule(loop.time() + left)
                            began += self._clock.monotonic() - waits
        except BaseException as error:
            if pace is not None:
                pace.end(whole=False)
                if pace.fault is not None and isinstance(error, TimeoutError):
                    raise pace.fault from error
            raise
        if pace is not None:
            pace.end(whole=True)
        took = max(0.0, self._clock.monotonic() - began)
        self.latency = took if self.latency is None else 0.8 * self.latency + 0.2 * took
        return reply

    def _read(self, reply: httpx.Response, body: Any, name: str, bearer: bool) -> Any:
        """The JSON of a success, None for what is no JSON. Raises the error that the table has for anything else."""
        ok = reply.status_code == 200 and isinstance(body, dict)
        ok = ok and (body.get("result") is True or (name == TOKEN and "access_token" in body))
        if ok:
            self.budget.succeeded()
            return body
        if name == TOKEN and reply.status_code in (400, 401, 403):  # RFC 6749, 5.2: 400 is as good as 401 here
            raise error_for(BAD_CLIENT, name, reply.status_code, body)
        if reply.status_code in (200, 400) and is_empty_result(body):
            return {"data": []}
        rule = rule_for(reply.status_code, code_of(body))
        if rule.action is Action.EMPTY:
            return {"data": []}
        retry_after = retry_after_of(reply.headers, self.tenant_clock.seconds())
        if reply.status_code >= 500 and rule.action is Action.RETRY and retry_after is not None:
            rule = UNAVAILABLE
        if bearer and rule.error is BadKeyError:
            rule = BAD_TOKEN
        elif reply.status_code == 200 and body is None:
            rule = NOT_THE_API
        raise error_for(rule, name, reply.status_code, body, retry_after)


def _is_spent(caller: Caller) -> bool:
    return caller.max_calls is not None and sum(caller.calls.values()) >= caller.max_calls
