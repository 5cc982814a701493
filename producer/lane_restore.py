"""A lane's state, read back from Kafka: checkpoints, backfills, poll failures, and the versions of the overlaps."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace

import structlog

from frame_gainsight.connectors import Connector
from frame_gainsight.kafka import ConsumedRecord, end_offset, read_to_end
from producer.context import ProducerContext
from producer.lost_checkpoints import traces
from producer.polling.feed import Feed
from producer.state.backfill import Backfill
from producer.state.checkpoint import Checkpoint
from producer.state.checkpoint_keys import BACKFILL, POLL_FAILURE, parse_key
from producer.state.poll_failure import PollFailure
from producer.state.seen_versions import Seen, SeenVersions, Version
from producer.state.write_order import WriteOrder
from schemas import Codec, DecodeError
from schemas.raw_topic import COLUMNS, DELETED_AT, PERIOD_MARKER, RawKey, deleted_at

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class LaneConnector:
    """One connector of a lane: its state as read back and, once it is polled, its feed.

    Attributes:
        restored: the checkpoint as read back; `checkpoint` is the present one.
        seen: versions of the overlap as read back, which the write order takes over.
        faults: part of a key → why its record does not read, so that the connector cannot be polled, for people.
        registered: the definition and key that the feed was made with.
    """

    restored: Checkpoint | None = None
    seen: SeenVersions = field(default_factory=SeenVersions)
    backfills: dict[str, Backfill] = field(default_factory=dict)
    failure: PollFailure | None = None
    faults: dict[str, str] = field(default_factory=dict)
    write_order: WriteOrder | None = None
    registered: Connector | None = None
    feed: Feed | None = None

    @property
    def damaged(self) -> str | None:
        """Why the connector cannot be polled, for people; None: it can."""
        return next(iter(self.faults.values()), None)

    @property
    def spent(self) -> tuple[int, int] | None:
        """The day since 1970, and the API calls of it, that are on record; None: none are."""
        recorded = [at.calls for at in (self.checkpoint, self.failure) if at is not None]
        return max(recorded, default=None)

    @property
    def checkpoint(self) -> Checkpoint | None:
        return self.write_order.checkpoint if self.write_order is not None else self.restored


def decode_backfill(codec: Codec, connector: str, part: str, value: bytes) -> Backfill:
    """A backfill's record. Raises schemas.DecodeError, also where it is not that of its key."""
    backfill = Backfill.decode(codec, value)
    if (backfill.connector, BACKFILL + backfill.id) != (connector, part):
        raise DecodeError(f"It is that of '{backfill.connector}', backfill '{backfill.id}'.")
    return backfill


class LaneReader:
    """Reads a lane's topics. Blocks; raises BrokerError, TopicError."""

    def __init__(self, context: ProducerContext, lane: int) -> None:
        self._context = context
        self._lane = lane

    def restore(self, only: str | None = None) -> tuple[dict[str, LaneConnector], int]:
        """The lane's connectors by id, or `only` one; and the raw topic's end offset.

        Reads the checkpoints to their end, then the overlaps that they point to from the raw topic.
        """
        settings = self._context.settings
        connectors: dict[str, LaneConnector] = {}
        for record in read_to_end(settings, settings.checkpoints_topic, {self._lane: None}):
            if only is None or parse_key(record.key)[0] == only:
                self._restore(connectors, record)
        raw_end = end_offset(settings, settings.raw_topic, self._lane)
        for id_, connector in connectors.items():
            connector.restored = self._within(id_, connector.restored, raw_end)
        first = min((c.restored.raw_offset for c in connectors.values() if c.restored is not None), default=raw_end)
        if first < raw_end:
            self._restore_seen(connectors, first)
        return connectors, raw_end

    def _within(self, connector: str, checkpoint: Checkpoint | None, raw_end: int) -> Checkpoint | None:
        """The checkpoint; reading the overlap from the raw topic's beginning where that was created anew since."""
        if checkpoint is None or checkpoint.raw_offset <= raw_end:
            return checkpoint
        log.warning(
            "raw_topic_created_anew",
            connector=connector,
            offset=checkpoint.raw_offset,
            end=raw_end,
            hint="what the overlap reads is written again; what the topic held before is read by: "
            f"frame-gainsight backfill {connector} --since DATE",
        )
        return replace(checkpoint, raw_offset=0)

    def versions(self, connector: str) -> Iterator[Version]:
        """Every version that the raw topic has of a connector, in order."""
        for key, record in self._raw(None):
            if key.connector == connector and (version := self._version(key, record)) is not None:
                yield version

    def lost(self, known: Collection[str]) -> dict[str, LaneConnector]:
        """The connectors that the raw topic has records of and that are not known: their checkpoints are lost.

        Each goes on behind the last period that it wrote to its end.
        """
        found: dict[str, LaneConnector] = {}
        first: list[int] = []
        for id_, trace in traces(self._raw(None, markers=True), known).items():
            first.append(trace.raw_offset)
            found[id_] = LaneConnector(
                Checkpoint(
                    id_,
                    trace.end,
                    trace.raw_offset,
                    trace.remembered_from,
                    remembered_from=trace.remembered_from,
                    unsure_from=trace.start,
                )
            )
        if first:
            self._restore_seen(found, min(first))
        return found

    def _restore(self, connectors: dict[str, LaneConnector], record: ConsumedRecord) -> None:
        id_, part = parse_key(record.key)
        if part and part != POLL_FAILURE and not part.startswith(BACKFILL):
            return  # another service's
        connector = connectors.setdefault(id_, LaneConnector())
        codec, value = self._context.codec, record.value
        connector.faults.pop(part, None)
        try:
            if part == POLL_FAILURE:
                connector.failure = None if value is None else PollFailure.decode(codec, value)
            elif not part:
                connector.restored = None if value is None else Checkpoint.decode(codec, value)
            elif value is None:
                connector.backfills.pop(part.removeprefix(BACKFILL), None)
            else:
                connector.backfills[part.removeprefix(BACKFILL)] = decode_backfill(codec, id_, part, value)
        except DecodeError as error:
            if part == POLL_FAILURE:  # it is for people alone; the next poll records its failure anew
                log.warning("poll_failure_unreadable", connector=id_, offset=record.offset, cause=str(error))
                return
            key = (record.key or b"").decode("utf-8", "replace")
            connector.faults[part] = (
                f"The checkpoint of '{key}' ({record.topic}, partition {record.partition}, offset {record.offset}) "
                f"cannot be read: {error} Polling this connector stops here. Write the last good checkpoint again, or "
                "a tombstone for its key to begin anew: that takes effect at once."
            )
            log.error("checkpoint_unreadable", connector=id_, cause=connector.faults[part])

    def _restore_seen(self, connectors: dict[str, LaneConnector], first: int) -> None:
        for key, record in self._raw(first):
            connector = connectors.get(key.connector)
            if connector is None or connector.restored is None or record.offset < connector.restored.raw_offset:
                continue
            if (version := self._version(key, record)) is not None:
                seen = Seen(version.at, version.fingerprint, record.offset, record.header(COLUMNS) or "")
                connector.seen.restore(version.gsid, seen, connector.restored.remembered_from or 0)

    def _raw(self, first: int | None, markers: bool = False) -> Iterator[tuple[RawKey, ConsumedRecord]]:
        settings = self._context.settings
        for record in read_to_end(settings, settings.raw_topic, {self._lane: first}):
            if (key := RawKey.parse(record.key)) is not None and (markers or key.gsid != PERIOD_MARKER):
                yield key, record

    def _version(self, key: RawKey, record: ConsumedRecord) -> Version | None:
        """The version in a raw record; None for a record that is none."""
        if record.value is None:
            return Version(key.gsid, deleted_at(record.header(DELETED_AT), record.timestamp), None)
        try:
            kind, value = self._context.codec.decode(record.value)
        except DecodeError as error:  # somebody else wrote it: it cannot be a version of ours
            log.warning("raw_unreadable", lane=self._lane, offset=record.offset, cause=str(error))
            return None
        return Version(key.gsid, value["modified_at"], value["fingerprint"]) if kind == "raw_activity" else None
