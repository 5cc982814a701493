"""Rebuild: a replay into another topic, by the process that starts it. Nothing is written to the lanes' topics.

The latest version of each activity is converted once, as it is when its lane is reached: with the entities topic's
entities and, for those not in it, with calls whose answers are kept in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import structlog

from enricher.processing.services import EnricherServices
from enricher.replay.latest_offsets import LatestOffsets
from enricher.replay.log_reader import PartitionReader, decode_batch, index, select
from enricher.replay.model import Counts, Scope
from enricher.replay.slices import SliceConverter, counts_of
from enricher.resolution import entity_cache as entities
from enricher.resolution.entity_cache import EntityCache
from frame_gainsight.kafka import ConsumedRecord, KafkaLaneWriter, ProducerRecord, end_offset, read_to_end
from frame_gainsight.runtime.aio import in_thread
from schemas import DecodeError

log = structlog.get_logger(__name__)

SLICE = 1000  # activities of a transaction
SCAN = 20_000  # records
HOUR = 3_600_000
ALL_ENTITIES = 10**9  # none is evicted: it would cost a call
MAX_FAULTS = 1000  # that are named


@dataclass(frozen=True, slots=True)
class Fault:
    """An activity (its key) that could not be converted, and why."""

    key: str
    cause: str


@dataclass(slots=True)
class Rebuilt:
    """The progress, and in the end the outcome.

    Attributes:
        counts: `failed` activities cannot be converted; the enricher writes dead letters for them.
        unresolved: the number of activities that could not be tried: calls failed, or none was to be made.
        faults: the first failed and unresolved activities.
        done, of: records to be read, each twice: first for the offsets of the latest versions.
    """

    counts: Counts = field(default_factory=Counts)
    unresolved: int = 0
    faults: list[Fault] = field(default_factory=list)
    done: int = 0
    of: int = 0


class Rebuild:
    """One rebuild into `topic`. Of two into the same topic the later one fences the earlier one.

    Args:
        services: with `OfflineClients` where no call is to be made.
        on_progress: called after every step.
    """

    def __init__(
        self,
        services: EnricherServices,
        topic: str,
        scope: Scope,
        on_progress: Callable[[Rebuilt], None] = lambda _: None,
    ) -> None:
        self._settings = services.settings
        self._codec = services.codec
        into = services.settings.model_copy(update={"conversations_topic": topic})
        self._services = replace(services, settings=into)
        self._topic = topic
        self._scope = scope
        self._on_progress = on_progress
        self._given_up: dict[str, str] = {}  # connector → cause
        self._state = Rebuilt()

    async def run(self, lanes: Iterable[int]) -> Rebuilt:
        """Rebuilds the lanes, one after the other, so that memory holds the entities of one.

        Raises BrokerError, TopicError, FencedError; a tenant's failure is in the outcome.
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
        latest = LatestOffsets()
        raw = PartitionReader(self._settings, lane, 0, None)
        try:
            while not raw.done:
                self._advance(await in_thread(lambda: index(raw, latest, SCAN)))
            raw = PartitionReader(self._settings, lane, 0, raw.end)
            converter = SliceConverter(self._services, lane, await in_thread(lambda: self._entities(lane)))
            writer = await in_thread(lambda: KafkaLaneWriter(self._settings, f"replay-{self._topic}", lane))
            try:
                while not raw.done:
                    selected = await in_thread(lambda: select(raw, latest, self._scope, SLICE, SCAN))
                    outputs = await self._slice(converter, selected.records)
                    if outputs:
                        await in_thread(lambda: writer.write(outputs))  # noqa: B023
                    self._state.counts = self._state.counts.plus(Counts(rows=selected.rows))
                    self._advance(selected.rows)
            finally:
                await in_thread(writer.close)
        finally:
            raw.close()
            latest.close()

    def _entities(self, lane: int) -> EntityCache:
        cache = EntityCache(
            int(self._settings.entity_ttl_hours * HOUR), int(self._settings.absent_ttl_hours * HOUR), ALL_ENTITIES
        )
        for record in read_to_end(self._settings, self._settings.entities_topic, {lane: None}):
            if self._scope.has_key(record.key):
                try:
                    entities.restore(self._codec, cache, record)
                except DecodeError as error:
                    log.warning("entity_unreadable", lane=lane, offset=record.offset, cause=str(error))
        return cache

    async def _slice(self, converter: SliceConverter, records: Sequence[ConsumedRecord]) -> list[ProducerRecord]:
        """The conversations and tombstones to write for a slice; the rest is counted and named."""
        arrived = await decode_batch(self._codec, records, self._scope)
        todo = {c: activities for c, activities in arrived.activities.items() if c not in self._given_up}
        result = await converter.convert(replace(arrived, activities=todo))
        self._given_up |= {connector: failure.cause for connector, failure in result.failed.items()}
        for connector, activities in arrived.activities.items():
            for activity in activities:
                offset = activity.source.offset
                cause = result.unresolved.get(offset, self._given_up.get(connector))
                if cause is not None and offset not in result.outputs:
                    self._state.unresolved += 1
                    self._fault(activity.source.key, cause)
        outputs = [result.outputs[offset] for offset in sorted(result.outputs)]
        more = Counts(unregistered=result.unregistered, calls=result.calls)
        self._state.counts = self._state.counts.plus(counts_of(self._settings, outputs)).plus(more)
        to_write = []
        for output in outputs:
            if output.topic == self._settings.dead_letters_topic:
                self._fault(output.key, self._codec.decode_as("dead_letter", output.value or b"")["cause"])
            else:
                to_write.append(output)
        return to_write

    def _fault(self, key: bytes | None, cause: str) -> None:
        if len(self._state.faults) < MAX_FAULTS:
            self._state.faults.append(Fault((key or b"").decode("utf-8", "replace"), cause))

    def _advance(self, rows: int) -> None:
        self._state.done += rows
        self._on_progress(self._state)
