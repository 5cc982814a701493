"""Writing records outside of any lane's transactions: requests of people."""

from __future__ import annotations

from collections.abc import Iterable

from confluent_kafka import KafkaException, Producer

from frame_gainsight.kafka.clients import ANY_SIZE, confluent_config, unreachable
from frame_gainsight.kafka.records import ProducerRecord
from frame_gainsight.runtime.errors import BrokerError
from frame_gainsight.runtime.settings import Settings


def put(settings: Settings, record: ProducerRecord, timeout: float = 15.0) -> None:
    """Writes the record; returns when Kafka has it. Blocks. Raises BrokerError after `timeout` seconds."""
    put_all(settings, [record], timeout)


def put_all(settings: Settings, records: Iterable[ProducerRecord], timeout: float = 60.0) -> None:
    """Writes the records in their order; returns when Kafka has them all. Blocks. Raises BrokerError: some of them may
    be written then."""
    config = {
        "enable.idempotence": True,
        "message.timeout.ms": int(timeout * 1000),
        "message.max.bytes": ANY_SIZE,
        "linger.ms": 5,
    }
    faults: dict[str, str] = {}
    producer = Producer(confluent_config(settings, **config))
    last = ""
    try:
        for record in records:
            last = f"'{record.key.decode('utf-8', 'replace')}' into {record.topic}"
            _send(producer, record, last, faults)
    except KafkaException as error:
        raise unreachable(settings, error) from error
    if (left := producer.flush(timeout + 5)) or faults:
        what, why = next(iter(faults.items())) if faults else (f"{left} records, the last {last}", "timeout")
        raise BrokerError(f"Kafka did not take {what}: {why}.")


def _send(producer: Producer, record: ProducerRecord, what: str, faults: dict[str, str]) -> None:
    while True:
        try:
            producer.produce(
                record.topic,
                key=record.key,
                value=record.value,
                partition=record.partition,
                headers=list(record.headers),
                on_delivery=lambda error, _: faults.update({what: error.str()}) if error else None,
            )
            return
        except BufferError:  # the client's queue is full: let it drain
            producer.poll(1.0)
