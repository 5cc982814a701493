"""Looking for deleted activities, on a beat of its own, by every way that the tenant has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from frame_gainsight.connectors import Definition
from frame_gainsight.connectors.columns import required
from frame_gainsight.gainsight import ConfigError, GainsightClient, RefusedQueryError, whole_second
from frame_gainsight.gainsight.batch_query import Chunking, fetch_where_in
from frame_gainsight.gainsight.delete_log import LOG_DAYS, SOURCES, deleted_in
from producer.timeline.window import Window

if TYPE_CHECKING:
    from producer.state.checkpoint import Checkpoint

log = structlog.get_logger(__name__)

DAY = 86_400_000
IDLE_EVERY = DAY  # a way that names nothing which another does not, or that the tenant does not have


@dataclass(frozen=True, slots=True)
class Deleted:
    """What a look found: Gsid → time of deletion in `window`, and how far each way has been asked (milliseconds)."""

    window: Window
    at: dict[str, int]
    cursors: dict[str, int]
    cursor: int


class DeletionPoller:
    """Asks the tenant what was deleted. Each way has a cursor of its own, so that none misses what another was asked.

    Which of the ways covers activities is not documented: they are asked in turn, one a look, until one has named
    some; from then on it is asked at every look, and those that name no others once a day.
    """

    def __init__(self, definition: Definition, client: GainsightClient) -> None:
        self._definition = definition
        self._client = client
        self._absent: dict[str, int] = {}
        self._needed: set[str] = set()
        self._told_none = False
        self._chunking = Chunking()

    async def look(self, checkpoint: Checkpoint, overlap: int, is_known: Callable[[str], bool]) -> Deleted | None:
        """Everything deleted since the last look, `overlap` milliseconds before it on; None when it is not time.

        `is_known`: whether an activity's deletion is written already.
        Raises TransientError: nothing of it counts then, and the next poll asks again.
        """
        until = checkpoint.cursor
        cursors = {way: checkpoint.deletion_cursors.get(way, checkpoint.deletions_cursor) for way in SOURCES}
        if not any(self._is_due(way, cursors[way], until) for way in SOURCES):
            return None
        oldest = until - LOG_DAYS * DAY
        found: dict[str, int] = {}
        starts = [until]
        for way in sorted(SOURCES, key=lambda w: (w not in self._needed, cursors[w], SOURCES.index(w))):
            if not self._is_due(way, cursors[way], until) or (len(starts) > 1 and not self._needed):
                continue
            start = whole_second(max(cursors[way] - overlap, oldest, 0))
            try:
                named = await deleted_in(self._client, way, start, until)
            except (ConfigError, RefusedQueryError) as error:  # its key has just read the timeline
                self._miss(way, until, str(error))
                continue
            self._absent.pop(way, None)
            if any(gsid not in found and not is_known(gsid) for gsid in named):
                self._needed.add(way)
            found |= named
            cursors[way] = until
            starts.append(start)
        present = [cursors[way] for way in SOURCES if way not in self._absent]
        self._tell(present)
        return Deleted(Window(min(starts), until), found, cursors, min(present, default=until))

    async def alive(self, gsids: list[str]) -> set[str]:
        """Those of the activities that the tenant has (again)."""
        rows = await fetch_where_in(self._client, required.ACTIVITY, ["Gsid"], "Gsid", gsids, self._chunking)
        return {str(row.get("Gsid")) for row in rows}

    def _is_due(self, way: str, cursor: int, until: int) -> bool:
        if way in self._absent:  # its cursor stays: should it come, it is asked from there
            return until - self._absent[way] >= IDLE_EVERY
        beat = self._definition.deletions_every * 1000
        if self._needed and way not in self._needed:
            beat = max(beat, IDLE_EVERY)
        return until - cursor >= beat

    def _miss(self, way: str, until: int, cause: str) -> None:
        if way not in self._absent:
            log.info("deletions_not_told", connector=self._definition.id, way=way, cause=cause)
        self._absent[way] = until

    def _tell(self, present: list[int]) -> None:
        if present or self._told_none:
            return
        self._told_none = True
        log.warning(
            "no_deletions",
            connector=self._definition.id,
            hint="the tenant tells this key of no deletions: deleted activities keep their conversations",
        )
