"""The sizes of records that topics take: read from the cluster, and read again when a record does not fit."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

import structlog

from frame_gainsight.kafka.clients import MAX_MESSAGE_BYTES
from frame_gainsight.kafka.records import ProducerRecord
from frame_gainsight.kafka.topics import MAX_BYTES, how_to_raise, limits
from frame_gainsight.runtime.clock import Clock
from frame_gainsight.runtime.errors import BrokerError
from frame_gainsight.runtime.settings import Settings

log = structlog.get_logger(__name__)

READ_EVERY = 3.0  # seconds, while records do not fit
# A broker measures the batch, which may be of one record. Lengths and deltas are varints, here taken at their longest.
BATCH_BYTES = 61
RECORD_BYTES = 36
HEADER_BYTES = 10


def size_of(record: ProducerRecord) -> int:
    """The bytes that a topic must take for this record, at most: compression may make them fewer."""
    headers = sum(HEADER_BYTES + len(name.encode()) + len(value) for name, value in record.headers)
    return BATCH_BYTES + RECORD_BYTES + len(record.key) + len(record.value or b"") + headers


class RecordLimits:
    """The limit of each topic (`max.message.bytes`), for a process. Safe for threads.

    Until `read` was called, and for a topic that it did not find, the limit is that with which topics are created.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._limits: dict[str, int] = {}
        self._read_at: float | None = None
        self._reading = threading.Lock()

    def read(self) -> None:
        """Reads the limits of all topics. Blocks. Raises BrokerError."""
        with self._reading:
            self._limits = limits(self._settings)
            self._read_at = time.monotonic()

    def of(self, topic: str) -> int:
        """The bytes that the topic's largest record may have, as last read."""
        return self._limits.get(topic, MAX_MESSAGE_BYTES)

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

    async def raised(self, clock: Clock) -> None:
        """Returns when some topic takes larger records than now."""
        before = self._limits
        while not any(limit > before.get(topic, limit) for topic, limit in self._limits.items()):
            await clock.sleep(READ_EVERY)
            await self._read_again()

    async def _read_again(self) -> None:
        try:
            await asyncio.to_thread(self.read)
        except BrokerError as error:  # those that are known count on
            log.warning("record_limits_not_read", cause=str(error))

    def _refusals(self, records: Sequence[ProducerRecord]) -> dict[int, str]:
        return {i: cause for i, record in enumerate(records) if (cause := self.refusal(record)) is not None}

    def _is_old(self) -> bool:
        """Whether the limits were read, and that long ago. Never read, they are no cluster's."""
        return self._read_at is not None and time.monotonic() - self._read_at >= READ_EVERY
