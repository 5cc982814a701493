"""A lane: one partition of the raw topic within one assignment, what it was given, and where it stands.

Knows nothing of how records are consumed. Why each piece is as it is: docs/exactly-once.md.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Protocol

import structlog
from aiokafka import TopicPartition

from enricher.consumer.transaction import TransactionalPublisher, deadline
from frame_gainsight.kafka import ConsumedRecord, ProducerRecord, end_offset, first_between
from frame_gainsight.runtime import BrokerError, Settings

log = structlog.get_logger(__name__)

LOOK_SECONDS = 60.0  # between looks whether records wait that the client does not give


class LaneWork(Protocol):
    """What is driven for each lane. One batch after the other."""

    def restore(self, position: int) -> None:
        """Reads the lane's state. May block; called after the lane's earlier owner was fenced.

        Args:
            position: offset of the first record that batches will bring.
        """

    async def handle(self, records: Sequence[ConsumedRecord]) -> list[ProducerRecord]:
        """The records to publish for a batch of the lane."""

    async def spare(self) -> Callable[[], list[ProducerRecord]] | None:
        """A bounded piece of work beside the batches; None: nothing to do now.

        What it returns gives the records to publish, and is called when no batch is in hand: it leaves out what batches
        have made obsolete meanwhile.
        """

    def committed(self, records: Sequence[ConsumedRecord], outputs: Sequence[ProducerRecord], seconds: float) -> None:
        """Told of each transaction: the batch that it settled (none: spare work), its outputs, how long it took."""

    async def close(self) -> None:
        """Ends what is under way beside the batches; the lane is not used again."""

    @property
    def parked(self) -> int:
        """How much is set aside."""


@dataclass(slots=True)
class FetchedRange:
    """A partition's records of a batch, in order.

    Attributes:
        begin: the offset that the reading began at; None: it is not known.
        came_to: the offset up to which the log was read: behind the last record there may be markers.
        leaps: where it did not go on from where it had come to: that offset, and the one of the next record.
    """

    begin: int | None = None
    came_to: int = 0
    records: list[ConsumedRecord] = field(default_factory=list)
    leaps: list[tuple[int, int]] = field(default_factory=list)

    def add(self, begin: int | None, fetched: Sequence[ConsumedRecord], end: int | None) -> None:
        """Takes the records that a reading from `begin` to `end` gave; None: that is not known."""
        if self.records:
            fetched = [r for r in fetched if r.offset >= self.came_to]  # should it have gone back
            if fetched and (begin is None or begin > self.came_to):
                self.leaps.append((self.came_to, fetched[0].offset))
        else:
            self.begin = begin
        self.records.extend(fetched)
        self.came_to = max(self.came_to, self.records[-1].offset + 1, end or 0)


class GapError(Exception):
    """Records were passed over: the lane must not go on, and nothing is committed."""


class StalledError(Exception):
    """Records wait in the log, and the client does not give them."""


class LostPositionError(Exception):
    """The group's position is gone: going on would repeat what is published."""


class Lane:
    """One input partition within one assignment: its publisher, its work, and where it stands."""

    def __init__(
        self, settings: Settings, publisher: TransactionalPublisher, work: LaneWork, tp: TopicPartition, position: int
    ) -> None:
        self._settings = settings
        self._publisher = publisher
        self._work = work
        self._tp = tp
        self._position = position
        self._came_to = position  # the log was read up to here: behind the position there may be markers
        self._looked = monotonic()
        self._unread: tuple[int, int] | None = None
        self._busy = asyncio.Lock()
        self._closed = False
        self._sparing = asyncio.create_task(self._spare(), name=f"lane-{tp.partition}-spare")

    @staticmethod
    async def open(
        settings: Settings,
        group: str,
        tp: TopicPartition,
        work: LaneWork,
        committed: Callable[[], Awaitable[int | None]],
    ) -> Lane:
        """First fences the earlier owner, only then reads where it stopped and what it left.

        Args:
            committed: asks for the group's position in the partition; None: it has none.
        """
        publisher = TransactionalPublisher(settings, group, tp)
        await publisher.open()
        with deadline(60, "reading the committed offset"):
            stopped_at = await committed()
        if stopped_at is None:
            await asyncio.to_thread(_check_new, settings, tp.partition)
        position = stopped_at or 0
        await asyncio.to_thread(work.restore, position)
        log.info("lane_opened", lane=tp.partition, position=position, parked=work.parked)
        return Lane(settings, publisher, work, tp, position)

    async def settle(self, stretch: FetchedRange) -> None:
        """Handles the records not settled yet and publishes the outputs with the position behind them.

        Raises GapError, and what a failed spare work raised.
        """
        async with self._busy:
            if self._closed:
                raise GapError(f"Lane {self._tp.partition} was given up while a batch of it was under way.")
            if self._sparing.done():
                self._sparing.result()
            fresh = [r for r in stretch.records if r.offset >= self._position]
            await self._check(stretch)
            self._came_to = max(self._came_to, stretch.came_to)
            if not fresh:
                return
            with deadline(self._settings.handle_seconds, "a batch"):
                outputs = await self._work.handle(fresh)  # no transaction is open while this waits
            after = fresh[-1].offset + 1
            begun = monotonic()
            await self._publisher.publish(outputs, after)
            self._position = after
            self._work.committed(fresh, outputs, monotonic() - begun)

    async def _check(self, stretch: FetchedRange) -> None:
        """Raises GapError where records were passed over: before the stretch, or in it.

        Offsets are missing wherever a transaction ended, was aborted, or records were compacted. Where the reading did
        not go on from where it had come to, only the log tells.
        """
        first = stretch.records[0].offset
        leaps = [(max(at, self._came_to), given) for at, given in stretch.leaps if given > self._came_to]
        if first > self._came_to and (stretch.begin is None or stretch.begin > self._came_to):
            leaps.insert(0, (self._came_to, first))
        lane, topic = self._tp.partition, self._tp.topic
        for came_to, given in leaps:
            lost = await asyncio.to_thread(first_between, self._settings, topic, lane, came_to, given)
            if lost is not None:
                raise GapError(
                    f"Lane {lane} was read up to offset {came_to} and was given {given} next, but there is a record "
                    f"at {lost}. Nothing was committed; start the worker again."
                )

    async def _spare(self) -> None:
        """Does what there is to do besides; ends with the lane."""
        while True:
            finish = await self._work.spare()
            if finish is None:
                await asyncio.sleep(self._settings.unpark_seconds)
                continue
            async with self._busy:
                if outputs := finish():
                    begun = monotonic()
                    await self._publisher.publish(outputs, None)
                    self._work.committed((), outputs, monotonic() - begun)

    def check(self) -> None:
        """Raises what the spare work failed with."""
        if self._sparing.done() and not self._sparing.cancelled():
            self._sparing.result()

    async def look(self, idle_since: float) -> None:
        """Raises StalledError where a record has waited in the log since the last look.

        Args:
            idle_since: when this worker last had a batch in hand, of any lane (seconds of a steady clock).
        """
        last, before, came_to = self._looked, self._unread, self._came_to
        if monotonic() - last < LOOK_SECONDS:
            return
        self._looked, self._unread = monotonic(), None
        lane, topic = self._tp.partition, self._tp.topic
        try:
            waiting = await asyncio.to_thread(first_between, self._settings, topic, lane, came_to, sys.maxsize)
        except BrokerError as error:
            log.warning("not_looked", lane=lane, cause=str(error))
            return
        if waiting is None or self._closed or self._came_to != came_to:
            return
        self._unread = came_to, waiting
        if self._unread == before and idle_since < last:
            raise StalledError(
                f"Lane {lane} was read up to offset {came_to}. A record at {waiting} has been waiting for more than "
                f"{LOOK_SECONDS:.0f} s, and the client does not give it. Nothing is lost; start the worker again."
            )

    async def close(self) -> None:
        """After the batch in flight."""
        async with self._busy:
            self._closed = True
            self._sparing.cancel()
            await asyncio.gather(self._sparing, return_exceptions=True)
            await self._work.close()
            await self._publisher.close()


def _check_new(settings: Settings, lane: int) -> None:
    """Raises LostPositionError where a lane without a committed position has conversations already."""
    topic = settings.conversations_topic
    if first_between(settings, topic, lane, 0, end_offset(settings, topic, lane)) is not None:
        raise LostPositionError(
            f"The group {settings.prefix}-enricher has no position in lane {lane}, but conversations of it are in "
            f"{topic}: Kafka forgets a group's positions when nobody of it ran for offsets.retention.minutes. Begun "
            f"again, every conversation would come twice. Set its position in {settings.raw_topic} "
            "(kafka-consumer-groups --reset-offsets), or empty the lane's conversations, and start the worker again."
        )
