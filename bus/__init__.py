"""Kafka plumbing that every service uses: settings, topics, lanes, transactions, reading, the embedded broker."""

from bus.errors import BrokerError, BusError, FencedError, SettingsError, TopicError
from bus.lanes import lane_of
from bus.putting import put, put_all
from bus.reading import end_offset, first_between, incoming, read_at, read_to_end, reader
from bus.records import Headers, Incoming, Outgoing
from bus.settings import Settings, load_settings
from bus.transactions import KafkaLaneWriter, LaneWriter

__all__ = [
    "BrokerError",
    "BusError",
    "FencedError",
    "Headers",
    "Incoming",
    "KafkaLaneWriter",
    "LaneWriter",
    "Outgoing",
    "Settings",
    "SettingsError",
    "TopicError",
    "end_offset",
    "first_between",
    "incoming",
    "lane_of",
    "load_settings",
    "put",
    "put_all",
    "read_at",
    "read_to_end",
    "reader",
]
