"""Putting one record from outside a lane's transactions: what a command asks for."""

from __future__ import annotations

from confluent_kafka import KafkaException, Producer

from bus.clients import MAX_MESSAGE_BYTES, confluent_config, unreachable
from bus.errors import BrokerError
from bus.records import Outgoing
from bus.settings import Settings


def put(settings: Settings, record: Outgoing, timeout: float = 15.0) -> None:
    """Writes the record; returns when Kafka has it. Blocks. Raises BrokerError after `timeout` seconds."""
    config = {
        "enable.idempotence": True,
        "message.timeout.ms": int(timeout * 1000),
        "message.max.bytes": MAX_MESSAGE_BYTES,
    }
    faults: list[str] = []
    producer = Producer(confluent_config(settings, **config))
    try:
        producer.produce(
            record.topic,
            key=record.key,
            value=record.value,
            partition=record.partition,
            headers=list(record.headers),
            on_delivery=lambda error, _: faults.append(error.str()) if error else None,
        )
    except KafkaException as error:
        raise unreachable(settings, error) from error
    if producer.flush(timeout + 5) or faults:
        key = record.key.decode("utf-8", "replace")
        raise BrokerError(f"Kafka did not take '{key}' into {record.topic}: {'; '.join(faults) or 'timeout'}.")
