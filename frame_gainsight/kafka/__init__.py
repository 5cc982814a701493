"""Kafka, as every service uses it: clients, topics, lanes, reading, writing, transactions."""

from frame_gainsight.kafka.lanes import lane_of
from frame_gainsight.kafka.read import end_offset, first_between, incoming, read_at, read_to_end, reader
from frame_gainsight.kafka.records import Headers, Incoming, Outgoing
from frame_gainsight.kafka.transactions import KafkaLaneWriter, LaneWriter
from frame_gainsight.kafka.write import put, put_all

__all__ = [
    "Headers",
    "Incoming",
    "KafkaLaneWriter",
    "LaneWriter",
    "Outgoing",
    "end_offset",
    "first_between",
    "incoming",
    "lane_of",
    "put",
    "put_all",
    "read_at",
    "read_to_end",
    "reader",
]
