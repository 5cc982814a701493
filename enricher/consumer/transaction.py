"""Transactions: a lane's outputs and its input position, committed together."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

import structlog
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.producer.message_accumulator import BatchBuilder

from frame_gainsight.kafka import ProducerRecord
from frame_gainsight.kafka.clients import aiokafka_config
from frame_gainsight.runtime import Settings

log = structlog.get_logger(__name__)

ROLE = "enricher"
TRANSACTION_SECONDS = 20
BATCH_BYTES = 512 * 1024
EXIT_DEADLINE_EXCEEDED = 75  # EX_TEMPFAIL: start the process again


@contextmanager
def deadline(seconds: float, what: str) -> Iterator[None]:
    """Ends the process when the body takes longer: that is safe at any point, because the lane's next owner aborts the
    open transaction."""

    def give_up() -> None:
        log.critical("deadline_exceeded", what=what, seconds=seconds, hint="the process ends; start it again")
        os._exit(EXIT_DEADLINE_EXCEEDED)

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def whole_batches(_: str) -> int:
    """The bytes of a batch where a topic's own limit is not known."""
    return BATCH_BYTES


class TransactionalPublisher:
    """The transactional producer of one lane, for one assignment of it. Opening it fences every earlier owner.

    The client is aiokafka and not librdkafka because the latter's `send_offsets_to_transaction` was seen to hang for
    minutes when a broker crashed.

    Args:
        room: bytes of keys, values and headers that a topic takes at once.
    """

    def __init__(
        self, settings: Settings, group: str, tp: TopicPartition, room: Callable[[str], int] = whole_batches
    ) -> None:
        self._room = room
        self._group = group
        self._tp = tp
        self._producer = AIOKafkaProducer(
            **aiokafka_config(settings),
            transactional_id=f"{settings.prefix}-{ROLE}-{tp.topic}-{tp.partition}",
            transaction_timeout_ms=TRANSACTION_SECONDS * 1000,
            retry_backoff_ms=20,
            max_batch_size=BATCH_BYTES,
            compression_type="lz4",
        )

    async def open(self) -> None:
        """Fences the lane's earlier owner, and ends its open transaction."""
        with deadline(60, "opening a lane's producer"):
            await self._producer.start()

    async def close(self) -> None:
        """Disconnects; an open transaction is aborted by the lane's next owner."""
        with deadline(60, "closing a lane's producer"):
            await self._producer.stop()

    async def publish(self, records: Sequence[ProducerRecord], after: int | None) -> None:
        """Publishes the records and, unless None, the input position `after` them; all or nothing.

        Whatever it raises, the process must end or close the lane: the next owner starts from what is committed.
        """
        with deadline(60, "a transaction"):
            await self._producer.begin_transaction()
            acknowledged: list[Awaitable[object]] = [*await self._send(records)]
            if after is not None:  # together with the records: only the commit comes after both
                acknowledged.append(self._producer.send_offsets_to_transaction({self._tp: after}, self._group))
            await asyncio.gather(*acknowledged)
            await self._producer.commit_transaction()

    async def _send(self, records: Sequence[ProducerRecord]) -> list[asyncio.Future[object]]:
        """Sends batches as they fill, in the records' order within each partition."""
        filling: dict[tuple[str, int], BatchBuilder] = {}
        sizes: dict[tuple[str, int], int] = {}
        acknowledged = []
        for record in records:
            to = (record.topic, record.partition)
            size = _size_of(record)
            full = to in filling and sizes[to] + size > self._room(record.topic)
            if to in filling and (full or not _append(filling[to], record)):
                acknowledged.append(await self._producer.send_batch(filling.pop(to), to[0], partition=to[1]))
            if to not in filling:
                filling[to] = self._producer.create_batch()
                if not _append(filling[to], record):
                    raise ValueError(f"a record of {len(record.value or b'')} bytes does not fit an empty batch")
                sizes[to] = 0
            sizes[to] += size
        for to, batch in filling.items():
            acknowledged.append(await self._producer.send_batch(batch, to[0], partition=to[1]))
        return acknowledged


def _size_of(record: ProducerRecord) -> int:
    """The most bytes that a record takes in a batch."""
    headers = sum(len(key.encode()) + len(value or b"") + 16 for key, value in record.headers)
    return len(record.key) + len(record.value or b"") + headers + 32


def _append(batch: BatchBuilder, record: ProducerRecord) -> bool:
    """False when the batch is full."""
    headers = list(record.headers)
    return batch.append(timestamp=record.timestamp, key=record.key, value=record.value, headers=headers) is not None
