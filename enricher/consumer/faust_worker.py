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
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import faust
import structlog
import uvloop
from aiokafka import ConsumerRecord, TopicPartition
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

from enricher.consumer.lane import FetchedRange, Lane, LaneWork
from enricher.consumer.windowing import WindowPolicy
from frame_gainsight.kafka import ConsumedRecord
from frame_gainsight.kafka.clients import ssl_context
from frame_gainsight.runtime import Settings
from frame_gainsight.runtime.aio import gather_or_cancel

log = structlog.get_logger(__name__)

FETCH_SECONDS = 0.2
FETCH_BYTES = 16 * 1024 * 1024
# Faust makes folders for tables, which we have none of: by default wherever it is started, which may be read-only.
_FAUST_FOLDER = Path(tempfile.gettempdir()) / "frame-gainsight-faust"
CHECK_SECONDS = 1.0  # between looks whether a lane's work besides has failed


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
        batch: dict[TP, FetchedRange] = {}
        end = WindowPolicy(self.settings.window_max, self.settings.window_linger_seconds)
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
                end = WindowPolicy(self.settings.window_max, self.settings.window_linger_seconds)
            now = monotonic()
            ends = self._positions() if records else {}
            for tp, given in records.items():
                fetched = [consumed_record(record) for record in given]
                batch.setdefault(tp, FetchedRange()).add(begins.get(tp), fetched, ends.get(tp))
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


def consumed_record(record: ConsumerRecord) -> ConsumedRecord:
    """A client's record as a plain value."""
    return ConsumedRecord(
        record.topic,
        record.partition,
        record.offset,
        record.key,
        record.value,
        tuple((k, v or b"") for k, v in record.headers),
        record.timestamp,
    )


@dataclass(slots=True)
class _Hand:
    """Whether a worker has a batch in hand; else since when not (seconds of a steady clock)."""

    full: bool = False
    empty_since: float = field(default_factory=monotonic)

    def __enter__(self) -> None:
        self.full = True

    def __exit__(self, *_: object) -> None:
        self.full, self.empty_since = False, monotonic()


async def _committed(app: faust.App, tp: TopicPartition) -> Any:
    """The group's position in a partition, as the broker has it; None: it has none."""
    thread = app.consumer._thread
    return await thread.call_thread(thread._ensure_consumer().committed, tp)


async def _close(opening: asyncio.Task[Lane]) -> None:
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
    lanes: dict[tuple[int, TP], asyncio.Task[Lane]] = {}
    hand = _Hand()

    def lane_of(generation: int, tp: TP) -> asyncio.Task[Lane]:
        if (generation, tp) not in lanes:
            partition = TopicPartition(tp.topic, tp.partition)
            committed = partial(_committed, app, partition)
            opening = Lane.open(settings, app.conf.id, partition, make_work(tp.partition), committed)
            lanes[generation, tp] = asyncio.create_task(opening, name=f"lane-{tp.partition}")
        return lanes[generation, tp]

    async def settle(generation: int, batch: dict[TP, FetchedRange]) -> None:
        mine = dict(zip(batch, await asyncio.gather(*(lane_of(generation, tp) for tp in batch)), strict=True))
        await gather_or_cancel(
            *(mine[tp].settle(stretch) for tp, stretch in batch.items())
        )  # any failure ends the process

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
