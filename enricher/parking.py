"""Parked activities of a lane: those that wait for their tenant or connector to recover."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bus import Incoming, Outgoing, Settings
from enricher.activity import RawActivity
from schemas import Codec

# Seconds: how long a connector is left alone after its n-th failure in a row, doubling up to the last.
FIRST_PAUSE = 2.0
LONGEST_PAUSE = 300.0


@dataclass(frozen=True, slots=True)
class Parked:
    """An activity's newest version that could not be enriched, and why."""

    connector: str
    source: Incoming
    failure: str
    cause: str
    parked_at: int
    attempts: int


def encode(codec: Codec, settings: Settings, parked: Parked) -> Outgoing:
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
    headers = (("connector", parked.connector.encode()), ("failure", parked.failure.encode()))
    return Outgoing(settings.parked_topic, source.partition, source.key or b"", codec.encode("parked", value), headers)


def done(settings: Settings, source: Incoming) -> Outgoing:
    """The tombstone of a parked activity that is not waiting any more."""
    return Outgoing(settings.parked_topic, source.partition, source.key or b"", None)


def decode(codec: Codec, data: bytes) -> Parked:
    """Raises schemas.DecodeError."""
    value = codec.decode_as("parked", data)
    headers = tuple((h["key"], h["value"] or b"") for h in value["headers"])
    source = Incoming(value["topic"], value["partition"], value["offset"], value["key"], value["value"], headers)
    return Parked(value["connector"], source, value["failure"], value["cause"], value["parked_at"], value["attempts"])


class ParkingLot:
    """What is parked in a lane, and which connectors are left alone for how long (a circuit breaker)."""

    def __init__(self) -> None:
        self.parked: dict[bytes, Parked] = {}
        self._failures: dict[str, int] = {}
        self._alone_until: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self.parked)

    def is_open(self, connector: str, now: float) -> bool:
        """Whether the connector may be tried; `now` in seconds of a steady clock."""
        return now >= self._alone_until.get(connector, 0.0)

    def failed(self, connector: str, now: float) -> None:
        """Leaves the connector alone for a while, longer each time."""
        count = self._failures[connector] = self._failures.get(connector, 0) + 1
        self._alone_until[connector] = now + min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(count - 1, 20))

    def recovered(self, connector: str) -> None:
        self._failures.pop(connector, None)
        self._alone_until.pop(connector, None)

    def due(self, now: float) -> dict[str, list[Parked]]:
        """Parked activities by connector, of those that may be tried, oldest first."""
        found: dict[str, list[Parked]] = {}
        for parked in sorted(self.parked.values(), key=lambda p: p.source.offset):
            if self.is_open(parked.connector, now):
                found.setdefault(parked.connector, []).append(parked)
        return found

    def park(self, activities: Iterable[RawActivity], failure: str, cause: str, now: int) -> list[Parked]:
        """Parks the newest version of each activity. `now` in milliseconds."""
        changed: dict[bytes, Parked] = {}
        for activity in activities:
            key = activity.source.key or b""
            before = self.parked.get(key)
            changed[key] = self.parked[key] = Parked(
                activity.connector,
                activity.source,
                failure,
                cause,
                before.parked_at if before else now,
                before.attempts + 1 if before else 1,
            )
        return list(changed.values())
