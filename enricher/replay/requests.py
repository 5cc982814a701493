"""Replays that were asked for: the command's side of the checkpoints topic, and the workers'."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from dataclasses import replace

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from enricher.replay import model as replays
from enricher.replay.model import Replay
from frame_gainsight.kafka import ConsumedRecord, consumed_record, put, read_to_end, reader
from frame_gainsight.kafka.clients import unreachable
from frame_gainsight.runtime import Settings
from schemas import Codec, DecodeError

log = structlog.get_logger(__name__)

AT_ONCE = 1000  # records


class RequestLog:
    """The newest record of every replay; records may come several times, and by several ways."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._of: dict[tuple[int, bytes], tuple[int, Replay]] = {}

    def take(self, record: ConsumedRecord) -> None:
        if replays.id_in(record.key) is None or record.value is None:
            return
        key = (record.partition, record.key or b"")
        before = self._of.get(key)
        if before is not None and before[0] >= record.offset:
            return
        try:
            replay = replays.decode(self._codec, record)
        except DecodeError as error:
            log.error("replay_unreadable", lane=record.partition, offset=record.offset, cause=str(error))
            return
        if before is not None and before[1].state == "CANCELLED" and replay.is_open:
            replay = replace(replay, state="CANCELLED")  # the owner had not heard of it yet
        self._of[key] = (record.offset, replay)

    def of(self, lane: int) -> list[Replay]:
        """The lane's, in the order in which they were asked for."""
        found = [replay for (number, _), (_, replay) in list(self._of.items()) if number == lane]
        return sorted(found, key=lambda r: (r.requested_at, r.id, r.key))


class RequestFollower:
    """What a worker's lanes are asked for. One connection for all of them; may be used by any thread."""

    def __init__(self, settings: Settings, codec: Codec) -> None:
        self._settings = settings
        self._known = RequestLog(codec)
        self._consumer: Consumer | None = None
        self._lock = threading.Lock()

    def restore(self, lane: int) -> None:
        """Reads all that was written of a lane until now. Blocks. Raises BrokerError."""
        for record in read_to_end(self._settings, self._settings.checkpoints_topic, {lane: None}):
            with self._lock:
                self._known.take(record)

    def look(self) -> None:
        """Takes what has come since. Blocks for a moment."""
        with self._lock:
            if self._consumer is None:
                self._consumer = reader(self._settings)
                topic, lanes = self._settings.checkpoints_topic, range(self._settings.partitions)
                self._consumer.assign([TopicPartition(topic, lane, OFFSET_BEGINNING) for lane in lanes])
            while messages := self._consumer.consume(AT_ONCE, 0):
                for message in messages:
                    error = message.error()
                    if error is None:
                        self._known.take(consumed_record(message))
                    elif error.code() != KafkaError._PARTITION_EOF:
                        log.warning("checkpoints_topic", cause=error.str())

    def of(self, lane: int) -> list[Replay]:
        """The lane's, open or not, in the order in which they were asked for."""
        with self._lock:
            return self._known.of(lane)

    def stop(self) -> None:
        with self._lock:
            if self._consumer is not None:
                self._consumer.close()
                self._consumer = None


class ReplayRequests:
    """Asking the owners of some lanes for a replay. Blocks; an administrator's tool, not a hot path.

    Its methods raise BrokerError and TopicError.
    """

    def __init__(self, settings: Settings, codec: Codec, lanes: Collection[int]) -> None:
        self._settings = settings
        self._codec = codec
        self._lanes = lanes

    def known(self) -> list[Replay]:
        """What is on record now, open or not."""
        known = RequestLog(self._codec)
        for record in read_to_end(self._settings, self._settings.checkpoints_topic, dict.fromkeys(self._lanes)):
            known.take(record)
        return [replay for lane in self._lanes for replay in known.of(lane)]

    def ask(self, replay: Replay) -> None:
        """Records the request."""
        put(self._settings, replays.record(self._codec, self._settings, replay))

    def cancel(self, replay: Replay) -> None:
        """Asks the owner to give it up."""
        self.ask(replace(replay, state="CANCELLED"))

    def follow(self, id_: str, timeout: float = 1.0) -> Iterator[Replay | None]:
        """Every state of a replay in every lane, those on record first; None when there is no news for so long."""
        consumer = reader(self._settings)
        try:
            topic = self._settings.checkpoints_topic
            consumer.assign([TopicPartition(topic, lane, OFFSET_BEGINNING) for lane in self._lanes])
            while True:
                message = consumer.poll(timeout)
                if message is None:
                    yield None
                elif (error := message.error()) is not None:
                    if error.code() != KafkaError._PARTITION_EOF and not error.retriable():
                        raise unreachable(self._settings, KafkaException(error))
                elif replays.id_in((record := consumed_record(message)).key) == id_ and record.value is not None:
                    yield replays.decode(self._codec, record)
        finally:
            consumer.close()
