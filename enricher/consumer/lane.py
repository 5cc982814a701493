"""A lane: one partition of the raw topic within one assignment; its batches, its transactions and its position.

The module knows nothing of how records are consumed. Why each piece is as it is: docs/exactly-once.md.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import Protocol

import structlog
from aiokafka import TopicPartition

from enricher.consumer.offset_gaps import FetchedRange, GapError
from enricher.consumer.transaction import TransactionalPublisher, deadline, whole_batches
from frame_gainsight.kafka import ConsumedRecord, ProducerRecord, end_offset, first_between
from frame_gainsight.runtime import BrokerError, Settings

log = structlog.get_logger(__name__)

STALL_CHECK_SECONDS = 60.0  # between checks whether records wait in the log that the client does not deliver


class LaneWork(Protocol):
    """A lane's work, called by the lane: one batch after the other, and background work between them."""

    def restore(self, position: int) -> None:
        """Reads the lane's state. May block; called after the lane's earlier owner was fenced.

        Args:
            position: offset of the first record that batches will bring.
        """

    async def handle(self, records: Sequence[ConsumedRecord]) -> list[ProducerRecord]:
        """The records to publish for a batch of the lane."""

    async def background_work(self) -> Callable[[], list[ProducerRecord]] | None:
        """Does a bounded piece of work while batches go on; None: there is nothing to do now.

        The returned function gives the records to publish. The lane calls it while no batch is in progress; it leaves
        out what batches have made obsolete meanwhile.
        """

    def committed(self, records: Sequence[ConsumedRecord], outputs: Sequence[ProducerRecord], seconds: float) -> None:
        """Notes a committed transaction: the batch that it settled (none: background work), its outputs, seconds."""

    async def close(self) -> None:
        """Ends the background work; the lane is not used again."""

    @property
    def parked(self) -> int:
        """The number of parked activities."""


class StalledError(Exception):
    """Records wait in the log, and the client does not deliver them."""


class LostPositionError(Exception):
    """The group's committed position is gone, or is in no log: going on would repeat or leave out conversations."""


class Lane:
    """One input partition within one assignment: its publisher, its work, and its position."""

    def __init__(
        self, settings: Settings, publisher: TransactionalPublisher, work: LaneWork, tp: TopicPartition, position: int
    ) -> None:
        self._settings = settings
        self._publisher = publisher
        self._work = work
        self._tp = tp
        self._position = position
        self._read_position = position  # the log was read up to here: behind the last record there may be markers
        self._stall_checked_at = monotonic()
        self._unread: tuple[int, int] | None = None
        self._busy = asyncio.Lock()
        self._closed = False
        self._background = asyncio.create_task(self._work_in_background(), name=f"lane-{tp.partition}-background")

    @property
    def position(self) -> int:
        """The offset of the first raw record that is not settled."""
        return self._position

    @staticmethod
    async def open(
        settings: Settings,
        group: str,
        tp: TopicPartition,
        work: LaneWork,
        committed: Callable[[], Awaitable[int | None]],
        room: Callable[[str], int] = whole_batches,
    ) -> Lane:
        """Opens a lane: fences its earlier owner first, and only then reads its committed position and its state.

        Raises LostPositionError when the lane must not go on before a person has set its position right.

        Args:
            committed: reads the group's committed position in the partition; None: there is none.
            room: bytes of the records that a topic takes at once.
        """
        publisher = TransactionalPublisher(settings, group, tp, room)
        await publisher.open()
        try:
            with deadline(60, "reading the committed offset"):
                stopped_at = await committed()
            await asyncio.to_thread(_check_position, settings, tp.partition, stopped_at)
        except LostPositionError:
            await publisher.close()
            raise
        position = stopped_at or 0
        await asyncio.to_thread(work.restore, position)
        log.info("lane_opened", lane=tp.partition, position=position, parked=work.parked)
        return Lane(settings, publisher, work, tp, position)

    async def settle(self, fetched: FetchedRange) -> None:
        """Handles the records that are not settled yet, and publishes the outputs with the position behind them.

        Raises GapError, and whatever the background work failed with.
        """
        async with self._busy:
            if self._closed:
                raise GapError(f"Lane {self._tp.partition} was given up while a batch of it was under way.")
            if self._background.done():
                self._background.result()
            fresh = [r for r in fetched.records if r.offset >= self._position]
            await self._check_gaps(fetched)
            self._read_position = max(self._read_position, fetched.position)
            if not fresh:
                return
            with deadline(self._settings.handle_seconds, "a batch"):
                outputs = await self._work.handle(fresh)  # no transaction is open while this waits
            after = fresh[-1].offset + 1
            begun = monotonic()
            await self._publisher.publish(outputs, after)
            self._position = after
            self._work.committed(fresh, outputs, monotonic() - begun)

    async def _check_gaps(self, fetched: FetchedRange) -> None:
        """Raises GapError where the log has a record in a gap of the range, or in front of it."""
        lane, topic = self._tp.partition, self._tp.topic
        for expected, received in fetched.gaps_after(self._read_position):
            lost = await asyncio.to_thread(first_between, self._settings, topic, lane, expected, received)
            if lost is not None:
                raise GapError(
                    f"Lane {lane} was read up to offset {expected} and was given {received} next, but there is a "
                    f"record at {lost}. Nothing was committed; start the worker again."
                )

    async def _work_in_background(self) -> None:
        """Does background work, piece by piece, until the lane is closed."""
        while True:
            finish = await self._work.background_work()
            if finish is None:
                await asyncio.sleep(self._settings.unpark_seconds)
                continue
            async with self._busy:
                if outputs := finish():
                    begun = monotonic()
                    await self._publisher.publish(outputs, None)
                    self._work.committed((), outputs, monotonic() - begun)

    def check(self) -> None:
        """Raises whatever the background work failed with."""
        if self._background.done() and not self._background.cancelled():
            self._background.result()

    async def check_stalled(self, idle_since: float) -> None:
        """Raises StalledError where a record has waited in the log since the last check.

        Args:
            idle_since: when this worker's last batch, of any lane, ended (seconds of a steady clock).
        """
        last, before, position = self._stall_checked_at, self._unread, self._read_position
        if monotonic() - last < STALL_CHECK_SECONDS:
            return
        self._stall_checked_at, self._unread = monotonic(), None
        lane, topic = self._tp.partition, self._tp.topic
        try:
            waiting = await asyncio.to_thread(first_between, self._settings, topic, lane, position, sys.maxsize)
        except BrokerError as error:
            log.warning("stall_check_failed", lane=lane, cause=str(error))
            return
        if waiting is None or self._closed or self._read_position != position:
            return
        self._unread = position, waiting
        if self._unread == before and idle_since < last:
            raise StalledError(
                f"Lane {lane} was read up to offset {position}. A record at {waiting} has been waiting for more than "
                f"{STALL_CHECK_SECONDS:.0f} s, and the client does not give it. Nothing is lost; start the worker "
                "again."
            )

    async def close(self) -> None:
        """Closes the lane, after the batch in progress."""
        async with self._busy:
            self._closed = True
            self._background.cancel()
            await asyncio.gather(self._background, return_exceptions=True)
            await self._work.close()
            await self._publisher.close()


def _check_position(settings: Settings, lane: int, position: int | None) -> None:
    """Raises LostPositionError as `lost_position` tells. Raises BrokerError, TopicError."""
    if (cause := lost_position(settings, lane, position)) is not None:
        raise LostPositionError(cause)


def lost_position(settings: Settings, lane: int, position: int | None) -> str | None:
    """Why a lane with this committed position (None: there is none) must not go on; None: it may.

    Blocks. Raises BrokerError, TopicError.
    """
    if position is not None:
        end = end_offset(settings, settings.raw_topic, lane)
        if position <= end:
            return None
        return (
            f"The group {settings.prefix}-enricher stands at {position} in lane {lane}, but {settings.raw_topic} ends "
            f"there at {end}: the topic was created anew, or has lost records. Set the group's position in it "
            "(kafka-consumer-groups --reset-offsets, while no enricher runs), and start the worker again."
        )
    topic = settings.conversations_topic
    if first_between(settings, topic, lane, 0, end_offset(settings, topic, lane)) is None:
        return None
    return (
        f"The group {settings.prefix}-enricher has no position in lane {lane}, but conversations of it are in "
        f"{topic}: Kafka forgets a group's positions when nobody of it ran for offsets.retention.minutes, or when "
        f"{settings.raw_topic} is deleted. Begun again, every conversation would come twice. Set its position in "
        f"{settings.raw_topic} (kafka-consumer-groups --reset-offsets, while no enricher runs), or empty the lane's "
        "conversations; the lane stands still until then."
    )
