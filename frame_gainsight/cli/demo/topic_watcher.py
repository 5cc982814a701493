"""Watches which records arrive in the topics, when, and how often: the demo's reader, committed records only."""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import closing
from types import TracebackType
from typing import Any, Self

from frame_gainsight.kafka import ConsumedRecord, follow
from frame_gainsight.runtime import Settings
from schemas import Codec
from schemas.raw_topic import connector_of, gsid_of, is_period_marker


class TopicWatcher:
    """Reads raw activities, conversations and dead letters of one connector as they are committed.

    `conversations` is each key's latest value (None: deleted); `seen` counts every version's appearances;
    `delays` are the seconds from a page's last API reply to its conversation's being readable here.
    """

    def __init__(self, settings: Settings, codec: Codec, connector: str) -> None:
        self._settings = settings
        self._codec = codec
        self._connector = connector
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
        """Returns at the next record, or after `seconds`. Raises the error that the reading ended with."""
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
        with closing(follow(settings, topics, range(settings.partitions), 0.1, strict=True)) as followed:
            for found in followed:
                if isinstance(found, ConsumedRecord):
                    self._take(found, time.time_ns() // 1_000_000)
                    with self._lock:
                        self._lock.notify_all()
                if self._stopping.is_set():
                    return

    def _take(self, record: ConsumedRecord, now: int) -> None:
        if connector_of(record.key) != self._connector:
            return
        gsid = gsid_of(record.key)
        if record.topic == self._settings.raw_topic:
            if not is_period_marker(record.key):
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
