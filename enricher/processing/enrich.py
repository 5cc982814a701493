"""Enrichment: activities resolved together, converted one by one. Batches and parking are not known here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from enricher.activity.raw_record import DataError, RawActivity
from enricher.conversation import build as conversation
from enricher.processing.dead_letters import DeadLetters
from enricher.processing.services import EnricherServices
from enricher.resolution import entity_cache as entities
from enricher.resolution.entity_cache import EntityCache
from enricher.resolution.model import Reference, Resolved
from enricher.resolution.resolver import Resolver
from enricher.resolution.tenant_capabilities import spent_before
from frame_gainsight.connectors import Connector, Definition
from frame_gainsight.kafka import ProducerRecord
from frame_gainsight.kafka.clients import MAX_MESSAGE_BYTES
from schemas import EncodeError, RegistryError

log = structlog.get_logger(__name__)

# Bytes. A larger value is not sent at all: headers, key and batch overhead come on top.
MAX_VALUE_BYTES = MAX_MESSAGE_BYTES - 65_536


@dataclass(slots=True)
class Enriched:
    """The result for some activities of one connector.

    Attributes:
        new: records of new entities.
        outputs: raw offset → the conversation or the dead letter.
        refused: activities that were not tried, because the limit of dead letters in a row was reached.
        cause: why the last of the others could not be converted; "" where all could.
    """

    new: list[ProducerRecord]
    outputs: dict[int, ProducerRecord] = field(default_factory=dict)
    refused: list[RawActivity] = field(default_factory=list)
    cause: str = ""


class Enricher:
    """Activities of a lane to conversations: over the lane's entity cache, with a resolver for each connector."""

    def __init__(self, services: EnricherServices, lane: int, cache: EntityCache, dead_letters: DeadLetters) -> None:
        self._services = services
        self._settings = services.settings
        self._codec = services.codec
        self._lane = lane
        self._cache = cache
        self._dead_letters = dead_letters
        self._resolvers: dict[str, tuple[Connector, Resolver]] = {}

    async def enrich(self, connector: Connector, activities: Sequence[RawActivity], *, renew: bool = True) -> Enriched:
        """The records to publish. An activity that cannot be converted is a dead letter.

        Raises GainsightError, VaultError, and RegistryError while the schema registry does not answer.

        Args:
            renew: False: cached entities are used however old they are, as for a replay.
        """
        resolver = await self._resolver(connector)
        references = [Reference.of(activity) for activity in activities]
        found = await resolver.resolve(references, renew=renew)
        done = Enriched([entities.encode(self._codec, self._settings, self._lane, e) for e in found.new])
        for reference in references:
            activity = reference.activity
            if self._dead_letters.limit_reached(connector.id):
                done.refused.append(activity)
                continue
            try:
                done.outputs[activity.source.offset] = self._convert(reference, connector.definition, found)
                self._dead_letters.converted(connector.id)
            except (DataError, EncodeError) as error:
                done.cause = str(error)
            except RegistryError:
                raise
            except Exception as error:  # a fault of this code must not stop the other tenants; nothing is lost by it
                log.exception("unexpected_error", connector=connector.id, offset=activity.source.offset)
                done.cause = f"Unexpected {type(error).__name__} while it was converted: please report it."
            if activity.source.offset not in done.outputs:
                done.outputs[activity.source.offset] = self._dead_letters.of_unconverted(
                    connector.id, activity.source, done.cause
                )
        return done

    def _convert(self, reference: Reference, definition: Definition, found: Resolved) -> ProducerRecord:
        value = conversation.build(reference, definition, found)
        out = conversation.record(self._codec, self._settings, reference.activity, value)
        if len(out.value or b"") > MAX_VALUE_BYTES:
            raise DataError(
                f"The conversation has {len(out.value or b'')} bytes; the topic takes {MAX_VALUE_BYTES}. "
                "Raise max.message.bytes and retry, or shorten the activity."
            )
        return out

    async def _resolver(self, connector: Connector) -> Resolver:
        known = self._resolvers.get(connector.id)
        spent = spent_before(self._cache, connector.id, connector.definition.host)
        client = await self._services.clients.of(connector, spent)
        if known is None or known[0] != connector:
            resolver = Resolver(
                connector.definition,
                client,
                self._cache,
                self._services.clock,
                max_scan_rows=self._settings.whole_object_rows,
                refresh_interval=int(self._settings.refresh_seconds * 1000),
            )
            known = self._resolvers[connector.id] = (connector, resolver)
        return known[1]
