"""Taking everything of a removed connector out of the topics: tombstones for each of its keys."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

from enricher import Deletion, conversation_tombstone
from frame_gainsight.connectors import ConnectorError
from frame_gainsight.kafka import ConsumedRecord, ProducerRecord, consumed_record, put_all, reader
from frame_gainsight.kafka.clients import unreachable
from frame_gainsight.runtime import Settings

FOLLOW_SECONDS = 10.0  # after which no service works for a removed connector any more: they follow within five
ENRICHER_SECONDS = 20.0  # without a tombstone of the enricher's: then it does not run, and we write them


@dataclass(slots=True)
class Purged:
    """How far it is: topic → keys that were there, and those of them that are left."""

    found: dict[str, int] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)


class RegisteredAgainError(ConnectorError):
    """The connector that is being purged was registered anew: what is read of it now is not to be deleted."""

    def __init__(self, connector: str, left: int) -> None:
        super().__init__(
            f"'{connector}' was registered again while it was being purged. The purge has stopped; {left:,} keys are "
            "left, and what was read of it anew may lack something. To have it whole, remove it with --purge once "
            "more, and register it when that has ended."
        )


class Purge:
    """One purging.

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
        self._registered: set[tuple[int, bytes]] = set()
        self._state = Purged()

    def run(self, seconds: float = FOLLOW_SECONDS, enricher_seconds: float = ENRICHER_SECONDS) -> Purged:
        """Returns when nothing is left, and nothing more can come. Raises BrokerError, TopicError, and
        RegisteredAgainError as soon as the connector is registered (again).

        Args:
            seconds: since the removal, for which services may still be writing.
            enricher_seconds: for which the enricher's next tombstone is waited for.
        """
        consumer = reader(self._settings)
        places = [
            TopicPartition(t, p, OFFSET_BEGINNING)
            for t in (*self._topics, self._settings.connectors_topic)
            for p in range(self._settings.partitions)
        ]
        behind = {(place.topic, place.partition) for place in places}
        begun = told = time.monotonic()
        try:
            consumer.assign(places)
            while True:
                for message in consumer.consume(5000, 0.5):
                    error = message.error()
                    place = (message.topic() or "", message.partition() or 0)
                    if error is None:
                        if self._note(consumed_record(message)):
                            told = time.monotonic()
                    elif error.code() == KafkaError._PARTITION_EOF:
                        behind.discard(place)
                    elif not error.retriable():
                        raise unreachable(self._settings, KafkaException(error))
                if behind:
                    continue
                self._count()
                if self._registered:
                    self._tell()
                    raise RegisteredAgainError(self._connector, len(self._alive))
                self._send(with_conversations=time.monotonic() - told >= enricher_seconds)
                self._tell()
                if not self._alive and time.monotonic() - begun >= seconds:
                    return self._state
        finally:
            consumer.close()

    def _note(self, record: ConsumedRecord) -> bool:
        """Takes note of a record; whether a conversation went."""
        key = record.key or b""
        name = key.decode("utf-8", "replace")
        if name != self._connector and not name.startswith(f"{self._connector}/"):
            return False
        if record.topic == self._settings.connectors_topic:
            self._note_definition(record, name, key)
            return False
        place = (record.topic, record.partition, key)
        if record.value is not None:
            self._alive[place] = False
            return False
        if self._alive.pop(place, None) is None:
            return False
        return record.topic == self._settings.conversations_topic

    def _note_definition(self, record: ConsumedRecord, name: str, key: bytes) -> None:
        if name != self._connector:
            return
        if record.value is None:
            self._registered.discard((record.partition, key))
        else:
            self._registered.add((record.partition, key))

    def _count(self) -> None:
        for place in self._alive.keys() - self._counted:
            self._state.found[place[0]] = self._state.found.get(place[0], 0) + 1
            self._counted.add(place)

    def _send(self, with_conversations: bool) -> None:
        conversations = self._settings.conversations_topic
        due = [p for p, sent in self._alive.items() if not sent and (with_conversations or p[0] != conversations)]
        put_all(self._settings, self._tombstones(due))
        self._alive.update(dict.fromkeys(due, True))

    def _tombstones(self, places: Iterable[tuple[str, int, bytes]]) -> Iterable[ProducerRecord]:
        headers = (("connector", self._connector.encode()), ("deleted_at", str(self._now).encode()))
        for topic, partition, key in places:
            if topic == self._settings.conversations_topic:
                source = ConsumedRecord(self._settings.raw_topic, partition, -1, key, None, headers)
                yield conversation_tombstone(
                    self._settings, Deletion(source, self._connector, key.decode("utf-8", "replace").partition("/")[2])
                )
            else:
                yield ProducerRecord(topic, partition, key, None, headers)

    def _tell(self) -> None:
        left: dict[str, int] = {}
        for topic, _, _ in self._alive:
            left[topic] = left.get(topic, 0) + 1
        self._state.left = left
        self._on_progress(self._state)
