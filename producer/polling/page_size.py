"""The size of the timeline's pages: rows to request, and whether a page that came back shorter is the last one."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from frame_gainsight.gainsight.query import LEAST_CAP

PAGE_BYTES = 64 * 1024 * 1024  # of a decoded reply, at the most
AIM = 0.75  # of that is what the next page is expected to have, since bodies differ
LEAST_ROWS = 2


class PageEnd(Enum):
    """The end of a page: whether rows may follow it, by its length."""

    LAST = "last"  # none follow
    FULL = "full"  # as many rows as requested
    MAY_BE_CAPPED = "may be capped"  # the longest page so far: perhaps the tenant gives no more at once
    LIKELY_CAPPED = "likely capped"  # as long as the longest page so far, again


@dataclass(slots=True)
class PageSize:
    """The rows to request, and the most that the tenant has been seen to give.

    A tenant may cap its pages below what is requested, without saying so. A page that is shorter than an earlier one
    cannot be capped.

    Attributes:
        max_rows: rows, never more than the API takes.
        proven: the most rows that the tenant has been seen to give at once.
        probed_at: when the tenant was last queried for how many it gives; seconds of the steady clock.
    """

    max_rows: int
    proven: int = 0
    probed_at: float | None = None
    _bytes: float = field(default=0.0, init=False)
    _rows: float = field(default=0.0, init=False)

    def limit(self) -> int:
        """Rows to request, so that the reply is likely to fit into PAGE_BYTES."""
        if not self._rows:
            return self.max_rows
        return max(LEAST_ROWS, min(self.max_rows, int(AIM * PAGE_BYTES * self._rows / self._bytes)))

    def received(self, rows: int, size: int) -> None:
        """Counts a page of that many rows and `size` bytes. The last ten thousand rows count most."""
        if rows:
            fade = 0.5 if self._rows > self.max_rows else 1.0
            self._rows = self._rows * fade + rows
            self._bytes = self._bytes * fade + max(size, rows)

    def too_large(self, limit: int) -> None:
        """Halves the rows to request after a reply of up to `limit` rows did not fit, until rows prove smaller."""
        self._rows, self._bytes = limit / 2, AIM * PAGE_BYTES

    def end_of(self, rows: int, limit: int) -> PageEnd:
        """The end of a page of that many rows, of `limit` requested; remembers the longest page."""
        before, self.proven = self.proven, max(self.proven, rows)
        if rows >= limit:
            return PageEnd.FULL
        if rows < max(before, LEAST_CAP):
            return PageEnd.LAST
        return PageEnd.MAY_BE_CAPPED if rows > before else PageEnd.LIKELY_CAPPED
