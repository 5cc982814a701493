"""The private names of Faust and aiokafka that the consumer uses exist, and mean what it takes them for."""

import ast
import asyncio
import inspect
from pathlib import Path

import aiokafka
import faust
from aiokafka import TopicPartition
from aiokafka.consumer.consumer import AIOKafkaConsumer
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.producer.message_accumulator import BatchBuilder
from faust.transport import consumer as transport
from faust.transport.drivers import aiokafka as driver
from faust.types import ConsumerMessage
from mode.worker import Worker

from enricher.consumer import faust_worker, header_names, lane, offset_gaps, transaction, windowing

MODULES = (faust_worker, header_names, lane, offset_gaps, transaction, windowing)

# Every private name of theirs that is used, each with a test below; those of record batches: test_header_names.py.
KNOWN = {
    "_DefaultRecordBatchPy",
    "_acked",
    "_acked_index",
    "_buffer",
    "_create_worker_consumer",
    "_cry",
    "_ensure_consumer",
    "_fetch_max_wait_ms",
    "_gap",
    "_isolation_level",
    "_maybe_uncompress",
    "_new_consumer_thread",
    "_position",
    "_read_offset",
    "_schedule_shutdown",
    "_subscription",
    "_thread",
    "_tp_state",
    "_wait_next_records",
}


def private(tree: ast.Module) -> set[str]:
    """The private names that a module uses of others: read, set or overridden, and not its own."""
    found, own = set(), set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef):
            continue
        derived = any(ast.unparse(base).startswith(("driver.", "faust.")) for base in node.bases)
        if derived:
            methods = {f.name for f in node.body if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef)}
            found |= {m for m in methods if _is_theirs(m)}
            own |= {m for m in methods if not _is_theirs(m)}
        else:
            own |= {ast.unparse(n) for n in ast.walk(node) if isinstance(n, ast.Attribute) and _is_of_self(n)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and not (_is_of_self(node) and own & {ast.unparse(node), node.attr}):
            found.add(node.attr)
    return {name for name in found - {"_exit"} if name.startswith("_") and not name.startswith("__")}


def _is_of_self(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id == "self"


def _is_theirs(name: str) -> bool:
    return any(hasattr(c, name) for c in (driver.AIOKafkaConsumerThread, driver.Consumer, faust.Worker))


def test_no_private_name_is_used_without_a_test_here() -> None:
    trees = [ast.parse(Path(str(module.__file__)).read_text()) for module in MODULES]
    assert set().union(*map(private, trees)) == KNOWN


async def test_a_partition_s_position_is_what_is_read_next() -> None:
    subscription, tp = SubscriptionState(), TopicPartition("raw", 0)
    subscription.assign_from_user([tp])
    state = subscription.subscription.assignment._tp_state[tp]
    assert state._position is None
    state.reset_to(5)
    assert state._position == 5
    state.consumed_to(9)
    assert state._position == 9
    assert "self._subscription = SubscriptionState(" in inspect.getsource(AIOKafkaConsumer)


def test_a_signal_schedules_the_shutdown_where_we_bound_it() -> None:
    for handler in (Worker._on_sigterm, Worker._on_sigint):
        assert "self._schedule_shutdown(signal." in inspect.getsource(handler)
    assert list(inspect.signature(Worker._schedule_shutdown).parameters) == ["self", "signal"]


def test_what_sigusr1_writes_is_made_in_one_place() -> None:
    assert inspect.iscoroutinefunction(Worker._cry)
    assert "self._cry()" in inspect.getsource(Worker._on_sigusr1)
    assert issubclass(faust.Worker, Worker)


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


def test_going_back_is_asked_of_the_thread_where_we_mend_it() -> None:
    assert "await self._thread.seek_to_committed()" in inspect.getsource(
        transport.ThreadDelegateConsumer.seek_to_committed
    )
    assert "await self.seek_to_committed()" in inspect.getsource(transport.Consumer.perform_seek)
    assert inspect.iscoroutinefunction(driver.AIOKafkaConsumerThread.seek_to_committed)
    assert inspect.iscoroutinefunction(AIOKafkaConsumer.seek_to_beginning)


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
