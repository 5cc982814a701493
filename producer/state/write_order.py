"""The order in which the rows of one connector were requested and written: the ground on which a row is written."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from producer.state.checkpoint import Checkpoint
from producer.state.seen_versions import Seen, SeenVersions


class WriteOrder:
    """Everything that decides whether a row of one connector goes into the raw topic.

    Live polling, polls for deletions and backfills write in turns (`turn`): a row is judged and written in the same
    one. A reply is stale when the reply to a later request has been written of the same activity, whatever the rows
    of the two say: `begin_request` before the call, `is_stale` before the writing, `end_request` when the reply is
    done with.

    After an error of the writer it may be ahead of what was committed: a transaction that may fail for this connector
    alone is written inside `undone_on_error`.
    """

    def __init__(self, checkpoint: Checkpoint, seen: SeenVersions) -> None:
        self.checkpoint = checkpoint
        self.seen = seen
        self.turn = asyncio.Lock()
        self._last_request = 0
        self._open: set[int] = set()
        self._written_by: dict[str, int] = {}

    @contextmanager
    def undone_on_error(self) -> Iterator[None]:
        """Takes back whatever was noted within, when that raises: nothing of it was committed."""
        checkpoint, written_by, seen = self.checkpoint, dict(self._written_by), self.seen.copy()
        try:
            yield
        except Exception:
            self.checkpoint, self._written_by = checkpoint, written_by
            self.seen.replace(seen)
            raise

    def begin_request(self) -> int:
        """The next request's sequence number."""
        self._last_request += 1
        self._open.add(self._last_request)
        return self._last_request

    def end_request(self, request: int) -> None:
        """Ends a request whose reply is written, or given up."""
        self._open.discard(request)
        if not self._open:  # no reply is under way that could be stale
            self._written_by.clear()

    @property
    def live_from(self) -> int:
        """The moment (milliseconds) before which no window begins, now or later: the past is a backfill's."""
        begun = self.checkpoint.begun
        return max(begun if begun is not None else self.checkpoint.cursor, self.checkpoint.remembered_from or 0)

    def note(self, gsid: str, seen: Seen, request: int) -> None:
        """Remembers a version that live polling writes, and the request that brought it."""
        self.seen.note(gsid, seen)
        self._written_by[gsid] = request

    def note_backfilled(self, gsid: str, request: int) -> None:
        """Remembers that a backfill writes a row, which no window will meet."""
        self._written_by[gsid] = request

    def is_stale(self, gsid: str, request: int) -> bool:
        """Whether the reply to a later request has been written of the activity."""
        return self._written_by.get(gsid, 0) > request
