"""The private names of Faust and aiokafka that the edge leans on are there, and mean what it takes them for."""

import asyncio
import inspect

import aiokafka
import faust
from aiokafka.consumer.consumer import AIOKafkaConsumer
from aiokafka.producer.message_accumulator import BatchBuilder
from faust.transport import consumer as transport
from faust.transport.drivers import aiokafka as driver
from faust.types import ConsumerMessage


def test_versions_are_the_measured_ones() -> None:
    assert faust.__version__.startswith("0.15.")
    assert aiokafka.__version__.startswith("0.14.")


def test_aiokafka_reads_isolation_and_wait_when_it_starts() -> None:
    source = inspect.getsource(AIOKafkaConsumer)
    assert "isolation_level=self._isolation_level" in source
    assert "fetch_max_wait_ms=self._fetch_max_wait_ms" in source
    assert source.index("async def start") < source.index("isolation_level=self._isolation_level")


def test_the_driver_makes_its_consumer_where_we_change_it() -> None:
    assert list(inspect.signature(driver.AIOKafkaConsumerThread._create_worker_consumer).parameters) == [
        "self",
        "transport",
    ]
    assert list(inspect.signature(driver.Consumer._new_consumer_thread).parameters) == ["self"]
    assert "self._thread = self._new_consumer_thread()" in inspect.getsource(transport.ThreadDelegateConsumer)
    assert hasattr(driver.AIOKafkaConsumerThread, "_ensure_consumer")
    assert inspect.iscoroutinefunction(driver.AIOKafkaConsumerThread.call_thread)


def test_waiting_for_records_gives_records_by_partition() -> None:
    wait = transport.Consumer._wait_next_records
    assert inspect.iscoroutinefunction(wait)
    assert list(inspect.signature(wait).parameters) == ["self", "timeout"]
    assert "return records, active_partitions" in inspect.getsource(wait)


def test_getmany_is_what_the_fetcher_drains() -> None:
    source = inspect.getsource(transport.Consumer._drain_messages)
    assert "getmany = self.getmany" in source
    assert "get_read_offset = self._read_offset.__getitem__" in source
    for hook in ("commit", "on_buffer_full", "verify_event_path", "perform_seek"):
        assert callable(getattr(transport.Consumer, hook))


def test_acknowledgements_are_kept_where_we_clear_them() -> None:
    source = inspect.getsource(transport.Consumer.__init__)
    for name in ("_acked", "_acked_index", "_gap", "_read_offset"):
        assert f"self.{name}" in source


def test_a_message_can_carry_a_batch_and_its_generation() -> None:
    parameters = list(inspect.signature(ConsumerMessage.__init__).parameters)
    assert parameters[1:9] == [
        "topic",
        "partition",
        "offset",
        "timestamp",
        "timestamp_type",
        "headers",
        "key",
        "value",
    ]
    assert parameters[-1] == "generation_id"


def test_the_generation_is_set_before_the_assignment_is_announced() -> None:
    source = inspect.getsource(driver.ConsumerRebalanceListener.on_partitions_assigned)
    assert source.index("app.consumer_generation_id = generation") < source.index("thread.on_partitions_assigned(")


def test_batches_take_headers_and_say_when_they_are_full() -> None:
    async def fill() -> tuple[object, object]:
        batch = BatchBuilder(100, 0, is_transactional=1)
        first = batch.append(timestamp=None, key=b"k", value=b"v" * 500, headers=[("h", b"1")])
        return first, batch.append(timestamp=None, key=b"k", value=b"v", headers=[])

    first, second = asyncio.run(fill())
    assert first is not None  # the first always fits
    assert second is None
