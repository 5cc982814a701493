"""Requesting a backfill from the owner of a lane, and following its progress, over the checkpoints topic."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace

from frame_gainsight.kafka import ConsumedRecord, ProducerRecord, follow, lane_of, put, read_to_end
from frame_gainsight.runtime import Settings
from producer.state.backfill import Backfill
from producer.state.checkpoint import Checkpoint
from producer.state.checkpoint_keys import BACKFILL, format_key, parse_key
from schemas import Codec


@dataclass(slots=True)
class Progress:
    """A connector's progress on record: its checkpoint (None: never polled), and its backfills by id."""

    checkpoint: Checkpoint | None = None
    backfills: dict[str, Backfill] = field(default_factory=dict)


class BackfillRequests:
    """The requests for one connector. Blocks; an administrator's tool, not a hot path.

    The methods raise BrokerError, TopicError, and SchemaError for a record that does not read.
    """

    def __init__(self, settings: Settings, codec: Codec, connector: str) -> None:
        self._settings = settings
        self._codec = codec
        self._connector = connector
        self._lane = lane_of(connector, settings.partitions)

    def progress(self) -> Progress:
        """The progress on record now."""
        found = Progress()
        for record in read_to_end(self._settings, self._settings.checkpoints_topic, {self._lane: None}):
            connector, part = parse_key(record.key)
            if connector != self._connector:
                continue
            if part.startswith(BACKFILL):
                id_ = part.removeprefix(BACKFILL)
                found.backfills.pop(id_, None)
                if record.value is not None:
                    found.backfills[id_] = Backfill.decode(self._codec, record.value)
            elif not part:
                found.checkpoint = None if record.value is None else Checkpoint.decode(self._codec, record.value)
        return found

    def request(self, backfill: Backfill) -> None:
        """Records the request."""
        value = backfill.encode(self._codec)
        put(self._settings, ProducerRecord(self._settings.checkpoints_topic, self._lane, backfill.key, value))

    def cancel(self, backfill: Backfill) -> None:
        """Requests that the lane's owner gives the backfill up."""
        self.request(replace(backfill, state="CANCELLED"))

    def follow(self, id_: str, timeout: float = 1.0) -> Iterator[Backfill | None]:
        """Every state of a backfill, those on record first; None whenever there is no news for `timeout` seconds."""
        key = format_key(self._connector, BACKFILL + id_)
        with closing(
            follow(self._settings, self._settings.checkpoints_topic, [self._lane], timeout, strict=True)
        ) as news:
            for record in news:
                if record is None:
                    yield None
                elif isinstance(record, ConsumedRecord) and record.key == key and record.value is not None:
                    yield Backfill.decode(self._codec, record.value)
