"""Reading a raw partition in pieces: first for the offset of each key's latest version, then these versions."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import cast

from enricher.activity.raw_record import DataError, Deletion, RawActivity, read
from enricher.replay.latest_offsets import LatestOffsets, VersionStatus
from enricher.replay.model import Scope
from frame_gainsight.kafka import ConsumedRecord, read_to_end
from frame_gainsight.runtime import Settings
from frame_gainsight.runtime.pauses import SLICE_BYTES, Pace
from schemas import Codec
from schemas.raw_topic import connector_of, gsid_of, is_period_marker

TAKEN_BYTES = 16 * 1024 * 1024  # of values, not decoded, that are taken at once
PATIENCE = 10.0  # seconds without any progress of a reading


class PartitionReader:
    """The committed records of a lane in `[start, end)`; `end` None: up to the partition's end as it is when reached.

    Its methods block, and raise BrokerError and TopicError. Any thread may use the object, one at a time.

    Attributes:
        position: the offset behind the records taken; `end` when all are.
    """

    def __init__(self, settings: Settings, lane: int, start: int, end: int | None) -> None:
        self.position = start
        self.end = end
        # Every partition begins at 0 or later; compaction and retention move its beginning past what was once there.
        records = read_to_end(settings, settings.raw_topic, {lane: start or None}, PATIENCE)
        self._given_back: deque[ConsumedRecord] = deque()
        self._records = cast(Generator[ConsumedRecord, None, None], records)

    def take(self, max_records: int) -> list[ConsumedRecord]:
        """The next records; none: there are no more. None is taken behind `TAKEN_BYTES` of values."""
        if self.end is not None and self.position >= self.end:
            return []
        taken, size = [], 0
        for record in islice(self._next(), max_records):
            if self.end is not None and record.offset >= self.end:
                break
            taken.append(record)
            self.position = record.offset + 1
            size += len(record.value or b"")
            if size >= TAKEN_BYTES:
                return taken
        if len(taken) < max_records:
            self.end = self.position = self.end if self.end is not None else self.position
            self.close()
        return taken

    def give_back(self, records: Sequence[ConsumedRecord]) -> None:
        """Lets the last of the records taken be the next ones again."""
        self._given_back.extendleft(reversed(records))
        self.position = records[0].offset

    def _next(self) -> Iterator[ConsumedRecord]:
        while self._given_back:
            yield self._given_back.popleft()
        for record in self._records:  # noqa: UP028 - `yield from` would close it at the end of each taking
            yield record

    @property
    def done(self) -> bool:
        """Whether all records were taken."""
        return self.end is not None and self.position >= self.end

    def close(self) -> None:
        """Closes the consumer."""
        self._records.close()


def index(log: PartitionReader, latest: LatestOffsets, max_records: int) -> int:
    """Puts the offsets of the next records' versions into `latest`; returns the number of records."""
    records = log.take(max_records)
    latest.put((record.key or b"", record.offset) for record in records if not is_period_marker(record.key))
    return len(records)


@dataclass(slots=True)
class Selected:
    """The records to be replayed next: latest versions, in the order of the log.

    Attributes:
        outdated: the same, but a later version is behind the end of the replay.
        rows: the number of records read.
    """

    records: list[ConsumedRecord] = field(default_factory=list)
    outdated: list[ConsumedRecord] = field(default_factory=list)
    rows: int = 0


def select(
    log: PartitionReader,
    latest: LatestOffsets,
    scope: Scope,
    max_records: int,
    max_rows: int,
    without: Collection[str] = (),
) -> Selected:
    """Reads on until `max_records` are selected, `max_rows` are read, or the log ends; `without` some connectors.

    Those selected have `SLICE_BYTES` of values at most, or are one.
    """
    found, size = Selected(), 0
    gsids = frozenset(scope.activities)
    while len(found.records) < max_records and found.rows < max_rows:
        records = log.take(min(max_records - len(found.records), max_rows - found.rows))
        if not records:
            break
        found.rows += len(records)
        for number, record in enumerate(records):
            key = record.key
            if is_period_marker(key) or not scope.has_key(key) or connector_of(key) in without:
                continue
            if gsids and gsid_of(key) not in gsids:
                continue
            status = latest.status(key or b"", record.offset)
            if status is VersionStatus.OLD:
                continue
            size += len(record.value or b"")
            if size > SLICE_BYTES and (found.records or found.outdated):
                log.give_back(records[number:])
                found.rows -= len(records) - number
                return found
            (found.records if status is VersionStatus.LATEST else found.outdated).append(record)
    return found


@dataclass(slots=True)
class Arrived:
    """Selected records decoded: activities by connector, deletions, and those that cannot be read, with the cause."""

    activities: dict[str, list[RawActivity]] = field(default_factory=dict)
    deletions: list[Deletion] = field(default_factory=list)
    unreadable: list[tuple[ConsumedRecord, str]] = field(default_factory=list)


async def decode_batch(codec: Codec, records: Sequence[ConsumedRecord], scope: Scope) -> Arrived:
    """Decodes the selected records within the scope's span of time. Raises RegistryError when the registry fails."""
    arrived, pace = Arrived(), Pace()
    for source in records:
        try:
            arrival = await pace.do(len(source.value or b""), partial(read, codec, source))
        except DataError as error:
            arrived.unreadable.append((source, str(error)))
            continue
        if isinstance(arrival, Deletion) and scope.has_date(arrival):
            arrived.deletions.append(arrival)
        elif isinstance(arrival, RawActivity) and scope.has_date(arrival):
            arrived.activities.setdefault(arrival.connector, []).append(arrival)
    return arrived
