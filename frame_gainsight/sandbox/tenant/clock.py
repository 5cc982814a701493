"""The tenant's clock: stopped and moved by hand, in real time, or at a chosen speed."""

import time
from collections.abc import Callable
from datetime import datetime

from frame_gainsight.sandbox.query.dates import moment

Wall = Callable[[], int]
"""Epoch milliseconds of the real world; passed in, so that tests can hold it still."""


def system_wall() -> int:
    """The machine's clock, the default `Wall`."""
    return time.time_ns() // 1_000_000


class Clock:
    """A tenant's time in epoch milliseconds: `now = base + (wall - mark) * speed`.

    Speed 0 is a stopped clock.  The tenant serves the state of its data at this time and shows it in the `Date` header.
    """

    def __init__(self, at: str | int | datetime, speed: float = 0.0, wall: Wall = system_wall) -> None:
        self._wall = wall
        self._base = moment(at)
        self._mark = wall()
        self._speed = _checked(speed)

    @classmethod
    def stopped(cls, at: str | int | datetime, wall: Wall = system_wall) -> "Clock":
        """A clock that stands at `at` until somebody moves it."""
        return cls(at, 0.0, wall)

    @classmethod
    def running(cls, at: str | int | datetime, speed: float = 1.0, wall: Wall = system_wall) -> "Clock":
        """A clock that starts at `at` and runs `speed` seconds per real second."""
        return cls(at, speed, wall)

    @classmethod
    def real(cls, wall: Wall = system_wall) -> "Clock":
        """The real world's time."""
        return cls(wall(), 1.0, wall)

    @property
    def speed(self) -> float:
        """Tenant seconds per real second; 0 when stopped."""
        return self._speed

    def now(self) -> int:
        """The tenant's time, epoch milliseconds."""
        return self._base + int((self._wall() - self._mark) * self._speed)

    def advance(self, seconds: float) -> int:
        """Move the clock by `seconds` (also while it runs); returns the new time."""
        return self._jump(self.now() + round(seconds * 1000))

    def set(self, at: str | int | datetime) -> int:
        """Put the clock at `at`, forwards or backwards; returns the new time."""
        return self._jump(moment(at))

    def run(self, speed: float = 1.0) -> None:
        """Let the clock run from its present time at `speed`."""
        self._jump(self.now())
        self._speed = _checked(speed)

    def stop(self) -> None:
        """Hold the clock at its present time."""
        self._jump(self.now())
        self._speed = 0.0

    def _jump(self, at_ms: int) -> int:
        self._mark = self._wall()
        self._base = at_ms
        return at_ms


def _checked(speed: float) -> float:
    if not 0 <= speed <= 1_000_000:
        raise ValueError(f"a clock's speed is between 0 and 1,000,000, not {speed}")
    return float(speed)
