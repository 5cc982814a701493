"""Dead letters: the one form of a record that could not be read, whichever service met it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.codec import Codec

Headers = Sequence[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A source record, verbatim, and why it was set aside.

    Attributes:
        connector: "" where the source's key names none.
        topic: the source's; `tenant:<object>` for a row that was never in a topic.
        offset: the source's; -1 for a row of a tenant.
        failed_at: milliseconds.
    """

    connector: str
    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    failure: str
    cause: str
    failed_at: int

    def encode(self, codec: Codec) -> bytes:
        """The value of the dead letter's record, by `dead_letter.avsc`."""
        return codec.encode(
            "dead_letter",
            {
                "topic": self.topic,
                "partition": self.partition,
                "offset": self.offset,
                "key": self.key,
                "value": self.value,
                "headers": [{"key": key, "value": value} for key, value in self.headers],
                "failure": self.failure,
                "cause": self.cause,
                "failed_at": self.failed_at,
            },
        )

    @property
    def record_headers(self) -> tuple[tuple[str, bytes], ...]:
        """The headers of the dead letter's own record."""
        return (("connector", self.connector.encode()), ("failure", self.failure.encode()))
