"""A lane's work between Kafka and Kafka: raw records in, the records to publish out. Knows no client of either.

A tenant in trouble must not hold up the others of its lane: a batch waits for it a bounded time, once. Its activities
are parked then. What was asked for goes on beside the batches, and no call is made twice for it; further activities of
it are parked at once, and tried again beside the batches.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import orjson
import structlog

from enricher.activity.raw_record import DataError, Deletion, Marker, RawActivity, read
from enricher.conversation import build as conversation
from enricher.metrics import EnricherMetrics
from enricher.processing.enrich import Enricher
from enricher.processing.retry import PAUSED, Finish, RetryScheduler, class_of, nothing
from enricher.processing.tenants import ClientPool, ConnectorDirectory
from enricher.replay.requests import RequestFollower
from enricher.replay.runner import ReplayRunner
from enricher.resolution import entity_cache as entities
from enricher.resolution.entity_cache import EntityCache
from frame_gainsight.connectors import VaultError
from frame_gainsight.gainsight import Failure, GainsightError, cause_of
from frame_gainsight.kafka import ConsumedRecord, ProducerRecord, read_to_end
from frame_gainsight.runtime import Clock, Settings
from frame_gainsight.runtime.aio import gather_or_cancel
from frame_gainsight.runtime.metrics import Metrics
from schemas import Codec, DecodeError

log = structlog.get_logger(__name__)

HOUR = 3_600_000

Job = Callable[[], Awaitable[Finish | None]]


class LaneProcessor:
    """What a lane has in memory (entity cache, parked activities), and how a batch becomes records.

    One batch after the other; a batch's outputs are published, or the lane is thrown away.
    """

    def __init__(
        self,
        settings: Settings,
        codec: Codec,
        directory: ConnectorDirectory,
        clients: ClientPool,
        clock: Clock,
        lane: int,
        orders: RequestFollower | None = None,
        meter: EnricherMetrics | None = None,
    ) -> None:
        self._settings = settings
        self._meter = meter or EnricherMetrics(Metrics(), settings, clock)
        self._clients = clients
        self._codec = codec
        self._directory = directory
        self._clock = clock
        self._lane = lane
        self._cache = EntityCache(
            int(settings.entity_ttl_hours * HOUR), int(settings.absent_ttl_hours * HOUR), settings.entities_max
        )
        self._enricher = Enricher(settings, codec, clients, clock, lane, self._cache)
        self._waiting = RetryScheduler(settings, codec, directory, clock, lane, self._enricher)
        self._lot = self._waiting.lot
        self._jobs: list[Job] = [self._waiting.retry_parked]
        self._replayer: ReplayRunner | None = None
        if orders is not None:
            self._replayer = ReplayRunner(
                settings, codec, directory, clients, clock, lane, self._cache, self._lot, orders
            )
            self._jobs.append(self._replayer.job)

    @property
    def parked(self) -> int:
        return len(self._lot)

    def restore(self, position: int) -> None:
        """Reads the lane's entities and parked activities from Kafka. Blocks. Raises BrokerError.

        Args:
            position: offset of the first raw record that batches will bring.
        """
        self._directory.start()
        for record in read_to_end(self._settings, self._settings.entities_topic, {self._lane: None}):
            try:
                entities.restore(self._codec, self._cache, record)
            except (DecodeError, orjson.JSONDecodeError) as error:  # it is only a cache: ask again
                log.warning("entity_unreadable", lane=self._lane, offset=record.offset, cause=str(error))
        self._waiting.restore()
        if self._replayer is not None:
            self._replayer.restore(position)
        self._meter.opened(self._lane)
        self._tell()
        log.info("lane_restored", lane=self._lane, entities=len(self._cache), parked=len(self._lot))

    # Batches

    async def handle(self, records: Sequence[ConsumedRecord]) -> list[ProducerRecord]:
        """The records to publish for a batch, in its order; new entities first, so that a replay has them."""
        begun = self._clock.monotonic()
        if self._replayer is not None:
            self._replayer.observe(records)
        outputs: dict[int, list[ProducerRecord]] = {}
        by_connector: dict[str, list[RawActivity]] = {}
        deletions: list[Deletion] = []
        for record in records:
            try:
                arrival = read(self._codec, record)
            except DataError as error:
                outputs[record.offset] = [self._enricher.dead_letter(record, str(error))]
                continue
            if isinstance(arrival, Deletion):
                deletions.append(arrival)
            elif isinstance(arrival, RawActivity):
                by_connector.setdefault(arrival.connector, []).append(arrival)
            else:
                assert isinstance(arrival, Marker)
        new: list[ProducerRecord] = []
        for found, done in await gather_or_cancel(*(self._window(c, a) for c, a in by_connector.items())):
            new += found
            outputs |= done
        for deletion in deletions:  # now that it is known which of the batch's own activities had to be parked
            source = deletion.source
            if self._directory.get(deletion.connector) is None:  # what it leaves behind is being deleted
                self._cache.forget(deletion.connector)
            parked = self._lot.get(source.key or b"")
            is_older = parked is not None and parked.source.offset < source.offset
            obsolete = self._waiting.unpark(source) if is_older else []
            outputs[source.offset] = [*obsolete, conversation.tombstone(self._settings, deletion)]
        self._meter.handled(len(records), self._clock.monotonic() - begun)
        return [*new, *(out for offset in sorted(outputs) for out in outputs[offset])]

    async def _window(
        self, connector: str, activities: list[RawActivity]
    ) -> tuple[list[ProducerRecord], dict[int, list[ProducerRecord]]]:
        """One connector's activities: (new entities, records by the offset that they are for)."""
        alone = self._waiting.left_alone(connector)
        registered = self._waiting.in_use(connector) if alone is None else None
        if registered is None:
            failure, cause = alone or self._waiting.left_alone(connector) or (Failure.CONFIG, "")
            return [], self._waiting.park(activities, failure, cause)
        asking = asyncio.create_task(self._waiting.enrich(registered, activities), name=f"enrich-{connector}")
        try:
            await asyncio.wait([asking], timeout=self._waiting.patience(connector))
        except asyncio.CancelledError:
            asking.cancel()
            raise
        if not asking.done():
            return [], self._waiting.go_on_beside(registered, activities, asking)
        try:
            done = asking.result()
        except (GainsightError, VaultError) as error:
            cause = cause_of(error, connector)
            failure = self._waiting.fail(connector, registered, class_of(error), cause)
            log.warning("parked", connector=connector, activities=len(activities), failure=failure.value, cause=cause)
            return [], self._waiting.park(activities, failure, cause)
        outputs = {
            a.source.offset: [*self._waiting.unpark(a.source), done.outputs[a.source.offset]]
            for a in activities
            if a.source.offset in done.outputs
        }
        return done.new, outputs | self._waiting.stop_if_refused(registered, done)

    # Beside the batches

    async def background_work(self) -> Finish | None:
        """A bounded piece of work beside the batches; None: nothing to do now.

        What it returns gives the records to publish, and is called when no batch is in hand.
        """
        for job in self._jobs:
            if (finish := await job()) is not None:
                return finish
        return nothing if await self._waiting.one_ended() else None

    async def close(self) -> None:
        """Ends what is under way beside the batches."""
        await self._waiting.close()
        self._meter.closed(self._lane)

    def committed(self, records: Sequence[ConsumedRecord], outputs: Sequence[ProducerRecord], seconds: float) -> None:
        """A batch's transaction, or that of work beside the batches, was committed."""
        self._meter.committed(self._lane, self._directory.ids(), records, outputs, seconds)
        self._tell()

    def _tell(self) -> None:
        left_alone = {c: t.failure.value for c, t in self._lot.in_trouble().items() if t.cause != PAUSED}
        self._meter.waiting(self._lane, self._lot.counts(), left_alone, len(self._cache))
        self._meter.called(self._clients.in_use())
        if self._replayer is not None:
            self._meter.called(self._replayer.clients.in_use())
