"""The call budget: our share of the tenant's allowance, in the fixed windows in which the tenant counts."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from typing import Protocol

from frame_gainsight.gainsight.errors import ThrottledError
from frame_gainsight.runtime.backoff import Backoff
from frame_gainsight.runtime.clock import Clock

# Documented for the synchronous API, in fixed windows; a tenant's package may differ.
PER_MINUTE = 100
PER_DAY = 50_000
_MINUTE = 60.0
_DAY = 86_400.0
_MAX_WAIT = _MINUTE  # seconds: the shorter window
_THROTTLED = Backoff(first=_MINUTE, longest=3600.0)


class Priority(IntEnum):
    """How urgent a call is; the lower number goes first."""

    LIVE = 0
    BACKFILL = 1


class Budget(Protocol):
    """A share of the tenant's allowance: acquired before every call, updated from every reply."""

    @property
    def per_minute(self) -> int:
        """Calls in our share of a minute."""

    @property
    def per_day(self) -> int:
        """Calls in our share of a day."""

    @property
    def left_today(self) -> int:
        """Calls in our share of the day that are not made yet."""

    @property
    def spent(self) -> tuple[int, int]:
        """Today's number (days since 1970, UTC) and the calls made in it; to be kept over a restart."""

    async def acquire(self, priority: Priority = Priority.LIVE) -> None:
        """Returns when one more call may be made. Raises ThrottledError when that is more than a minute away."""

    def throttled(self, retry_after: float | None, *, unavailable: bool = False) -> float:
        """Notes that the tenant throttled a call; returns the seconds before which no call is made.

        Args:
            retry_after: seconds that the tenant gave for the wait; None where it gave none.
            unavailable: it is not the allowance that is used up: the tenant's server is not available.
        """

    def update_from_headers(self, limit: int | None, remaining: int | None, reset: float | None) -> None:
        """Takes in a reply's headers about the tenant's allowance; None for what they do not give.

        Args:
            limit: calls of a window.
            remaining: calls of it that are left, after those of other callers too.
            reset: seconds until the window ends.
        """

    def succeeded(self) -> None:
        """Notes that a call succeeded."""


@dataclass(slots=True)
class _Window:
    """A fixed window in which the tenant counts calls.

    Attributes:
        limit: calls of it that are ours.
        reserve: calls of it that a backfill leaves for live ones.
        remaining: calls of it that are left by the tenant's headers, others' calls being counted too; None: not given.
    """

    seconds: int
    limit: int
    reserve: int
    index: int = -1
    used: int = 0
    remaining: int | None = None

    def turn(self, now: float) -> None:
        """Begins a new window when the last one is over."""
        index = int(now // self.seconds)
        if index != self.index:
            self.index, self.used, self.remaining = index, 0, None

    def wait(self, now: float, priority: Priority) -> float:
        """Seconds until a call fits; 0 when one fits now."""
        self.turn(now)
        left = self.limit - self.used
        if self.remaining is not None:
            left = min(left, self.remaining)
        reserve = self.reserve if priority is Priority.BACKFILL else 0
        return 0.0 if left > reserve else (self.index + 1) * self.seconds - now

    def go_on(self, before: _Window) -> None:
        """Counts the calls that were counted in `before`, where that is of the same time."""
        if before.index > self.index:
            self.index, self.used, self.remaining = before.index, before.used, before.remaining
        elif before.index == self.index:
            self.used, self.remaining = max(self.used, before.used), before.remaining

    def take(self, now: float) -> None:
        """Counts one call."""
        self.turn(now)
        self.used += 1
        if self.remaining is not None:
            self.remaining -= 1


class CallBudget:
    """A share of the allowance. Live calls go before a backfill's, which leave some of each window for them.

    Args:
        share: 0 < share ≤ 1 of the allowance; never less than one call a window.
        clock: its wall clock names the windows.
        per_minute, per_day: the tenant's allowance.
        spent_today: `spent` of an earlier process; ignored when that day is over.
        after: the budget that this one replaces in the process: its calls, and its waits, are this one's too.
    """

    def __init__(
        self,
        clock: Clock,
        share: float,
        per_minute: int = PER_MINUTE,
        per_day: int = PER_DAY,
        spent_today: tuple[int, int] | None = None,
        after: CallBudget | None = None,
    ) -> None:
        self._clock = clock
        minute, day = _part(per_minute, share), _part(per_day, share)
        self._minute = _Window(60, minute, max(1, minute // 20) if minute > 1 else 0)
        self._day = _Window(86_400, day, day // 10)
        self._day.turn(self._now())
        if spent_today is not None and spent_today[0] == self._day.index:
            self._day.used = max(0, spent_today[1])
        # By the steady clock: a wall clock that is set back must not lengthen them.
        self._blocked_until = -math.inf  # by the tenant's `Retry-After` or reset
        self._unavailable = False  # whether it is so since the tenant's server is not available
        self._throttled_until = -math.inf  # throttled without a time
        self._throttlings = 0
        if after is not None:
            self._minute.go_on(after._minute)
            self._day.go_on(after._day)
            self._blocked_until, self._throttled_until = after._blocked_until, after._throttled_until
            self._throttlings = after._throttlings
        self._lines: dict[Priority, deque[asyncio.Future[None]]] = {p: deque() for p in Priority}
        self._waker: asyncio.Task[None] | None = None
        self._wakes_at = 0.0

    @property
    def per_minute(self) -> int:
        return self._minute.limit

    @property
    def per_day(self) -> int:
        return self._day.limit

    @property
    def left_today(self) -> int:
        return max(0, self._day.limit - self.spent[1])

    @property
    def spent(self) -> tuple[int, int]:
        self._day.turn(self._now())
        return self._day.index, self._day.used

    async def acquire(self, priority: Priority = Priority.LIVE) -> None:
        turn = asyncio.get_running_loop().create_future()
        line = self._lines[priority]
        line.append(turn)
        self._dispatch()
        try:
            await turn
        except asyncio.CancelledError:
            if turn in line:
                line.remove(turn)
                self._dispatch()
            elif not turn.cancelled():
                turn.exception()  # retrieved: else the loop logs it as lost
            raise

    def throttled(self, retry_after: float | None, *, unavailable: bool = False) -> float:
        """Notes that the tenant throttled a call; returns the seconds before which no call is made.

        Without `retry_after` the wait lasts until the minute's end, then 2, 4, 8 … minutes up to an hour until a call
        succeeds: what is used up may be the day's allowance.
        """
        steady = self._clock.monotonic()
        if retry_after is not None:
            if steady + retry_after >= self._blocked_until:
                self._blocked_until, self._unavailable = steady + retry_after, unavailable
        elif steady >= max(self._blocked_until, self._throttled_until):  # else a call that was under way before it
            self._throttlings += 1
            is_first = self._throttlings == 1
            wait = _MINUTE - self._now() % _MINUTE if is_first else _THROTTLED.seconds(self._throttlings)
            self._throttled_until = steady + wait
        return max(0.0, self._blocked_until - steady, self._throttled_until - steady)

    def update_from_headers(self, limit: int | None, remaining: int | None, reset: float | None) -> None:
        """Makes our share smaller where the tenant has fewer calls left; never larger.

        The window of `limit` is not documented: `limit` only shows which `remaining` makes no sense.
        """
        if remaining is None or remaining < 0 or (limit is not None and remaining > limit > 0):
            return
        now = self._now()
        self._minute.turn(now)
        if remaining == 0 and reset is not None:
            steady = self._clock.monotonic()
            if (until := steady + min(max(0.0, reset), _DAY)) > self._blocked_until:
                self._blocked_until, self._unavailable = until, False
        else:
            self._minute.remaining = remaining
        if any(self._lines.values()):
            self._dispatch()

    def succeeded(self) -> None:
        self._throttlings = 0

    def _now(self) -> float:
        return self._clock.now() / 1000

    def _waits(self, priority: Priority) -> dict[str, float]:
        """Seconds until a call of this priority fits, were it the first in line, by the cause of the wait."""
        now, steady = self._now(), self._clock.monotonic()
        return {
            "day": self._day.wait(now, priority),
            "minute": self._minute.wait(now, priority),
            "tenant": self._blocked_until - steady,
            "throttled": self._throttled_until - steady,
        }

    def _dispatch(self) -> None:
        """Lets the calls go that fit, fails those that would wait too long, and schedules a wake-up for the others."""
        soonest: float | None = None
        for priority, line in self._lines.items():
            while line:
                if line[0].done():  # cancelled
                    line.popleft()
                    continue
                waits = self._waits(priority)
                wait = max(waits.values())
                if wait > _MAX_WAIT:
                    line.popleft().set_exception(self._used_up(priority, max(waits, key=waits.__getitem__), wait))
                elif wait > 0:
                    soonest = wait if soonest is None else min(soonest, wait)
                    break
                else:
                    now = self._now()
                    self._minute.take(now)
                    self._day.take(now)
                    line.popleft().set_result(None)
            if line:
                break  # a call of a lower priority neither goes before these nor fails before them
        self._wake_in(soonest)

    def _wake_in(self, wait: float | None) -> None:
        """Schedules the one sleep for all waiting calls; none when no call waits."""
        at = None if wait is None else self._clock.monotonic() + wait
        if self._waker is not None and (at is None or at < self._wakes_at):
            self._waker.cancel()
            self._waker = None
        if wait is not None and at is not None and self._waker is None:
            self._wakes_at = at
            self._waker = asyncio.create_task(self._wake(wait))

    async def _wake(self, wait: float) -> None:
        try:
            await self._clock.sleep(wait)
        except BaseException as error:
            if self._waker is asyncio.current_task():  # not replaced: waiting calls must not wait for ever
                self._waker = None
                for turn in (turn for line in self._lines.values() for turn in line if not turn.done()):
                    turn.set_exception(error) if isinstance(error, Exception) else turn.cancel()
            if not isinstance(error, Exception):
                raise
            return
        self._waker = None
        self._dispatch()

    def _used_up(self, priority: Priority, cause: str, wait: float) -> ThrottledError:
        until = f"until {_utc(self._now() + wait)}"
        share = self._minute.limit if cause == "minute" else self._day.limit
        if cause == "tenant" and self._unavailable:
            text = f"The tenant's server is not available, and says that it is not to be called {until}"
        elif cause == "tenant":
            text = f"The tenant allows no call {until}, its API allowance being used up"
        elif cause == "throttled":
            text = f"The tenant throttles without saying for how long: no call {until}"
        elif priority is Priority.BACKFILL and cause == "day" and self._day.used < self._day.limit:
            part = self._day.limit - self._day.reserve
            text = (
                f"The backfills' part ({part:,}) of the connector's share of the day's API calls ({share:,}) is used "
                f"up {until}"
            )
        else:
            text = f"The connector's share of the {cause}'s API calls ({share:,}) is used up {until}"
        goes_on = "the backfill goes on then" if priority is Priority.BACKFILL else "polling goes on then"
        return ThrottledError(f"{text}; {goes_on} and misses nothing.", retry_after=wait)


def _part(allowance: int, share: float) -> int:
    return max(1, math.floor(allowance * share + 1e-9))  # 100 × 0.29 is a little less than 29


def _utc(at: float) -> str:
    """The time of day, to the minute that has passed by then."""
    return datetime.fromtimestamp(math.ceil(at / _MINUTE) * _MINUTE, UTC).strftime("%H:%M UTC")
