"""A lane in our hands: its fenced writer, and the pollers of its connectors, restored from Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import structlog

from bus import KafkaLaneWriter, LaneWriter, Outgoing, Settings, end_offset, read_to_end
from connectors import Connector, Vault, open_client
from gainsight import Clock, parse_date
from producer import checkpoint as checkpoints
from producer.checkpoint import Checkpoint
from producer.overlap import Overlap, Seen
from producer.poller import Poller
from producer.records import Records
from schemas import Codec, DecodeError

log = structlog.get_logger(__name__)

ROLE = "producer"


class Lane:
    """One lane, owned. Its transactions come one after the other, whichever connector they are for."""

    def __init__(
        self, settings: Settings, codec: Codec, vault: Vault, clock: Clock, number: int, writer: LaneWriter
    ) -> None:
        self.number = number
        self._settings = settings
        self._codec = codec
        self._vault = vault
        self._clock = clock
        self._writer = writer
        self._writing = asyncio.Lock()
        self._checkpoints: dict[str, Checkpoint] = {}
        self._overlaps: dict[str, Overlap] = {}
        self._raw_end = 0
        self._since: dict[str, int] = {}
        self._pollers: dict[str, tuple[Connector, Poller]] = {}

    @staticmethod
    async def open(
        settings: Settings,
        codec: Codec,
        vault: Vault,
        clock: Clock,
        number: int,
        since: dict[str, int] | None = None,
    ) -> Lane:
        """Takes the lane: first fences whoever had it, then reads its state.

        Args:
            since: connector → milliseconds: read again from there, whatever the checkpoint says. What the raw topic
                already has is still not written again.

        Raises BrokerError.
        """
        writer = await asyncio.to_thread(KafkaLaneWriter, settings, ROLE, number)
        lane = Lane(settings, codec, vault, clock, number, writer)
        await asyncio.to_thread(lane._restore, since or {})
        log.info("lane_opened", lane=number, connectors=len(lane._checkpoints), raw_end=lane._raw_end)
        return lane

    async def close(self) -> None:
        for _, poller in self._pollers.values():
            await poller.client.close()
        self._pollers.clear()
        async with self._writing:
            await asyncio.to_thread(self._writer.close)

    async def poller(self, connector: Connector) -> Poller:
        """The connector's poller; made anew when its definition or key has changed. Raises VaultError."""
        known = self._pollers.get(connector.id)
        if known is not None and known[0] == connector:
            return known[1]
        definition = connector.definition
        client = await open_client(self._settings, self._vault, self._clock, connector)
        if known is not None:
            await known[1].client.close()
            self._checkpoints[connector.id] = known[1].checkpoint
        start = int(definition.start.timestamp() * 1000) if definition.start else self._clock.now()
        start = self._since.get(connector.id, start)
        checkpoint = self._checkpoints.get(connector.id) or Checkpoint(connector.id, start, self._raw_end, start)
        records = Records(self._settings, self._codec, connector.id, self.number)
        overlap = self._overlaps.setdefault(connector.id, Overlap())
        poller = Poller(definition, client, records, self._write, self._clock, checkpoint, overlap)
        self._pollers[connector.id] = (connector, poller)
        return poller

    async def keep_only(self, connectors: Iterable[str]) -> None:
        """Closes the pollers of connectors that are not registered (any more)."""
        for gone in self._pollers.keys() - set(connectors):
            _, poller = self._pollers.pop(gone)
            self._checkpoints[gone] = poller.checkpoint
            await poller.client.close()

    async def _write(
        self, records: Sequence[Outgoing], then: Callable[[Sequence[int]], Sequence[Outgoing]]
    ) -> list[int]:
        async with self._writing:
            writing = asyncio.ensure_future(asyncio.to_thread(self._writer.write, records, then))
            try:
                return await asyncio.shield(writing)
            except asyncio.CancelledError:  # the lane is being given up: the transaction in flight ends first
                await asyncio.wait([writing])
                writing.result()  # had it failed, what we hold in memory would be ahead of what was committed
                raise

    def _restore(self, since: dict[str, int]) -> None:
        """Reads the lane's checkpoints to the end, then the overlaps that they point to from the raw topic."""
        settings = self._settings
        for record in read_to_end(settings, settings.checkpoints_topic, {self.number: None}):
            connector = (record.key or b"").decode()
            if record.value is None:
                self._checkpoints.pop(connector, None)
                continue
            try:
                self._checkpoints[connector] = checkpoints.decode(self._codec, record.value)
            except DecodeError as error:  # to guess where to go on would lose or repeat
                raise DecodeError(
                    f"The checkpoint of '{connector}' ({record.topic}, partition {record.partition}, offset "
                    f"{record.offset}) cannot be read: {error} Polling this lane stops here. Write the connector's "
                    "last good checkpoint again, or a tombstone for its key to begin anew."
                ) from error
        self._since = since
        for connector, at in since.items():
            if (known := self._checkpoints.get(connector)) is not None:
                self._checkpoints[connector] = replace(
                    known, cursor=at, raw_offset=0, period=None, remembered_from=None
                )
        self._raw_end = end_offset(settings, settings.raw_topic, self.number)
        first = min((c.raw_offset for c in self._checkpoints.values()), default=self._raw_end)
        if first < self._raw_end:
            self._read_overlaps(first)

    def _read_overlaps(self, first: int) -> None:
        for record in read_to_end(self._settings, self._settings.raw_topic, {self.number: first}):
            connector, _, gsid = (record.key or b"").decode("utf-8", "replace").partition("/")
            checkpoint = self._checkpoints.get(connector)
            if checkpoint is None or record.offset < checkpoint.raw_offset:
                continue
            overlap = self._overlaps.setdefault(connector, Overlap())
            if record.value is None:
                overlap.note(
                    gsid, Seen(_deleted_at(record.header("deleted_at"), record.timestamp), None, record.offset)
                )
                continue
            try:
                kind, value = self._codec.decode(record.value)
            except DecodeError as error:  # somebody else wrote it: it cannot be a version of ours
                log.warning("raw_unreadable", lane=self.number, offset=record.offset, cause=str(error))
                continue
            if kind == "raw_activity":
                overlap.note(gsid, Seen(value["modified_at"], value["fingerprint"], record.offset))


def _deleted_at(header: str | None, default: int) -> int:
    try:
        return parse_date(int(header)) or default if header else default
    except ValueError:
        return default
