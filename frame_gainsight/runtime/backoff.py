"""Exponential back-off: the wait after the n-th failure in a row."""

from __future__ import annotations

import random
from dataclasses import dataclass

_MAX_DOUBLINGS = 30  # beyond any longest wait; keeps the power small


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that double with each failure in a row, up to a longest one.

    Args:
        first: seconds after the first failure.
        longest: seconds that no wait exceeds, jitter left out.
        jitter: 0.2 spreads each wait evenly over 80 % to 120 % of itself.
    """

    first: float
    longest: float
    jitter: float = 0.0

    def seconds(self, failures: int) -> float:
        """The wait, in seconds, after this many failures in a row (1 or more)."""
        wait = min(self.longest, self.first * 2.0 ** min(max(failures, 1) - 1, _MAX_DOUBLINGS))
        return wait * random.uniform(1 - self.jitter, 1 + self.jitter) if self.jitter else wait
