"""The tenant's allowance: fixed windows of calls per minute and per day, shared with other integrations."""

from dataclasses import dataclass

from frame_gainsight.sandbox.query.dates import DAY, MINUTE
from frame_gainsight.sandbox.tenant.clock import Wall


@dataclass(frozen=True, slots=True)
class Limits:
    """Synchronous calls that the tenant allows; None is no limit."""

    per_minute: int | None = 100
    per_day: int | None = 50_000


@dataclass(frozen=True, slots=True)
class Spent:
    """What a call found: whether it may go on, how many are left and when the exhausted window ends (seconds)."""

    allowed: bool
    limit: int
    remaining: int
    reset: int


class Windows:
    """Counts calls in fixed windows of the wall clock (not the tenant's, which tests move at will)."""

    def __init__(self, wall: Wall) -> None:
        self._wall = wall
        self._minute = (-1, 0)
        self._day = (-1, 0)

    def spend(self, limits: Limits, others: int = 0) -> Spent:
        """Take one call from the allowance; a refused call takes nothing.  `others` are spent by others each minute."""
        now = self._wall()
        minute = self._current(self._minute, now // MINUTE)
        day = self._current(self._day, now // DAY)
        free_minute = _free(limits.per_minute, minute + others)
        free_day = _free(limits.per_day, day + others)
        to_minute, to_day = 60 - now // 1000 % 60, (DAY - now % DAY) // 1000
        allowed = free_minute > 0 and free_day > 0
        if allowed:
            minute, day = minute + 1, day + 1
        self._minute, self._day = (now // MINUTE, minute), (now // DAY, day)
        reset = to_day if free_day <= 0 else to_minute
        return Spent(allowed, limits.per_minute or 0, max(0, min(free_minute, free_day) - allowed), max(1, reset))

    @staticmethod
    def _current(window: tuple[int, int], number: int) -> int:
        return window[1] if window[0] == number else 0


def _free(limit: int | None, used: int) -> int:
    return 1 << 30 if limit is None else limit - used
