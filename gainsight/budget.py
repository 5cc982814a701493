"""The call budget: our share of the tenant's allowance, in the fixed windows in which the tenant counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from gainsight.clock import Clock
from gainsight.errors import ThrottledError

# Documented for the synchronous API, in fixed windows; a tenant's package may differ.
PER_MINUTE = 100
PER_DAY = 50_000
_PATIENCE = 60.0  # seconds: the shorter window


class Budget(Protocol):
    """Asked before every call, told after every reply."""

    async def acquire(self) -> None:
        """Returns when one more call may be made. Raises ThrottledError when that is more than a minute away."""

    def throttled(self, retry_after: float | None) -> float:
        """The tenant throttled: no call before the returned number of seconds has passed."""


@dataclass
class _Window:
    seconds: int
    limit: int
    index: int = -1
    used: int = 0

    def wait(self, now: float) -> float:
        """Seconds until a call fits; 0 when one fits now."""
        if int(now // self.seconds) != self.index:
            return 0.0
        return 0.0 if self.used < self.limit else (self.index + 1) * self.seconds - now

    def take(self, now: float) -> None:
        index = int(now // self.seconds)
        if index != self.index:
            self.index, self.used = index, 0
        self.used += 1


class CallBudget:
    """A share of the allowance.

    Args:
        share: 0 < share ≤ 1 of the allowance; never less than one call a window.
        clock: its wall clock names the windows.
    """

    def __init__(self, clock: Clock, share: float, per_minute: int = PER_MINUTE, per_day: int = PER_DAY) -> None:
        self._clock = clock
        self._windows = [
            _Window(60, max(1, int(per_minute * share))),
            _Window(86_400, max(1, int(per_day * share))),
        ]
        self._blocked_until = 0.0

    @property
    def used_today(self) -> int:
        day = self._windows[1]
        return day.used if int(self._clock.now() / 1000 // day.seconds) == day.index else 0

    async def acquire(self) -> None:
        while (wait := self._wait()) > 0:
            if wait > _PATIENCE:  # the day's share is spent: nobody waits for that holding a lane
                raise ThrottledError("Our share of the tenant's API allowance is used up for now.", retry_after=wait)
            await self._clock.sleep(wait)
        now = self._clock.now() / 1000
        for window in self._windows:
            window.take(now)

    def throttled(self, retry_after: float | None) -> float:
        now = self._clock.now() / 1000
        wait = retry_after if retry_after is not None else 60 - now % 60
        self._blocked_until = max(self._blocked_until, now + wait)
        return wait

    def _wait(self) -> float:
        now = self._clock.now() / 1000
        return max(self._blocked_until - now, *(window.wait(now) for window in self._windows))
