"""Windowing: a batch of raw records is complete at its periods' markers, at a size limit, or after a short linger.

The module is pure: a record's poll is in its headers, and time is passed in. However records are split into batches,
the conversations are the same; whole windows only need fewer calls.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from frame_gainsight.kafka import ConsumedRecord
from schemas.raw_topic import POLL_ID, is_period_marker

# A batch that keeps growing is complete after this many lingers, whatever arrives.
MAX_LINGERS = 5
BATCH_BYTES = 6 * 1024 * 1024  # JSON in memory may take twenty times its length


@dataclass(slots=True)
class WindowPolicy:
    """Decides when a batch is complete.

    Args:
        size: the most records of a batch.
        most_bytes: the most bytes of a batch's keys and values; one record may have more.
        linger: seconds after the last record that an open window's marker is waited for.
    """

    size: int
    linger: float
    most_bytes: int = BATCH_BYTES
    _bytes: int = 0
    _count: int = 0
    _open: set[str] = field(default_factory=set)
    _first: float = 0.0
    _last: float = 0.0

    def add(self, record: ConsumedRecord, now: float) -> None:
        """Adds a record to the batch; `now` in seconds of a steady clock."""
        if not self._count:
            self._first = now
        self._count += 1
        self._bytes += len(record.key or b"") + len(record.value or b"")
        self._last = now
        poll = record.header(POLL_ID) or ""
        if is_period_marker(record.key):
            self._open.discard(poll)
        else:
            self._open.add(poll)

    def wait(self, now: float) -> float | None:
        """Seconds that the next record may still be waited for; 0: the batch is complete; None: the batch is empty."""
        if not self._count:
            return None
        if not self._open or self._count >= self.size or self._bytes >= self.most_bytes:
            return 0.0
        until = min(self._last + self.linger, self._first + MAX_LINGERS * self.linger)
        return max(0.0, until - now)
