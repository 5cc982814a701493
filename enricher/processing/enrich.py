"""Activities to conversations: resolved in one go, converted one by one. Knows nothing of batches or of parking."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from enricher.activity.raw_record import DataError, RawActivity
from enricher.conversation import build as conversation
from enricher.processing.tenants import ClientPool
from enricher.resolution import entity_cache as entities
from enricher.resolution.entity_cache import EntityCache
from enricher.resolution.model import Reference, Resolved
from enricher.resolution.resolver import Resolver
from enricher.resolution.tenant_capabilities import spent_before
from frame_gainsight.connectors import Connector, Definition
from frame_gainsight.gainsight import Failure
from frame_gainsight.kafka import ConsumedRecord, ProducerRecord
from frame_gainsight.kafka.clients import MAX_MESSAGE_BYTES
from frame_gainsight.runtime import Clock, Settings
from schemas import Codec, EncodeError, RegistryError

log = structlog.get_logger(__name__)

# Above this a record is not sent at all: headers, key and batch overhead come on top.
LARGEST_VALUE = MAX_MESSAGE_BYTES - 65_536


@dataclass(slots=True)
class Enriched:
    """What came of some activities of one connector.

    Attributes:
        new: records of new entities.
        outputs: by offset of the raw record, its conversation or its dead letter.
        refused: those that were not tried, because too many before them could not be converted.
        cause: of the last that could not be.
    """

    new: list[ProducerRecord]
    outputs: dict[int, ProducerRecord] = field(default_factory=dict)
    refused: list[RawActivity] = field(default_factory=list)
    cause: str = ""


class Enricher:
    """One lane's way from activities to conversations: the cache, and a resolver for each connector."""

    def __init__(
        self, settings: Settings, codec: Codec, clients: ClientPool, clock: Clock, lane: int, cache: EntityCache
    ) -> None:
        self._settings = settings
        self._codec = codec
        self._clients = clients
        self._clock = clock
        self._lane = lane
        self._cache = cache
        self._resolvers: dict[str, tuple[Connector, Resolver]] = {}
        self._failed: Counter[str] = Counter()  # dead letters of a connector since its last conversation

    async def enrich(self, connector: Connector, activities: Sequence[RawActivity], *, renew: bool = True) -> Enriched:
        """The records to publish. Raises GainsightError and VaultError; what cannot be converted is a dead letter.

        Args:
            renew: False: whatever is known of the tenant counts, however old it is, as for a replay.
        """
        resolver = await self._resolver(connector)
        references = [Reference.of(activity) for activity in activities]
        found = await resolver.resolve(references, renew=renew)
        done = Enriched([entities.encode(self._codec, self._settings, self._lane, e) for e in found.new])
        for reference in references:
            activity = reference.activity
            if self._failed[connector.id] >= self._settings.dead_letters_in_a_row:
                done.refused.append(activity)
                continue
            try:
                done.outputs[activity.source.offset] = self._convert(reference, connector.definition, found)
                self._failed[connector.id] = 0
            except (DataError, EncodeError) as error:
                done.cause = str(error)
            except RegistryError:
                raise
            except Exception as error:  # a fault of ours must not stop the other tenants; nothing is lost by it
                log.exception("unexpected", connector=connector.id, offset=activity.source.offset)
                done.cause = f"Unexpected {type(error).__name__} while it was converted: please report it."
            if activity.source.offset not in done.outputs:
                self._failed[connector.id] += 1
                done.outputs[activity.source.offset] = self.dead_letter(activity.source, done.cause)
        return done

    def forgive(self, connector: str) -> None:
        """Its failures do not count any more: it has changed."""
        del self._failed[connector]

    def _convert(self, reference: Reference, definition: Definition, found: Resolved) -> ProducerRecord:
        value = conversation.build(reference, definition, found)
        out = conversation.record(self._codec, self._settings, reference.activity, value)
        if len(out.value or b"") > LARGEST_VALUE:
            raise DataError(
                f"The conversation has {len(out.value or b'')} bytes; the topic takes {LARGEST_VALUE}. "
                "Raise max.message.bytes and retry, or shorten the activity."
            )
        return out

    async def _resolver(self, connector: Connector) -> Resolver:
        known = self._resolvers.get(connector.id)
        spent = spent_before(self._cache, connector.id, connector.definition.host)
        client = await self._clients.of(connector, spent)
        if known is None or known[0] != connector:
            resolver = Resolver(
                connector.definition,
                client,
                self._cache,
                self._clock,
                max_scan_rows=self._settings.whole_object_rows,
                refresh_interval=int(self._settings.refresh_seconds * 1000),
            )
            known = self._resolvers[connector.id] = (connector, resolver)
        return known[1]

    def dead_letter(self, record: ConsumedRecord, cause: str) -> ProducerRecord:
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
        return ProducerRecord(
            self._settings.dead_letters_topic,
            self._lane,
            record.key or b"",
            self._codec.encode("dead_letter", value),
            headers,
        )
