"""Polls for deleted activities, on an interval of their own, from every source that the tenant has."""

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
IDLE_EVERY = DAY  # for a source that names nothing which another does not, or that the tenant does not have


@dataclass(frozen=True, slots=True)
class Deleted:
    """The result of a poll: Gsid → time of deletion in `window`, and how far each source was read (milliseconds)."""

    window: Window
    at: dict[str, int]
    cursors: dict[str, int]
    cursor: int


class DeletionPoller:
    """Reads from the tenant what was deleted. Each source has a cursor of its own, so that none misses anything.

    Which of the sources covers activities is not documented: they are read in turn, one a poll, until one has named
    some; from then on that one is read at every poll, and those that name no others once a day.
    """

    def __init__(self, definition: Definition, client: GainsightClient) -> None:
        self._definition = definition
        self._client = client
        self._absent: dict[str, int] = {}
        self._needed: set[str] = set()
        self._warned = False
        self._chunking = Chunking()

    async def poll(self, checkpoint: Checkpoint, overlap: int, is_known: Callable[[str], bool]) -> Deleted | None:
        """Everything deleted since the last poll, `overlap` milliseconds before it on; None when none is due.

        `is_known`: whether an activity's deletion is written already.
        Raises TransientError: nothing of it counts then, and the next poll reads it again.
        """
        until = checkpoint.cursor
        cursors = {source: checkpoint.deletion_cursors.get(source, checkpoint.deletions_cursor) for source in SOURCES}
        if not any(self._is_due(source, cursors[source], until) for source in SOURCES):
            return None
        oldest = until - LOG_DAYS * DAY
        found: dict[str, int] = {}
        starts = [until]
        for source in sorted(SOURCES, key=lambda s: (s not in self._needed, cursors[s], SOURCES.index(s))):
            if not self._is_due(source, cursors[source], until) or (len(starts) > 1 and not self._needed):
                continue
            start = whole_second(max(cursors[source] - overlap, oldest, 0))
            try:
                named, read_until = await deleted_in(self._client, source, start, until, known_until=cursors[source])
            except (ConfigError, RefusedQueryError) as error:  # its key has just read the timeline
                self._note_absent(source, until, str(error))
                continue
            self._absent.pop(source, None)
            if any(gsid not in found and not is_known(gsid) for gsid in named):
                self._needed.add(source)
            found |= named
            cursors[source] = read_until
            starts.append(start)
        present = [cursors[source] for source in SOURCES if source not in self._absent]
        self._warn_without(present)
        return Deleted(Window(min(starts), until), found, cursors, min(present, default=until))

    async def alive(self, gsids: list[str]) -> set[str]:
        """The activities among these that the tenant has (again)."""
        rows = await fetch_where_in(self._client, required.ACTIVITY, ["Gsid"], "Gsid", gsids, self._chunking)
        return {str(row.get("Gsid")) for row in rows}

    def _is_due(self, source: str, cursor: int, until: int) -> bool:
        if source in self._absent:  # its cursor stays: should the source come, it is read from there
            return until - self._absent[source] >= IDLE_EVERY
        interval = self._definition.deletions_every * 1000
        if self._needed and source not in self._needed:
            interval = max(interval, IDLE_EVERY)
        return until - cursor >= interval

    def _note_absent(self, source: str, until: int, cause: str) -> None:
        if source not in self._absent:
            log.info("deletions_not_reported", connector=self._definition.id, source=source, cause=cause)
        self._absent[source] = until

    def _warn_without(self, present: list[int]) -> None:
        """Warns once of a tenant that has none of the sources."""
        if present or self._warned:
            return
        self._warned = True
        log.warning(
            "no_deletions",
            connector=self._definition.id,
            hint="the tenant reports no deletions to this key: deleted activities keep their conversations",
        )
