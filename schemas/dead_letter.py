"""Dead letters: the one form of a record that could not be read, whichever service met it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from schemas.codec import Codec

Headers = Sequence[tuple[str, bytes]]

FRAME_BYTES = 512  # of a letter's numbers, names and lengths, and of its own record's headers


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

    def fitting(self, room: int) -> DeadLetter:
        """The letter, cut where its record would take more than `room` bytes (key, value and headers).

        Of a value that is cut, the cause names the size and the hash: the record itself is at the letter's coordinates.
        """
        cause = _cut(self.cause, room // 4)
        key = self.key if self.key is None else self.key[: room // 16]
        letter = replace(
            self, connector=_cut(self.connector, room // 16), topic=_cut(self.topic, room // 16), cause=cause, key=key
        )
        if letter._size <= room and key == self.key:
            return letter
        if key != self.key:
            letter = replace(letter, cause=_cut(f"{cause} {_described('key', self.key or b'')}", room // 3))
        if letter._size > room and (size := _size_of(letter.headers)) > room // 8:
            cause = _cut(f"{letter.cause} Its headers ({size} bytes) did not fit.", room // 3)
            letter = replace(letter, headers=(), cause=cause)
        if letter._size > room and letter.value is not None:
            letter = replace(letter, cause=_cut(f"{letter.cause} {_described('value', letter.value)}", room // 2))
            whole = letter.value or b""
            letter = replace(letter, value=whole[: max(0, len(whole) - (letter._size - room))])
        return letter

    @property
    def _size(self) -> int:
        """The most bytes that the letter's record takes."""
        texts = sum(len(t.encode()) for t in (self.topic, self.cause, self.failure)) + 2 * len(self.connector.encode())
        headers = _size_of(self.headers)
        return FRAME_BYTES + texts + headers + 2 * len(self.key or b"") + len(self.value or b"")

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


def _size_of(headers: Headers) -> int:
    return sum(len(key.encode("utf-8", "replace")) + len(value or b"") + 16 for key, value in headers)


def _cut(text: str, most: int) -> str:
    """The text's beginning in at most so many bytes of UTF-8; what UTF-8 cannot write is replaced."""
    return text.encode("utf-8", "replace")[: max(0, most)].decode("utf-8", "ignore")


def _described(part: str, data: bytes) -> str:
    return f"The {part} has {len(data)} bytes (SHA-256 {hashlib.sha256(data).hexdigest()}); its beginning is here."
