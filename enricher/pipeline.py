"""A lane's work between Kafka and Kafka: raw records in, the records to publish out. Knows no client of either."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import orjson
import structlog

from bus import Incoming, Outgoing, Settings, read_to_end
from bus.clients import MAX_MESSAGE_BYTES
from connectors import Connector, Definition, VaultError
from enricher import conversation, entities, parking
from enricher.activity import DataError, Deletion, Marker, RawActivity, read
from enricher.connections import Clients, Directory
from enricher.entities import EntityCache
from enricher.parking import ParkingLot
from enricher.resolve import Resolved, Resolver
from gainsight import Clock, Failure, GainsightError
from schemas import Codec, DecodeError, EncodeError

log = structlog.get_logger(__name__)

HOUR = 3_600_000
# Above this a record is not sent at all: headers, key and batch overhead come on top.
LARGEST_VALUE = MAX_MESSAGE_BYTES - 65_536


class Pipeline:
    """What a lane has in memory (entity cache, parked activities), and how a batch becomes records.

    One batch after the other; a batch's outputs are published, or the lane is thrown away.
    """

    def __init__(
        self, settings: Settings, codec: Codec, directory: Directory, clients: Clients, clock: Clock, lane: int
    ) -> None:
        self._settings = settings
        self._codec = codec
        self._directory = directory
        self._clients = clients
        self._clock = clock
        self._lane = lane
        self._cache = EntityCache(int(settings.entity_ttl_hours * HOUR), int(settings.absent_ttl_hours * HOUR))
        self._lot = ParkingLot()
        self._resolvers: dict[str, tuple[Connector, Resolver]] = {}

    @property
    def parked(self) -> int:
        return len(self._lot)

    def restore(self) -> None:
        """Reads the lane's entities and parked activities from Kafka. Blocks. Raises BrokerError."""
        self._directory.start()
        for record in read_to_end(self._settings, self._settings.entities_topic, {self._lane: None}):
            if record.value is not None:
                try:
                    self._cache.put(entities.decode(self._codec, record.value))
                except (DecodeError, orjson.JSONDecodeError) as error:  # it is only a cache: ask again
                    log.warning("entity_unreadable", lane=self._lane, offset=record.offset, cause=str(error))
        for record in read_to_end(self._settings, self._settings.parked_topic, {self._lane: None}):
            if record.value is None:
                self._lot.parked.pop(record.key or b"", None)
            else:
                try:
                    self._lot.parked[record.key or b""] = parking.decode(self._codec, record.value)
                except DecodeError as error:  # it is still in its topic, for whoever looks into it
                    log.error("parked_unreadable", lane=self._lane, offset=record.offset, cause=str(error))
        log.info("lane_restored", lane=self._lane, entities=len(self._cache), parked=len(self._lot))

    async def handle(self, records: Sequence[Incoming]) -> list[Outgoing]:
        """The records to publish for a batch, in its order; new entities first, so that a replay has them."""
        outputs: dict[int, list[Outgoing]] = {}
        by_connector: dict[str, list[RawActivity]] = {}
        deletions: list[Deletion] = []
        for record in records:
            try:
                arrival = read(self._codec, record)
            except DataError as error:
                outputs[record.offset] = [self._dead_letter(record, str(error))]
                continue
            if isinstance(arrival, Deletion):
                deletions.append(arrival)
            elif isinstance(arrival, RawActivity):
                by_connector.setdefault(arrival.connector, []).append(arrival)
            else:
                assert isinstance(arrival, Marker)
        new: list[Outgoing] = []
        for found, done in await asyncio.gather(*(self._window(c, a) for c, a in by_connector.items())):
            new += found
            outputs |= done
        for deletion in deletions:  # now that it is known which of the batch's own activities had to be parked
            source = deletion.source
            parked = self._lot.parked.get(source.key or b"")
            obsolete = self._unpark(source) if parked is not None and parked.source.offset < source.offset else []
            outputs[source.offset] = [*obsolete, conversation.tombstone(self._settings, deletion)]
        return [*new, *(out for offset in sorted(outputs) for out in outputs[offset])]

    async def retry(self) -> list[Outgoing]:
        """The records to publish for parked activities that may be tried again."""
        waiting = {parked.connector for parked in self._lot.parked.values()}
        for connector in self._directory.take_changed(waiting):
            self._lot.recovered(connector)
        outputs: list[Outgoing] = []
        for connector, parked in self._lot.due(self._clock.monotonic()).items():
            activities = []
            for item in parked:
                arrival = read(self._codec, item.source)
                assert isinstance(arrival, RawActivity)
                activities.append(arrival)
            new, done = await self._window(connector, activities, tried_before=True)
            outputs += [*new, *(out for offset in sorted(done) for out in done[offset])]
        return outputs

    async def _window(
        self, connector: str, activities: list[RawActivity], tried_before: bool = False
    ) -> tuple[list[Outgoing], dict[int, list[Outgoing]]]:
        """One connector's activities: (new entities, records by the offset that they are for)."""
        now = self._clock.monotonic()
        if not self._lot.is_open(connector, now):
            return [], self._park(activities, Failure.TRANSIENT, "The tenant is being left alone after failures.")
        registered = self._directory.get(connector)
        if registered is None:
            cause = f"There is no connector '{connector}' registered. Add it: frame-gainsight connector add FILE"
            self._lot.failed(connector, now)
            return [], {} if tried_before else self._park(activities, Failure.CONFIG, cause)
        try:
            resolver = await self._resolver(registered)
            found = await resolver.resolve(conversation.wanted(activities))
        except (GainsightError, VaultError) as error:
            failure = error.failure if isinstance(error, GainsightError) else Failure.CONFIG
            self._lot.failed(connector, self._clock.monotonic())
            log.warning(
                "parked", connector=connector, activities=len(activities), failure=failure.value, cause=str(error)
            )
            return [], {} if tried_before else self._park(activities, failure, str(error))
        self._lot.recovered(connector)
        done = {a.source.offset: self._convert(a, registered.definition, found) for a in activities}
        if tried_before:
            log.info("unparked", connector=connector, activities=len(activities))
        return [entities.encode(self._codec, self._settings, self._lane, e) for e in found.new], done

    def _convert(self, activity: RawActivity, definition: Definition, found: Resolved) -> list[Outgoing]:
        """The conversation, or a dead letter when the activity cannot be read or is too large for the topic."""
        unparked = self._unpark(activity.source)
        try:
            value = conversation.build(activity, definition, found)
            out = conversation.record(self._codec, self._settings, activity, value)
            if len(out.value or b"") > LARGEST_VALUE:
                raise DataError(
                    f"The conversation has {len(out.value or b'')} bytes; the topic takes {LARGEST_VALUE}. "
                    "Raise max.message.bytes and retry, or shorten the activity."
                )
        except (DataError, EncodeError) as error:
            return [*unparked, self._dead_letter(activity.source, str(error))]
        return [*unparked, out]

    async def _resolver(self, connector: Connector) -> Resolver:
        known = self._resolvers.get(connector.id)
        if known is None or known[0] != connector:
            client = await self._clients.of(connector)
            known = (connector, Resolver(connector.definition, client, self._cache, self._clock))
            self._resolvers[connector.id] = known
        return known[1]

    def _park(self, activities: Sequence[RawActivity], failure: Failure, cause: str) -> dict[int, list[Outgoing]]:
        parked = self._lot.park(activities, failure.value, cause, self._clock.now())
        return {p.source.offset: [parking.encode(self._codec, self._settings, p)] for p in parked}

    def _unpark(self, source: Incoming) -> list[Outgoing]:
        """The tombstone for a parked version that this record makes obsolete, if there is one."""
        if self._lot.parked.pop(source.key or b"", None) is None:
            return []
        return [parking.done(self._settings, source)]

    def _dead_letter(self, record: Incoming, cause: str) -> Outgoing:
        log.warning("dead_letter", topic=record.topic, partition=record.partition, offset=record.offset, cause=cause)
        value = {
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "key": record.key,
            "value": record.value,
            "headers": [{"key": k, "value": v} for k, v in record.headers],
            "failure": Failure.DATA.value,
            "cause": cause,
            "failed_at": self._clock.now(),
        }
        headers = (("failure", Failure.DATA.value.encode()),)
        return Outgoing(
            self._settings.dead_letters_topic,
            self._lane,
            record.key or b"",
            self._codec.encode("dead_letter", value),
            headers,
        )
