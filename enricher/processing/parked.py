"""Parked activities of a lane: those that wait until their tenant answers, or their connector is mended."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from enricher.activity.raw_record import RawActivity
from frame_gainsight.kafka import ConsumedRecord, ProducerRecord
from frame_gainsight.kafka.clients import MAX_MESSAGE_BYTES
from frame_gainsight.kafka.record_limits import size_of_fields
from frame_gainsight.runtime import Failure, Settings
from schemas import Codec, DecodeError, taken_apart
from schemas.raw_topic import CONNECTOR, RawKey

MAX_BYTES = 64 * 1024 * 1024  # of parked values in memory; those beyond are read again when they are retried

MOST_ATTEMPTS = 2**31 - 1  # that a record counts


@dataclass(frozen=True, slots=True)
class Parked:
    """An activity's latest version that could not be enriched, and why.

    Attributes:
        parked_at: milliseconds; of the activity's first version that was parked.
        loaded: whether `source` has its value; if not, it has to be read from its topic again.
    """

    connector: str
    source: ConsumedRecord
    failure: str
    cause: str
    parked_at: int
    attempts: int
    loaded: bool = True


def encode(codec: Codec, settings: Settings, parked: Parked, room: int = MAX_MESSAGE_BYTES) -> ProducerRecord:
    """The record of a parked activity, by `parked.avsc`.

    Args:
        room: bytes that the topic takes; where the activity takes more, it is read from its topic again.
    """
    record = _encode(codec, settings, parked)
    if size_of_fields(record) > room:
        bare = replace(parked.source, value=None, headers=())
        record = _encode(codec, settings, replace(parked, source=bare, cause=parked.cause[: room // 8]))
    return record


def _encode(codec: Codec, settings: Settings, parked: Parked) -> ProducerRecord:
    source = parked.source
    value = {
        "connector": parked.connector,
        "topic": source.topic,
        "partition": source.partition,
        "offset": source.offset,
        "key": source.key,
        "value": source.value,
        "headers": [{"key": k, "value": v} for k, v in source.headers],
        "failure": parked.failure,
        "cause": parked.cause,
        "parked_at": parked.parked_at,
        "attempts": parked.attempts,
    }
    headers = ((CONNECTOR, parked.connector.encode()), ("failure", parked.failure.encode()))
    return ProducerRecord(
        settings.parked_topic, source.partition, source.key or b"", codec.encode("parked", value), headers
    )


def tombstone(settings: Settings, source: ConsumedRecord) -> ProducerRecord:
    """The record that a parked activity does not wait any more."""
    return ProducerRecord(settings.parked_topic, source.partition, source.key or b"", None)


def decode(codec: Codec, data: bytes) -> Parked:
    """The parked activity in a record's value. Raises schemas.DecodeError."""
    value = codec.decode_as("parked", data)
    with taken_apart("parked"):
        headers = tuple((h["key"], h["value"] or b"") for h in value["headers"])
        topic, partition, offset, key = value["topic"], value["partition"], value["offset"], value["key"]
        source = ConsumedRecord(topic, partition, offset, key, value["value"], headers)
        why, at, attempts = value["cause"], value["parked_at"], min(max(value["attempts"], 0), MOST_ATTEMPTS)
        loaded = source.value is not None
        return Parked(value["connector"], source, value["failure"], why, at, attempts, loaded)


def restored(codec: Codec, settings: Settings, record: ConsumedRecord) -> Parked:
    """The parked activity in a record of a lane's own. Raises schemas.DecodeError, also where it names another record's
    key, connector or place: what is done about it would be written there."""
    parked = decode(codec, record.value or b"")
    source, key = parked.source, RawKey.parse(record.key)
    here = (source.topic, source.partition, source.key) == (settings.raw_topic, record.partition, record.key)
    if not here or source.offset < 0 or key is None or key.connector != parked.connector:
        raise DecodeError("The parked record names another place than its own. Look at who writes to the topic.")
    return parked


class ParkedActivities:
    """A lane's parked activities, by connector and by key.

    Args:
        max_bytes: of parked values that are kept in memory.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._of: dict[str, dict[bytes, Parked]] = {}
        self._connector_of: dict[bytes, str] = {}
        self._max_bytes = max_bytes
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._connector_of)

    def counts(self) -> dict[str, int]:
        """Connector → the number of its parked activities, where there are any."""
        return {connector: len(by_key) for connector, by_key in self._of.items()}

    def get(self, key: bytes) -> Parked | None:
        """The parked activity with this key, if there is one."""
        connector = self._connector_of.get(key)
        return self._of[connector][key] if connector is not None else None

    def oldest(self, connector: str, count: int) -> list[Parked]:
        """The connector's parked activities, at most `count`, in the order of their offsets."""
        return sorted(self._of.get(connector, {}).values(), key=lambda p: p.source.offset)[:count]

    def put(self, parked: Parked) -> None:
        """Parks an activity, in the place of an earlier version."""
        key = parked.source.key or b""
        self.take(key)
        size = len(parked.source.value or b"")
        if self._bytes + size > self._max_bytes:
            parked = replace(parked, source=replace(parked.source, value=None), loaded=False)
            size = 0
        self._bytes += size
        self._connector_of[key] = parked.connector
        self._of.setdefault(parked.connector, {})[key] = parked

    def take(self, key: bytes) -> Parked | None:
        """Removes the parked activity with this key, and returns it, if there is one."""
        connector = self._connector_of.pop(key, None)
        if connector is None:
            return None
        parked = self._of[connector].pop(key)
        if not self._of[connector]:
            del self._of[connector]
        self._bytes -= len(parked.source.value or b"")
        return parked

    def park(self, activities: Iterable[RawActivity], failure: Failure, cause: str, now: int) -> list[Parked]:
        """Parks the latest version of each activity; they come in the order of their offsets. `now` in milliseconds."""
        changed: dict[bytes, Parked] = {}
        for activity in activities:
            key = activity.source.key or b""
            before = changed.get(key) or self.get(key)
            changed[key] = Parked(
                activity.connector,
                activity.source,
                failure.value,
                cause,
                before.parked_at if before else now,
                min(before.attempts + 1, MOST_ATTEMPTS) if before else 1,
            )
        for parked in changed.values():
            self.put(parked)
        return list(changed.values())
