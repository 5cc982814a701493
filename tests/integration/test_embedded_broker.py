"""The embedded broker is a real Kafka, keeps its data, and never outlives us."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from frame_gainsight.embedded_kafka.broker import EmbeddedKafka
from frame_gainsight.embedded_kafka.errors import KafkaStartError
from frame_gainsight.embedded_kafka.node import LOOPBACK, free_port
from tests.fixtures.cluster import until
from tests.fixtures.processes import ROOT


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spaces, commas and é")


@pytest.fixture(scope="module")
def broker(folder: Path) -> Iterator[EmbeddedKafka]:
    with EmbeddedKafka(folder) as kafka:
        yield kafka


def create(kafka: EmbeddedKafka, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(20)


def write(kafka: EmbeddedKafka, topic: str, values: list[bytes], *, commit: bool = True) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": topic})
    producer.init_transactions(20)
    producer.begin_transaction()
    for value in values:
        producer.produce(topic, value)
    if commit:
        producer.commit_transaction(20)
    else:
        producer.flush(20)
        producer.abort_transaction(20)


def read(kafka: EmbeddedKafka, topic: str) -> list[bytes | None]:
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "group.id": "reader",
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
        }
    )
    consumer.assign([TopicPartition(topic, 0, 0)])
    values = []
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        message = consumer.poll(1)
        if message is None:
            continue
        if message.error():
            break
        values.append(message.value())
    consumer.close()
    return values


def alive(pid: int) -> bool:
    """Whether the process exists and is more than a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_reader_sees_committed_transactions_only(broker: EmbeddedKafka) -> None:
    create(broker, "transactions")
    write(broker, "transactions", [b"aborted"], commit=False)
    write(broker, "transactions", [b"one", b"x" * 900_000])
    assert read(broker, "transactions") == [b"one", b"x" * 900_000]


def test_the_brokers_data_survives_a_crash_on_the_same_port(broker: EmbeddedKafka) -> None:
    create(broker, "crash")
    write(broker, "crash", [b"kept"])
    port, pid = broker.port, broker.pid
    broker.kill()
    assert not broker.running
    assert not alive(pid)
    broker.start()
    assert broker.port == port
    until("the record is there again", lambda: read(broker, "crash") == [b"kept"])


def test_a_second_broker_on_the_same_folder_is_refused(broker: EmbeddedKafka, folder: Path) -> None:
    with pytest.raises(KafkaStartError, match="Another broker is using the data folder"):
        EmbeddedKafka(folder).start()
    assert broker.running


def test_a_stopped_broker_leaves_no_process_and_another_one_has_its_data(broker: EmbeddedKafka, folder: Path) -> None:
    create(broker, "handed-over")
    write(broker, "handed-over", [b"kept"])
    cluster = AdminClient({"bootstrap.servers": broker.bootstrap}).list_topics(timeout=20).cluster_id
    pid = broker.pid
    broker.stop()
    broker.stop()
    assert not alive(pid)
    with EmbeddedKafka(folder) as second:
        assert read(second, "handed-over") == [b"kept"]
        assert AdminClient({"bootstrap.servers": second.bootstrap}).list_topics(timeout=20).cluster_id == cluster


def test_no_broker_and_no_data_is_left_when_its_owner_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom frame_gainsight.embedded_kafka.broker import EmbeddedKafka\n"
        "kafka = EmbeddedKafka().start()\n"
        "print(kafka.pid, kafka.data_dir, flush=True)\nsys.stdin.read()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    pid, data_dir = child.stdout.readline().split(maxsplit=1)
    assert alive(int(pid))
    child.send_signal(signal.SIGKILL)
    child.communicate()
    until("the broker is gone", lambda: not alive(int(pid)), 15)
    until("its data is gone", lambda: not Path(data_dir.strip()).exists(), 5)


def test_a_brokers_port_in_use_is_a_clear_error(tmp_path: Path) -> None:
    port = free_port()
    with socket.create_server((LOOPBACK, port)), pytest.raises(KafkaStartError, match=f"Port {port} .* is in use"):
        EmbeddedKafka(tmp_path, port).start()


def test_a_broker_setting_that_kafka_refuses_is_reported_with_its_log(tmp_path: Path) -> None:
    with pytest.raises(KafkaStartError) as caught:
        EmbeddedKafka(tmp_path, config={"log.cleanup.policy": "nonsense"}).start()
    text = str(caught.value)
    assert "nonsense" in text
    assert str(tmp_path / "kafka.log") in text
    assert "settings is not accepted" in text
    assert "\tat " not in text
