"""The Faust worker: the only module that uses Faust.

Faust keeps the subscription, the group and its rebalances. Its consumer delivers whole batches, one event each, and
never commits: the transaction that publishes a batch's outputs owns the group's offsets. Why each piece is as it is:
docs/exactly-once.md.
"""

from __future__ import annotations

import asyncio
import faulthandler
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

from enricher.consumer.header_names import escape_header_names
from enricher.consumer.lane import Lane, LaneWork, LostPositionError
from enricher.consumer.offset_gaps import FetchedRange
from enricher.consumer.topic_identity import TopicIdentity
from enricher.consumer.transaction import whole_batches
from enricher.consumer.windowing import WindowPolicy
from frame_gainsight.kafka import ConsumedRecord
from frame_gainsight.kafka.clients import ssl_context
from frame_gainsight.runtime import BrokerError, Settings
from frame_gainsight.runtime.aio import gather_or_cancel, use_many_threads

log = structlog.get_logger(__name__)

FETCH_SECONDS = 0.2
FETCH_BYTES = 6 * 1024 * 1024  # of each lane; in memory it may be twenty times as much
# Faust makes folders for tables, which are not used here: by default in the current folder, which may be read-only.
_FAUST_FOLDER = Path(tempfile.gettempdir()) / "frame-gainsight-faust"
CHECK_SECONDS = 1.0  # between checks whether a lane's background work has failed
REOPEN_SECONDS = 2.0  # between looks at a stopped lane, whether a person has set it right
IDENTITY_SECONDS = 10.0  # between checks whether the raw topic is still the same one

MakeWork = Callable[[int], LaneWork]


class _Thread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    def _create_worker_consumer(self, transport: Any) -> Any:
        escape_header_names()
        consumer = super()._create_worker_consumer(transport)
        # Faust has no setting for these; aiokafka reads them when it starts.
        consumer._isolation_level = "read_committed"
        consumer._fetch_max_wait_ms = 100
        return consumer

    async def seek_to_committed(self) -> Any:
        """Partition → its committed offset.

        aiokafka leaves the position of partitions without one unchanged. What was read of them may have been dropped
        since, so they are read from their beginning.
        """
        committed = await super().seek_to_committed()
        consumer = self._ensure_consumer()
        if new := [tp for tp, offset in committed.items() if not offset and tp in consumer.assignment()]:
            await self.call_thread(consumer.seek_to_beginning, *new)
        return committed

    def highwater(self, tp: TP) -> Any:
        """The offset behind the last committed record, which is the end for this reader."""
        return self._ensure_consumer().last_stable_offset(tp)


class _Consumer(driver.Consumer):  # type: ignore[misc]
    settings: Settings

    def _new_consumer_thread(self) -> _Thread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Commits nothing: a batch's transaction has committed its offset; another commit could move the group back."""
        self._acked.clear()
        self._acked_index.clear()
        self._gap.clear()
        return False

    def on_buffer_full(self, tp: TP) -> None:
        """Stock Faust pauses the partition and then sleeps a second."""

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Stock Faust would miss its own commits."""

    def _positions(self) -> dict[TP, int]:
        """Partition → the offset that the next fetch begins at, where that is known."""
        subscription = self._thread._ensure_consumer()._subscription.subscription
        states = subscription.assignment._tp_state if subscription and subscription.assignment else {}
        return {TP(*tp): state._position for tp, state in list(states.items()) if state._position is not None}

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        """Yields one message that carries a whole batch: partition → its fetched range."""
        batch: dict[TP, FetchedRange] = {}
        policy = WindowPolicy(self.settings.window_max, self.settings.window_linger_seconds)
        generation = None
        while (wait := policy.wait(monotonic())) != 0.0:
            before, begins = self.app.consumer_generation_id, self._positions()
            records, _ = await self._wait_next_records(min(wait, FETCH_SECONDS) if wait else timeout)
            if records is None or self.should_stop:
                return
            if not self.flow_active:  # rebalancing: what was read is read again, by this worker or another
                await self.perform_seek()
                return
            current = self.app.consumer_generation_id  # read after the poll: it may have rebalanced meanwhile
            if before != current:
                begins = {}  # they may be of an earlier assignment
            if generation != current:
                generation, batch = current, {}
                policy = WindowPolicy(self.settings.window_max, self.settings.window_linger_seconds)
            now = monotonic()
            ends = self._positions() if records else {}
            for tp, received in records.items():
                fetched = [consumed_record(record) for record in received]
                batch.setdefault(tp, FetchedRange()).add(begins.get(tp), fetched, ends.get(tp))
                self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
                for record in fetched:
                    policy.add(record, now)
            if not batch:
                return
        tp, carried = next(iter(batch.items()))  # any partition may carry the batch
        last = carried.records[-1]
        self._read_offset[tp] = None  # Faust must neither drop the batch as read, nor search it for gaps
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
class _BatchInProgress:
    """Whether a worker is settling a batch; if not, since when it is idle (seconds of a steady clock)."""

    active: bool = False
    idle_since: float = field(default_factory=monotonic)

    def __enter__(self) -> None:
        self.active = True

    def __exit__(self, *_: object) -> None:
        self.active, self.idle_since = False, monotonic()


async def _committed(app: faust.App, tp: TopicPartition) -> Any:
    """The group's committed position in a partition, as the broker has it; None: there is none."""
    thread = app.consumer._thread
    return await thread.call_thread(thread._ensure_consumer().committed, tp)


async def _close(opening: asyncio.Task[Lane | None]) -> None:
    if (lane := await opening) is not None:
        await lane.close()


def create(
    settings: Settings,
    make_work: MakeWork,
    *,
    room: Callable[[str], int] = whole_batches,
    finish: Callable[[], Awaitable[None]] | None = None,
    web_port: int | None = None,
) -> faust.App:
    """A Faust app whose worker settles every record of the raw topic with one `LaneWork` per lane.

    Args:
        room: bytes of the records that a topic takes at once.
        finish: called after the last batch.
        web_port: the port of Faust's own pages; None: no web server.
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
    app.transport.Consumer = type("Consumer", (_Consumer,), {"settings": settings})
    lanes: dict[tuple[int, TP], asyncio.Task[Lane | None]] = {}
    stopped: dict[TP, tuple[str, float]] = {}  # cause, and when it was last looked at (seconds of a steady clock)
    identity, identity_checked = TopicIdentity(settings), monotonic() - IDENTITY_SECONDS
    batch_in_progress = _BatchInProgress()
    threads = False

    async def open_lane(tp: TP) -> Lane | None:
        """The opened lane; None for one that must not go on: nothing is read of it, and the others go on."""
        partition = TopicPartition(tp.topic, tp.partition)
        committed = partial(_committed, app, partition)
        try:
            lane = await Lane.open(settings, app.conf.id, partition, make_work(tp.partition), committed, room)
        except LostPositionError as error:
            app.consumer.pause_partitions({tp})
            if stopped.get(tp, ("",))[0] != str(error):
                log.error("lane_stopped", lane=tp.partition, cause=str(error))
            stopped[tp] = str(error), monotonic()
            return None
        if stopped.pop(tp, None) is not None:  # what was fetched of it before was left out
            await app.consumer.seek(tp, lane.position)
            app.consumer.resume_partitions({tp})
        return lane

    def lane_of(generation: int, tp: TP) -> asyncio.Task[Lane | None]:
        if (generation, tp) not in lanes:
            lanes[generation, tp] = asyncio.create_task(open_lane(tp), name=f"lane-{tp.partition}")
        return lanes[generation, tp]

    async def settle(generation: int, batch: dict[TP, FetchedRange]) -> None:
        opened = await asyncio.gather(*(lane_of(generation, tp) for tp in batch))
        # Any failure ends the process.
        jobs = [lane.settle(fetched) for lane, fetched in zip(opened, batch.values(), strict=True) if lane is not None]
        await gather_or_cancel(*jobs)

    async def close_lanes(*_: Any, **__: Any) -> None:
        stopped.clear()
        closing = [lanes.pop(key) for key in list(lanes)]
        for result in await asyncio.gather(*(_close(task) for task in closing), return_exceptions=True):
            if isinstance(result, Exception):  # the next owner fences this producer anyway
                log.warning("lane_closed_with_error", cause=str(result))

    async def open_lanes(_: Any, assigned: set[TP], **__: Any) -> None:
        """Opens the assigned lanes before their first batch, which then need not wait for their state."""
        nonlocal threads
        if not threads:  # this is the first that runs in the worker's loop
            use_many_threads()
            threads = True
        await close_lanes()
        for tp in assigned:
            if tp.topic == settings.raw_topic:
                lane_of(app.consumer_generation_id, tp)

    async def shut_down(*_: Any, **__: Any) -> None:
        await close_lanes()
        if finish is not None:
            await finish()

    app.on_partitions_revoked.connect(close_lanes, weak=False)
    app.on_partitions_assigned.connect(open_lanes, weak=False)
    app.on_before_shutdown.connect(shut_down, weak=False)

    raw = app.topic(settings.raw_topic, key_type=bytes, value_type=None, key_serializer="raw", value_serializer="raw")

    @app.agent(raw, name="enrich")  # type: ignore[untyped-decorator]
    async def enrich(stream: Any) -> None:
        async for event in stream.noack().events():
            if event.message.generation_id == app.consumer_generation_id:  # else it is delivered again
                with batch_in_progress:
                    await settle(event.message.generation_id, event.value)
            event.ack()

    @app.timer(interval=CHECK_SECONDS, name="check")  # type: ignore[untyped-decorator]
    async def check() -> None:
        nonlocal identity_checked
        if monotonic() - identity_checked >= IDENTITY_SECONDS:
            identity_checked = monotonic()
            try:
                await asyncio.to_thread(identity.check)
            except BrokerError as error:
                log.warning("topic_identity_unknown", cause=str(error))
        for (generation, tp), opening in list(lanes.items()):
            if (lane := await opening) is None:
                if lanes.get((generation, tp)) is opening and monotonic() - stopped[tp][1] >= REOPEN_SECONDS:
                    del lanes[generation, tp]
                    lane_of(generation, tp)
                continue
            lane.check()  # a lane that could not be opened, or failed since, ends the process here
            if not batch_in_progress.active:
                await lane.check_stalled(batch_in_progress.idle_since)

    return app


class _Worker(faust.Worker):  # type: ignore[misc]
    """A Faust worker that ends in a bounded time: a rebalancing group or a lost broker can hold Faust for minutes."""

    stop_seconds: float

    async def _cry(self) -> None:
        """Writes where every thread is, on SIGUSR1: without its local variables, which mode's own form has."""
        faulthandler.dump_traceback(all_threads=True)

    def _schedule_shutdown(self, number: signal.Signals) -> None:
        force = threading.Timer(self.stop_seconds, self._force_shutdown)
        force.daemon = True
        force.start()
        super()._schedule_shutdown(number)

    def _force_shutdown(self) -> None:
        log.error(
            "forced_shutdown", seconds=self.stop_seconds, cause="It did not end by itself. Nothing is lost by it."
        )
        logging.shutdown()
        os._exit(1)


def work(app: faust.App, settings: Settings) -> int:
    """Runs the worker until SIGINT or SIGTERM; returns 0, or 1 when it crashed. Logging stays as it is set up.

    A worker that has not ended `stop_seconds` after the signal is ended by force, with 1: another worker does what is
    not committed.
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
