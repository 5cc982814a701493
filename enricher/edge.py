"""The consuming edge: Faust, and nothing of Faust anywhere else.

Faust keeps the subscription, the group and its rebalances. It delivers whole batches, one event each, and never
commits: the transaction that publishes a batch's outputs owns the group's offsets. Why each piece is as it is:
docs/exactly-once.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from time import monotonic
from typing import Any, Protocol

import faust
import structlog
import uvloop
from aiokafka import ConsumerRecord, TopicPartition
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

from bus import Incoming, Outgoing, Settings
from bus.clients import ssl_context
from enricher.publisher import Publisher, deadline
from enricher.windows import BatchEnd

log = structlog.get_logger(__name__)

FETCH_SECONDS = 0.2
FETCH_BYTES = 16 * 1024 * 1024


class LaneWork(Protocol):
    """What the edge drives for each lane. One call at a time."""

    def restore(self) -> None:
        """Reads the lane's state. May block; called after the lane's earlier owner was fenced."""

    async def handle(self, records: Sequence[Incoming]) -> list[Outgoing]:
        """The records to publish for a batch of the lane. Its time must stay below the rebalance timeout."""

    async def retry(self) -> list[Outgoing]:
        """The records to publish besides, for what was set aside earlier."""

    @property
    def parked(self) -> int:
        """How much is set aside."""


MakeWork = Callable[[int], LaneWork]


class _Thread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Faust cannot be told these; aiokafka reads them when it starts.
        consumer._isolation_level = "read_committed"
        consumer._fetch_max_wait_ms = 100
        return consumer

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

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        """One message that carries a whole batch: tp → its records, in order."""
        batch: dict[TP, list[ConsumerRecord]] = {}
        end = BatchEnd(self.settings.window_max, self.settings.window_linger_seconds)
        generation = None
        while (wait := end.wait(monotonic())) != 0.0:
            records, _ = await self._wait_next_records(min(wait, FETCH_SECONDS) if wait else timeout)
            if records is None or self.should_stop:
                return
            if not self.flow_active:  # rebalancing: forget what was read, it is read again, here or elsewhere
                await self.perform_seek()
                return
            current = self.app.consumer_generation_id  # read after the poll: it may have rebalanced meanwhile
            if generation != current:
                generation, batch = current, {}
                end = BatchEnd(self.settings.window_max, self.settings.window_linger_seconds)
            now = monotonic()
            for tp, fetched in records.items():
                batch.setdefault(tp, []).extend(fetched)
                self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
                for record in fetched:
                    end.add(incoming(record), now)
            if not batch:
                return
        tp, carried = next(iter(batch.items()))  # any partition may carry the batch
        last = carried[-1]
        self._read_offset[tp] = None  # Faust must neither drop the batch as read, nor look for gaps
        yield (
            tp,
            ConsumerMessage(
                last.topic,
                last.partition,
                last.offset,
                last.timestamp / 1000,
                last.timestamp_type,
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

    def __init__(self, publisher: Publisher, work: LaneWork, position: int) -> None:
        self._publisher = publisher
        self._work = work
        self._position = position
        self._busy = asyncio.Lock()
        self._closed = False

    @staticmethod
    async def open(app: faust.App, settings: Settings, tp: TP, work: LaneWork) -> _Lane:
        """First fences the earlier owner, only then reads where it stopped and what it left."""
        partition = TopicPartition(tp.topic, tp.partition)
        publisher = Publisher(settings, app.conf.id, partition)
        await publisher.open()
        thread = app.consumer._thread
        with deadline(60, "reading the committed offset"):
            committed = await thread.call_thread(thread._ensure_consumer().committed, partition)
        await asyncio.to_thread(work.restore)
        log.info("lane_opened", lane=tp.partition, position=committed or 0, parked=work.parked)
        return _Lane(publisher, work, committed or 0)

    async def settle(self, records: Sequence[Incoming]) -> None:
        """Handles the records not settled yet and publishes the outputs with the position behind them."""
        async with self._busy:
            fresh = [r for r in records if r.offset >= self._position]
            if not fresh or self._closed:
                return
            outputs = await self._work.handle(fresh)  # no transaction is open while this waits
            after = fresh[-1].offset + 1
            await self._publisher.publish(outputs, after)
            self._position = after

    async def retry(self) -> None:
        """Tries again what was set aside."""
        async with self._busy:
            if self._closed or not self._work.parked:
                return
            if outputs := await self._work.retry():
                await self._publisher.publish(outputs, None)

    async def close(self) -> None:
        """After the batch in flight."""
        async with self._busy:
            self._closed = True
            await self._publisher.close()


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

    def lane_of(generation: int, tp: TP) -> asyncio.Task[_Lane]:
        if (generation, tp) not in lanes:
            opening = _Lane.open(app, settings, tp, make_work(tp.partition))
            lanes[generation, tp] = asyncio.create_task(opening, name=f"lane-{tp.partition}")
        return lanes[generation, tp]

    async def settle(generation: int, batch: dict[TP, list[ConsumerRecord]]) -> None:
        mine = dict(zip(batch, await asyncio.gather(*(lane_of(generation, tp) for tp in batch)), strict=True))
        async with asyncio.TaskGroup() as tasks:  # any failure ends the process
            for tp, records in batch.items():
                tasks.create_task(mine[tp].settle([incoming(r) for r in records]))

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
                await settle(event.message.generation_id, event.value)
            event.ack()

    @app.timer(interval=settings.unpark_seconds, name="unpark")  # type: ignore[untyped-decorator]
    async def unpark() -> None:
        for opening in list(lanes.values()):
            await (await opening).retry()  # a lane that could not be opened ends the process here, if not before

    return app


def work(app: faust.App, log_level: str) -> int:
    """Runs the worker until SIGINT or SIGTERM; returns 0, or 1 when it crashed. Logging is left as it is set up."""
    uvloop.install()
    worker = faust.Worker(app, loglevel=log_level, override_logging=False, redirect_stdouts=False, quiet=True)
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
