"""The checkpoint: how far a connector has been read, in one record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from producer.state.ranges import require_count, require_time
from producer.timeline.keyset_reader import Position
from producer.timeline.window import Window
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
    """Everything modified from `begun` to `cursor` (milliseconds) has been read.

    `raw_offset` is where in the raw topic's partition the overlap's versions begin; deletions before
    `deletions_cursor` have been read. Every version modified from `remembered_from` on can be read back; a window must
    not begin before it, or versions written long ago would count as new (None: cursor less overlap, as it was).

    Attributes:
        begun: where live polling began; None: not known, the checkpoint is from before it was kept.
        unsure_from: the next window begins here at the latest, since the last page may have been capped.
        proven_rows: rows that the tenant has been seen to give in one page.
        lateness: counts of `producer.timeline.lateness.CLASSES`.
        deletion_cursors: source of deletions → how far it has been read, where not to `deletions_cursor`.
        calls: day since 1970 (UTC), and API calls on it.
    """

    connector: str
    cursor: int
    raw_offset: int
    deletions_cursor: int
    period: OpenPeriod | None = None
    remembered_from: int | None = None
    begun: int | None = None
    unsure_from: int | None = None
    proven_rows: int = 0
    lateness: tuple[int, ...] = ()
    deletion_cursors: Mapping[str, int] = field(default_factory=dict)
    calls: tuple[int, int] = (0, 0)

    def encode(self, codec: Codec) -> bytes:
        period = self.period
        return codec.encode(
            "checkpoint",
            {
                "connector": self.connector,
                "cursor": self.cursor,
                "raw_offset": self.raw_offset,
                "deletions_cursor": self.deletions_cursor,
                "remembered_from": self.remembered_from,
                "begun": self.begun,
                "unsure_from": self.unsure_from,
                "proven_rows": self.proven_rows,
                "lateness": list(self.lateness),
                "deletion_cursors": dict(self.deletion_cursors),
                "calls_day": self.calls[0],
                "calls_spent": self.calls[1],
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

    @staticmethod
    def decode(codec: Codec, data: bytes) -> Checkpoint:
        """Raises schemas.DecodeError, also for numbers that are no times or counts."""
        value = codec.decode_as("checkpoint", data)
        period = value["period"]
        for name in ("cursor", "deletions_cursor", "remembered_from", "begun", "unsure_from"):
            require_time(value[name], name)
        for name in ("raw_offset", "proven_rows", "calls_day", "calls_spent"):
            require_count(value[name], name)
        for source, cursor in value["deletion_cursors"].items():
            require_time(cursor, f"the cursor of {source}")
        for count in value["lateness"]:
            require_count(count, "a count of lateness")
        if period is not None:
            for name in ("start", "end", "position"):
                require_time(period[name], f"the period's {name}")
            for name in ("page", "written"):
                require_count(period[name], f"the period's {name}")
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
            value["begun"],
            value["unsure_from"],
            value["proven_rows"],
            tuple(value["lateness"]),
            value["deletion_cursors"],
            (value["calls_day"], value["calls_spent"]),
        )
