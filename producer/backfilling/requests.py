"""Asking the owner of a lane for a backfill, and seeing how far it is, over the checkpoints topic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

from frame_gainsight.kafka import ProducerRecord, consumed_record, lane_of, put, read_to_end, reader
from frame_gainsight.kafka.clients import unreachable
from frame_gainsight.runtime import Settings
from producer.state import backfill as backfills
from producer.state import checkpoint as checkpoints
from producer.state.backfill import KEY_PART, Backfill
from producer.state.checkpoint import Checkpoint
from schemas import Codec


@dataclass(slots=True)
class Progress:
    """How far a connector has been read: its checkpoint (None: never polled), and its backfills by id."""

    checkpoint: Checkpoint | None = None
    backfills: dict[str, Backfill] = field(default_factory=dict)


class Requests:
    """The requests for one connector. Blocks; an administrator's tool, not a hot path.

    Its methods raise BrokerError, TopicError, and SchemaError for a record that does not read.
    """

    def __init__(self, settings: Settings, codec: Codec, connector: str) -> None:
        self._settings = settings
        self._codec = codec
        self._connector = connector
        self._lane = lane_of(connector, settings.partitions)

    def progress(self) -> Progress:
        """What is on record now."""
        found = Progress()
        for record in read_to_end(self._settings, self._settings.checkpoints_topic, {self._lane: None}):
            connector, _, id_ = (record.key or b"").decode("utf-8", "replace").partition(KEY_PART)
            if connector != self._connector:
                continue
            if id_:
                found.backfills.pop(id_, None)
                if record.value is not None:
                    found.backfills[id_] = backfills.decode(self._codec, record.value)
            else:
                found.checkpoint = None if record.value is None else checkpoints.decode(self._codec, record.value)
        return found

    def ask(self, backfill: Backfill) -> None:
        """Records the request."""
        value = backfills.encode(self._codec, backfill)
        put(self._settings, ProducerRecord(self._settings.checkpoints_topic, self._lane, backfill.key, value))

    def cancel(self, backfill: Backfill) -> None:
        """Asks the owner to give it up."""
        self.ask(replace(backfill, state="CANCELLED"))

    def follow(self, id_: str, timeout: float = 1.0) -> Iterator[Backfill | None]:
        """Every state of a backfill, those on record first; None whenever there is no news for `timeout` seconds."""
        key = f"{self._connector}{KEY_PART}{id_}".encode()
        consumer = reader(self._settings)
        try:
            consumer.assign([TopicPartition(self._settings.checkpoints_topic, self._lane, OFFSET_BEGINNING)])
            while True:
                message = consumer.poll(timeout)
                if message is None:
                    yield None
                elif (error := message.error()) is not None:
                    if error.code() != KafkaError._PARTITION_EOF and not error.retriable():
                        raise unreachable(self._settings, KafkaException(error))
                elif (record := consumed_record(message)).key == key and record.value is not None:
                    yield backfills.decode(self._codec, record.value)
        finally:
            consumer.close()
