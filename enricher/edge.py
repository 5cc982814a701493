"""The consuming edge: Faust, and nothing of Faust anywhere else.

Faust keeps the subscription, the group and its rebalances. It delivers whole batches, one event each, and never
commits: the transaction that publishes a batch's outputs owns the group's offsets. Why each piece is as it is:
docs/exactly-once.md.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

import faust
import structlog
import uvloop
from aiokafka import ConsumerRecord, TopicPartition
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

from bus import BrokerError, Incoming, Outgoing, Settings, end_offset, first_between
from bus.clients import ssl_context
from enricher.publisher import Publisher, deadline
from enricher.together import together
from enricher.windows import BatchEnd

log = structlog.get_logger(__name__)

FETCH_SECONDS = 0.2
FETCH_BYTES = 16 * 1024 * 1024
# Faust makes folders for tables, which we have none of: by default wherever it is started, which may be read-only.
_FAUST_FOLDER = Path(tempfile.gettempdir()) / "frame-gainsight-faust"
LOOK_SECONDS = 60.0  # between looks whether records wait that the client does not give
CHECK_SECONDS = 1.0  # between looks whether a lane's work besides has failed


class LaneWork(Protocol):
    """What the edge drives for each lane. One batch after the other."""

    def restore(self, position: int) -> None:
        """Reads the lane's state. May block; called after the lane's earlier owner was fenced.

        Args:
            position: offset of the first record that batches will bring.
        """

    async def handle(self, records: Sequence[Incoming]) -> list[Outgoing]:
        """The records to publish for a batch of the lane."""

    async def spare(self) -> Callable[[], list[Outgoing]] | None:
        """A bounded piece of work beside the batches; None: nothing to do now.

        What it returns gives the records to publish, and is called when no batch is in hand: it leaves out what batches
        have made obsolete meanwhile.
        """

    def committed(self, records: Sequence[Incoming], outputs: Sequence[Outgoing], seconds: float) -> None:
        """Told of each transaction: the batch that it settled (none: spare work), its outputs, how long it took."""

    async def close(self) -> None:
        """Ends what is under way beside the batches; the lane is not used again."""

    @property
    def parked(self) -> int:
        """How much is set aside."""


@dataclass(slots=True)
class Stretch:
    """A partition's records of a batch, in order.

    Attributes:
        begin: the offset that the reading began at; None: it is not known.
        came_to: the offset up to which the log was read: behind the last record there may be markers.
        leaps: where it did not go on from where it had come to: that offset, and the one of the next record.
    """

    begin: int | None
    came_to: int = 0
    records: list[Incoming] = field(default_factory=list)
    leaps: list[tuple[int, int]] = field(default_factory=list)

    def add(self, begin: int | None, fetched: Sequence[Incoming], end: int | None) -> None:
        """Takes the records that a reading from `begin` to `end` gave; None: that is not known."""
        if self.records:
            fetched = [r for r in fetched if r.offset >= self.came_to]  # should it have gone back
            if fetched and (begin is None or begin > self.came_to):
                self.leaps.append((self.came_to, fetched[0].offset))
        self.records.extend(fetched)
        self.came_to = max(self.came_to, self.records[-1].offset + 1, end or 0)


class GapError(Exception):
    """Records were passed over: the lane must not go on, and nothing is committed."""


class StalledError(Exception):
    """Records wait in the log, and the client does not give them."""


class LostPositionError(Exception):
    """The group's position is gone: going on would repeat what is published."""


MakeWork = Callable[[int], LaneWork]


class _Thread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Faust cannot be told these; aiokafka reads them when it starts.
        consumer._isolation_level = "read_committed"
        consumer._fetch_max_wait_ms = 100
        return consumer

    async def seek_to_committed(self) -> Any:
        """Partition → its committed offset.

        aiokafka leaves partitions that have none where they are. What was taken out of them may have been given up
        since, so they are read from their beginning.
        """
        committed = await super().seek_to_committed()
        consumer = self._ensure_consumer()
        if new := [tp for tp, offset in committed.items() if not offset and tp in consumer.assignment()]:
            await self.call_thread(consumer.seek_to_beginning, *new)
        return committed

    def highwater(self, tp: TP) -> Any:
        return self._ensure_consumer().last_stable_offset(tp)


class _Consumer(driver.Consumer):  # type: ignore[misc]
    settings: Settings

    def _new_consumer_thread(self) -> _Thread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        # An acknowledged batch is already committed by its transaction; a commit besides could move the group back.
        self._acked.clear()
        self._acked_index.clear()
        self._gap.clear()
        return False

    def on_buffer_full(self, tp: TP) -> None:
        """Stock Faust pauses the partition and then sleeps a second."""

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Stock Faust would miss its own commits."""

    def _positions(self) -> dict[TP, int]:
        """Where each partition is read on from, as far as that is known."""
        subscription = self._thread._ensure_consumer()._subscription.subscription
        states = subscription.assignment._tp_state if subscription and subscription.assignment else {}
        return {TP(*tp): state._position for tp, state in list(states.items()) if state._position is not None}

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        """One message that carries a whole batch: tp → its stretch."""
        batch: dict[TP, Stretch] = {}
        end = BatchEnd(self.settings.window_max, self.settings.window_linger_seconds)
        generation = None
        while (wait := end.wait(monotonic())) != 0.0:
            before, begins = self.app.consumer_generation_id, self._positions()
            records, _ = await self._wait_next_records(min(wait, FETCH_SECONDS) if wait else timeout)
            if records is None or self.should_stop:
                return
            if not self.flow_active:  # rebalancing: forget what was read, it is read again, here or elsewhere
                await self.perform_seek()
                return
            current = self.app.consumer_generation_id  # read after the poll: it may have rebalanced meanwhile
            if before != current:
                begins = {}  # of an earlier assignment, maybe
            if generation != current:
                generation, batch = current, {}
                end = BatchEnd(self.settings.window_max, self.settings.window_linger_seconds)
            now = monotonic()
            ends = self._positions() if records else {}
            for tp, given in records.items():
                fetched = [incoming(record) for record in given]
                batch.setdefault(tp, Stretch(begins.get(tp))).add(begins.get(tp), fetched, ends.get(tp))
                self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
                for record in fetched:
                    end.add(record, now)
            if not batch:
                return
        tp, carried = next(iter(batch.items()))  # any partition may carry the batch
        last = carried.records[-1]
        self._read_offset[tp] = None  # Faust must neither drop the batch as read, nor look for gaps
        yield (
            tp,
            ConsumerMessage(
                last.topic,
                last.partition,
                last.offset,
                last.timestamp / 1000,
                None,
                (),
                None,
                batch,
                None,
                0,
                len(batch),
                tp,
                generation_id=generation,
            ),
        )


def incoming(record: ConsumerRecord) -> Incoming:
    """A client's record as a plain value."""
    return Incoming(
        record.topic,
        record.partition,
        record.offset,
        record.key,
        record.value,
        tuple((k, v or b"") for k, v in record.headers),
        record.timestamp,
    )


class _Lane:
    """One input partition within one assignment: its publisher, its work, and where it stands."""

    def __init__(self, settings: Settings, publisher: Publisher, work: LaneWork, tp: TP, position: int) -> None:
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
    async def open(app: faust.App, settings: Settings, tp: TP, work: LaneWork) -> _Lane:
        """First fences the earlier owner, only then reads where it stopped and what it left."""
        partition = TopicPartition(tp.topic, tp.partition)
        publisher = Publisher(settings, app.conf.id, partition)
        await publisher.open()
        thread = app.consumer._thread
        with deadline(60, "reading the committed offset"):
            committed = await thread.call_thread(thread._ensure_consumer().committed, partition)
        if committed is None:
            await asyncio.to_thread(_check_new, settings, tp.partition)
        position = committed or 0
        await asyncio.to_thread(work.restore, position)
        log.info("lane_opened", lane=tp.partition, position=position, parked=work.parked)
        return _Lane(settings, publisher, work, tp, position)

    async def settle(self, stretch: Stretch) -> None:
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
            if not fresh:
                self._came_to = max(self._came_to, stretch.came_to)
                return
            with deadline(self._settings.handle_seconds, "a batch"):
                outputs = await self._work.handle(fresh)  # no transaction is open while this waits
            after = fresh[-1].offset + 1
            begun = monotonic()
            await self._publisher.publish(outputs, after)
            self._position = after
            self._came_to = max(after, stretch.came_to)
            self._work.committed(fresh, outputs, monotonic() - begun)

    async def _check(self, stretch: Stretch) -> None:
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


@dataclass(slots=True)
class _Hand:
    """Whether a worker has a batch in hand; else since when not (seconds of a steady clock)."""

    full: bool = False
    empty_since: float = field(default_factory=monotonic)

    def __enter__(self) -> None:
        self.full = True

    def __exit__(self, *_: object) -> None:
        self.full, self.empty_since = False, monotonic()


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


async def _close(opening: asyncio.Task[_Lane]) -> None:
    await (await opening).close()


def create(
    settings: Settings,
    make_work: MakeWork,
    *,
    finish: Callable[[], Awaitable[None]] | None = None,
    web_port: int | None = None,
) -> faust.App:
    """A worker that settles every record of the raw topic with one `LaneWork` per lane.

    Args:
        finish: run after the last batch.
        web_port: of Faust's own pages; None: no web server.
    """
    app = faust.App(
        f"{settings.prefix}-enricher",
        broker=[f"kafka://{host}" for host in settings.brokers().split(",")],
        broker_credentials=_credentials(settings),
        store="memory://",
        datadir=_FAUST_FOLDER,
        stream_wait_empty=True,
        stream_buffer_maxsize=1,
        agent_supervisor="mode.CrashingSupervisor",
        topic_disable_leader=True,
        topic_allow_declare=False,
        topic_partitions=settings.partitions,
        broker_max_poll_records=min(1000, settings.window_max),
        consumer_max_fetch_size=FETCH_BYTES,
        consumer_auto_offset_reset="earliest",
        broker_session_timeout=8.0,
        broker_heartbeat_interval=2.0,
        broker_rebalance_timeout=120.0,
        web_enabled=web_port is not None,
        web_port=web_port or 6066,
        logging_config=None,
    )
    app.transport.Consumer = type("EdgeConsumer", (_Consumer,), {"settings": settings})
    lanes: dict[tuple[int, TP], asyncio.Task[_Lane]] = {}
    hand = _Hand()

    def lane_of(generation: int, tp: TP) -> asyncio.Task[_Lane]:
        if (generation, tp) not in lanes:
            opening = _Lane.open(app, settings, tp, make_work(tp.partition))
            lanes[generation, tp] = asyncio.create_task(opening, name=f"lane-{tp.partition}")
        return lanes[generation, tp]

    async def settle(generation: int, batch: dict[TP, Stretch]) -> None:
        mine = dict(zip(batch, await asyncio.gather(*(lane_of(generation, tp) for tp in batch)), strict=True))
        await together(*(mine[tp].settle(stretch) for tp, stretch in batch.items()))  # any failure ends the process

    async def forget(*_: Any, **__: Any) -> None:
        closing = [lanes.pop(key) for key in list(lanes)]
        for result in await asyncio.gather(*(_close(task) for task in closing), return_exceptions=True):
            if isinstance(result, Exception):  # the next owner fences this producer anyway
                log.warning("lane_closed_with_error", cause=str(result))

    async def take(_: Any, assigned: set[TP], **__: Any) -> None:
        """Opens the lanes at once: the first batch need not wait for their state."""
        await forget()
        for tp in assigned:
            if tp.topic == settings.raw_topic:
                lane_of(app.consumer_generation_id, tp)

    async def ended(*_: Any, **__: Any) -> None:
        await forget()
        if finish is not None:
            await finish()

    app.on_partitions_revoked.connect(forget, weak=False)
    app.on_partitions_assigned.connect(take, weak=False)
    app.on_before_shutdown.connect(ended, weak=False)

    raw = app.topic(settings.raw_topic, key_type=bytes, value_type=None, key_serializer="raw", value_serializer="raw")

    @app.agent(raw, name="enrich")  # type: ignore[untyped-decorator]
    async def enrich(stream: Any) -> None:
        async for event in stream.noack().events():
            if event.message.generation_id == app.consumer_generation_id:  # else it is delivered again
                with hand:
                    await settle(event.message.generation_id, event.value)
            event.ack()

    @app.timer(interval=CHECK_SECONDS, name="check")  # type: ignore[untyped-decorator]
    async def check() -> None:
        for opening in list(lanes.values()):
            lane = await opening
            lane.check()  # what could not be opened, or failed since, ends the process here
            if not hand.full:
                await lane.look(hand.empty_since)

    return app


class _Worker(faust.Worker):  # type: ignore[misc]
    """Leaves in a bounded time: a group that is rebalancing, or a broker that is gone, can hold Faust for minutes."""

    stop_seconds: float

    def _schedule_shutdown(self, number: signal.Signals) -> None:
        force = threading.Timer(self.stop_seconds, self._leave_by_force)
        force.daemon = True
        force.start()
        super()._schedule_shutdown(number)

    def _leave_by_force(self) -> None:
        log.error("left_by_force", seconds=self.stop_seconds, cause="It did not end by itself. Nothing is lost by it.")
        logging.shutdown()
        os._exit(1)


def work(app: faust.App, settings: Settings) -> int:
    """Runs the worker until SIGINT or SIGTERM; returns 0, or 1 when it crashed. Logging is left as it is set up.

    A worker that was told to leave and has not left after `stop_seconds` ends at once, with 1: what it has not
    committed is another's to do.
    """
    uvloop.install()
    worker = _Worker(app, loglevel=settings.log_level, override_logging=False, redirect_stdouts=False, quiet=True)
    worker.stop_seconds = settings.stop_seconds
    try:
        worker.execute_from_commandline()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def _credentials(settings: Settings) -> Any:
    """Faust's form of the SASL and TLS settings."""
    context = ssl_context(settings)
    if settings.security_protocol.startswith("SASL"):
        password = settings.sasl_password.get_secret_value() if settings.sasl_password else None
        return faust.SASLCredentials(
            username=settings.sasl_username, password=password, mechanism=settings.sasl_mechanism, ssl_context=context
        )
    return faust.SSLCredentials(context) if context is not None else None
