"""The checkpoint: how far a connector has been read, in one record."""

from __future__ import annotations

from dataclasses import dataclass

from producer.timeline import Position
from producer.windows import Window
from schemas import Codec


@dataclass(frozen=True, slots=True)
class OpenPeriod:
    """A poll that is not finished: its window, where the next page begins, pages and activities written so far."""

    poll_id: str
    window: Window
    position: Position
    page: int = 0
    written: int = 0


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything modified before `cursor` (milliseconds) has been read.

    `raw_offset` is where in the raw topic's partition the overlap's versions begin; deletions before
    `deletions_cursor` have been looked for. Every version modified from `remembered_from` on can be read back; a window
    must not begin before it, or what was written long ago would look new (None: cursor less overlap, as it was).
    """

    connector: str
    cursor: int
    raw_offset: int
    deletions_cursor: int
    period: OpenPeriod | None = None
    remembered_from: int | None = None


def encode(codec: Codec, checkpoint: Checkpoint) -> bytes:
    period = checkpoint.period
    return codec.encode(
        "checkpoint",
        {
            "connector": checkpoint.connector,
            "cursor": checkpoint.cursor,
            "raw_offset": checkpoint.raw_offset,
            "deletions_cursor": checkpoint.deletions_cursor,
            "remembered_from": checkpoint.remembered_from,
            "period": period
            and {
                "poll_id": period.poll_id,
                "start": period.window.start,
                "end": period.window.end,
                "position": period.position.at,
                "drained_after": period.position.drained_after,
                "page": period.page,
                "written": period.written,
            },
        },
    )


def decode(codec: Codec, data: bytes) -> Checkpoint:
    """Raises schemas.DecodeError."""
    value = codec.decode_as("checkpoint", data)
    period = value["period"]
    return Checkpoint(
        value["connector"],
        value["cursor"],
        value["raw_offset"],
        value["deletions_cursor"],
        period
        and OpenPeriod(
            period["poll_id"],
            Window(period["start"], period["end"]),
            Position(period["position"], period["drained_after"]),
            period["page"],
            period["written"],
        ),
        value["remembered_from"],
    )
