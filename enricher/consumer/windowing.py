"""When a batch of raw records is complete: at the periods' markers, at a size limit, or after a short linger.

Pure: period and poll are headers of the records, and time is passed in. However records are split into batches, the
conversations are the same; whole periods only mean fewer calls.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from frame_gainsight.kafka import ConsumedRecord
from schemas.raw_topic import is_period_marker

# A batch that keeps growing closes after this many lingers, whatever arrives.
LONGEST_LINGERS = 5


@dataclass(slots=True)
class WindowPolicy:
    """Tells when to stop adding to a batch.

    Args:
        size: records.
        linger: seconds since the last record that an open period's marker is waited for.
    """

    size: int
    linger: float
    _count: int = 0
    _open: set[str] = field(default_factory=set)
    _first: float = 0.0
    _last: float = 0.0

    def add(self, record: ConsumedRecord, now: float) -> None:
        """Takes a record into account; `now` in seconds of a steady clock."""
        if not self._count:
            self._first = now
        self._count += 1
        self._last = now
        poll = record.header("poll_id") or ""
        if is_period_marker(record.key):
            self._open.discard(poll)
        else:
            self._open.add(poll)

    def wait(self, now: float) -> float | None:
        """Seconds that the next record may still be waited for; 0: the batch is complete; None: it is empty."""
        if not self._count:
            return None
        if not self._open or self._count >= self.size:
            return 0.0
        until = min(self._last + self.linger, self._first + LONGEST_LINGERS * self.linger)
        return max(0.0, until - now)
