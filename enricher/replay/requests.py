"""Replay requests in the checkpoints topic: written and followed by commands, and followed by the workers."""

from __future__ import annotations

import threading
from collections.abc import Collection, Generator, Iterator
from contextlib import closing, suppress
from dataclasses import replace

import structlog

from enricher.replay import model as replays
from enricher.replay.model import Replay
from frame_gainsight.kafka import ConsumedRecord, PartitionEnd, follow, put, read_to_end
from frame_gainsight.runtime import Settings
from schemas import Codec, DecodeError

log = structlog.get_logger(__name__)


class RequestLog:
    """The latest record of every replay. A record may be taken several times, from several readers."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._of: dict[tuple[int, bytes], tuple[int, Replay]] = {}

    def take(self, record: ConsumedRecord) -> None:
        """Takes a record of the checkpoints topic; those that are about no replay are ignored."""
        if replays.id_in(record.key) is None or record.value is None:
            return
        key = (record.partition, record.key or b"")
        before = self._of.get(key)
        if before is not None and before[0] >= record.offset:
            return
        try:
            replay = replays.decode(self._codec, record)
        except DecodeError as error:
            log.error("replay_unreadable", lane=record.partition, offset=record.offset, cause=str(error))
            return
        if before is not None and before[1].state == "CANCELLED" and replay.is_open:
            replay = replace(replay, state="CANCELLED")  # the owner had not read the cancellation yet
        self._of[key] = (record.offset, replay)

    def of(self, lane: int) -> list[Replay]:
        """The lane's replays, in the order in which they were requested."""
        found = [replay for (number, _), (_, replay) in list(self._of.items()) if number == lane]
        return sorted(found, key=lambda r: (r.requested_at, r.id, r.key))


class RequestFollower:
    """The replay requests of a worker's lanes: one connection for all of them. May be used by any thread."""

    def __init__(self, settings: Settings, codec: Codec) -> None:
        self._settings = settings
        self._known = RequestLog(codec)
        self._news: Generator[ConsumedRecord | PartitionEnd | None, None, None] | None = None
        self._lock = threading.Lock()

    def restore(self, lane: int) -> None:
        """Reads everything that was written of a lane until now. Blocks. Raises BrokerError."""
        for record in read_to_end(self._settings, self._settings.checkpoints_topic, {lane: None}):
            with self._lock:
                self._known.take(record)

    def poll(self) -> None:
        """Takes the records that have come since. Blocks for a moment. Raises BrokerError; the next poll reads anew."""
        with self._lock:
            if self._news is None:
                lanes = range(self._settings.partitions)
                self._news = follow(self._settings, self._settings.checkpoints_topic, lanes, timeout=0)
            try:
                while (item := next(self._news)) is not None:
                    if isinstance(item, ConsumedRecord):
                        self._known.take(item)
            except BaseException:
                self._news = None  # a generator that has raised gives nothing any more
                raise

    def of(self, lane: int) -> list[Replay]:
        """The lane's replays, open or not, in the order in which they were requested."""
        with self._lock:
            return self._known.of(lane)

    def stop(self) -> None:
        """Closes the connection."""
        with self._lock:
            if self._news is not None:
                self._news.close()
                self._news = None


class ReplayRequests:
    """A command's requests to the owners of some lanes. Its methods block, and raise BrokerError and TopicError."""

    def __init__(self, settings: Settings, codec: Codec, lanes: Collection[int]) -> None:
        self._settings = settings
        self._codec = codec
        self._lanes = lanes

    def known(self) -> list[Replay]:
        """The lanes' replays on record now, open or not."""
        known = RequestLog(self._codec)
        for record in read_to_end(self._settings, self._settings.checkpoints_topic, dict.fromkeys(self._lanes)):
            known.take(record)
        return [replay for lane in self._lanes for replay in known.of(lane)]

    def request(self, replay: Replay) -> None:
        """Records a request."""
        put(self._settings, replays.record(self._codec, self._settings, replay))

    def cancel(self, replay: Replay) -> None:
        """Records that the owner is to end the replay."""
        self.request(replace(replay, state="CANCELLED"))

    def follow(self, id_: str, timeout: float = 1.0) -> Iterator[Replay | None]:
        """Every state of a replay in every lane, those on record first; None after `timeout` seconds without any."""
        with closing(
            follow(self._settings, self._settings.checkpoints_topic, self._lanes, timeout, strict=True)
        ) as news:
            for item in news:
                if item is None:
                    yield None
                elif isinstance(item, ConsumedRecord) and replays.id_in(item.key) == id_ and item.value is not None:
                    with suppress(DecodeError):  # somebody else's: the owner goes by the one before
                        yield replays.decode(self._codec, item)
