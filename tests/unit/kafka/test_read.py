"""Following a topic: records, ends and silence come out in their order; an error is raised for a person only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import pytest
from confluent_kafka import KafkaError
from structlog.testing import capture_logs

from frame_gainsight.kafka import ConsumedRecord, PartitionEnd, follow, read
from frame_gainsight.kafka.read import UNREADABLE_HEADERS
from frame_gainsight.runtime import BrokerError, Settings

SETTINGS = Settings(bootstrap_servers="broker:9092", _env_file=None)
DENIED = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
FATAL = KafkaError(KafkaError._FATAL, fatal=True)
END = KafkaError(KafkaError._PARTITION_EOF)


def message(offset: int = 0, *, error: KafkaError | None = None) -> Mock:
    made = Mock(**{f"{name}.return_value": value for name, value in (("headers", None), ("timestamp", (1, 7)))})
    made.error.return_value = error
    made.topic.return_value, made.partition.return_value, made.offset.return_value = "t", 3, offset
    made.key.return_value, made.value.return_value = b"k", None
    return made


def record(offset: int) -> ConsumedRecord:
    return ConsumedRecord("t", 3, offset, b"k", None, (), 7)


class Script:
    """A consumer that delivers one batch a poll; None: nothing came."""

    def __init__(self, *batches: list[Mock] | None) -> None:
        self._batches = iter(batches)
        self._rest: list[Mock] = []
        self.timeouts: list[float] = []
        self.closed = False

    def assign(self, partitions: list[Any]) -> None:
        self.assigned = [(p.topic, p.partition) for p in partitions]

    def poll(self, timeout: float) -> Mock | None:
        self.timeouts.append(timeout)
        batch = next(self._batches)
        if batch is None:
            return None
        self._rest = batch[1:]
        return batch[0]

    def consume(self, num_messages: int, timeout: float) -> list[Mock]:
        return self._rest

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    def install(*batches: list[Mock] | None) -> Script:
        made = Script(*batches)
        monkeypatch.setattr(read, "reader", lambda _: made)
        return made

    yield install


def test_records_ends_and_silence_come_in_their_order(script: Any) -> None:
    consumer = script([message(4), message(5), message(error=END)], None, [message(6)], [message(error=END)])
    following = follow(SETTINGS, "t", [3, 1], timeout=0.25)
    found = [next(following) for _ in range(6)]
    assert found == [record(4), record(5), PartitionEnd("t", 3), None, record(6), PartitionEnd("t", 3)]
    assert consumer.assigned == [("t", 3), ("t", 1)]
    assert set(consumer.timeouts) == {0.25}
    assert not consumer.closed
    following.close()
    assert consumer.closed


def test_a_record_whose_header_s_name_is_not_utf_8_has_a_header_that_says_so(script: Any) -> None:
    bad = message(5)
    bad.headers.side_effect = SystemError("returned a result with an exception set")
    bad.headers.side_effect.__cause__ = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
    script([message(4), bad, message(6)])
    with capture_logs() as logs:
        following = follow(SETTINGS, "t", [3])
        found = [next(following) for _ in range(3)]
    assert [found[0], found[2]] == [record(4), record(6)]
    assert isinstance(found[1], ConsumedRecord)
    assert found[1].offset == 5
    assert "can't decode byte 0xff" in (found[1].header(UNREADABLE_HEADERS) or "")
    assert [(entry["event"], entry["topic"], entry["offset"]) for entry in logs] == [("headers_unreadable", "t", 5)]


def test_a_service_logs_an_error_and_reads_on(script: Any) -> None:
    script([message(error=DENIED), message(4)])
    with capture_logs() as logs:
        assert next(follow(SETTINGS, "t", [3])) == record(4)
    assert [(entry["event"], entry["topic"]) for entry in logs] == [("topic_read_failed", "t")]


@pytest.mark.parametrize(
    ("error", "strict"),
    [
        (DENIED, True),
        (KafkaError(KafkaError._FATAL, fatal=True), False),
        (KafkaError(KafkaError._FATAL, fatal=True), True),
    ],
)
def test_an_error_that_nothing_gets_over_is_raised_and_the_consumer_closed(
    script: Any, error: KafkaError, strict: bool
) -> None:
    consumer = script([message(error=error)])
    with pytest.raises(BrokerError, match="broker:9092"):
        next(follow(SETTINGS, "t", [3], strict=strict))
    assert consumer.closed


def test_a_person_waits_through_an_error_that_is_tried_again(script: Any) -> None:
    script([message(error=KafkaError(KafkaError._TRANSPORT, retriable=True)), message(4)])
    assert next(follow(SETTINGS, "t", [3], strict=True)) == record(4)
