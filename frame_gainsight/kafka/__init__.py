"""Kafka, as every service uses it: clients, topics, lanes, reading, writing, transactions."""

from frame_gainsight.kafka.lanes import lane_of
from frame_gainsight.kafka.read import (
    PartitionEnd,
    consumed_record,
    end_offset,
    first_between,
    follow,
    read_at,
    read_to_end,
    reader,
)
from frame_gainsight.kafka.records import ConsumedRecord, Headers, ProducerRecord
from frame_gainsight.kafka.transactions import KafkaLaneWriter, LaneWriter
from frame_gainsight.kafka.write import put, put_all

__all__ = [
    "ConsumedRecord",
    "Headers",
    "KafkaLaneWriter",
    "LaneWriter",
    "PartitionEnd",
    "ProducerRecord",
    "consumed_record",
    "end_offset",
    "first_between",
    "follow",
    "lane_of",
    "put",
    "put_all",
    "read_at",
    "read_to_end",
    "reader",
]
