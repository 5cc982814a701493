"""Clients for work beside the live one: with calls that give way, or with none at all."""

from __future__ import annotations

import copy
from collections import Counter

from frame_gainsight.gainsight.auth import AccessKey
from frame_gainsight.gainsight.budget import Budget, Priority
from frame_gainsight.gainsight.client import GainsightClient
from frame_gainsight.gainsight.errors import GainsightError
from frame_gainsight.runtime.clock import Clock
from frame_gainsight.runtime.failures import Failure


class NoCallsError(GainsightError):
    """A call would be needed, and none is to be made."""

    failure = Failure.CONFIG


def aside(client: GainsightClient) -> GainsightClient:
    """The same tenant, connections and budget for work whose calls give way to live ones, and are counted apart.

    It is not to be closed, and ends with the client that it is made of.
    """
    other = copy.copy(client)
    other.calls = Counter()
    other._budget = _GivingWay(client._budget)
    return other


def silent(host: str, clock: Clock) -> GainsightClient:
    """A client whose every call raises NoCallsError."""
    return GainsightClient(host, AccessKey(""), _Closed(), clock, retry_seconds=0)


class _Budget:
    """A budget over another one's."""

    def __init__(self, of: Budget) -> None:
        self._of = of

    @property
    def per_minute(self) -> int:
        return self._of.per_minute

    @property
    def per_day(self) -> int:
        return self._of.per_day

    @property
    def left_today(self) -> int:
        return self._of.left_today

    @property
    def spent(self) -> tuple[int, int]:
        return self._of.spent

    def throttled(self, retry_after: float | None) -> float:
        return self._of.throttled(retry_after)

    def told(self, limit: int | None, remaining: int | None, reset: float | None) -> None:
        self._of.told(limit, remaining, reset)

    def succeeded(self) -> None:
        self._of.succeeded()


class _GivingWay(_Budget):
    async def acquire(self, priority: Priority = Priority.LIVE) -> None:
        await self._of.acquire(max(priority, Priority.BACKFILL))


class _Closed:
    per_minute = 0
    per_day = 0
    left_today = 0
    spent = (0, 0)

    async def acquire(self, priority: Priority = Priority.LIVE) -> None:
        raise NoCallsError("Something of it is not known, and no call was to be made.")

    def throttled(self, retry_after: float | None) -> float:
        return 0.0

    def told(self, limit: int | None, remaining: int | None, reset: float | None) -> None:
        """There is no reply that could tell anything."""

    def succeeded(self) -> None:
        """There is no reply."""
