"""Lane processor: a lane's raw records in, the records to publish out. Clients of Kafka or Faust are not known here.

A failing tenant must not hold up the others of its lane. A batch waits for a tenant once, for a bounded time; then the
tenant's activities are parked, and their calls go on in the background, so that none is made twice. While a connector's
circuit is open its activities are parked without a call, and retried in the background.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import structlog

from enricher.activity.raw_record import DataError, Deletion, Marker, RawActivity, read
from enricher.conversation import build as conversation
from enricher.metrics import EnricherMetrics
from enricher.processing.dead_letters import DeadLetters
from enricher.processing.enrich import Enricher
from enricher.processing.retry import PAUSED, Finish, Rejection, RetryScheduler, class_of, nothing
from enricher.processing.services import EnricherServices
from enricher.processing.unexpected import OF_ALL, unexpected
from enricher.replay.requests import RequestFollower
from enricher.replay.runner import ReplayRunner
from enricher.resolution import entity_cache as entities
from enricher.resolution.entity_cache import EntityCache
from frame_gainsight.connectors import VaultError
from frame_gainsight.gainsight import GainsightError
from frame_gainsight.kafka import ConsumedRecord, ProducerRecord, read_to_end
from frame_gainsight.runtime import cause_of
from frame_gainsight.runtime.aio import gather_or_cancel
from frame_gainsight.runtime.metrics import Metrics
from frame_gainsight.runtime.pauses import Pace
from schemas import DecodeError

log = structlog.get_logger(__name__)

HOUR = 3_600_000

Job = Callable[[], Awaitable[Finish | None]]


class LaneProcessor:
    """A lane's state in memory (entity cache, parked activities), and how a batch becomes records to publish.

    Batches come one after the other. A batch's outputs are published, or the processor is not used again.

    Args:
        requests: replay requests; None: no replays, as in tests.
    """

    def __init__(
        self,
        services: EnricherServices,
        lane: int,
        requests: RequestFollower | None = None,
        metrics: EnricherMetrics | None = None,
    ) -> None:
        settings = services.settings
        self._services = services
        self._metrics = metrics or EnricherMetrics(Metrics(), settings, services.clock)
        self._lane = lane
        self._cache = EntityCache(
            int(settings.entity_ttl_hours * HOUR), int(settings.absent_ttl_hours * HOUR), settings.entities_max
        )
        self._dead_letters = DeadLetters(services, lane)
        enricher = Enricher(services, lane, self._cache, self._dead_letters)
        self._retries = RetryScheduler(services, lane, enricher, self._dead_letters)
        self._parked = self._retries.parked
        self._jobs: list[Job] = [self._retries.retry_parked]
        self._replays: ReplayRunner | None = None
        if requests is not None:
            self._replays = ReplayRunner(services, lane, self._cache, self._parked, requests)
            self._jobs.append(self._replays.job)

    @property
    def parked(self) -> int:
        """The number of parked activities."""
        return len(self._parked)

    def restore(self, position: int) -> None:
        """Reads the lane's entities and parked activities from Kafka. Blocks. Raises BrokerError.

        Args:
            position: offset of the first raw record that batches will bring.
        """
        settings, codec = self._services.settings, self._services.codec
        self._services.directory.start()
        for record in read_to_end(settings, settings.entities_topic, {self._lane: None}):
            try:
                entities.restore(codec, self._cache, record)
            except DecodeError as error:  # only a cache: the entity is looked up again
                log.warning("entity_unreadable", lane=self._lane, offset=record.offset, cause=str(error))
        self._retries.restore()
        if self._replays is not None:
            self._replays.restore(position)
        self._metrics.opened(self._lane)
        self._report()
        log.info("lane_restored", lane=self._lane, entities=len(self._cache), parked=len(self._parked))

    # Batches

    async def handle(self, records: Sequence[ConsumedRecord]) -> list[ProducerRecord]:
        """The records to publish for a batch, in its order; new entities first, so that a replay has them."""
        begun, pace = self._services.clock.monotonic(), Pace()
        await self._services.limits.refresh()
        if self._replays is not None:
            self._replays.observe(records)
        outputs: dict[int, list[ProducerRecord]] = {}
        by_connector: dict[str, list[RawActivity]] = {}
        deletions: list[Deletion] = []
        for record in records:
            try:
                arrival = await pace.do(len(record.value or b""), partial(read, self._services.codec, record))
            except DataError as error:
                outputs[record.offset] = [self._dead_letters.of_unreadable(record, str(error))]
                continue
            if isinstance(arrival, Deletion):
                deletions.append(arrival)
            elif isinstance(arrival, RawActivity):
                by_connector.setdefault(arrival.connector, []).append(arrival)
            else:
                assert isinstance(arrival, Marker)
        new: list[ProducerRecord] = []
        for found, done in await gather_or_cancel(*(self._contained(c, a) for c, a in by_connector.items())):
            new += found
            outputs |= done
        for deletion in deletions:  # after the batch's own activities, which may have been parked just now
            await pace.pause()
            outputs[deletion.source.offset] = self._deletion(deletion)
        self._metrics.handled(len(records), self._services.clock.monotonic() - begun)
        return [*new, *(out for offset in sorted(outputs) for out in outputs[offset])]

    async def _contained(
        self, connector: str, activities: list[RawActivity]
    ) -> tuple[list[ProducerRecord], dict[int, list[ProducerRecord]]]:
        """As by `_activities`; whatever else that raises for one connector makes dead letters of its activities."""
        try:
            return await self._activities(connector, activities)
        except OF_ALL:
            raise
        except Exception as error:  # noqa: BLE001 - it costs this connector's activities
            cause = unexpected(error, "it was handled", connector=connector, activities=len(activities))
            letters = {a.source.offset: [self._dead_letters.of_unreadable(a.source, cause)] for a in activities}
            return [], letters

    async def _activities(
        self, connector: str, activities: list[RawActivity]
    ) -> tuple[list[ProducerRecord], dict[int, list[ProducerRecord]]]:
        """One connector's activities of a batch: (new entities, raw offset → the records to publish)."""
        retries = self._retries
        admitted = retries.admit(connector)
        if isinstance(admitted, Rejection):
            return [], retries.park(activities, admitted)
        enriching = asyncio.create_task(retries.enrich(admitted, activities), name=f"enrich-{connector}")
        try:
            await asyncio.wait([enriching], timeout=retries.patience(connector))
        except asyncio.CancelledError:
            enriching.cancel()
            raise
        if not enriching.done():
            return [], retries.finish_in_background(admitted, activities, enriching)
        try:
            done = enriching.result()
        except (GainsightError, VaultError) as error:
            why = retries.fail(connector, admitted, class_of(error), cause_of(error, connector))
            log.warning(
                "activities_parked",
                connector=connector,
                activities=len(activities),
                failure=why.failure.value,
                cause=why.cause,
            )
            return [], retries.park(activities, why)
        outputs = {
            a.source.offset: [*retries.unpark(a.source), done.outputs[a.source.offset]]
            for a in activities
            if a.source.offset in done.outputs
        }
        return done.new, outputs | retries.stop_if_refused(admitted, done)

    def _deletion(self, deletion: Deletion) -> list[ProducerRecord]:
        """The records to publish for a deletion: it also ends the wait of an earlier version."""
        source = deletion.source
        if self._services.directory.get(deletion.connector) is None:  # a removed connector: its data is being deleted
            self._cache.forget(deletion.connector)
        parked = self._parked.get(source.key or b"")
        is_older = parked is not None and parked.source.offset < source.offset
        obsolete = self._retries.unpark(source) if is_older else []
        try:
            made = conversation.tombstone(self._services.settings, deletion)
            return [*obsolete, self._dead_letters.unless_taken(source, made)]
        except Exception as error:  # noqa: BLE001 - it costs this record
            where = {"connector": deletion.connector, "offset": source.offset}
            cause = unexpected(error, "it was converted", **where)
            return [*obsolete, self._dead_letters.of_unreadable(source, cause)]

    # In the background

    async def background_work(self) -> Finish | None:
        """Does a bounded piece of work while batches go on; None: there is nothing to do now.

        The returned function gives the records to publish, and is called while no batch is in progress.
        """
        for job in self._jobs:
            if (finish := await job()) is not None:
                return finish
        return nothing if await self._retries.wait_for_one() else None

    async def close(self) -> None:
        """Ends the background work."""
        await self._retries.close()
        self._metrics.closed(self._lane)

    def committed(self, records: Sequence[ConsumedRecord], outputs: Sequence[ProducerRecord], seconds: float) -> None:
        """Counts what a transaction committed: a batch's, or one of background work (no records)."""
        self._metrics.committed(self._lane, self._services.directory.ids(), records, outputs, seconds)
        self._report()

    def _report(self) -> None:
        """Sets the metrics of the lane's state."""
        circuits = self._retries.breaker.open_circuits()
        failures = {c: circuit.failure.value for c, circuit in circuits.items() if circuit.cause != PAUSED}
        self._metrics.waiting(self._lane, self._parked.counts(), failures, len(self._cache))
        self._metrics.called(self._services.clients.in_use())
        if self._replays is not None:
            self._metrics.called(self._replays.clients.in_use())
