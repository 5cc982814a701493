"""A raw partition read piece by piece: first where the newest version of each key is, then these versions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar, cast

from enricher.activity.raw_record import DataError, Deletion, RawActivity, read
from enricher.replay.latest_offsets import LatestOffsets, VersionStatus
from enricher.replay.model import Scope
from frame_gainsight.kafka import ConsumedRecord, read_to_end
from frame_gainsight.runtime import Settings
from schemas import Codec
from schemas.raw_topic import is_period_marker

PATIENCE = 10.0  # seconds that Kafka may be silent

_T = TypeVar("_T")


class PartitionReader:
    """The committed records of a lane in `[start, end)`, `end` None: to where the partition ends when it is reached.

    Blocks; may be used by one thread at a time, whichever. Its methods raise BrokerError and TopicError.

    Attributes:
        position: the offset behind what was taken; at the end that is `end`.
    """

    def __init__(self, settings: Settings, lane: int, start: int, end: int | None) -> None:
        self.position = start
        self.end = end
        # Every partition begins at 0 or later; compaction and retention move its beginning past what was once there.
        records = read_to_end(settings, settings.raw_topic, {lane: start or None}, PATIENCE)
        self._records = cast(Generator[ConsumedRecord, None, None], records)

    def take(self, most: int) -> list[ConsumedRecord]:
        """The next records; none: that was the last."""
        if self.end is not None and self.position >= self.end:
            return []
        taken = []
        for record in islice(self._records, most):
            if self.end is not None and record.offset >= self.end:
                break
            taken.append(record)
            self.position = record.offset + 1
        if len(taken) < most:
            self.end = self.position = self.end if self.end is not None else self.position
            self.close()
        return taken

    @property
    def done(self) -> bool:
        return self.end is not None and self.position >= self.end

    def close(self) -> None:
        self._records.close()


def index(log: PartitionReader, newest: LatestOffsets, most: int) -> int:
    """Notes where the versions among the next records are; returns how many records these were."""
    records = log.take(most)
    newest.put((record.key or b"", record.offset) for record in records if not is_period_marker(record.key))
    return len(records)


@dataclass(slots=True)
class Selected:
    """What is to be replayed next: each key's newest version, in the order of the log, out of so many `rows`.

    `outdated` would have been, but something newer is behind the end of what is replayed.
    """

    records: list[ConsumedRecord] = field(default_factory=list)
    outdated: list[ConsumedRecord] = field(default_factory=list)
    rows: int = 0


def select(
    log: PartitionReader, newest: LatestOffsets, scope: Scope, most: int, most_rows: int, without: Collection[str] = ()
) -> Selected:
    """Reads on until there are `most` to replay, `most_rows` are read, or the log ends; `without` some connectors."""
    found = Selected()
    names = frozenset(scope.activities)
    while len(found.records) < most and found.rows < most_rows:
        records = log.take(min(most - len(found.records), most_rows - found.rows))
        if not records:
            break
        found.rows += len(records)
        for record in records:
            if is_period_marker(record.key) or not scope.has_key(record.key) or connector_of(record) in without:
                continue
            if names and name_of(record) not in names:
                continue
            place = newest.place(record.key or b"", record.offset)
            if place is VersionStatus.NEWEST:
                found.records.append(record)
            elif place is VersionStatus.OUTDATED:
                found.outdated.append(record)
    return found


@dataclass(slots=True)
class Arrived:
    """Selected records told apart: activities by connector, deletions, and those that do not read, with the cause."""

    activities: dict[str, list[RawActivity]] = field(default_factory=dict)
    deletions: list[Deletion] = field(default_factory=list)
    unreadable: list[tuple[ConsumedRecord, str]] = field(default_factory=list)


def decode_batch(codec: Codec, records: Sequence[ConsumedRecord], scope: Scope) -> Arrived:
    """What of selected records is in the scope's span. Raises RegistryError while the schema registry is away."""
    arrived = Arrived()
    for source in records:
        try:
            arrival = read(codec, source)
        except DataError as error:
            arrived.unreadable.append((source, str(error)))
            continue
        if isinstance(arrival, Deletion) and scope.has_date(arrival):
            arrived.deletions.append(arrival)
        elif isinstance(arrival, RawActivity) and scope.has_date(arrival):
            arrived.activities.setdefault(arrival.connector, []).append(arrival)
    return arrived


def connector_of(record: ConsumedRecord) -> str:
    """The connector in a raw record's key."""
    return (record.key or b"").decode("utf-8", "replace").partition("/")[0]


def name_of(record: ConsumedRecord) -> str:
    """The activity's Gsid in a raw record's key."""
    return (record.key or b"").decode("utf-8", "replace").partition("/")[2]


async def in_thread(work: Callable[[], _T]) -> _T:
    """Runs it in a thread; when cancelled, only after its end, so that nobody uses its things meanwhile."""
    running = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise
