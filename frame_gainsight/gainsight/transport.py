"""The port under the client: one tenant's calls, and what their replies show of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass
from typing import Any, Protocol

from frame_gainsight.gainsight.budget import Budget, CallBudget, Priority
from frame_gainsight.gainsight.errors import NoCallsError
from frame_gainsight.gainsight.rate_headers import Allowance
from frame_gainsight.gainsight.reply_slots import SlotHolder
from frame_gainsight.gainsight.tenant_clock import TenantClock
from frame_gainsight.runtime.clock import Clock


@dataclass(frozen=True, slots=True)
class Request:
    """One call of the API. `name`: the queried object, or the call's own name, for counts and errors."""

    method: str
    path: str
    name: str
    content: bytes
    priority: Priority


@dataclass(slots=True)
class Answer(SlotHolder):
    """A successful reply's JSON.

    Attributes:
        size: bytes of the decoded body.
    """

    body: Any
    size: int


class Caller(Protocol):
    """A client, or a view of one, for which calls are made.

    Attributes:
        calls: object, or name of the call → how often it was sent, failures and retries included. A call for which no
            connection came about was not sent.
        max_calls: sent in all; the next one raises CallsSpentError, and none is retried beyond it. None: no bound.
        priority: of the calls for OAuth tokens.
    """

    calls: Counter[str]
    max_calls: int | None
    priority: Priority


class Transport(ABC):
    """The calls of one tenant, and what their replies show of it; shared by a client and its views.

    Attributes:
        budget: acquired before every call, retries included.
        allowance: as the last reply's headers give it.
        latency: seconds that replies took lately, waiting for a slot left out; None before any.
        has_oauth_client: whether calls are authenticated by an OAuth client, and not by the API access key.
    """

    has_oauth_client = False

    def __init__(self, budget: Budget, clock: Clock) -> None:
        self.budget = budget
        self.tenant_clock = TenantClock(clock)
        self.allowance = Allowance()
        self.latency: float | None = None

    @abstractmethod
    async def send(self, request: Request, caller: Caller) -> Answer:
        """The answer, to be released when its body is no longer needed; what was sent is counted for the caller.

        No row at all is an answer with an empty `data`. Raises GainsightError: TransientError when `retry_seconds` of
        tries did not help, ConfigError when somebody must set something right, RefusedQueryError when the tenant does
        not take the query as such, ReplyTooLargeError when the reply has more than `max_reply_bytes`.
        """

    @abstractmethod
    async def close(self) -> None:
        """Closes the connections, if there are any."""


class OfflineTransport(Transport):
    """A transport whose every call raises NoCallsError."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(CallBudget(clock, 1.0), clock)

    async def send(self, request: Request, caller: Caller) -> Answer:
        raise NoCallsError("Something of it is not known, and no call was to be made.")

    async def close(self) -> None:
        """Nothing is open."""
