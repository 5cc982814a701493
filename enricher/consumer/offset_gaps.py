"""Offset gaps: what was fetched of a partition, and where two fetches do not join. Pure.

Offsets are missing wherever a transaction ended, was aborted, or records were compacted. Whether a record lies in a gap
between two fetches, only the log knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from frame_gainsight.kafka import ConsumedRecord


class GapError(Exception):
    """Records were skipped: the lane must not go on, and nothing is committed."""


@dataclass(slots=True)
class FetchedRange:
    """A partition's records of a batch, in order.

    Attributes:
        begin: the offset that the first fetch began at; None: unknown.
        position: the offset up to which the log was read: behind the last record there may be transaction markers.
        gaps: (expected offset, received offset) wherever a fetch did not begin where the one before had ended.
    """

    begin: int | None = None
    position: int = 0
    records: list[ConsumedRecord] = field(default_factory=list)
    gaps: list[tuple[int, int]] = field(default_factory=list)

    def add(self, begin: int | None, fetched: Sequence[ConsumedRecord], end: int | None) -> None:
        """Adds the records of a fetch from offset `begin` to `end`; None: unknown."""
        if self.records:
            fetched = [r for r in fetched if r.offset >= self.position]  # the client may have gone back
            if fetched and (begin is None or begin > self.position):
                self.gaps.append((self.position, fetched[0].offset))
        else:
            self.begin = begin
        self.records.extend(fetched)
        self.position = max(self.position, self.records[-1].offset + 1, end or 0)

    def gaps_after(self, position: int) -> list[tuple[int, int]]:
        """The gaps behind `position`, up to which the lane had been read; one in front of the range comes first."""
        gaps = [(max(expected, position), received) for expected, received in self.gaps if received > position]
        first = self.records[0].offset
        if first > position and (self.begin is None or self.begin > position):
            gaps.insert(0, (position, first))
        return gaps
