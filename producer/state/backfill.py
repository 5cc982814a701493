"""A backfill: a request to read a connector's past, how it is cut into slices, and how far it has come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from frame_gainsight.gainsight import whole_second
from frame_gainsight.gainsight.query import MAX_ROWS
from producer.state.checkpoint_keys import BACKFILL, format_key
from producer.state.ranges import require_count, require_time
from producer.timeline.keyset_reader import Position
from producer.timeline.window import Window
from schemas import Codec

State = Literal["REQUESTED", "RUNNING", "DONE", "CANCELLED", "FAILED"]
OPEN: frozenset[State] = frozenset(("REQUESTED", "RUNNING"))

SLICE_PAGES = 8  # full ones; the one that is not full weighs little
MAX_SLICES = 1000
BLIND_SLICES = 24  # when the spread of the rows is not known


@dataclass(frozen=True, slots=True)
class Mark:
    """`rows` were modified between the start of the span and `at` (milliseconds)."""

    rows: int
    at: int


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of the span that is not read yet: where its next page begins, without the `taken` rows of that second."""

    window: Window
    position: Position
    taken: frozenset[str] = frozenset()
    page: int = 0
    written: int = 0


@dataclass(frozen=True, slots=True)
class Backfill:
    """A request and its progress, as in the checkpoints topic. Times are milliseconds; `until` is exclusive.

    `written` are the rows that the raw topic did not have; `cause` is why the backfill waits, or why it failed.
    """

    connector: str
    id: str
    since: int
    requested_at: int
    until: int | None = None
    state: State = "REQUESTED"
    newest_first: bool = False
    marks: tuple[Mark, ...] = ()
    slices: tuple[Slice, ...] = ()
    rows: int = 0
    written: int = 0
    calls: int = 0
    started_at: int | None = None
    updated_at: int | None = None
    cause: str | None = None

    @property
    def key(self) -> bytes:
        return format_key(self.connector, BACKFILL + self.id)

    @property
    def is_open(self) -> bool:
        return self.state in OPEN

    @property
    def expected_rows(self) -> int | None:
        """Rows of the whole span, as far as probing could tell."""
        return self.marks[-1].rows if self.marks else None

    def done_part(self) -> float:
        """The part that is read, 0 to 1: by rows where their number is known, by time where not."""
        if self.state == "DONE":
            return 1.0
        if self.until is None or self.started_at is None:
            return 0.0
        if self.expected_rows:
            return min(0.99, self.rows / self.expected_rows)
        span = max(1, self.until - self.since)
        return 1.0 - sum(s.window.end - s.position.at for s in self.slices) / span

    def encode(self, codec: Codec) -> bytes:
        return codec.encode(
            "backfill",
            {
                "connector": self.connector,
                "id": self.id,
                "state": self.state,
                "requested_at": self.requested_at,
                "since": self.since,
                "until": self.until,
                "newest_first": self.newest_first,
                "marks": [{"rows": m.rows, "at": m.at} for m in self.marks],
                "slices": [
                    {
                        "start": s.window.start,
                        "end": s.window.end,
                        "position": s.position.at,
                        "drained_after": s.position.drained_after,
                        "taken": sorted(s.taken),
                        "page": s.page,
                        "written": s.written,
                    }
                    for s in self.slices
                ],
                "rows": self.rows,
                "written": self.written,
                "calls": self.calls,
                "started_at": self.started_at,
                "updated_at": self.updated_at,
                "cause": self.cause,
            },
        )

    @staticmethod
    def decode(codec: Codec, data: bytes) -> Backfill:
        """Raises schemas.DecodeError, also for numbers that are no times or counts."""
        value = codec.decode_as("backfill", data)
        for name in ("since", "until", "requested_at", "started_at", "updated_at"):
            require_time(value[name], name)
        for name in ("rows", "written", "calls"):
            require_count(value[name], name)
        for slice_ in value["slices"]:
            for name in ("start", "end", "position"):
                require_time(slice_[name], f"a slice's {name}")
            for name in ("page", "written"):
                require_count(slice_[name], f"a slice's {name}")
        for mark in value["marks"]:
            require_time(mark["at"], "the time of a mark")
            require_count(mark["rows"], "the rows of a mark")
        slices = tuple(
            Slice(
                Window(s["start"], s["end"]),
                Position(s["position"], s["drained_after"]),
                frozenset(s["taken"]),
                s["page"],
                s["written"],
            )
            for s in value["slices"]
        )
        marks = tuple(Mark(m["rows"], m["at"]) for m in value["marks"])
        return Backfill(**{**value, "slices": slices, "marks": marks})


def cut(
    since: int,
    until: int,
    marks: Sequence[Mark],
    newest_first: bool,
    settled: int | None = None,
    page_rows: int = MAX_ROWS,
) -> tuple[Slice, ...]:
    """The span in slices of about SLICE_PAGES pages each, in the order in which they are to be read.

    The part behind `settled` (milliseconds) is a slice of its own, and the last one: it has to wait.
    """
    rows = marks[-1].rows if marks else None
    count = BLIND_SLICES if rows is None else max(1, min(MAX_SLICES, round(rows / (SLICE_PAGES * page_rows))))
    known = [Mark(0, since), *(m for m in marks if since < m.at < until), Mark(rows or count, until)]
    bounds = sorted({whole_second(_at(known, i * known[-1].rows / count)) for i in range(1, count)} - {since})
    tail = until if settled is None else min(until, max(since, settled))
    edges = sorted({since, *(b for b in bounds if since < b < tail), tail, until})
    slices = [Slice(Window(start, end), Position(start)) for start, end in pairwise(edges) if start < end]
    waiting = [slices.pop()] if slices and tail < until else []
    return (*(reversed(slices) if newest_first else slices), *waiting)


def _at(marks: Sequence[Mark], rows: float) -> int:
    """The moment until which that many rows had been modified, evenly between the marks."""
    for before, after in pairwise(marks):
        if rows <= after.rows:
            part = (rows - before.rows) / max(1, after.rows - before.rows)
            return int(before.at + part * (after.at - before.at))
    return marks[-1].at


def overlaps(backfill: Backfill, since: int, until: int) -> bool:
    """Whether the backfill has read, or may have, a part of `[since, until)`."""
    if backfill.started_at is None:
        return False
    return backfill.since < until and since < (backfill.until or until)


def with_slice(backfill: Backfill, window: Window, following: Slice | None) -> Backfill:
    """The backfill with one slice further on, or done."""
    slices: list[Slice] = []
    for slice_ in backfill.slices:
        if slice_.window != window:
            slices.append(slice_)
        elif following is not None:
            slices.append(following)
    return replace(backfill, slices=tuple(slices))
