"""The JVM's AOT cache, with which the embedded broker starts in about half the time.

The JVM records it in a training run: a short-lived broker on a folder of its own starts and serves each kind of request
once.  The cache gets its name only when it is complete.  `python -m frame_gainsight.embedded_kafka.aot_cache` makes it.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from frame_gainsight.embedded_kafka.artifacts import Progress, exclusive, fetch
from frame_gainsight.embedded_kafka.broker import EmbeddedKafka
from frame_gainsight.embedded_kafka.errors import KafkaStartError
from frame_gainsight.embedded_kafka.jvm import find_java
from frame_gainsight.runtime.errors import OperationalError

_HEAP_MB = 512
_STOP_TIMEOUT = 300.0  # seconds; the JVM writes the cache when it ends
_TOPIC = "training"


def make_cache(progress: Progress | None = None) -> bool:
    """Fetches the broker's files and makes the cache, unless it is there; returns whether it was made.

    Raises `ArtifactError` and `MissingExtraError` as `artifacts.fetch` does, `KafkaStartError` when the training
    run failed or left no cache.  Without a cache the broker only starts more slowly.
    """
    java = find_java(fetch(progress=progress))
    target = java.aot_path
    with exclusive(target.parent, "train.lock"):
        if find_java(java.jars).aot is not None:
            return False
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".train-") as folder:
            unfinished = Path(folder) / "kafka.aot"
            kafka = EmbeddedKafka(Path(folder) / "data", heap_mb=_HEAP_MB, aot_output=unfinished, start_timeout=120)
            try:
                kafka.start()
                _exercise(kafka.bootstrap)
            finally:
                kafka.stop(_STOP_TIMEOUT)
            if not unfinished.exists():
                raise KafkaStartError("The JVM left no AOT cache. The broker works without it, but starts more slowly.")
            java.store_aot(unfinished)
    return True


def _exercise(bootstrap: str) -> None:
    """Each kind of request once: create, transaction, group, read, delete."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    for created in admin.create_topics([NewTopic(_TOPIC, 2, 1, config={"cleanup.policy": "compact"})]).values():
        created.result()
    producer = Producer(
        {"bootstrap.servers": bootstrap, "transactional.id": _TOPIC, "log_level": 0, "compression.type": "zstd"}
    )
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": _TOPIC,
            "log_level": 0,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
        }
    )
    producer.init_transactions(30)
    consumer.subscribe([_TOPIC])
    producer.begin_transaction()
    for number in range(1000):
        producer.produce(_TOPIC, value=bytes(500), key=str(number % 100), partition=number % 2)
        producer.poll(0)
    producer.commit_transaction(30)
    messages = consumer.consume(1000, timeout=30)
    producer.begin_transaction()
    producer.send_offsets_to_transaction(
        consumer.position(consumer.assignment()), consumer.consumer_group_metadata(), 30
    )
    producer.commit_transaction(30)
    consumer.close()
    if not messages:
        raise KafkaStartError("The broker of the training run delivered nothing. Try again.")
    for deleted in admin.delete_topics([_TOPIC]).values():
        deleted.result()


def main() -> int:
    """The program: returns its exit code."""
    try:
        made = make_cache()
    except OperationalError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(
        "The broker's fast start is prepared.\n" if made else "The broker's fast start was there already.\n"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
