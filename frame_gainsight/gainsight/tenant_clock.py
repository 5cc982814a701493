"""The tenant's clock, as the `Date` headers of its replies show it."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from frame_gainsight.runtime.clock import Clock


class TenantClock:
    """The time at one tenant; unknown before a reply with a `Date` header."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset: float | None = None  # seconds from our steady clock to the tenant's time since 1970

    def update_from_headers(self, headers: Mapping[str, str]) -> None:
        """Sets the clock by a reply's `Date`; one that is absent or unreadable changes nothing."""
        try:
            date = parsedate_to_datetime(headers["date"]).timestamp()
        except (KeyError, ValueError, TypeError):
            return
        # The server cuts its Date to the second, so that an earlier reading may be nearer to the truth; but the
        # tenant's clock may have been set back since, and a window that ends too late loses rows.
        self._offset = date - self._clock.monotonic()

    def now(self) -> int | None:
        """Milliseconds since 1970, never ahead of the tenant's clock and never ahead of ours; None while unknown.

        The `Date` of the last reply, cut to the second by the server, plus the time that has passed since.
        """
        return None if self._offset is None else min(int(self.seconds() * 1000), self._clock.now())

    def seconds(self) -> float:
        """Seconds since 1970 by the tenant's clock, or by ours while the tenant's is unknown."""
        return self._clock.now() / 1000 if self._offset is None else self._clock.monotonic() + self._offset

    def skew(self) -> float | None:
        """Seconds that the tenant's clock is ahead of ours, to the second; None while unknown."""
        return None if self._offset is None else self.seconds() - self._clock.now() / 1000
