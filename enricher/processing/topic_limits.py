"""Topic limits: how large a record each topic takes (its `max.message.bytes`), followed while the enricher runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from time import monotonic

import structlog
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # type: ignore[attr-defined]

from frame_gainsight.kafka import ProducerRecord
from frame_gainsight.kafka.clients import MAX_MESSAGE_BYTES, admin
from frame_gainsight.kafka.topics import specs
from frame_gainsight.runtime import Settings
from schemas import words

log = structlog.get_logger(__name__)

FOLLOW_SECONDS = 3.0  # a limit that was raised helps within this time
FRAME_BYTES = 1024  # of a batch with one record: its header, the record's lengths, and what compression may add
FRAME_PART = 100  # one part in so many likewise: lz4 makes what cannot be compressed a little larger

ReadLimits = Callable[[], Mapping[str, int]]
"""Topic → its `max.message.bytes`. Blocks."""


def size_of(record: ProducerRecord) -> int:
    """The bytes of a record's key, value and headers."""
    headers = sum(len(key.encode("utf-8", "replace")) + len(value or b"") + 16 for key, value in record.headers)
    return len(record.key) + len(record.value or b"") + headers


def limit_reader(settings: Settings) -> ReadLimits:
    """Reads the limits of all topics that there are, over one connection. Raises BrokerError, KafkaException."""
    resources = [ConfigResource(ResourceType.TOPIC, spec.name) for spec in specs(settings)]
    client: AdminClient | None = None

    def read() -> dict[str, int]:
        nonlocal client
        client = client or admin(settings)
        found = {}
        for resource, answer in client.describe_configs(resources).items():
            with suppress(KafkaException):  # a topic that is not there, or not ours to describe
                found[resource.name] = int(answer.result(timeout=10)["max.message.bytes"].value)
        return found

    return read


class TopicLimits:
    """The limits as they were last read.

    Args:
        read: reads them; None: every topic takes what our own topics are created with.
    """

    def __init__(self, read: ReadLimits | None = None) -> None:
        self._read = read
        self._limits: Mapping[str, int] = {}
        self._read_at: float | None = None
        self._reading = asyncio.Lock()

    async def refresh(self) -> None:
        """Reads the limits, unless they were read a moment ago. Those before count when that fails."""
        async with self._reading:
            if self._read is None or (self._read_at is not None and monotonic() - self._read_at < FOLLOW_SECONDS):
                return
            self._read_at = monotonic()
            try:
                self._limits = await asyncio.to_thread(self._read)
            except Exception as error:  # noqa: BLE001 - whatever the client raises: publishing shows whether Kafka is there
                log.warning("topic_limits_unknown", cause=words(error))

    def room(self, topic: str) -> int:
        """The most bytes that a record of the topic may have in key, value and headers."""
        limit = min(MAX_MESSAGE_BYTES, self._limits.get(topic, MAX_MESSAGE_BYTES))
        return max(0, limit - FRAME_BYTES - limit // FRAME_PART)

    def fits(self, record: ProducerRecord) -> bool:
        """Whether the record's topic takes it."""
        return size_of(record) <= self.room(record.topic)
