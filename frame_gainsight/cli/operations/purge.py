"""Taking everything of a removed connector out of the topics: tombstones for each of its keys."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass, field

from enricher import Deletion, conversation_tombstone
from frame_gainsight.connectors import ConnectorError
from frame_gainsight.kafka import ConsumedRecord, ProducerRecord, follow, put_all
from frame_gainsight.runtime import Settings
from schemas.raw_topic import CONNECTOR, DELETED_AT, connector_of, gsid_of

FOLLOW_SECONDS = 10.0  # after which no service works for a removed connector any more: they follow within five
STEP_SECONDS = 0.5  # between two counts of what is left
ENRICHER_SECONDS = 20.0  # without a tombstone of the enricher's: then it does not run, and they are written here


@dataclass(slots=True)
class Purged:
    """Progress of a purge: topic → keys that were there, and those of them that are left."""

    found: dict[str, int] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)


class RegisteredAgainError(ConnectorError):
    """The connector that is being purged was registered anew: what is read of it now is not to be deleted."""

    def __init__(self, connector: str, left: int) -> None:
        super().__init__(
            f"'{connector}' was registered again while it was being purged. The purge has stopped; {left:,} keys are "
            "left, and what was read of it anew may lack something. To have all of it, remove it with --purge once "
            "more, and register it when that has ended."
        )


class Purge:
    """The purge of one connector.

    The raw topic's tombstones make the enricher write those of the conversations, in their order; where it does not
    run they are written here, and it repeats them harmlessly when it comes.
    """

    def __init__(self, settings: Settings, connector: str, now: int, on_progress: Callable[[Purged], None]) -> None:
        self._settings = settings
        self._connector = connector
        self._now = now
        self._on_progress = on_progress
        self._topics = [
            settings.raw_topic,
            settings.checkpoints_topic,
            settings.entities_topic,
            settings.parked_topic,
            settings.conversations_topic,
        ]
        self._alive: dict[tuple[str, int, bytes], bool] = {}  # whether its tombstone is on its way
        self._counted: set[tuple[str, int, bytes]] = set()
        self._registered_in: set[int] = set()  # partitions that have a definition of it
        self._state = Purged()

    def run(self, seconds: float = FOLLOW_SECONDS, enricher_seconds: float = ENRICHER_SECONDS) -> Purged:
        """Returns when nothing is left, and nothing more can come. Raises BrokerError, TopicError, and
        RegisteredAgainError as soon as the connector is registered (again).

        Args:
            seconds: since the removal, for which services may still be writing.
            enricher_seconds: for which the enricher's next tombstone is waited for.
        """
        topics = (*self._topics, self._settings.connectors_topic)
        partitions = range(self._settings.partitions)
        unread = {(topic, partition) for topic in topics for partition in partitions}
        begun = stepped = enricher_wrote_at = time.monotonic()
        with closing(follow(self._settings, topics, partitions, STEP_SECONDS, strict=True)) as followed:
            for found in followed:
                now = time.monotonic()
                if isinstance(found, ConsumedRecord):
                    if self._note(found):
                        enricher_wrote_at = now
                elif found is not None:
                    unread.discard((found.topic, found.partition))
                if unread or (found is not None and now - stepped < STEP_SECONDS):
                    continue
                stepped = now
                self._count_found()
                if self._registered_in:
                    self._report()
                    raise RegisteredAgainError(self._connector, len(self._alive))
                self._send(with_conversations=now - enricher_wrote_at >= enricher_seconds)
                self._report()
                if found is None and not self._alive and now - begun >= seconds:  # also nothing fetched and unread
                    break
        return self._state

    def _note(self, record: ConsumedRecord) -> bool:
        """Takes note of a record; returns whether it is a conversation's tombstone that was awaited."""
        if connector_of(record.key) != self._connector:
            return False
        key = record.key or b""
        if record.topic == self._settings.connectors_topic:
            if key == self._connector.encode():
                note = self._registered_in.discard if record.value is None else self._registered_in.add
                note(record.partition)
            return False
        place = (record.topic, record.partition, key)
        if record.value is not None:
            self._alive[place] = False
            return False
        if self._alive.pop(place, None) is None:
            return False
        return record.topic == self._settings.conversations_topic

    def _count_found(self) -> None:
        for place in self._alive.keys() - self._counted:
            self._state.found[place[0]] = self._state.found.get(place[0], 0) + 1
            self._counted.add(place)

    def _send(self, with_conversations: bool) -> None:
        conversations = self._settings.conversations_topic
        due = [p for p, sent in self._alive.items() if not sent and (with_conversations or p[0] != conversations)]
        put_all(self._settings, self._tombstones(due))
        self._alive.update(dict.fromkeys(due, True))

    def _tombstones(self, places: Iterable[tuple[str, int, bytes]]) -> Iterable[ProducerRecord]:
        headers = ((CONNECTOR, self._connector.encode()), (DELETED_AT, str(self._now).encode()))
        for topic, partition, key in places:
            if topic == self._settings.conversations_topic:
                source = ConsumedRecord(self._settings.raw_topic, partition, -1, key, None, headers)
                yield conversation_tombstone(self._settings, Deletion(source, self._connector, gsid_of(key)))
            else:
                yield ProducerRecord(topic, partition, key, None, headers)

    def _report(self) -> None:
        left: dict[str, int] = {}
        for topic, _, _ in self._alive:
            left[topic] = left.get(topic, 0) + 1
        self._state.left = left
        self._on_progress(self._state)
