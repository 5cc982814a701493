"""Parked activities of a lane: those that wait for their tenant or connector to recover."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from enricher.activity.raw_record import RawActivity
from frame_gainsight.kafka import ConsumedRecord, ProducerRecord
from frame_gainsight.runtime import Failure, Settings
from schemas import Codec

# Seconds: how long a connector is left alone after its n-th failure in a row, doubling up to the last.
FIRST_PAUSE = 2.0
LONGEST_PAUSE = 300.0
SHAKY_FOR = 600.0  # seconds after its recovery that a connector's next failure is expected
MOST_BYTES = 64 * 1024 * 1024  # of parked values in memory; what is beyond is read back when it is tried again


@dataclass(frozen=True, slots=True)
class Parked:
    """An activity's newest version that could not be enriched, and why.

    `loaded`: whether `source` has its value; else it is to be read from its topic again.
    """

    connector: str
    source: ConsumedRecord
    failure: str
    cause: str
    parked_at: int
    attempts: int
    loaded: bool = True


def encode(codec: Codec, settings: Settings, parked: Parked) -> ProducerRecord:
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
    return ProducerRecord(
        settings.parked_topic, source.partition, source.key or b"", codec.encode("parked", value), headers
    )


def done(settings: Settings, source: ConsumedRecord) -> ProducerRecord:
    """The tombstone of a parked activity that is not waiting any more."""
    return ProducerRecord(settings.parked_topic, source.partition, source.key or b"", None)


def decode(codec: Codec, data: bytes) -> Parked:
    """Raises schemas.DecodeError."""
    value = codec.decode_as("parked", data)
    headers = tuple((h["key"], h["value"] or b"") for h in value["headers"])
    source = ConsumedRecord(value["topic"], value["partition"], value["offset"], value["key"], value["value"], headers)
    return Parked(value["connector"], source, value["failure"], value["cause"], value["parked_at"], value["attempts"])


@dataclass(slots=True)
class OpenCircuit:
    """Why a connector is left alone, since its last success. Times are seconds of a steady clock.

    `seen`: the connector as it was then. `stopped`: until it has changed.
    """

    failure: Failure
    cause: str
    seen: object
    failures: int = 0
    until: float = 0.0
    stopped: bool = False


@dataclass(slots=True)
class _Waiting:
    """A connector's parked activities, oldest first."""

    by_key: dict[bytes, Parked] = field(default_factory=dict)


class ParkedActivities:
    """What is parked in a lane, and which connectors are left alone for how long (a circuit breaker).

    Args:
        most_bytes: of parked values that are kept in memory.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._waiting: dict[str, _Waiting] = {}
        self._connector_of: dict[bytes, str] = {}
        self._trouble: dict[str, OpenCircuit] = {}
        self._recovered_at: dict[str, float] = {}
        self._most_bytes = most_bytes
        self._bytes = 0
        self._jitter = random.Random()

    def __len__(self) -> int:
        return len(self._connector_of)

    def counts(self) -> dict[str, int]:
        """Connector → how many of its activities are parked."""
        return {connector: len(waiting.by_key) for connector, waiting in self._waiting.items()}

    # Who may be tried

    def trouble(self, connector: str) -> OpenCircuit | None:
        """Why the connector is to be left alone; None: it may be asked."""
        return self._trouble.get(connector)

    def failed(self, connector: str, failure: Failure, cause: str, seen: object, now: float) -> None:
        """Leaves the connector alone for a while, longer each time."""
        known = self._trouble.setdefault(connector, OpenCircuit(failure, cause, seen))
        known.failure, known.cause, known.seen = failure, cause, seen
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(known.failures, 20))
        known.failures += 1
        known.until = now + pause * self._jitter.uniform(0.8, 1.2)

    def stop(self, connector: str, cause: str, seen: object) -> None:
        """Leaves the connector alone until it has changed."""
        self._trouble[connector] = OpenCircuit(Failure.CONFIG, cause, seen, stopped=True)

    def recovered(self, connector: str, now: float) -> None:
        """It may be asked again."""
        if self._trouble.pop(connector, None) is not None:
            self._recovered_at[connector] = now

    def changed(self, connector: str) -> None:
        """Its definition or key is another one: what was does not count."""
        self._trouble.pop(connector, None)
        self._recovered_at.pop(connector, None)

    def shaky(self, connector: str, now: float) -> bool:
        """Whether it was in trouble of late."""
        at = self._recovered_at.get(connector)
        return at is not None and now - at < SHAKY_FOR

    def in_trouble(self) -> dict[str, OpenCircuit]:
        """The connectors that are left alone, and why."""
        return dict(self._trouble)

    def due(self, now: float) -> list[str]:
        """The connectors whose parked activities may be tried again, the one left alone the longest ago first."""
        found = []
        for connector in self._waiting:
            trouble = self._trouble.get(connector)
            if trouble is None or (not trouble.stopped and now >= trouble.until):
                found.append((trouble.until if trouble else 0.0, connector))
        return [connector for _, connector in sorted(found)]

    # What is parked

    def get(self, key: bytes) -> Parked | None:
        connector = self._connector_of.get(key)
        return self._waiting[connector].by_key[key] if connector is not None else None

    def oldest(self, connector: str, count: int) -> list[Parked]:
        """The connector's parked activities, those first that came first."""
        waiting = self._waiting.get(connector)
        if waiting is None:
            return []
        by_offset = sorted(waiting.by_key.values(), key=lambda p: p.source.offset)
        return by_offset[:count]

    def put(self, parked: Parked) -> None:
        """Parks it, in the place of an earlier version."""
        key = parked.source.key or b""
        self.take(key)
        size = len(parked.source.value or b"")
        if self._bytes + size > self._most_bytes:
            parked = replace(parked, source=replace(parked.source, value=None), loaded=False)
            size = 0
        self._bytes += size
        self._connector_of[key] = parked.connector
        self._waiting.setdefault(parked.connector, _Waiting()).by_key[key] = parked

    def take(self, key: bytes) -> Parked | None:
        """Takes it out, if it is there."""
        connector = self._connector_of.pop(key, None)
        if connector is None:
            return None
        waiting = self._waiting[connector]
        parked = waiting.by_key.pop(key)
        if not waiting.by_key:
            del self._waiting[connector]
        self._bytes -= len(parked.source.value or b"")
        return parked

    def park(self, activities: Iterable[RawActivity], failure: Failure, cause: str, now: int) -> list[Parked]:
        """Parks the newest version of each activity; they come in their order. `now` in milliseconds."""
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
                before.attempts + 1 if before else 1,
            )
        for parked in changed.values():
            self.put(parked)
        return list(changed.values())
