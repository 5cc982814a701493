"""The sizes of records that topics take: read from the cluster, and read again when a record does not fit."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import structlog
from confluent_kafka.admin import AdminClient

from frame_gainsight.kafka.clients import MAX_MESSAGE_BYTES, admin
from frame_gainsight.kafka.records import ProducerRecord
from frame_gainsight.kafka.topics import MAX_BYTES, how_to_raise, limits
from frame_gainsight.runtime.clock import Clock
from frame_gainsight.runtime.errors import BrokerError
from frame_gainsight.runtime.settings import Settings

log = structlog.get_logger(__name__)

READ_EVERY = 3.0  # seconds between two readings, at least
# A broker measures the batch, which may be of one record. Lengths and deltas are varints, here taken at their longest.
BATCH_BYTES = 61
RECORD_BYTES = 36
HEADER_BYTES = 10


def size_of_fields(record: ProducerRecord) -> int:
    """The bytes of a record's key, value and headers, at most: compression may make them fewer."""
    headers = sum(
        HEADER_BYTES + len(name.encode("utf-8", "replace")) + len(value or b"") for name, value in record.headers
    )
    return len(record.key) + len(record.value or b"") + headers


def size_of(record: ProducerRecord) -> int:
    """The bytes that a topic must take for this record, at most."""
    return BATCH_BYTES + RECORD_BYTES + size_of_fields(record)


ReadLimits = Callable[[], Mapping[str, int]]
"""Topic → its `max.message.bytes`. Blocks. Raises BrokerError."""


def limit_reader(settings: Settings) -> ReadLimits:
    """Reads the limits of all topics of ours that exist, over one connection."""
    client: AdminClient | None = None

    def read() -> dict[str, int]:
        nonlocal client
        client = client or admin(settings)
        return limits(settings, client=client)

    return read


class RecordLimits:
    """The limit of each topic (`max.message.bytes`), for a process. Safe for threads.

    Until `read` was called, and for a topic that it did not find, the limit is that with which topics are created.

    Args:
        read: reads the limits; None: there is no cluster to read them from.
    """

    def __init__(self, read: ReadLimits | None = None) -> None:
        self._read = read
        self._limits: Mapping[str, int] = {}
        self._read_at: float | None = None
        self._reading = threading.Lock()
        self._refreshing: asyncio.Task[None] | None = None

    def read(self) -> None:
        """Reads the limits of all topics. Blocks. Raises BrokerError."""
        if self._read is None:
            return
        with self._reading:
            self._limits = self._read()
            self._read_at = time.monotonic()

    def _read_if_old(self) -> None:
        """One of several that come at once reads."""
        with self._reading:
            if self._read is not None and (self._read_at is None or self._is_old()):
                self._limits = self._read()
                self._read_at = time.monotonic()

    def of(self, topic: str) -> int:
        """The bytes that the topic's largest record may have, as last read."""
        return self._limits.get(topic, MAX_MESSAGE_BYTES)

    def room(self, topic: str) -> int:
        """The bytes that key, value and headers of a record of this topic may have, as `size_of_fields` counts them."""
        return max(0, self.of(topic) - BATCH_BYTES - RECORD_BYTES)

    def fits(self, record: ProducerRecord) -> bool:
        """Whether the record's topic takes it, as last read."""
        return size_of_fields(record) <= self.room(record.topic)

    @property
    def smallest(self) -> int:
        """The limit of the topic that takes the least: no batch of records may be larger."""
        return min(self._limits.values(), default=MAX_MESSAGE_BYTES)

    def refusal(self, record: ProducerRecord) -> str | None:
        """Why the record's topic does not take it, and what to do, for people; None: it does."""
        size, limit = size_of(record), self.of(record.topic)
        if size <= limit:
            return None
        return (
            f"A record of {size:,} bytes is too large for topic {record.topic}, which takes {limit:,} ({MAX_BYTES}). "
            f"{how_to_raise(record.topic, size)}"
        )

    async def refusals(self, records: Sequence[ProducerRecord]) -> dict[int, str]:
        """Index → `refusal` of the records that do not fit, by limits read anew when one does not."""
        found = self._refusals(records)
        if found and self._is_old():
            await self._read_again()
            return self._refusals(records)
        return found

    async def refresh(self) -> None:
        """Has the limits read anew, unless they were a moment ago. Waits for the first reading alone: afterwards those
        that are known count until there are others, however long a cluster takes."""
        if self._read is None:
            return
        if self._read_at is None:
            await self._read_again()
        elif self._is_old() and (self._refreshing is None or self._refreshing.done()):
            self._refreshing = asyncio.create_task(self._read_again())

    def expire(self) -> None:
        """Lets the next `refresh` read, however soon it comes: a person may have raised a limit a moment ago."""
        self._read_at = None

    async def raised(self, clock: Clock) -> None:
        """Returns when some topic takes larger records than now."""
        before = self._limits
        while not any(limit > before.get(topic, limit) for topic, limit in self._limits.items()):
            await clock.sleep(READ_EVERY)
            await self._read_again()

    async def _read_again(self) -> None:
        try:
            await asyncio.to_thread(self._read_if_old)
        except BrokerError as error:  # those that are known count on, for as long as between two readings
            self._read_at = time.monotonic()
            log.warning("record_limits_not_read", cause=str(error))

    def _refusals(self, records: Sequence[ProducerRecord]) -> dict[int, str]:
        return {i: cause for i, record in enumerate(records) if (cause := self.refusal(record)) is not None}

    def _is_old(self) -> bool:
        """Whether the limits were read, and that long ago. Never read, they are no cluster's."""
        return self._read_at is not None and time.monotonic() - self._read_at >= READ_EVERY
