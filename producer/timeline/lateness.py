"""The lateness of rows: measured by how much of the overlap each needed, and the overlap that would be enough."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

# Seconds; a row belongs to the first class that is not below what it needed. The first one is: not late.
CLASSES = (0, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14_400, 28_800, 86_400, 604_800)
QUANTILE = 0.999
ENOUGH_ROWS = 1000  # below which a measurement is not used
FADE_AT = 1_000_000  # rows, after which older ones count half
NEAR = 0.8  # of the overlap: a row that needed as much is a warning

LEAST_AUTO = 300  # seconds
FIRST_AUTO = 3600
MAX_AUTO = 86_400
ROOM = 2  # times the measured quantile


class Lateness:
    """Counts rows by the overlap they needed: seconds from their LastModifiedDate to the cursor when they came.

    A row that needs more than the overlap is never seen: the measurement ends there, which is why the overlap that
    follows it begins wide and keeps twice the room.
    """

    def __init__(self, counts: Sequence[int] = ()) -> None:
        self._counts = [*counts][: len(CLASSES)]
        self._counts += [0] * (len(CLASSES) - len(self._counts))

    @property
    def counts(self) -> list[int]:
        """Rows per class, as the checkpoint keeps them."""
        return list(self._counts)

    def observe(self, needed: float) -> None:
        """Counts a row that is first written; `needed` seconds of the overlap (0 or less: it was not late)."""
        self._counts[min(bisect_left(CLASSES, max(0.0, needed)), len(CLASSES) - 1)] += 1
        if sum(self._counts) > FADE_AT:
            self._counts = [count // 2 for count in self._counts]

    def quantile(self) -> int | None:
        """Seconds within which 99.9 of 100 rows became visible; None while too few were seen."""
        total = sum(self._counts)
        if total < ENOUGH_ROWS:
            return None
        passed = 0
        for seconds, count in zip(CLASSES, self._counts, strict=True):
            passed += count
            if passed >= QUANTILE * total:
                return seconds
        return CLASSES[-1]

    def overlap(self) -> int:
        """The overlap in seconds that follows the measurement, within bounds."""
        measured = self.quantile()
        return FIRST_AUTO if measured is None else max(LEAST_AUTO, min(MAX_AUTO, ROOM * measured))


def enough_for(needed: float) -> str:
    """The overlap to set for rows that needed so many seconds of one, with room, as written in a definition."""
    minutes = -(-int(needed * 1.5) // 60)
    return f"{-(-minutes // 60)}h" if minutes > 120 else f"{max(1, minutes)}m"
