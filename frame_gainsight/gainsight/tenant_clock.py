"""The tenant's clock, as the `Date` headers of its replies show it."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from frame_gainsight.gainsight.rate_headers import http_date
from frame_gainsight.runtime.clock import Clock

MAX_AHEAD = 900.0  # seconds ahead of ours up to which the tenant's clock is followed: a wrong Date would miss rows
ABSURD = 10 * 31_557_600.0  # seconds of difference from ours that no clock has
_LATEST = 7_258_118_400.0  # 2200: what is later, or before 1970, is no time
_REPLIES = 4  # the last ones, whose earliest time counts as far as it is ahead of ours


class TenantClock:
    """The time at one tenant; unknown before a reply with a `Date` header."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # Seconds from our steady clock to the tenant's time since 1970, by each of the last replies.
        self._offsets: deque[float] = deque(maxlen=_REPLIES)

    def update_from_headers(self, headers: Mapping[str, str]) -> None:
        """Sets the clock by a reply's `Date`; one that is absent or unreadable changes nothing."""
        date = http_date(headers.get("date"))
        if date is not None and 0 <= date < _LATEST:
            # The server cuts its Date to the second, so that an earlier reading may be nearer to the truth; but the
            # tenant's clock may have been set back since, and a window that ends too late loses rows.
            self._offsets.append(date - self._clock.monotonic())

    def now(self) -> int | None:
        """Milliseconds since 1970, never ahead of the tenant's clock; None while unknown.

        The `Date` of the last reply, cut to the second by the server, plus the time that has passed since. Ahead of our
        clock it is only by as much as all of the last replies are, so that one wrong `Date` leads to no later time, and
        not at all where that is more than MAX_AHEAD.
        """
        if not self._offsets:
            return None
        ours, steady = self._clock.now(), self._clock.monotonic()
        last, least = (int((steady + offset) * 1000) for offset in (self._offsets[-1], min(self._offsets)))
        ahead = ours if least - ours > MAX_AHEAD * 1000 else max(ours, least)
        return min(last, ahead)

    def seconds(self) -> float:
        """Seconds since 1970 by the tenant's clock, or by ours while the tenant's is unknown."""
        return self._clock.monotonic() + self._offsets[-1] if self._offsets else self._clock.now() / 1000

    def skew(self) -> float | None:
        """Seconds that the tenant's clock is ahead of ours, to the second; None while unknown."""
        return self.seconds() - self._clock.now() / 1000 if self._offsets else None


def span(seconds: float) -> str:
    """A time for people: in the largest unit of which there are two."""
    for unit, size in (("years", 31_557_600), ("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
