"""Connectors whose checkpoints are lost: how far each was read, and what was written, found in the raw topic."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from frame_gainsight.kafka import ConsumedRecord
from schemas.raw_topic import LAST_PAGE, PERIOD_END, PERIOD_START, POLL_ID, RawKey, moment

REMEMBERED_MS = 2 * 3_600_000
"""Milliseconds before the cursor from which versions are read back; as live polling remembers them."""
BACKFILLED = "@backfill/"
DELETIONS = "!deletions"
"""In the id of a poll that is a backfill's."""


@dataclass(slots=True)
class Trace:
    """What the raw topic tells of a connector's live polling.

    Attributes:
        start, end: the last period that was written to its end, in milliseconds of the tenant's clock.
        periods: end of a period → offset of its first record, of those that ended after `remembered_from`.
    """

    start: int = 0
    end: int = 0
    periods: deque[tuple[int, int]] = field(default_factory=deque)

    @property
    def remembered_from(self) -> int:
        """The moment from which every version modified is at `raw_offset` or behind it."""
        return max(0, min(self.start, self.end - REMEMBERED_MS))

    @property
    def raw_offset(self) -> int:
        return self.periods[0][1]

    def note(self, start: int, end: int, is_last: bool, offset: int) -> None:
        """Takes in a record of live polling; records come in the topic's order."""
        if not self.periods or end > self.periods[-1][0]:
            self.periods.append((end, offset))
        if is_last and end >= self.end:
            self.start, self.end = start, end
            while len(self.periods) > 1 and self.periods[0][0] < self.remembered_from:
                self.periods.popleft()


def traces(records: Iterable[tuple[RawKey, ConsumedRecord]], without: Collection[str]) -> dict[str, Trace]:
    """Connector → its trace, of those that wrote a period to its end, except for `without`."""
    found: dict[str, Trace] = {}
    for key, record in records:
        if record.value is None and record.header(POLL_ID) is None:  # a purge's tombstone: it begins anew, if ever
            found.pop(key.connector, None)
            continue
        poll_id = record.header(POLL_ID) or BACKFILLED
        # A poll for deletions has a window of its own, which may begin days before what live polling has read.
        if key.connector in without or BACKFILLED in poll_id or poll_id.endswith(DELETIONS):
            continue
        start, end = moment(record.header(PERIOD_START)), moment(record.header(PERIOD_END))
        if start is not None and end is not None and start <= end:
            is_last = record.header(LAST_PAGE) == "true"
            found.setdefault(key.connector, Trace()).note(start, end, is_last, record.offset)
    return {connector: trace for connector, trace in found.items() if trace.end}
