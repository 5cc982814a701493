"""Replays: a request to convert raw records again, its scope, and its progress in a lane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from enricher.activity.raw_record import Deletion, RawActivity
from frame_gainsight.kafka import ConsumedRecord, ProducerRecord
from frame_gainsight.kafka.clients import MAX_MESSAGE_BYTES
from frame_gainsight.runtime import Settings
from schemas import Codec, taken_apart

State = Literal["REQUESTED", "RUNNING", "DONE", "CANCELLED"]
OPEN: frozenset[State] = frozenset(("REQUESTED", "RUNNING"))

KEY_PART = "/!replay/"
LAST_OFFSET = 2**53  # that is believed: counting to it takes a million years at ten thousand records a second
EVERYTHING = "*"  # in the key, in the connector's place
UTF8_BYTES = 4  # of a character, at most
CAUSE = 300  # characters of why a connector is behind: one record has those of all connectors


@dataclass(frozen=True, slots=True)
class Scope:
    """The activities that a replay is about.

    Args:
        connector: None: all connectors.
        since, until: milliseconds, inclusive and exclusive, of LastModifiedDate; for a deletion, of its moment.
        activities: Gsids; empty: all activities.
    """

    connector: str | None = None
    since: int | None = None
    until: int | None = None
    activities: tuple[str, ...] = ()

    def has_key(self, key: bytes | None) -> bool:
        """Whether a record with this key is of the scope's connector."""
        return self.connector is None or (key or b"").startswith(f"{self.connector}/".encode())

    def has_date(self, arrival: RawActivity | Deletion) -> bool:
        """Whether the version is within the scope's span of time."""
        at = arrival.moment if isinstance(arrival, Deletion) else arrival.modified_at
        return (self.since is None or at >= self.since) and (self.until is None or at < self.until)


@dataclass(frozen=True, slots=True)
class Behind:
    """A connector that is replayed later, from a raw offset on, when its cause is gone."""

    connector: str
    position: int
    cause: str


@dataclass(frozen=True, slots=True)
class Counts:
    """The numbers of a replay's raw records and outputs so far.

    Attributes:
        rows: raw records read.
        written, deleted: conversations and tombstones.
        newer: left out, because a live batch wrote something newer.
        failed: dead letters.
        unregistered: left out, because their connector is not registered.
        calls: API calls.
    """

    rows: int = 0
    written: int = 0
    deleted: int = 0
    newer: int = 0
    failed: int = 0
    unregistered: int = 0
    calls: int = 0

    def plus(self, other: Counts) -> Counts:
        """The sums."""
        return Counts(*(getattr(self, n) + getattr(other, n) for n in COUNTS))


COUNTS = Counts.__slots__


@dataclass(frozen=True, slots=True)
class Replay:
    """A lane's part of a replay, as in the checkpoints topic. Times are milliseconds, `position` and `end` raw offsets.

    Attributes:
        end: records before it are replayed; live batches handle those behind it. None: the replay has not begun.
    """

    lane: int
    id: str
    requested_at: int
    scope: Scope = Scope()
    state: State = "REQUESTED"
    end: int | None = None
    position: int = 0
    behind: tuple[Behind, ...] = ()
    counts: Counts = Counts()
    started_at: int | None = None
    updated_at: int | None = None

    @property
    def key(self) -> bytes:
        """The key of the replay's records."""
        return f"{self.scope.connector or EVERYTHING}{KEY_PART}{self.id}".encode()

    @property
    def is_open(self) -> bool:
        """Whether the replay is requested or running."""
        return self.state in OPEN

    @property
    def main_done(self) -> bool:
        """Whether all records are read, but for those of connectors that are behind."""
        return self.end is not None and self.position >= self.end

    def without_behind(self, connector: str) -> Replay:
        """The same replay with this connector caught up."""
        return replace(self, behind=tuple(b for b in self.behind if b.connector != connector))

    def with_behind(self, behind: Behind) -> Replay:
        """The same replay with this connector behind."""
        behind = replace(behind, cause=behind.cause[:CAUSE])
        return replace(self, behind=(*self.without_behind(behind.connector).behind, behind))


def id_in(key: bytes | None) -> str | None:
    """The id of the replay that a record of the checkpoints topic is about; None: the record is about no replay."""
    _, part, id_ = (key or b"").decode("utf-8", "replace").partition(KEY_PART)
    return id_ if part else None


def record(codec: Codec, settings: Settings, replay: Replay, room: int = MAX_MESSAGE_BYTES) -> ProducerRecord:
    """The replay's record in the checkpoints topic.

    Args:
        room: bytes that the topic takes; the causes take half of it at most, however many connectors are behind.
    """
    most = min(CAUSE, room // (2 * UTF8_BYTES * max(1, len(replay.behind))))
    value: dict[str, Any] = {
        "connector": replay.scope.connector,
        "id": replay.id,
        "state": replay.state,
        "requested_at": replay.requested_at,
        "since": replay.scope.since,
        "until": replay.scope.until,
        "activities": list(replay.scope.activities),
        "end": replay.end,
        "position": replay.position,
        "behind": [{"connector": b.connector, "position": b.position, "cause": b.cause[:most]} for b in replay.behind],
        **{name: getattr(replay.counts, name) for name in COUNTS},
        "started_at": replay.started_at,
        "updated_at": replay.updated_at,
    }
    return ProducerRecord(settings.checkpoints_topic, replay.lane, replay.key, codec.encode("replay", value))


def decode(codec: Codec, source: ConsumedRecord) -> Replay:
    """The replay in a record. Raises schemas.DecodeError, also for positions that no log has and for a record under
    another replay's key: its progress would be written there."""
    value = codec.decode_as("replay", source.value or b"")
    with taken_apart("replay"):
        replay = Replay(
            lane=source.partition,
            id=value["id"],
            requested_at=value["requested_at"],
            scope=Scope(value["connector"], value["since"], value["until"], tuple(value["activities"])),
            state=value["state"],
            end=value["end"],
            position=value["position"],
            behind=tuple(Behind(**b) for b in value["behind"]),
            counts=Counts(**{name: value[name] for name in COUNTS}),
            started_at=value["started_at"],
            updated_at=value["updated_at"],
        )
        offsets = [replay.position, replay.end or 0, *(b.position for b in replay.behind)]
        numbers = [getattr(replay.counts, name) for name in COUNTS]
        if not all(0 <= offset <= LAST_OFFSET for offset in (*offsets, *numbers)):
            raise ValueError("a position or a count is out of range")
        if replay.key != source.key:
            raise ValueError("it is under another key than its own")
    return replay


def total(replays: Sequence[Replay]) -> Counts:
    """The sums over several lanes."""
    counts = Counts()
    for one in replays:
        counts = counts.plus(one.counts)
    return counts
