"""Enrichment: activities resolved together, converted one by one. Batches and parking are not known here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import structlog

from enricher.activity.raw_record import DataError, RawActivity
from enricher.conversation import build as conversation
from enricher.processing.dead_letters import DeadLetters
from enricher.processing.services import EnricherServices
from enricher.processing.unexpected import OF_ALL, UnexpectedError, unexpected
from enricher.resolution import entity_cache as entities
from enricher.resolution.entity_cache import EntityCache
from enricher.resolution.model import Reference, Resolved
from enricher.resolution.resolver import Resolver
from enricher.resolution.tenant_capabilities import spent_before
from frame_gainsight.connectors import Connector, Definition, VaultError
from frame_gainsight.gainsight import GainsightError
from frame_gainsight.kafka import ProducerRecord
from frame_gainsight.kafka.record_limits import size_of_fields
from frame_gainsight.runtime.pauses import Pace
from schemas import EncodeError

log = structlog.get_logger(__name__)


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

        Raises GainsightError (UnexpectedError for a fault of this code), VaultError, and RegistryError while the schema
        registry does not answer.

        Args:
            renew: False: cached entities are used however old they are, as for a replay.
        """
        try:
            return await self._enrich(connector, activities, renew=renew)
        except (GainsightError, VaultError):
            raise
        except OF_ALL:
            raise
        except Exception as error:
            where = {"connector": connector.id, "activities": len(activities)}
            raise UnexpectedError(unexpected(error, "activities were resolved", **where)) from error

    async def _enrich(self, connector: Connector, activities: Sequence[RawActivity], *, renew: bool) -> Enriched:
        await self._services.limits.refresh()
        pace, faults = Pace(), dict[int, str]()
        references: dict[int, Reference] = {}
        for activity in activities:
            offset = activity.source.offset
            try:
                references[offset] = await pace.do(_size(activity), partial(Reference.of, activity))
            except DataError as error:
                faults[offset] = str(error)
            except Exception as error:  # noqa: BLE001 - it costs this activity
                faults[offset] = unexpected(error, "it was read", connector=connector.id, offset=offset)
        resolver = await self._resolver(connector)
        found = await resolver.resolve(list(references.values()), renew=renew)
        done = Enriched(await self._new(connector, found, pace))
        for activity in activities:
            offset = activity.source.offset
            if self._dead_letters.limit_reached(connector.id):
                done.refused.append(activity)
                continue
            if offset not in faults:
                convert = partial(self._convert, references[offset], connector.definition, found)
                try:
                    done.outputs[offset] = await pace.do(_size(activity), convert)
                    self._dead_letters.converted(connector.id)
                    continue
                except (DataError, EncodeError) as error:
                    faults[offset] = str(error)
                except OF_ALL:
                    raise
                except Exception as error:  # noqa: BLE001 - it costs this activity
                    faults[offset] = unexpected(error, "it was converted", connector=connector.id, offset=offset)
            done.cause = faults[offset]
            letter = partial(self._dead_letters.of_unconverted, connector.id, activity.source, done.cause)
            done.outputs[offset] = await pace.do(_size(activity), letter)
        return done

    async def _new(self, connector: Connector, found: Resolved, pace: Pace) -> list[ProducerRecord]:
        """The records of new entities, less those that their topic does not take: a cache may lack some."""
        records = []
        for change in found.new:
            await pace.pause()
            try:
                out = entities.encode(self._codec, self._settings, self._lane, change)
            except EncodeError as error:
                log.warning("entity_not_kept", connector=connector.id, cause=str(error))
                continue
            if self._services.limits.fits(out):
                records.append(out)
            else:
                log.warning("entity_not_kept", connector=connector.id, cause=f"It has {size_of_fields(out)} bytes.")
        return records

    def _convert(self, reference: Reference, definition: Definition, found: Resolved) -> ProducerRecord:
        value = conversation.build(reference, definition, found)
        out = conversation.record(self._codec, self._settings, reference.activity, value)
        size, room = size_of_fields(out), self._services.limits.room(out.topic)
        if size > room:
            raise DataError(
                f"The conversation has {size} bytes; {out.topic} takes {room}. "
                "Raise its max.message.bytes and retry, or shorten the activity."
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


def _size(activity: RawActivity) -> int:
    """The bytes of the activity's record."""
    return len(activity.source.value or b"")
