"""The same job on three consuming edges: `python -m benchmarks.edge_workers ours|faust|confluent`, until it is killed.

The job: JSON in, a look-up, JSON out into the same partition; outputs and positions in Kafka transactions.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import faust
import orjson
import uvloop
from confluent_kafka import Consumer, Producer

from enricher.consumer import faust_worker as edge
from frame_gainsight.kafka import ConsumedRecord, ProducerRecord
from frame_gainsight.kafka.clients import confluent_config
from frame_gainsight.runtime import Settings, load_settings

BATCH = 1000  # records
NAMES = {number: f"name {number}" for number in range(1000)}


def job(value: bytes) -> bytes:
    """The output for an input."""
    row = orjson.loads(value)
    row["name"] = NAMES[row["person"]]
    return orjson.dumps(row)


class _Work:
    parked = 0

    def __init__(self, settings: Settings, lane: int) -> None:
        self._settings = settings
        self._lane = lane

    def restore(self, position: int) -> None: ...

    async def handle(self, records: Sequence[ConsumedRecord]) -> list[ProducerRecord]:
        topic, lane = self._settings.conversations_topic, self._lane
        return [ProducerRecord(topic, lane, r.key or b"", job(r.value)) for r in records if r.value]

    async def background_work(self) -> Callable[[], list[ProducerRecord]] | None:
        return None

    def committed(
        self, records: Sequence[ConsumedRecord], outputs: Sequence[ProducerRecord], seconds: float
    ) -> None: ...

    async def close(self) -> None: ...


def ours(settings: Settings) -> None:
    edge.work(edge.create(settings, lambda lane: _Work(settings, lane)), settings)


def stock_faust(settings: Settings) -> None:
    """As its documentation has it: an agent, `send`, and `processing_guarantee` for transactions."""
    uvloop.install()
    app = faust.App(
        f"{settings.prefix}-enricher",
        broker=f"kafka://{settings.brokers()}",
        store="memory://",
        processing_guarantee="exactly_once",
        topic_disable_leader=True,
        topic_allow_declare=False,
        topic_partitions=settings.partitions,
        consumer_auto_offset_reset="earliest",
        broker_max_poll_records=BATCH,
        web_enabled=False,
    )
    raw = app.topic(settings.raw_topic, key_type=bytes, value_type=None, key_serializer="raw", value_serializer="raw")
    out = app.topic(settings.conversations_topic, key_serializer="raw", value_serializer="raw")

    @app.agent(raw)  # type: ignore[untyped-decorator]
    async def enrich(stream: faust.Stream) -> None:
        async for event in stream.events():
            if event.value:
                await out.send(key=event.key, value=job(event.value), partition=event.message.partition)

    faust.Worker(app, loglevel="WARNING", quiet=True).execute_from_commandline()


def confluent(settings: Settings) -> None:
    """Consume, transact, again: what the clients give when nobody keeps lanes, state or generations."""
    group = {"group.id": f"{settings.prefix}-enricher", "enable.auto.commit": False, "auto.offset.reset": "earliest"}
    consumer = Consumer(confluent_config(settings, **group))
    producer = Producer(
        confluent_config(settings, **{"transactional.id": settings.prefix, "compression.type": "lz4", "linger.ms": 5})
    )
    producer.init_transactions(60)
    consumer.subscribe([settings.raw_topic])
    while True:
        messages = consumer.consume(BATCH, 0.2)
        if not messages:
            continue
        producer.begin_transaction()
        for message in messages:
            if message.error() is None and (value := message.value()):
                partition = message.partition() or 0
                producer.produce(settings.conversations_topic, job(bytes(value)), message.key(), partition)
        producer.send_offsets_to_transaction(
            consumer.position(consumer.assignment()), consumer.consumer_group_metadata(), 60
        )
        producer.commit_transaction(60)


KINDS = {"ours": ours, "stock Faust": stock_faust, "confluent loop": confluent}

if __name__ == "__main__":
    KINDS[sys.argv[1]](load_settings())
