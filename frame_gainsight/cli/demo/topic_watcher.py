"""Watches what arrives in the topics, when, and how often: the demo's own reader, committed records only."""

from __future__ import annotations

import threading
import time
from collections import Counter
from types import TracebackType
from typing import Any, Self

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, TopicPartition

from frame_gainsight.kafka import ConsumedRecord, consumed_record, reader
from frame_gainsight.kafka.clients import unreachable
from frame_gainsight.runtime import Settings
from schemas import Codec

MARKER = "/!period"


class TopicWatcher:
    """Reads raw activities, conversations and dead letters of one connector as they are committed.

    `conversations` is each key's newest value (None: deleted); `seen` counts every version's appearances;
    `delays` are the seconds from a page's last API reply to its conversation's being readable here.
    """

    def __init__(self, settings: Settings, codec: Codec, connector: str) -> None:
        self._settings = settings
        self._codec = codec
        self._prefix = f"{connector}/"
        self._lock = threading.Condition()
        self._stopping = threading.Event()
        self._polled_at: dict[str, int] = {}
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._failure: BaseException | None = None
        self.raw = 0
        self.dead_letters: list[dict[str, Any]] = []
        self.conversations: dict[str, dict[str, Any] | None] = {}
        self.headers: dict[str, dict[str, str]] = {}
        self.seen: Counter[str] = Counter()
        self.delays: list[float] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join(timeout=10)

    @property
    def outputs(self) -> int:
        """Records seen in the conversations topic."""
        return sum(self.seen.values())

    def wait(self, seconds: float) -> None:
        """Returns at the next record, or after so many seconds. Raises what the reading failed with."""
        with self._lock:
            self._lock.wait(seconds)
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            self._read()
        except BaseException as error:  # noqa: BLE001 - the waiting thread raises it
            self._failure = error

    def _read(self) -> None:
        settings = self._settings
        topics = (settings.raw_topic, settings.conversations_topic, settings.dead_letters_topic)
        consumer = reader(settings)
        try:
            consumer.assign(
                [TopicPartition(t, p, OFFSET_BEGINNING) for t in topics for p in range(settings.partitions)]
            )
            while not self._stopping.is_set():
                messages = consumer.consume(1000, 0.1)
                now = time.time_ns() // 1_000_000
                for message in messages:
                    error = message.error()
                    if error is None:
                        self._take(consumed_record(message), now)
                    elif error.code() != KafkaError._PARTITION_EOF and not error.retriable():
                        raise unreachable(settings, KafkaException(error))
                if messages:
                    with self._lock:
                        self._lock.notify_all()
        finally:
            consumer.close()

    def _take(self, record: ConsumedRecord, now: int) -> None:
        key = (record.key or b"").decode("utf-8", "replace")
        if not key.startswith(self._prefix):
            return
        gsid = key.removeprefix(self._prefix)
        if record.topic == self._settings.raw_topic:
            if not key.endswith(MARKER):
                self.raw += 1
                self._polled_at[gsid] = record.timestamp
        elif record.topic == self._settings.dead_letters_topic:
            self.dead_letters.append(self._codec.decode_as("dead_letter", record.value or b""))
        else:
            self.seen[record.header("ce_id") or f"{gsid}@{record.offset}"] += 1
            self.headers[gsid] = {name: value.decode("utf-8", "replace") for name, value in record.headers}
            value = None if record.value is None else self._codec.decode_as("conversation", record.value)
            self.conversations[gsid] = value
            if value is not None and gsid in self._polled_at:
                self.delays.append(max(0.0, (now - self._polled_at[gsid]) / 1000))
