"""A lane's transactional producer: records that belong together are committed together, or not at all."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol, Self

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from frame_gainsight.kafka.clients import ANY_SIZE, confluent_config, unreachable
from frame_gainsight.kafka.records import ProducerRecord
from frame_gainsight.runtime.errors import BrokerError, FencedError, RecordTooLargeError
from frame_gainsight.runtime.settings import Settings

TRANSACTION_SECONDS = 60
BATCH_BYTES = 1024 * 1024
_FENCED = {
    KafkaError._FENCED,
    KafkaError.PRODUCER_FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.TRANSACTION_COORDINATOR_FENCED,
}

RecordsAfter = Callable[[Sequence[int]], Sequence[ProducerRecord]]
"""The records that depend on the offsets of the first ones, from those offsets."""


class LaneWriter(Protocol):
    """The only writer of a lane. A call may block, and writes everything or nothing."""

    def write(self, records: Sequence[ProducerRecord], records_after: RecordsAfter | None = None) -> list[int]:
        """Writes the records and `records_after(their offsets)` in one transaction; returns the offsets of the former.

        Raises FencedError when another process has taken the lane, BrokerError when Kafka failed: the transaction
        is aborted and may be tried again. RecordTooLargeError when a topic does not take one of the records: the
        same ones fail again.
        """

    def close(self) -> None:
        """Gives the connection back. An open transaction is aborted by the next owner."""


class KafkaLaneWriter:
    """A `LaneWriter` on Kafka. Opening one fences the lane's former writer, and aborts its open transaction.

    Args:
        role: `producer` or `enricher`; part of the transactional id, with the prefix and the lane.
        batch_bytes: the most that records which are sent together have; no topic's limit may be smaller.
    """

    def __init__(
        self, settings: Settings, role: str, lane: int, start_timeout: float = 60.0, batch_bytes: int = BATCH_BYTES
    ) -> None:
        self._settings = settings
        self.transactional_id = f"{settings.prefix}-{role}-{lane}"
        self._producer = Producer(
            confluent_config(
                settings,
                **{
                    "transactional.id": self.transactional_id,
                    "transaction.timeout.ms": TRANSACTION_SECONDS * 1000,
                    "message.max.bytes": ANY_SIZE,
                    "compression.type": "lz4",
                    "linger.ms": 5,
                    "batch.size": batch_bytes,
                },
            )
        )
        deadline = time.monotonic() + start_timeout
        while True:
            try:
                self._producer.init_transactions(max(1.0, deadline - time.monotonic()))
                return
            except KafkaException as error:
                if not error.args[0].retriable() or time.monotonic() > deadline:
                    raise unreachable(settings, error) from error

    def write(self, records: Sequence[ProducerRecord], records_after: RecordsAfter | None = None) -> list[int]:
        try:
            self._producer.begin_transaction()
            offsets = self._send(records)
            if records_after is not None:
                self._send(records_after(offsets))
            self._commit()
        except KafkaException as error:
            raise self._failed(error) from error
        except BaseException:
            self._abort()
            raise
        return offsets

    def close(self) -> None:
        self._producer.purge(in_queue=True, in_flight=True)
        with warnings.catch_warnings():  # a fenced producer warns that it cannot abort: it has nothing left to
            warnings.simplefilter("ignore", RuntimeWarning)
            self._producer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, records: Sequence[ProducerRecord]) -> list[int]:
        """Sends, waits for the acknowledgements, and returns the offsets in the records' order."""
        offsets = [-1] * len(records)
        faults: list[KafkaError] = []

        def acknowledged(index: int) -> Callable[[KafkaError | None, Message], None]:
            def report(error: KafkaError | None, message: Message) -> None:
                if error is not None:
                    faults.append(error)
                else:
                    offsets[index] = message.offset() or 0

            return report

        for index, record in enumerate(records):
            self._produce(record, acknowledged(index))
        remaining = self._producer.flush(TRANSACTION_SECONDS)
        if faults:
            raise KafkaException(faults[0])
        if remaining or -1 in offsets:
            raise KafkaException(
                KafkaError(KafkaError._TIMED_OUT, f"{remaining} records not acknowledged", retriable=True)
            )
        return offsets

    def _produce(self, record: ProducerRecord, report: Callable[[KafkaError | None, Message], None]) -> None:
        while True:
            try:
                self._producer.produce(
                    record.topic,
                    key=record.key,
                    value=record.value,
                    partition=record.partition,
                    headers=list(record.headers),
                    timestamp=record.timestamp or 0,
                    on_delivery=report,
                )
                return
            except BufferError:  # the queue is full: let it drain
                self._producer.poll(0.1)

    def _commit(self) -> None:
        deadline = time.monotonic() + TRANSACTION_SECONDS
        while True:
            try:
                self._producer.commit_transaction(max(1.0, deadline - time.monotonic()))
                return
            except KafkaException as error:
                if not error.args[0].retriable() or time.monotonic() > deadline:
                    raise

    def _abort(self) -> None:
        try:
            self._producer.abort_transaction(10)
        except KafkaException as error:
            raise self._classified(error) from error

    def _failed(self, error: KafkaException) -> FencedError | BrokerError:
        """Ends a failed transaction; returns the error that it means."""
        if not error.args[0].fatal() and error.args[0].code() not in _FENCED:
            self._abort()
        return self._classified(error)

    def _classified(self, error: KafkaException) -> FencedError | BrokerError:
        cause: KafkaError = error.args[0]
        if cause.code() in _FENCED:
            return FencedError(
                f"Another process has taken over '{self.transactional_id}' ({cause.str()}). This one stops; "
                "nothing was written twice. Two installations on one cluster need different FRAME_GAINSIGHT_PREFIX."
            )
        if cause.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            return RecordTooLargeError(
                f"Kafka at {self._settings.brokers()} refused a record as too large; its transaction was undone. "
                "Which topic takes too little: frame-gainsight topics check"
            )
        return BrokerError(f"Kafka at {self._settings.brokers()} failed a transaction ({cause.str()}); it was undone.")
