"""Slices of a replay: raw records converted again, for the live topic or another one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from enricher.activity.raw_record import Deletion, RawActivity
from enricher.conversation import build as conversation
from enricher.processing.dead_letters import DeadLetters
from enricher.processing.enrich import Enricher
from enricher.processing.retry import class_of
from enricher.processing.services import EnricherServices
from enricher.processing.unexpected import unexpected
from enricher.replay.clients import BackgroundClients
from enricher.replay.log_reader import Arrived
from enricher.replay.model import Counts
from enricher.resolution.entity_cache import EntityCache
from frame_gainsight.connectors import Connector, VaultError
from frame_gainsight.gainsight import GainsightError, NoCallsError
from frame_gainsight.kafka import ConsumedRecord, ProducerRecord
from frame_gainsight.runtime import Failure, Settings, cause_of
from frame_gainsight.runtime.aio import gather_or_cancel
from schemas.raw_topic import connector_of


@dataclass(frozen=True, slots=True)
class ConnectorFailure:
    """Why a connector's activities could not be converted from a raw offset on.

    Attributes:
        seen: the connector as it was then.
        refused: whether the limit of dead letters in a row was reached.
    """

    offset: int
    failure: Failure
    cause: str
    seen: Connector
    refused: bool = False


@dataclass(slots=True)
class SliceResult:
    """The outputs of a slice, and its failures.

    Attributes:
        new: records of new entities.
        outputs: raw offset → the conversation, the tombstone or the dead letter.
        failed: connector → its failure; it has outputs for records before and behind that one.
        unresolved: raw offset → why the activity was not tried; only with clients that make no calls.
        unregistered: the number of activities whose connector is not registered.
        calls: API calls made.
    """

    new: list[ProducerRecord] = field(default_factory=list)
    outputs: dict[int, ProducerRecord] = field(default_factory=dict)
    failed: dict[str, ConnectorFailure] = field(default_factory=dict)
    unresolved: dict[int, str] = field(default_factory=dict)
    unregistered: int = 0
    calls: int = 0

    def is_before_failure(self, source: ConsumedRecord) -> bool:
        """Whether the record's connector did not fail at it or before it."""
        failure = self.failed.get(connector_of(source.key))
        return failure is None or source.offset < failure.offset


class SliceConverter:
    """Converts a lane's slices. Its calls give way to those for live batches.

    Args:
        services: the settings name the topic that the conversations are for.
        cache: the lane's entities; new ones are put there.

    Attributes:
        clients: make the calls.
        dead_letters: counted apart from those of live batches.
    """

    def __init__(self, services: EnricherServices, lane: int, cache: EntityCache) -> None:
        self.clients = BackgroundClients(services.clients)
        self._services = replace(services, clients=self.clients)
        self.dead_letters = DeadLetters(self._services, lane)
        self._enricher = Enricher(self._services, lane, cache, self.dead_letters)

    async def convert(self, arrived: Arrived) -> SliceResult:
        """Converts the records, each connector's independently of the others."""
        result = SliceResult()
        for source, cause in arrived.unreadable:
            result.outputs[source.offset] = self.dead_letters.of_unreadable(source, cause)
        for deletion in arrived.deletions:
            result.outputs[deletion.source.offset] = self._tombstone(deletion)
        await gather_or_cancel(*(self._connector(result, c, a) for c, a in arrived.activities.items()))
        return result

    def _tombstone(self, deletion: Deletion) -> ProducerRecord:
        try:
            made = conversation.tombstone(self._services.settings, deletion)
            return self.dead_letters.unless_taken(deletion.source, made)
        except Exception as error:  # noqa: BLE001 - it costs this record
            where = {"connector": deletion.connector, "offset": deletion.source.offset}
            cause = unexpected(error, "it was converted", **where)
            return self.dead_letters.of_unreadable(deletion.source, cause)

    async def _connector(self, result: SliceResult, id_: str, activities: Sequence[RawActivity]) -> None:
        connector = self._services.directory.get(id_)
        if connector is None:
            result.unregistered += len(activities)
            return
        before = self.clients.calls(id_)
        await self._enrich(result, id_, connector, activities)
        result.calls += self.clients.calls(id_) - before

    async def _enrich(
        self, result: SliceResult, id_: str, connector: Connector, activities: Sequence[RawActivity]
    ) -> None:
        """Converts a connector's activities; where no calls can be made, those that need none."""
        if id_ in result.failed:
            return
        try:
            done = await self._enricher.enrich(connector, activities, renew=False)
        except NoCallsError as error:
            if len(activities) == 1:
                result.unresolved[activities[0].source.offset] = str(error)
                return
            middle = len(activities) // 2
            for half in (activities[:middle], activities[middle:]):
                await self._enrich(result, id_, connector, half)
            return
        except (GainsightError, VaultError) as error:
            offset = activities[0].source.offset
            result.failed[id_] = ConnectorFailure(offset, class_of(error), cause_of(error, id_), connector)
            return
        result.new += done.new
        result.outputs |= done.outputs
        if done.refused:
            offset = done.refused[0].source.offset
            result.failed[id_] = ConnectorFailure(offset, Failure.CONFIG, done.cause, connector, refused=True)


def counts_of(settings: Settings, outputs: Iterable[ProducerRecord]) -> Counts:
    """How many of the outputs are conversations, tombstones and dead letters."""
    written = deleted = failed = 0
    for output in outputs:
        if output.topic == settings.dead_letters_topic:
            failed += 1
        elif output.value is None:
            deleted += 1
        else:
            written += 1
    return Counts(written=written, deleted=deleted, failed=failed)
