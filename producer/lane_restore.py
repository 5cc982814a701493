"""A lane's state, read back from Kafka: checkpoints, backfills, poll failures, and the versions of the overlaps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import structlog

from frame_gainsight.connectors import Connector
from frame_gainsight.kafka import ConsumedRecord, end_offset, read_to_end
from producer.context import ProducerContext
from producer.polling.feed import Feed
from producer.state.backfill import Backfill
from producer.state.checkpoint import Checkpoint
from producer.state.checkpoint_keys import BACKFILL, POLL_FAILURE, parse_key
from producer.state.poll_failure import PollFailure
from producer.state.seen_versions import Seen, SeenVersions, Version
from producer.state.write_order import WriteOrder
from schemas import DecodeError
from schemas.raw_topic import COLUMNS, DELETED_AT, PERIOD_MARKER, RawKey, deleted_at

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class LaneConnector:
    """One connector of a lane: its state as read back and, once it is polled, its feed.

    Attributes:
        restored: the checkpoint as read back; `checkpoint` is the present one.
        seen: versions of the overlap as read back, which the write order takes over.
        damaged: why the connector cannot be polled, for people; None: it can.
        registered: the definition and key that the feed was made with.
    """

    restored: Checkpoint | None = None
    seen: SeenVersions = field(default_factory=SeenVersions)
    backfills: dict[str, Backfill] = field(default_factory=dict)
    failure: PollFailure | None = None
    damaged: str | None = None
    write_order: WriteOrder | None = None
    registered: Connector | None = None
    feed: Feed | None = None

    @property
    def checkpoint(self) -> Checkpoint | None:
        return self.write_order.checkpoint if self.write_order is not None else self.restored


class LaneReader:
    """Reads a lane's topics. Blocks; raises BrokerError, TopicError."""

    def __init__(self, context: ProducerContext, lane: int) -> None:
        self._context = context
        self._lane = lane

    def restore(self, only: str | None = None) -> tuple[dict[str, LaneConnector], int]:
        """The lane's connectors by id, or one of them, and the raw topic's end offset.

        Reads the checkpoints to their end, then the overlaps that they point to from the raw topic.
        """
        settings = self._context.settings
        connectors: dict[str, LaneConnector] = {}
        for record in read_to_end(settings, settings.checkpoints_topic, {self._lane: None}):
            if only is None or parse_key(record.key)[0] == only:
                self._restore(connectors, record)
        raw_end = end_offset(settings, settings.raw_topic, self._lane)
        first = min((c.restored.raw_offset for c in connectors.values() if c.restored is not None), default=raw_end)
        if first < raw_end:
            self._restore_seen(connectors, first)
        return connectors, raw_end

    def versions(self, connector: str) -> Iterator[Version]:
        """Every version that the raw topic has of a connector, in order."""
        for key, record in self._raw(None):
            if key.connector == connector and (version := self._version(key, record)) is not None:
                yield version

    def _restore(self, connectors: dict[str, LaneConnector], record: ConsumedRecord) -> None:
        id_, part = parse_key(record.key)
        if part and part != POLL_FAILURE and not part.startswith(BACKFILL):
            return  # another service's
        connector = connectors.setdefault(id_, LaneConnector())
        codec, value = self._context.codec, record.value
        try:
            if part == POLL_FAILURE:
                connector.failure = None if value is None else PollFailure.decode(codec, value)
            elif not part:
                connector.restored = None if value is None else Checkpoint.decode(codec, value)
                connector.damaged = None
            elif value is None:
                connector.backfills.pop(part.removeprefix(BACKFILL), None)
            else:
                connector.backfills[part.removeprefix(BACKFILL)] = Backfill.decode(codec, value)
        except DecodeError as error:
            if part == POLL_FAILURE:  # it is for people alone; the next poll records its failure anew
                log.warning("poll_failure_unreadable", connector=id_, offset=record.offset, cause=str(error))
                return
            key = (record.key or b"").decode("utf-8", "replace")
            connector.damaged = (
                f"The checkpoint of '{key}' ({record.topic}, partition {record.partition}, offset {record.offset}) "
                f"cannot be read: {error} Polling this connector stops here. Write the last good checkpoint again, or "
                "a tombstone for its key to begin anew, and restart the producer."
            )
            log.error("checkpoint_unreadable", connector=id_, cause=connector.damaged)

    def _restore_seen(self, connectors: dict[str, LaneConnector], first: int) -> None:
        for key, record in self._raw(first):
            connector = connectors.get(key.connector)
            if connector is None or connector.restored is None or record.offset < connector.restored.raw_offset:
                continue
            if (version := self._version(key, record)) is not None:
                seen = Seen(version.at, version.fingerprint, record.offset, record.header(COLUMNS) or "")
                connector.seen.restore(version.gsid, seen, connector.restored.remembered_from or 0)

    def _raw(self, first: int | None) -> Iterator[tuple[RawKey, ConsumedRecord]]:
        settings = self._context.settings
        for record in read_to_end(settings, settings.raw_topic, {self._lane: first}):
            if (key := RawKey.parse(record.key)) is not None and key.gsid != PERIOD_MARKER:
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
