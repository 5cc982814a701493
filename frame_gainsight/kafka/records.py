"""Records that go into and come out of Kafka, as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Headers = Sequence[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class ProducerRecord:
    """A record to write. `value` None is a tombstone; `timestamp` in milliseconds, None: the moment of writing."""

    topic: str
    partition: int
    key: bytes
    value: bytes | None
    headers: Headers = ()
    timestamp: int | None = None


@dataclass(frozen=True, slots=True)
class ConsumedRecord:
    """A record as read, with its coordinates. `timestamp` in milliseconds."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    timestamp: int = 0

    def header(self, name: str) -> str | None:
        """The first header of that name as text, or None."""
        for key, value in self.headers:
            if key == name:
                return value.decode("utf-8", "replace") if value is not None else None
        return None
