"""What waits in a lane: parked activities, tenants that are left alone, and what is asked for beside the batches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import structlog

from enricher.activity.raw_record import DataError, RawActivity, read
from enricher.processing import parked as parking
from enricher.processing.enrich import Enriched, Enricher
from enricher.processing.parked import Parked, ParkedActivities
from enricher.processing.tenants import ConnectorDirectory
from frame_gainsight.connectors import Connector, VaultError
from frame_gainsight.gainsight import GainsightError
from frame_gainsight.kafka import ConsumedRecord, ProducerRecord, read_at, read_to_end
from frame_gainsight.runtime import Clock, Failure, Settings, cause_of
from schemas import Codec, DecodeError, RegistryError

log = structlog.get_logger(__name__)

SLICE = 500  # parked activities that are tried again at once
MOST_SECONDS = 300.0  # for the answers that some activities need
SHAKY_SECONDS = 1.0  # that a batch waits for a connector after a failure of late
SLOW = "The tenant has not answered yet."
PAUSED = "The connector is paused: its tenant is asked nothing."

Finish = Callable[[], list[ProducerRecord]]


class RetryScheduler:
    """The activities of a lane that wait, and trying them again side by side.

    Attributes:
        lot: what is parked, and who is left alone.
    """

    def __init__(
        self,
        settings: Settings,
        codec: Codec,
        directory: ConnectorDirectory,
        clock: Clock,
        lane: int,
        enricher: Enricher,
    ) -> None:
        self._settings = settings
        self._codec = codec
        self._directory = directory
        self._clock = clock
        self._lane = lane
        self._enricher = enricher
        self.lot = ParkedActivities()
        self._retrying: dict[str, asyncio.Task[Finish]] = {}
        self._late: set[str] = set()  # of these, the connectors whose answers a batch did not wait for

    def restore(self) -> None:
        """Reads what is parked. Blocks. Raises BrokerError."""
        for record in read_to_end(self._settings, self._settings.parked_topic, {self._lane: None}):
            if record.value is None:
                self.lot.take(record.key or b"")
            else:
                try:
                    self.lot.put(parking.decode(self._codec, record.value))
                except DecodeError as error:  # it is still in its topic, for whoever looks into it
                    log.error("parked_unreadable", lane=self._lane, offset=record.offset, cause=str(error))

    async def close(self) -> None:
        """Ends what is under way."""
        retrying = list(self._retrying.values())
        for task in retrying:
            task.cancel()
        await asyncio.gather(*retrying, return_exceptions=True)

    async def one_ended(self) -> bool:
        """Waits a while for what is under way; False: nothing is."""
        if not self._retrying:
            return False
        waiting = self._retrying.values()
        await asyncio.wait(waiting, timeout=self._settings.unpark_seconds, return_when=asyncio.FIRST_COMPLETED)
        return True

    # For the batches

    def left_alone(self, connector: str) -> tuple[Failure, str] | None:
        """Why the connector's activities are to be parked unasked; None: it may be asked."""
        if (trouble := self.lot.trouble(connector)) is not None:
            return trouble.failure, trouble.cause
        return (Failure.TRANSIENT, SLOW) if connector in self._late else None

    def in_use(self, connector: str) -> Connector | None:
        """The connector, to be asked; None: it is not registered, or paused, and left alone from now on."""
        registered = self._directory.get(connector)
        if registered is None:
            self.fail(connector, None, Failure.CONFIG, _unregistered(connector))
        elif registered.state == "PAUSED":
            self.lot.stop(connector, PAUSED, registered)
            registered = None
        return registered

    def patience(self, connector: str) -> float:
        """Seconds that the others of the lane wait for a connector: little where it has failed of late."""
        patience = self._settings.patience_seconds
        return min(SHAKY_SECONDS, patience) if self.lot.shaky(connector, self._clock.monotonic()) else patience

    async def enrich(self, connector: Connector, activities: Sequence[RawActivity]) -> Enriched:
        """Raises as the enricher does, TooSlowError, and UnexpectedError."""
        try:
            async with asyncio.timeout(MOST_SECONDS):
                return await self._enricher.enrich(connector, activities)
        except TimeoutError as error:
            raise TooSlowError(f"The tenant's answers took longer than {MOST_SECONDS:g} seconds.") from error
        except (GainsightError, VaultError, RegistryError):
            raise
        except Exception as error:  # a fault of ours must not stop the other tenants; nothing is lost by it
            log.exception("unexpected", connector=connector.id, activities=len(activities))
            raise UnexpectedError(
                f"Unexpected {type(error).__name__} while activities were resolved: please report it."
            ) from error

    def go_on_beside(
        self, connector: Connector, activities: Sequence[RawActivity], asking: asyncio.Task[Enriched]
    ) -> dict[int, list[ProducerRecord]]:
        """Parks the activities; they come out when what was asked for them is answered."""
        log.info("slow", connector=connector.id, activities=len(activities))
        self._late.add(connector.id)
        before = self._retrying.pop(connector.id, None)  # a slice of its parked ones

        async def finish() -> Finish:
            try:
                finishes = [await before] if before is not None else []
                finishes.append(await self._ended(connector, [a.source for a in activities], asking))
            finally:
                self._late.discard(connector.id)
            return lambda: [out for finish in finishes for out in finish()]

        self._retrying[connector.id] = asyncio.create_task(finish(), name=f"late-{connector.id}")
        return self.park(activities, Failure.TRANSIENT, SLOW)

    def stop_if_refused(self, connector: Connector, done: Enriched) -> dict[int, list[ProducerRecord]]:
        """Stops a connector whose every activity fails; those that were not tried are parked."""
        if not done.refused:
            return {}
        count = self._settings.dead_letters_in_a_row
        cause = f"The last {count} activities could not be converted; the rest wait. The last cause: {done.cause}"
        self.lot.stop(connector.id, cause, connector)
        log.error("connector_stopped", connector=connector.id, cause=cause)
        return self.park(done.refused, Failure.CONFIG, cause)

    def fail(self, connector: str, seen: Connector | None, failure: Failure, cause: str) -> Failure:
        self.lot.failed(connector, failure, cause, seen, self._clock.monotonic())
        return failure

    def park(self, activities: Sequence[RawActivity], failure: Failure, cause: str) -> dict[int, list[ProducerRecord]]:
        parked = self.lot.park(activities, failure, cause, self._clock.now())
        return {p.source.offset: [parking.encode(self._codec, self._settings, p)] for p in parked}

    def unpark(self, source: ConsumedRecord) -> list[ProducerRecord]:
        """The tombstone for a parked version that this record makes obsolete, if there is one."""
        return [parking.done(self._settings, source)] if self.lot.take(source.key or b"") is not None else []

    # Beside them

    async def retry_parked(self) -> Finish | None:
        """Tries every connector's parked activities again whose time has come, a slice each, side by side."""
        for connector, trouble in self.lot.in_trouble().items():
            if self._directory.get(connector) != trouble.seen:
                self.lot.changed(connector)
                self._enricher.forgive(connector)
        for due in self.lot.due(self._clock.monotonic()):
            if due not in self._retrying:
                self._retrying[due] = asyncio.create_task(self._retry(due), name=f"retry-{due}")
        ended = next((connector for connector, task in self._retrying.items() if task.done()), None)
        return self._retrying.pop(ended).result() if ended is not None else None

    async def _retry(self, due: str) -> Finish:
        """Tries a slice of the connector's parked activities again."""
        registered = self.in_use(due)
        if registered is None:
            return nothing
        items = await self._loaded(self.lot.oldest(due, SLICE))
        activities, unreadable = self._readable(items)
        asking = asyncio.create_task(self.enrich(registered, activities), name=f"enrich-{due}")
        return await self._ended(registered, [item.source for item in items], asking, unreadable)

    async def _ended(
        self,
        connector: Connector,
        sources: Sequence[ConsumedRecord],
        asking: asyncio.Task[Enriched],
        unreadable: Mapping[int, ProducerRecord] = MappingProxyType({}),
    ) -> Finish:
        """Waits for what is asked for parked activities."""
        try:
            done = await asking
        except (GainsightError, VaultError) as error:
            cause = cause_of(error, connector.id)
            failure = self.fail(connector.id, connector, class_of(error), cause)
            log.info("still_parked", connector=connector.id, parked=len(sources), failure=failure.value, cause=cause)
            return nothing
        self.lot.recovered(connector.id, self._clock.monotonic())
        self.stop_if_refused(connector, done)
        outputs = {**done.outputs, **unreadable}
        return lambda: self._settled(connector.id, sources, done.new, outputs)

    def _settled(
        self,
        connector: str,
        sources: Sequence[ConsumedRecord],
        new: Sequence[ProducerRecord],
        outputs: Mapping[int, ProducerRecord],
    ) -> list[ProducerRecord]:
        """What to publish for parked activities: nothing of what a batch has replaced meanwhile.

        Of an activity that has several versions among them, every one, in their order.
        """
        records = list(new)
        newest = {source.key or b"": source.offset for source in sources}
        count = 0
        for source in sources:
            key = source.key or b""
            parked, output = self.lot.get(key), outputs.get(source.offset)
            if output is None or parked is None or parked.source.offset != newest[key] or newest[key] not in outputs:
                continue
            if source.offset == newest[key]:
                records += self.unpark(source)
            records.append(output)
            count += 1
        if count:
            log.info("unparked", connector=connector, activities=count, left=len(self.lot))
        return records

    async def _loaded(self, items: Sequence[Parked]) -> list[Parked]:
        """The same with their values: those that memory had no room for are read again."""
        missing = {item.source.offset for item in items if not item.loaded}
        if not missing:
            return list(items)
        found = await asyncio.to_thread(read_at, self._settings, self._settings.raw_topic, self._lane, missing)
        # One that is not there any more has a newer version, which takes its place when its batch comes.
        return [
            item
            if item.loaded
            else Parked(
                item.connector, found[item.source.offset], item.failure, item.cause, item.parked_at, item.attempts
            )
            for item in items
            if item.loaded or item.source.offset in found
        ]

    def _readable(self, items: Sequence[Parked]) -> tuple[list[RawActivity], dict[int, ProducerRecord]]:
        activities, unreadable = [], {}
        for item in items:
            try:
                arrival = read(self._codec, item.source)
            except DataError as error:
                unreadable[item.source.offset] = self._enricher.dead_letter(item.source, str(error))
                continue
            if isinstance(arrival, RawActivity):
                activities.append(arrival)
        return activities, unreadable


class TooSlowError(GainsightError):
    """The tenant's answers took longer than the others can wait."""


class UnexpectedError(GainsightError):
    """A fault of ours that one tenant's answers bring about."""


def nothing() -> list[ProducerRecord]:
    """Nothing to publish."""
    return []


def class_of(error: GainsightError | VaultError) -> Failure:
    """A key that cannot be decrypted may be so because KMS is away: it is tried again like a tenant that is."""
    return error.failure if isinstance(error, GainsightError) else Failure.TRANSIENT


def _unregistered(connector: str) -> str:
    return f"There is no connector '{connector}' registered. Add it: frame-gainsight connector add FILE"
