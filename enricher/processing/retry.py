"""Retries: a lane's parked activities tried again in the background, and which connectors a batch may call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType

import structlog

from enricher.activity.raw_record import DataError, RawActivity, read
from enricher.processing import parked as parking
from enricher.processing.circuit_breaker import CircuitBreaker
from enricher.processing.dead_letters import DeadLetters
from enricher.processing.enrich import Enriched, Enricher
from enricher.processing.parked import Parked, ParkedActivities
from enricher.processing.services import EnricherServices
from enricher.processing.unexpected import OF_ALL, unexpected
from frame_gainsight.connectors import Connector, VaultError
from frame_gainsight.gainsight import GainsightError
from frame_gainsight.kafka import ConsumedRecord, ProducerRecord, read_at, read_to_end
from frame_gainsight.runtime import Failure, cause_of
from frame_gainsight.runtime.pauses import SLICE_BYTES, Pace
from schemas import DecodeError

log = structlog.get_logger(__name__)

SLICE = 500  # parked activities of a retry
MAX_SECONDS = 300.0  # for the calls that some activities need
RECENTLY_FAILED_SECONDS = 1.0  # that a batch waits for a connector that has failed recently
SLOW = "The tenant has not answered yet."
PAUSED = "The connector is paused: its tenant is asked nothing."

Finish = Callable[[], list[ProducerRecord]]


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a connector's activities are to be parked without a call."""

    failure: Failure
    cause: str


class RetryScheduler:
    """Which connectors of a lane may be called, and the background retries of their parked activities.

    Attributes:
        parked: the lane's parked activities.
        breaker: the circuits of its connectors.
    """

    def __init__(self, services: EnricherServices, lane: int, enricher: Enricher, dead_letters: DeadLetters) -> None:
        self._services = services
        self._lane = lane
        self._enricher = enricher
        self._dead_letters = dead_letters
        self.parked = ParkedActivities()
        self.breaker = CircuitBreaker(services.clock)
        self._running: dict[str, asyncio.Task[Finish]] = {}
        self._late: set[str] = set()  # of these, the connectors whose answers a batch did not wait for

    def restore(self) -> None:
        """Reads the parked activities from Kafka. Blocks. Raises BrokerError."""
        settings, codec = self._services.settings, self._services.codec
        for record in read_to_end(settings, settings.parked_topic, {self._lane: None}):
            if record.value is None:
                self.parked.take(record.key or b"")
            else:
                try:
                    self.parked.put(parking.restored(codec, settings, record))
                except DecodeError as error:  # the record stays in its topic, to be examined
                    log.error("parked_unreadable", lane=self._lane, offset=record.offset, cause=str(error))

    async def close(self) -> None:
        """Cancels the running retries."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def wait_for_one(self) -> bool:
        """Waits until a running retry ends, for a bounded time; False: none is running."""
        if not self._running:
            return False
        timeout = self._services.settings.unpark_seconds
        await asyncio.wait(self._running.values(), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        return True

    # For the batches

    def admit(self, connector: str) -> Connector | Rejection:
        """The connector, if a batch may call its tenant now; else why its activities are to be parked."""
        if (circuit := self.breaker.circuit(connector)) is not None:
            return Rejection(circuit.failure, circuit.cause)
        if connector in self._late:
            return Rejection(Failure.TRANSIENT, SLOW)
        return self._registered(connector)

    def _registered(self, connector: str) -> Connector | Rejection:
        """The connector; one that is not registered, or paused, is rejected, and its circuit opens."""
        registered = self._services.directory.get(connector)
        if registered is None:
            return self.fail(connector, None, Failure.CONFIG, _unregistered(connector))
        if registered.state == "PAUSED":
            self.breaker.stop(registered, PAUSED)
            return Rejection(Failure.CONFIG, PAUSED)
        return registered

    def patience(self, connector: str) -> float:
        """Seconds that a batch waits for the connector's tenant: few when it has failed recently."""
        patience = self._services.settings.patience_seconds
        return min(RECENTLY_FAILED_SECONDS, patience) if self.breaker.recently_failed(connector) else patience

    async def enrich(self, connector: Connector, activities: Sequence[RawActivity]) -> Enriched:
        """Enriches within a bounded time. Raises as the enricher does, and TooSlowError."""
        try:
            async with asyncio.timeout(MAX_SECONDS):
                return await self._enricher.enrich(connector, activities)
        except TimeoutError as error:
            raise TooSlowError(f"The tenant's answers took longer than {MAX_SECONDS:g} seconds.") from error

    def finish_in_background(
        self, connector: Connector, activities: Sequence[RawActivity], enriching: asyncio.Task[Enriched]
    ) -> dict[int, list[ProducerRecord]]:
        """Parks activities whose calls go on; their conversations are published when these have been answered."""
        log.info("tenant_slow", connector=connector.id, activities=len(activities))
        self._late.add(connector.id)
        before = self._running.pop(connector.id, None)  # a retry of its parked activities

        async def finish() -> Finish:
            try:
                finishes = [await before] if before is not None else []
                finishes.append(await self._finished(connector, [a.source for a in activities], enriching))
            finally:
                self._late.discard(connector.id)
            return lambda: [out for finish in finishes for out in finish()]

        self._running[connector.id] = asyncio.create_task(finish(), name=f"late-{connector.id}")
        return self.park(activities, Rejection(Failure.TRANSIENT, SLOW))

    def stop_if_refused(self, connector: Connector, done: Enriched) -> dict[int, list[ProducerRecord]]:
        """Opens the circuit of a connector whose activities were refused, and parks these."""
        why = self._refused(connector, done)
        return self.park(done.refused, why) if why is not None else {}

    def _refused(self, connector: Connector, done: Enriched) -> Rejection | None:
        """Opens the circuit of a connector whose activities were refused; None: none was."""
        if not done.refused:
            return None
        return Rejection(Failure.CONFIG, self._dead_letters.stop(self.breaker, connector, done.cause))

    def fail(self, connector: str, seen: Connector | None, failure: Failure, cause: str) -> Rejection:
        """Opens the connector's circuit after a failure."""
        self.breaker.failed(connector, failure, cause, seen)
        return Rejection(failure, cause)

    def park(self, activities: Sequence[RawActivity], why: Rejection) -> dict[int, list[ProducerRecord]]:
        """Parks the activities; returns the records to publish, by raw offset."""
        settings, codec = self._services.settings, self._services.codec
        parked = self.parked.park(activities, why.failure, why.cause, self._services.clock.now())
        room = self._services.limits.room(settings.parked_topic)
        outputs = {}
        for item in parked:
            out = parking.encode(codec, settings, item, room)
            if not self._services.limits.fits(out):
                self.parked.take(item.source.key or b"")
                out = self._dead_letters.unless_taken(item.source, out)
            outputs[item.source.offset] = [out]
        return outputs

    def unpark(self, source: ConsumedRecord) -> list[ProducerRecord]:
        """The tombstone of a parked version that this raw record makes obsolete, if there is one."""
        if self.parked.take(source.key or b"") is None:
            return []
        return [parking.tombstone(self._services.settings, source)]

    # In the background

    async def retry_parked(self) -> Finish | None:
        """Retries a slice of every due connector's parked activities, all at the same time; None: none has ended."""
        for connector in self.breaker.close_changed(self._services.directory.get):
            self._dead_letters.converted(connector)
        for due in self.breaker.due(self.parked.counts()):
            if due not in self._running:
                self._running[due] = asyncio.create_task(self._retry(due), name=f"retry-{due}")
        ended = next((connector for connector, task in self._running.items() if task.done()), None)
        return self._running.pop(ended).result() if ended is not None else None

    async def _retry(self, due: str) -> Finish:
        """Retries a slice of the connector's parked activities."""
        connector = self._registered(due)
        if isinstance(connector, Rejection):
            return nothing
        try:
            return await self._retry_slice(due, connector)
        except OF_ALL:
            raise
        except Exception as error:  # noqa: BLE001 - it costs this connector
            self.fail(due, connector, Failure.TRANSIENT, unexpected(error, "activities were retried", connector=due))
            return nothing

    async def _retry_slice(self, due: str, connector: Connector) -> Finish:
        items = _within(SLICE_BYTES, await self._loaded(self.parked.oldest(due, SLICE)))
        activities, unreadable = await self._readable(items)
        enriching = asyncio.create_task(self.enrich(connector, activities), name=f"enrich-{due}")
        return await self._finished(connector, [item.source for item in items], enriching, unreadable)

    async def _finished(
        self,
        connector: Connector,
        sources: Sequence[ConsumedRecord],
        enriching: asyncio.Task[Enriched],
        unreadable: Mapping[int, ProducerRecord] = MappingProxyType({}),
    ) -> Finish:
        """Waits until parked activities are enriched, or their tenant has failed."""
        try:
            done = await enriching
        except (GainsightError, VaultError) as error:
            why = self.fail(connector.id, connector, class_of(error), cause_of(error, connector.id))
            log.info(
                "retry_failed",
                connector=connector.id,
                parked=len(sources),
                failure=why.failure.value,
                cause=why.cause,
            )
            return nothing
        self.breaker.recovered(connector.id)
        refusal = self._refused(connector, done)
        outputs = {**done.outputs, **unreadable}

        def finish() -> list[ProducerRecord]:
            settled = self._settled(connector.id, sources, done.new, outputs)
            return settled + (self._parked_again(done.refused, refusal) if refusal is not None else [])

        return finish

    def _settled(
        self,
        connector: str,
        sources: Sequence[ConsumedRecord],
        new: Sequence[ProducerRecord],
        outputs: Mapping[int, ProducerRecord],
    ) -> list[ProducerRecord]:
        """The records to publish for parked activities: none for those that a batch has replaced meanwhile.

        Every version of an activity that has several among them, in their order.
        """
        records = list(new)
        latest = {source.key or b"": source.offset for source in sources}
        count = 0
        for source in sources:
            key = source.key or b""
            parked, output = self.parked.get(key), outputs.get(source.offset)
            if output is None or parked is None or parked.source.offset != latest[key] or latest[key] not in outputs:
                continue
            if source.offset == latest[key]:
                records += self.unpark(source)
            records.append(output)
            count += 1
        if count:
            log.info("activities_unparked", connector=connector, activities=count, left=len(self.parked))
        return records

    def _parked_again(self, refused: Sequence[RawActivity], why: Rejection) -> list[ProducerRecord]:
        """The records to publish for refused activities: none for those that a batch has replaced meanwhile."""
        waiting = []
        for activity in refused:
            parked = self.parked.get(activity.source.key or b"")
            if parked is not None and parked.source.offset == activity.source.offset:
                waiting.append(activity)
        return [out for outs in self.park(waiting, why).values() for out in outs]

    async def _loaded(self, items: Sequence[Parked]) -> list[Parked]:
        """The same activities with their values: of those that are not in memory, some are read again."""
        missing = {item.source.offset for item in items if not item.loaded}
        if not missing:
            return list(items)
        settings = self._services.settings
        read_some = partial(read_at, max_bytes=SLICE_BYTES)
        found = await asyncio.to_thread(read_some, settings, settings.raw_topic, self._lane, missing)
        # A record that is gone has a newer version, which takes its place when its batch comes. Others are read later.
        return [
            item if item.loaded else replace(item, source=found[item.source.offset], loaded=True)
            for item in items
            if item.loaded or item.source.offset in found
        ]

    async def _readable(self, items: Sequence[Parked]) -> tuple[list[RawActivity], dict[int, ProducerRecord]]:
        """The parked activities decoded, and the dead letters of those that cannot be read, by raw offset."""
        activities, unreadable, pace = [], {}, Pace()
        for item in items:
            try:
                decode = partial(read, self._services.codec, item.source)
                arrival = await pace.do(len(item.source.value or b""), decode)
                if not isinstance(arrival, RawActivity):
                    raise DataError("This was parked, and is no activity. Look at who writes to the topic.")
            except DataError as error:
                unreadable[item.source.offset] = self._dead_letters.of_unreadable(item.source, str(error))
                continue
            activities.append(arrival)
        return activities, unreadable


class TooSlowError(GainsightError):
    """The tenant's answers took longer than other tenants can wait."""


def nothing() -> list[ProducerRecord]:
    """Nothing to publish."""
    return []


def class_of(error: GainsightError | VaultError) -> Failure:
    """The error's class. A key that cannot be decrypted is TRANSIENT: KMS may be unavailable."""
    return error.failure if isinstance(error, GainsightError) else Failure.TRANSIENT


def _within(max_bytes: int, items: Sequence[Parked]) -> list[Parked]:
    """The first items that have `max_bytes` of values at most; one at least."""
    first: list[Parked] = []
    size = 0
    for item in items:
        size += len(item.source.value or b"")
        if first and size > max_bytes:
            break
        first.append(item)
    return first


def _unregistered(connector: str) -> str:
    return f"There is no connector '{connector}' registered. Add it: frame-gainsight connector add FILE"
