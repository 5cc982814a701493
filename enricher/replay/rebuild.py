"""Conversations made anew into a topic of their own, by whoever asks: reads the lanes' topics, and writes to none.

Each key's newest version once, as it is when its lane is reached; with what the entities topic knows and, for what it
does not, with calls whose answers are kept in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import orjson
import structlog

from enricher.activity.raw_record import RawActivity
from enricher.conversation import build as conversation
from enricher.processing.enrich import Enricher
from enricher.processing.tenants import ClientPool
from enricher.replay.clients import BackgroundClients
from enricher.replay.latest_offsets import LatestOffsets
from enricher.replay.log_reader import PartitionReader, decode_batch, in_thread, index, select
from enricher.replay.model import Counts, Scope
from enricher.resolution import entity_cache as entities
from enricher.resolution.entity_cache import EntityCache
from frame_gainsight.connectors import Connector, VaultError
from frame_gainsight.gainsight import GainsightError, NoCallsError
from frame_gainsight.kafka import ConsumedRecord, KafkaLaneWriter, ProducerRecord, end_offset, read_to_end
from frame_gainsight.runtime import Clock, Settings, cause_of
from schemas import Codec, DecodeError

log = structlog.get_logger(__name__)

SLICE = 1000  # activities of a transaction
SCAN = 20_000  # records
HOUR = 3_600_000
EVERYTHING = 10**9  # entities that are kept: one that is forgotten would cost a call
MOST_FAULTS = 1000  # that are named


@dataclass(frozen=True, slots=True)
class Fault:
    """An activity (its key) that could not be made into a conversation, and why."""

    key: str
    cause: str


@dataclass(slots=True)
class Rebuilt:
    """What came of it so far.

    Attributes:
        counts: `failed` are those that cannot be converted, as live: dead letters there.
        unresolved: those that could not be tried, since something about them is not known.
        faults: the first of both.
        done, of: records to be read, twice each: first for where the newest versions are.
    """

    counts: Counts = field(default_factory=Counts)
    unresolved: int = 0
    faults: list[Fault] = field(default_factory=list)
    done: int = 0
    of: int = 0


class Rebuild:
    """One rebuilding into `topic`. Two of the same topic at once fence each other: the later one goes on.

    Args:
        connectors: all that are registered, by id.
        clients: `OfflineClients` where no call is to be made.
        on_progress: called after every step.
    """

    def __init__(
        self,
        settings: Settings,
        codec: Codec,
        connectors: Mapping[str, Connector],
        clients: ClientPool,
        clock: Clock,
        topic: str,
        scope: Scope,
        on_progress: Callable[[Rebuilt], None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._into = settings.model_copy(update={"conversations_topic": topic})
        self._codec = codec
        self._connectors = connectors
        self._clients = BackgroundClients(clients)
        self._clock = clock
        self._topic = topic
        self._scope = scope
        self._on_progress = on_progress
        self._given_up: dict[str, str] = {}
        self._state = Rebuilt()

    async def run(self, lanes: Iterable[int]) -> Rebuilt:
        """Rebuilds the lanes, one after the other, so that memory holds the entities of one.

        Raises BrokerError, TopicError, FencedError; what a tenant fails with is in the outcome.
        """
        numbers = list(lanes)
        for lane in numbers:
            self._state.of += 2 * await in_thread(lambda: end_offset(self._settings, self._settings.raw_topic, lane))  # noqa: B023
        for lane in numbers:
            await self._lane(lane)
        self._state.done = self._state.of
        self._on_progress(self._state)
        return self._state

    async def _lane(self, lane: int) -> None:
        newest = LatestOffsets()
        raw = PartitionReader(self._settings, lane, 0, None)
        try:
            while not raw.done:
                self._tell(await in_thread(lambda: index(raw, newest, SCAN)))
            raw = PartitionReader(self._settings, lane, 0, raw.end)
            cache = await in_thread(lambda: self._entities(lane))
            enricher = Enricher(self._into, self._codec, self._clients, self._clock, lane, cache)
            writer = await in_thread(lambda: KafkaLaneWriter(self._settings, f"replay-{self._topic}", lane))
            try:
                while not raw.done:
                    selected = await in_thread(lambda: select(raw, newest, self._scope, SLICE, SCAN))
                    outputs = await self._slice(enricher, selected.records)
                    if outputs:
                        await in_thread(lambda: writer.write(outputs))  # noqa: B023
                    self._count(rows=selected.rows)
                    self._tell(selected.rows)
            finally:
                await in_thread(writer.close)
        finally:
            raw.close()
            newest.close()

    def _entities(self, lane: int) -> EntityCache:
        cache = EntityCache(
            int(self._settings.entity_ttl_hours * HOUR), int(self._settings.absent_ttl_hours * HOUR), EVERYTHING
        )
        for record in read_to_end(self._settings, self._settings.entities_topic, {lane: None}):
            if self._scope.has_key(record.key):
                try:
                    entities.restore(self._codec, cache, record)
                except (DecodeError, orjson.JSONDecodeError) as error:
                    log.warning("entity_unreadable", lane=lane, offset=record.offset, cause=str(error))
        return cache

    async def _slice(self, enricher: Enricher, records: Sequence[ConsumedRecord]) -> list[ProducerRecord]:
        arrived = decode_batch(self._codec, records, self._scope)
        outputs = {d.source.offset: conversation.tombstone(self._into, d) for d in arrived.deletions}
        self._count(deleted=len(outputs))
        for source, cause in arrived.unreadable:
            self._count(failed=1)
            self._fault(source, cause)
        for connector, activities in arrived.activities.items():
            registered = self._connectors.get(connector)
            if registered is None:
                self._count(unregistered=len(activities))
                continue
            before = self._clients.calls(connector)
            await self._enrich(enricher, registered, activities, outputs)
            self._count(calls=self._clients.calls(connector) - before)
        return [outputs[offset] for offset in sorted(outputs)]

    async def _enrich(
        self,
        enricher: Enricher,
        connector: Connector,
        activities: Sequence[RawActivity],
        outputs: dict[int, ProducerRecord],
    ) -> None:
        """Puts the activities' conversations among the outputs; where calls are forbidden, of those that need none."""
        cause = self._given_up.get(connector.id)
        if cause is not None:
            self._unresolved(activities, cause)
            return
        try:
            done = await enricher.enrich(connector, activities, renew=False)
        except NoCallsError as error:
            if len(activities) == 1:
                self._unresolved(activities, str(error))
                return
            middle = len(activities) // 2
            for half in (activities[:middle], activities[middle:]):
                await self._enrich(enricher, connector, half, outputs)
            return
        except (GainsightError, VaultError) as error:
            self._given_up[connector.id] = cause_of(error, connector.id)
            self._unresolved(activities, self._given_up[connector.id])
            return
        self._unresolved(done.refused, done.cause)
        for activity in activities:
            output = done.outputs.get(activity.source.offset)
            if output is None:
                continue
            if output.topic == self._settings.dead_letters_topic:
                self._count(failed=1)
                self._fault(activity.source, str(self._codec.decode_as("dead_letter", output.value or b"")["cause"]))
            else:
                outputs[activity.source.offset] = output
                self._count(written=1)

    def _unresolved(self, activities: Sequence[RawActivity], cause: str) -> None:
        self._state.unresolved += len(activities)
        for activity in activities:
            self._fault(activity.source, cause)

    def _fault(self, source: ConsumedRecord, cause: str) -> None:
        if len(self._state.faults) < MOST_FAULTS:
            self._state.faults.append(Fault((source.key or b"").decode("utf-8", "replace"), cause))

    def _count(self, **more: int) -> None:
        self._state.counts = self._state.counts.plus(replace(Counts(), **more))

    def _tell(self, rows: int) -> None:
        self._state.done += rows
        self._on_progress(self._state)
