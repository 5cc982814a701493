"""Reading partitions to their end, committed records only."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicPartition

from frame_gainsight.kafka.clients import confluent_config, unreachable
from frame_gainsight.kafka.records import ConsumedRecord
from frame_gainsight.runtime.errors import TopicError
from frame_gainsight.runtime.settings import Settings

log = structlog.get_logger(__name__)

UNREADABLE_HEADERS = "headers_unreadable"


def consumed_record(message: Message) -> ConsumedRecord:
    """A client's message as a plain value.

    The client gives none of a message's headers when one's name is not UTF-8, which Kafka allows: then the record has
    the one header `UNREADABLE_HEADERS`, whose value says why.
    """
    try:
        headers = tuple(_header(pair) for pair in message.headers() or ())
    except (SystemError, UnicodeDecodeError) as error:  # confluent_kafka raises the one because of the other
        cause = f"The name of a header is not UTF-8: {error.__cause__ or error}"
        log.warning(
            "headers_unreadable",
            topic=message.topic(),
            partition=message.partition(),
            offset=message.offset(),
            cause=cause,
        )
        headers = ((UNREADABLE_HEADERS, cause.encode("utf-8", "replace")),)
    return ConsumedRecord(
        message.topic() or "",
        message.partition() or 0,
        message.offset() or 0,
        _bytes(message.key()),
        _bytes(message.value()),
        headers,
        message.timestamp()[1],
    )


def _header(pair: Any) -> tuple[str, bytes]:
    return pair[0], pair[1] or b""


def _bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def reader(settings: Settings, **more: object) -> Consumer:
    """A consumer that reads committed records and commits nothing itself."""
    config = {
        "group.id": f"{settings.prefix}-reader-{uuid.uuid4().hex}",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
        "auto.offset.reset": "earliest",
        "fetch.wait.max.ms": 100,
        "fetch.message.max.bytes": 16 * 1024 * 1024,
    }
    return Consumer(confluent_config(settings, **(config | more)))


def read_to_end(
    settings: Settings, topic: str, starts: Mapping[int, int | None], timeout: float = 60.0
) -> Iterator[ConsumedRecord]:
    """Every committed record from the given offsets (None: the beginning) to each partition's end as of its reaching.

    Args:
        starts: partition → first offset to read.
        timeout: seconds without any progress after which BrokerError is raised.

    Raises TopicError for a topic or partition that does not exist.
    """
    consumer = reader(settings)
    try:
        _require(consumer, settings, topic, starts, min(timeout, 10.0))
        consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING if o is None else o) for p, o in starts.items()])
        remaining = set(starts)
        while remaining:
            # `consume` with a timeout waits it out unless it has all the messages requested; `poll` does not.
            first = consumer.poll(timeout)
            if first is None:
                raise unreachable(settings, TimeoutError(f"nothing from {topic} for {timeout:.0f} s"))
            for message in (first, *consumer.consume(num_messages=999, timeout=0)):
                error = message.error()
                if error is None:
                    yield consumed_record(message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    remaining.discard(message.partition() or 0)
                else:
                    raise unreachable(settings, KafkaException(error))
    finally:
        consumer.close()


@dataclass(frozen=True, slots=True)
class PartitionEnd:
    """A followed partition was read to its present end. More records may come, and more ends."""

    topic: str
    partition: int


def follow(
    settings: Settings,
    topics: str | Iterable[str],
    partitions: Iterable[int],
    timeout: float = 1.0,
    *,
    from_end: bool = False,
    strict: bool = False,
) -> Generator[ConsumedRecord | PartitionEnd | None, None, None]:
    """Every committed record of some partitions, first those on record and then new ones as they come, without end.

    Yields None whenever nothing came for `timeout` seconds (0: nothing is there at this moment). Closing the generator
    closes the consumer, which is opened by the first `next`.

    Args:
        topics: one or several, of each the same partitions.
        from_end: without the records that are there already.
        strict: raise BrokerError for an error of a partition that librdkafka does not call retriable, for a person who
            waits. Otherwise it is logged and reading goes on, as a service must; only a fatal one is raised.
    """
    names = (topics,) if isinstance(topics, str) else tuple(topics)
    start = OFFSET_END if from_end else OFFSET_BEGINNING
    consumer = reader(settings)
    try:
        consumer.assign([TopicPartition(name, partition, start) for partition in partitions for name in names])
        while True:
            first = consumer.poll(timeout)
            if first is None:
                yield None
                continue
            for message in (first, *consumer.consume(num_messages=999, timeout=0)):
                error = message.error()
                if error is None:
                    yield consumed_record(message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    yield PartitionEnd(message.topic() or "", message.partition() or 0)
                elif error.fatal() or (strict and not error.retriable()):
                    raise unreachable(settings, KafkaException(error))
                elif not strict:
                    log.warning("topic_read_failed", topic=", ".join(names), cause=error.str())
    finally:
        consumer.close()


def read_at(
    settings: Settings,
    topic: str,
    partition: int,
    offsets: Collection[int],
    max_records: int = 50_000,
    timeout: float = 30.0,
    max_bytes: int = sys.maxsize,
) -> dict[int, ConsumedRecord]:
    """Offset → committed record, of those offsets that still have one; at most `max_records` are read.

    Args:
        max_bytes: of values; of the records found, none is read behind them, but one at least.

    Raises BrokerError, TopicError.
    """
    if not offsets:
        return {}
    found: dict[int, ConsumedRecord] = {}
    last, size = max(offsets), 0
    for number, record in enumerate(read_to_end(settings, topic, {partition: min(offsets)}, timeout)):
        if record.offset > last or number >= max_records:
            break
        if record.offset in offsets:
            found[record.offset] = record
            size += len(record.value or b"")
            if size >= max_bytes:
                break
    return found


def first_between(settings: Settings, topic: str, partition: int, start: int, end: int) -> int | None:
    """The offset of the first committed record in `[start, end)`; None: there is none.

    Raises BrokerError, TopicError.
    """
    for record in read_to_end(settings, topic, {partition: start}, 30.0):
        return record.offset if record.offset < end else None
    return None


def end_offset(settings: Settings, topic: str, partition: int, timeout: float = 10.0) -> int:
    """The offset after the partition's last record. Raises BrokerError, TopicError."""
    consumer = reader(settings)
    try:
        _require(consumer, settings, topic, (partition,), timeout)
        return int(consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=timeout)[1])
    except KafkaException as error:
        raise unreachable(settings, error) from error
    finally:
        consumer.close()


def _require(consumer: Consumer, settings: Settings, topic: str, partitions: Iterable[int], timeout: float) -> None:
    """Raises TopicError for a missing topic or partition: librdkafka would wait for it to appear."""
    try:
        metadata = consumer.list_topics(topic, timeout=timeout).topics[topic]
    except KafkaException as error:
        raise unreachable(settings, error) from error
    if metadata.error is not None and metadata.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
        raise TopicError(f"Topic {topic} does not exist. Create it: frame-gainsight topics create")
    if metadata.error is not None:
        raise unreachable(settings, KafkaException(metadata.error))
    if missing := sorted(set(partitions) - set(metadata.partitions)):
        raise TopicError(
            f"Topic {topic} has {len(metadata.partitions)} partitions and none numbered {missing[0]}. All topics must "
            "have the same count: see frame-gainsight topics check, and FRAME_GAINSIGHT_PARTITIONS."
        )
