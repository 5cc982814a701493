"""What a connector's owner knows that it wrote: the ground on which a row is written, or left out."""

from __future__ import annotations

import asyncio

from producer.state.checkpoint import Checkpoint
from producer.state.seen_versions import Seen, SeenVersions


class WriteOrder:
    """Everything that decides whether a row of one connector goes into the raw topic.

    Live polling, the look for deletions and backfills write in turns (`turn`): a row is judged and written in the same
    one. An answer is stale when the answer to a later question has been written of the same activity, whatever the
    two say: `ask` before the question, `is_stale` before the writing, `settle` when the answer is done with.

    After an error of the writer it is not to be used again: it may be ahead of what was committed.
    """

    def __init__(self, checkpoint: Checkpoint, overlap: SeenVersions) -> None:
        self.checkpoint = checkpoint
        self.overlap = overlap
        self.turn = asyncio.Lock()
        self._stamp = 0
        self._open: set[int] = set()
        self._recent: dict[str, int] = {}

    def ask(self) -> int:
        """A stamp of now, for a question about to be asked."""
        self._stamp += 1
        self._open.add(self._stamp)
        return self._stamp

    def settle(self, stamp: int) -> None:
        """What was asked at that moment is written, or given up."""
        self._open.discard(stamp)
        if not self._open:  # no answer is under way that could be stale
            self._recent.clear()

    @property
    def live_from(self) -> int:
        """No window begins before this moment (milliseconds), now or later: the past is a backfill's."""
        begun = self.checkpoint.begun
        return max(begun if begun is not None else self.checkpoint.cursor, self.checkpoint.remembered_from or 0)

    def note(self, gsid: str, seen: Seen, stamp: int) -> None:
        """Remembers what live polling is writing, and the question that it answers."""
        self.overlap.note(gsid, seen)
        self._recent[gsid] = stamp

    def note_past(self, gsid: str, stamp: int) -> None:
        """Remembers that a backfill is writing a row, which no window will meet."""
        self._recent[gsid] = stamp

    def is_stale(self, gsid: str, stamp: int) -> bool:
        """Whether the answer to a question asked later has been written of the activity."""
        return self._recent.get(gsid, 0) > stamp
