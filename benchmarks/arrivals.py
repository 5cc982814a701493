"""When conversations can be read."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Self

from confluent_kafka import TopicPartition

from frame_gainsight.kafka import end_offset, reader
from frame_gainsight.runtime import Settings


@dataclass
class Arrivals:
    """When each conversation could first be read, by its key: a thread's, while the context is open.

    `at`: seconds of a steady clock.
    """

    settings: Settings
    at: dict[str, float] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        topic = self.settings.conversations_topic
        self._reader = reader(self.settings, **{"fetch.wait.max.ms": 10})
        ends = {p: end_offset(self.settings, topic, p) for p in range(self.settings.partitions)}
        self._reader.assign([TopicPartition(topic, p, end) for p, end in ends.items()])
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        return self

    def _read(self) -> None:
        while not self._stop.is_set():
            message = self._reader.poll(0.1)
            if message is not None and message.error() is None:
                self.at.setdefault((message.key() or b"").decode(), time.monotonic())

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._reader.close()
