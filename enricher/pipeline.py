"""A lane's work between Kafka and Kafka: raw records in, the records to publish out. Knows no client of either.

A tenant in trouble must not hold up the others of its lane: a batch waits for it a bounded time, once. Its activities
are parked then. What was asked for goes on beside the batches, and no call is made twice for it; further activities of
it are parked at once, and tried again beside the batches.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType

import orjson
import structlog

from bus import Incoming, Outgoing, Settings, read_at, read_to_end
from bus.metrics import Metrics
from connectors import Connector, VaultError
from enricher import conversation, entities, parking
from enricher.activity import DataError, Deletion, Marker, RawActivity, read
from enricher.connections import Clients, Directory
from enricher.enriching import Enriched, Enricher
from enricher.entities import EntityCache
from enricher.meter import Meter
from enricher.orders import Orders
from enricher.parking import Parked, ParkingLot
from enricher.replayer import Replayer
from enricher.together import together
from gainsight import Clock, Failure, GainsightError
from schemas import Codec, DecodeError, RegistryError

log = structlog.get_logger(__name__)

HOUR = 3_600_000
SLICE = 500  # parked activities that are tried again at once
MOST_SECONDS = 300.0  # for the answers that some activities need
SHAKY_SECONDS = 1.0  # that a batch waits for a connector after a failure of late
SLOW = "The tenant has not answered yet."
PAUSED = "The connector is paused: its tenant is asked nothing."

Finish = Callable[[], list[Outgoing]]
Job = Callable[[], Awaitable[Finish | None]]


class Pipeline:
    """What a lane has in memory (entity cache, parked activities), and how a batch becomes records.

    One batch after the other; a batch's outputs are published, or the lane is thrown away.
    """

    def __init__(
        self,
        settings: Settings,
        codec: Codec,
        directory: Directory,
        clients: Clients,
        clock: Clock,
        lane: int,
        orders: Orders | None = None,
        meter: Meter | None = None,
    ) -> None:
        self._settings = settings
        self._meter = meter or Meter(Metrics(), settings, clock)
        self._clients = clients
        self._codec = codec
        self._directory = directory
        self._clock = clock
        self._lane = lane
        self._cache = EntityCache(
            int(settings.entity_ttl_hours * HOUR), int(settings.absent_ttl_hours * HOUR), settings.entities_max
        )
        self._enricher = Enricher(settings, codec, clients, clock, lane, self._cache)
        self._lot = ParkingLot()
        self._jobs: list[Job] = [self._retry_parked]
        self._retrying: dict[str, asyncio.Task[Finish]] = {}
        self._late: set[str] = set()  # of these, the connectors whose answers a batch did not wait for
        self._replayer: Replayer | None = None
        if orders is not None:
            self._replayer = Replayer(settings, codec, directory, clients, clock, lane, self._cache, self._lot, orders)
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
            if record.value is not None:
                try:
                    self._cache.put(entities.decode(self._codec, record.value))
                except (DecodeError, orjson.JSONDecodeError) as error:  # it is only a cache: ask again
                    log.warning("entity_unreadable", lane=self._lane, offset=record.offset, cause=str(error))
        for record in read_to_end(self._settings, self._settings.parked_topic, {self._lane: None}):
            if record.value is None:
                self._lot.take(record.key or b"")
            else:
                try:
                    self._lot.put(parking.decode(self._codec, record.value))
                except DecodeError as error:  # it is still in its topic, for whoever looks into it
                    log.error("parked_unreadable", lane=self._lane, offset=record.offset, cause=str(error))
        if self._replayer is not None:
            self._replayer.restore(position)
        self._meter.opened(self._lane)
        self._tell()
        log.info("lane_restored", lane=self._lane, entities=len(self._cache), parked=len(self._lot))

    # Batches

    async def handle(self, records: Sequence[Incoming]) -> list[Outgoing]:
        """The records to publish for a batch, in its order; new entities first, so that a replay has them."""
        begun = self._clock.monotonic()
        if self._replayer is not None:
            self._replayer.observe(records)
        outputs: dict[int, list[Outgoing]] = {}
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
        new: list[Outgoing] = []
        for found, done in await together(*(self._window(c, a) for c, a in by_connector.items())):
            new += found
            outputs |= done
        for deletion in deletions:  # now that it is known which of the batch's own activities had to be parked
            source = deletion.source
            if self._directory.get(deletion.connector) is None:  # what it leaves behind is being deleted
                self._cache.forget(deletion.connector)
            parked = self._lot.get(source.key or b"")
            obsolete = self._unpark(source) if parked is not None and parked.source.offset < source.offset else []
            outputs[source.offset] = [*obsolete, conversation.tombstone(self._settings, deletion)]
        self._meter.handled(len(records), self._clock.monotonic() - begun)
        return [*new, *(out for offset in sorted(outputs) for out in outputs[offset])]

    async def _window(
        self, connector: str, activities: list[RawActivity]
    ) -> tuple[list[Outgoing], dict[int, list[Outgoing]]]:
        """One connector's activities: (new entities, records by the offset that they are for)."""
        if (trouble := self._lot.trouble(connector)) is not None:
            return [], self._park(activities, trouble.failure, trouble.cause)
        if connector in self._late:
            return [], self._park(activities, Failure.TRANSIENT, SLOW)
        registered = self._directory.get(connector)
        if registered is None:
            self._fail(connector, None, Failure.CONFIG, _unregistered(connector))
            return [], self._park(activities, Failure.CONFIG, _unregistered(connector))
        if registered.state == "PAUSED":
            self._lot.stop(connector, PAUSED, registered)
            return [], self._park(activities, Failure.CONFIG, PAUSED)
        asking = asyncio.create_task(self._enrich(registered, activities), name=f"enrich-{connector}")
        try:
            await asyncio.wait([asking], timeout=self._patience(connector))
        except asyncio.CancelledError:
            asking.cancel()
            raise
        if not asking.done():
            return [], self._go_on_beside(registered, activities, asking)
        try:
            done = asking.result()
        except (GainsightError, VaultError) as error:
            failure = self._fail(connector, registered, _class_of(error), str(error))
            log.warning(
                "parked", connector=connector, activities=len(activities), failure=failure.value, cause=str(error)
            )
            return [], self._park(activities, failure, str(error))
        outputs = {
            a.source.offset: [*self._unpark(a.source), done.outputs[a.source.offset]]
            for a in activities
            if a.source.offset in done.outputs
        }
        return done.new, outputs | self._stop_if_refused(registered, done)

    def _patience(self, connector: str) -> float:
        """Seconds that the others of the lane wait for a connector: little where it has failed of late."""
        patience = self._settings.patience_seconds
        return min(SHAKY_SECONDS, patience) if self._lot.shaky(connector, self._clock.monotonic()) else patience

    async def _enrich(self, connector: Connector, activities: Sequence[RawActivity]) -> Enriched:
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

    def _go_on_beside(
        self, connector: Connector, activities: Sequence[RawActivity], asking: asyncio.Task[Enriched]
    ) -> dict[int, list[Outgoing]]:
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
        return self._park(activities, Failure.TRANSIENT, SLOW)

    def _stop_if_refused(self, connector: Connector, done: Enriched) -> dict[int, list[Outgoing]]:
        """Stops a connector whose every activity fails; those that were not tried are parked."""
        if not done.refused:
            return {}
        count = self._settings.dead_letters_in_a_row
        cause = f"The last {count} activities could not be converted; the rest wait. The last cause: {done.cause}"
        self._lot.stop(connector.id, cause, connector)
        log.error("connector_stopped", connector=connector.id, cause=cause)
        return self._park(done.refused, Failure.CONFIG, cause)

    def _fail(self, connector: str, seen: Connector | None, failure: Failure, cause: str) -> Failure:
        self._lot.failed(connector, failure, cause, seen, self._clock.monotonic())
        return failure

    def _park(self, activities: Sequence[RawActivity], failure: Failure, cause: str) -> dict[int, list[Outgoing]]:
        parked = self._lot.park(activities, failure, cause, self._clock.now())
        return {p.source.offset: [parking.encode(self._codec, self._settings, p)] for p in parked}

    def _unpark(self, source: Incoming) -> list[Outgoing]:
        """The tombstone for a parked version that this record makes obsolete, if there is one."""
        return [parking.done(self._settings, source)] if self._lot.take(source.key or b"") is not None else []

    # Beside the batches

    async def spare(self) -> Finish | None:
        """A bounded piece of work beside the batches; None: nothing to do now.

        What it returns gives the records to publish, and is called when no batch is in hand.
        """
        for job in self._jobs:
            if (finish := await job()) is not None:
                return finish
        if not self._retrying:
            return None
        waiting = self._retrying.values()
        await asyncio.wait(waiting, timeout=self._settings.unpark_seconds, return_when=asyncio.FIRST_COMPLETED)
        return _nothing

    async def close(self) -> None:
        """Ends what is under way beside the batches."""
        retrying = list(self._retrying.values())
        for task in retrying:
            task.cancel()
        await asyncio.gather(*retrying, return_exceptions=True)
        self._meter.closed(self._lane)

    def committed(self, records: Sequence[Incoming], outputs: Sequence[Outgoing], seconds: float) -> None:
        """A batch's transaction, or that of work beside the batches, was committed."""
        self._meter.committed(self._lane, self._directory.ids(), records, outputs, seconds)
        self._tell()

    def _tell(self) -> None:
        left_alone = {c: t.failure.value for c, t in self._lot.in_trouble().items() if t.cause != PAUSED}
        self._meter.waiting(self._lane, self._lot.counts(), left_alone, len(self._cache))
        self._meter.called(self._clients.in_use())
        if self._replayer is not None:
            self._meter.called(self._replayer.clients.in_use())

    async def _retry_parked(self) -> Finish | None:
        """Tries every connector's parked activities again whose time has come, a slice each, side by side."""
        for connector, trouble in self._lot.in_trouble().items():
            if self._directory.get(connector) != trouble.seen:
                self._lot.changed(connector)
                self._enricher.forgive(connector)
        for due in self._lot.due(self._clock.monotonic()):
            if due not in self._retrying:
                self._retrying[due] = asyncio.create_task(self._retry(due), name=f"retry-{due}")
        ended = next((connector for connector, task in self._retrying.items() if task.done()), None)
        return self._retrying.pop(ended).result() if ended is not None else None

    async def _retry(self, due: str) -> Finish:
        """Tries a slice of the connector's parked activities again."""
        registered = self._directory.get(due)
        if registered is None:
            self._fail(due, None, Failure.CONFIG, _unregistered(due))
            return _nothing
        if registered.state == "PAUSED":
            self._lot.stop(due, PAUSED, registered)
            return _nothing
        items = await self._loaded(self._lot.oldest(due, SLICE))
        activities, unreadable = self._readable(items)
        asking = asyncio.create_task(self._enrich(registered, activities), name=f"enrich-{due}")
        return await self._ended(registered, [item.source for item in items], asking, unreadable)

    async def _ended(
        self,
        connector: Connector,
        sources: Sequence[Incoming],
        asking: asyncio.Task[Enriched],
        unreadable: Mapping[int, Outgoing] = MappingProxyType({}),
    ) -> Finish:
        """Waits for what is asked for parked activities."""
        try:
            done = await asking
        except (GainsightError, VaultError) as error:
            failure = self._fail(connector.id, connector, _class_of(error), str(error))
            log.info(
                "still_parked", connector=connector.id, parked=len(sources), failure=failure.value, cause=str(error)
            )
            return _nothing
        self._lot.recovered(connector.id, self._clock.monotonic())
        self._stop_if_refused(connector, done)
        outputs = {**done.outputs, **unreadable}
        return lambda: self._settled(connector.id, sources, done.new, outputs)

    def _settled(
        self, connector: str, sources: Sequence[Incoming], new: Sequence[Outgoing], outputs: Mapping[int, Outgoing]
    ) -> list[Outgoing]:
        """What to publish for parked activities: nothing of what a batch has replaced meanwhile.

        Of an activity that has several versions among them, every one, in their order.
        """
        records = list(new)
        newest = {source.key or b"": source.offset for source in sources}
        count = 0
        for source in sources:
            key = source.key or b""
            parked, output = self._lot.get(key), outputs.get(source.offset)
            if output is None or parked is None or parked.source.offset != newest[key] or newest[key] not in outputs:
                continue
            if source.offset == newest[key]:
                records += self._unpark(source)
            records.append(output)
            count += 1
        if count:
            log.info("unparked", connector=connector, activities=count, left=len(self._lot))
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

    def _readable(self, items: Sequence[Parked]) -> tuple[list[RawActivity], dict[int, Outgoing]]:
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


def _nothing() -> list[Outgoing]:
    return []


def _class_of(error: GainsightError | VaultError) -> Failure:
    """A key that cannot be decrypted may be so because KMS is away: it is tried again like a tenant that is."""
    return error.failure if isinstance(error, GainsightError) else Failure.TRANSIENT


def _unregistered(connector: str) -> str:
    return f"There is no connector '{connector}' registered. Add it: frame-gainsight connector add FILE"
