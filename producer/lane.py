"""A lane in our hands: its fenced writer, and the feeds of its connectors, restored from Kafka."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import structlog

from frame_gainsight.connectors import Connector, ConnectorError, Vault, open_client
from frame_gainsight.gainsight import GainsightClient, ReplySlots, parse_date
from frame_gainsight.kafka import ConsumedRecord, KafkaLaneWriter, LaneWriter, ProducerRecord, end_offset, read_to_end
from frame_gainsight.runtime import Clock, Settings
from producer.polling.feed import Feed, Version
from producer.polling.page_size import Columns
from producer.state import backfill as backfills
from producer.state import checkpoint as checkpoints
from producer.state import poll_failure as troubles
from producer.state.backfill import Backfill, is_backfill_key, overlaps
from producer.state.checkpoint import Checkpoint
from producer.state.poll_failure import PollFailure
from producer.state.records import COLUMNS, MARKER, Records
from producer.state.seen_versions import Seen, SeenVersions
from producer.state.write_order import WriteOrder
from producer.timeline.lateness import MOST_AUTO
from schemas import Codec, DecodeError

log = structlog.get_logger(__name__)

ROLE = "producer"
# A start further back than this is read as a backfill, beside live polling; a nearer one is the first window's.
FAR = 86_400_000
OTHERS = "/!"  # in the keys of those records of the checkpoints topic that are not the producer's


class CheckpointError(ConnectorError):
    """A connector's checkpoint cannot be read: to guess where to go on would lose or repeat."""


@dataclass(slots=True)
class _Held:
    """What the lane knows of one connector. `damaged`: why it cannot be polled."""

    checkpoint: Checkpoint | None = None
    ledger: WriteOrder | None = None
    backfills: dict[str, Backfill] = field(default_factory=dict)
    damaged: str | None = None
    registered: Connector | None = None
    feed: Feed | None = None
    trouble: PollFailure | None = None


class Lane:
    """One lane, owned. Its transactions come one after the other, whichever connector they are for."""

    def __init__(
        self,
        settings: Settings,
        codec: Codec,
        vault: Vault,
        clock: Clock,
        number: int,
        writer: LaneWriter,
        reply_slots: ReplySlots | None = None,
    ) -> None:
        self.number = number
        self._settings = settings
        self._codec = codec
        self._vault = vault
        self._clock = clock
        self._writer = writer
        self._reply_slots = reply_slots
        self._writing = asyncio.Lock()
        self._held: dict[str, _Held] = {}
        self._overlaps: dict[str, SeenVersions] = {}
        self._raw_end = 0

    @staticmethod
    async def open(
        settings: Settings,
        codec: Codec,
        vault: Vault,
        clock: Clock,
        number: int,
        reply_slots: ReplySlots | None = None,
    ) -> Lane:
        """Takes the lane: first fences whoever had it, then reads its state.

        When it is cancelled, it first waits for the writer that is being opened and closes it: opened later, it would
        fence the lane's next owner. Raises BrokerError.
        """
        opening = asyncio.ensure_future(asyncio.to_thread(KafkaLaneWriter, settings, ROLE, number))
        try:
            writer = await asyncio.shield(opening)
        except asyncio.CancelledError:
            with contextlib.suppress(Exception):
                await asyncio.to_thread((await opening).close)
            raise
        lane = Lane(settings, codec, vault, clock, number, writer, reply_slots)
        restoring = asyncio.ensure_future(asyncio.to_thread(lane._restore))
        try:
            await asyncio.shield(restoring)
        except BaseException:
            await asyncio.wait([restoring])
            await lane.close()
            raise
        log.info("lane_opened", lane=number, connectors=len(lane._held), raw_end=lane._raw_end)
        return lane

    async def close(self) -> None:
        for held in self._held.values():
            if held.feed is not None:
                await held.feed.client.close()
                held.feed = None
        async with self._writing:
            await asyncio.to_thread(self._writer.close)

    async def feed(self, connector: Connector) -> Feed:
        """The connector's feed; made anew when its definition or key has changed.

        Nothing may be using the former one. Raises VaultError, CheckpointError when its place is not known, and for a
        new connector GainsightError: its place is chosen by the tenant's clock.
        """
        held = self._held.setdefault(connector.id, _Held())
        if held.damaged is not None:
            raise CheckpointError(held.damaged)
        if held.feed is not None and held.registered == connector:
            return held.feed
        if held.feed is not None:
            await held.feed.client.close()
        client = await open_client(
            self._settings,
            self._vault,
            self._clock,
            connector,
            role="producer",
            spent_today=self._spent(held),
            reply_slots=self._reply_slots,
        )
        columns = Columns(connector.definition, client, self._clock)
        if held.ledger is None:
            try:
                checkpoint = held.checkpoint or await self._first_checkpoint(connector, client, columns)
            except BaseException:
                await client.close()
                raise
            held.ledger = WriteOrder(checkpoint, self._overlaps.pop(connector.id, SeenVersions()))
        records = Records(self._settings, self._codec, connector.id, self.number)
        held.registered = connector
        held.feed = Feed(
            connector.definition,
            client,
            records,
            self._write,
            self._clock,
            held.ledger,
            lambda: self._written(connector.id),
            columns,
        )
        self._ask_for_the_past(connector, held, held.ledger.checkpoint)
        return held.feed

    async def keep_only(self, connectors: Iterable[str]) -> None:
        """Closes the feeds of connectors that are not registered (any more), or paused."""
        for gone in self._held.keys() - set(connectors):
            if (feed := self._held[gone].feed) is not None:
                self._held[gone].feed = None
                await feed.client.close()

    async def failed(self, connector: str, failure: str, cause: str) -> None:
        """Tells, for whoever looks after it, why the connector is not polled. Raises BrokerError, FencedError."""
        held, now = self._held.setdefault(connector, _Held()), self._clock.now()
        told = PollFailure(connector, failure, cause, now, now)
        if held.trouble is not None:
            later = held.trouble.then(failure, cause, now)
            if later is None:
                return
            told = later
        await self._write([], lambda _: [troubles.record(self._codec, self._settings, self.number, told)])
        held.trouble = told

    async def recovered(self, connector: str) -> None:
        """Takes the trouble back, if any was told. Raises BrokerError, FencedError."""
        held = self._held.get(connector)
        if held is not None and held.trouble is not None:
            await self._write([], lambda _: [troubles.over(self._settings, self.number, connector)])
            held.trouble = None

    def backfill_of(self, connector: str) -> Backfill | None:
        """The backfill that is to be worked on: the one first asked for."""
        held = self._held.get(connector)
        open_ = [b for b in held.backfills.values() if b.is_open] if held is not None else []
        return min(open_, key=lambda b: (b.requested_at, b.id), default=None)

    def known_backfill(self, backfill: Backfill) -> Backfill | None:
        """What was last heard of a backfill."""
        return self._held[backfill.connector].backfills.get(backfill.id)

    def is_covered(self, backfill: Backfill) -> bool:
        """Whether something of its span may have been read before, so that the raw topic must be asked."""
        held = self._held[backfill.connector]
        checkpoint = held.ledger.checkpoint if held.ledger is not None else held.checkpoint
        until = backfill.until
        if until is None or checkpoint is None or checkpoint.begun is None or until > checkpoint.begun:
            return True
        others = (b for b in held.backfills.values() if b.id != backfill.id)
        return any(overlaps(other, backfill.since, until) for other in others)

    def note_backfill(self, backfill: Backfill) -> None:
        """Remembers what was asked for, or how far it has come."""
        held = self._held.setdefault(backfill.connector, _Held())
        checkpoint = held.ledger.checkpoint if held.ledger is not None else held.checkpoint
        if backfill.state == "REQUESTED" and backfill.until is None and checkpoint is not None:
            covered = self._covered_from(held, checkpoint)
            if covered is not None and backfill.since < covered:
                backfill = replace(backfill, until=covered)
        held.backfills[backfill.id] = backfill

    def on_checkpoint_record(self, record: ConsumedRecord) -> str | None:
        """Takes a request or a cancellation out of the checkpoints topic, where our own records come by too.

        Returns the connector that something is asked of.
        """
        key = (record.key or b"").decode("utf-8", "replace")
        if record.value is None:
            self._forget(key)
            return None
        if not is_backfill_key(key):
            return None
        try:
            backfill = backfills.decode(self._codec, record.value)
        except DecodeError as error:
            log.error("backfill_unreadable", lane=self.number, offset=record.offset, cause=str(error))
            return None
        known = self._held.setdefault(backfill.connector, _Held()).backfills.get(backfill.id)
        if backfill.state == "REQUESTED" and known is None:
            self.note_backfill(backfill)
        elif backfill.state == "CANCELLED" and known is not None and known.is_open:
            self.note_backfill(replace(known, state="CANCELLED"))
        else:
            return None
        return backfill.connector

    def _forget(self, key: str) -> None:
        """A checkpoint was taken out: the connector is gone with everything that was known of it, unless it is polled
        now."""
        if OTHERS not in key and not is_backfill_key(key) and (held := self._held.get(key)) and held.feed is None:
            del self._held[key]
            self._overlaps.pop(key, None)

    def _spent(self, held: _Held) -> tuple[int, int] | None:
        """The calls of today so far."""
        if held.feed is not None:
            return held.feed.client.spent
        known = held.ledger.checkpoint if held.ledger is not None else held.checkpoint
        return known.calls if known is not None else None

    async def _first_checkpoint(self, connector: Connector, client: GainsightClient, columns: Columns) -> Checkpoint:
        await columns.ensure()
        tenant_now = client.tenant_now()
        now = tenant_now if tenant_now is not None else self._clock.now()
        begun = start = _start_of(connector, now // 1000 * 1000)
        if now - start > FAR:  # as far back as rows may still become visible, live polling reads; the rest is done
            overlap = connector.definition.fixed_overlap
            begun = now // 1000 * 1000 - (MOST_AUTO if overlap is None else overlap) * 1000
        return Checkpoint(connector.id, begun, self._raw_end, begun, begun=begun)

    def _ask_for_the_past(self, connector: Connector, held: _Held, checkpoint: Checkpoint) -> None:
        """A start that lies before all that was read, or will be: what is between is a backfill."""
        covered = self._covered_from(held, checkpoint)
        if covered is None or connector.definition.start is None:
            return
        since = _start_of(connector, covered)
        id_ = f"start-{since // 1000}"
        if since < covered and id_ not in held.backfills:
            now = self._clock.now()
            log.info("backfill_from_start", connector=connector.id, since=since, until=covered)
            held.backfills[id_] = Backfill(connector.id, id_, since, now, covered)

    def _covered_from(self, held: _Held, checkpoint: Checkpoint) -> int | None:
        """The beginning of what has been read, or is being read, without a gap up to the cursor."""
        covered = checkpoint.begun
        if covered is None:
            return None
        for backfill in sorted(held.backfills.values(), key=lambda b: b.since, reverse=True):
            reaches = backfill.until is None or backfill.until >= covered
            if backfill.state in ("REQUESTED", "RUNNING", "DONE") and reaches and backfill.since < covered:
                covered = backfill.since
        return covered

    async def _write(
        self, records: Sequence[ProducerRecord], then: Callable[[Sequence[int]], Sequence[ProducerRecord]]
    ) -> list[int]:
        async with self._writing:
            writing = asyncio.ensure_future(asyncio.to_thread(self._writer.write, records, then))
            try:
                return await asyncio.shield(writing)
            except asyncio.CancelledError:  # the work is being given up: the transaction in flight ends first
                await asyncio.wait([writing])
                writing.result()  # had it failed, what we hold in memory would be ahead of what was committed
                raise

    def _restore(self) -> None:
        """Reads the lane's checkpoints to the end, then the overlaps that they point to from the raw topic."""
        settings = self._settings
        for record in read_to_end(settings, settings.checkpoints_topic, {self.number: None}):
            self._restore_record(record)
        self._raw_end = end_offset(settings, settings.raw_topic, self.number)
        offsets = (h.checkpoint.raw_offset for h in self._held.values() if h.checkpoint is not None)
        first = min(offsets, default=self._raw_end)
        if first < self._raw_end:
            self._read_overlaps(first)

    def _restore_record(self, record: ConsumedRecord) -> None:
        key = (record.key or b"").decode("utf-8", "replace")
        if (troubled := troubles.connector_of(key)) is not None:
            self._restore_trouble(troubled, record)
            return
        if OTHERS in key:
            return
        connector, _, backfill = key.partition(backfills.KEY_PART)
        held = self._held.setdefault(connector, _Held())
        if record.value is None:
            if backfill:
                held.backfills.pop(backfill, None)
            else:
                held.checkpoint, held.damaged = None, None
            return
        try:
            if backfill:
                held.backfills[backfill] = backfills.decode(self._codec, record.value)
            else:
                held.checkpoint, held.damaged = checkpoints.decode(self._codec, record.value), None
        except DecodeError as error:
            held.damaged = (
                f"The checkpoint of '{key}' ({record.topic}, partition {record.partition}, offset {record.offset}) "
                f"cannot be read: {error} Polling this connector stops here. Write the last good checkpoint again, or "
                "a tombstone for its key to begin anew, and restart the producer."
            )
            log.error("checkpoint_unreadable", connector=connector, cause=held.damaged)

    def _restore_trouble(self, connector: str, record: ConsumedRecord) -> None:
        held = self._held.setdefault(connector, _Held())
        try:
            held.trouble = troubles.decode(self._codec, record.value) if record.value is not None else None
        except DecodeError as error:  # it only tells people; the next poll tells anew
            log.warning("trouble_unreadable", connector=connector, offset=record.offset, cause=str(error))

    def _read_overlaps(self, first: int) -> None:
        for record in read_to_end(self._settings, self._settings.raw_topic, {self.number: first}):
            connector = (record.key or b"").decode("utf-8", "replace").partition("/")[0]
            held = self._held.get(connector)
            if held is None or held.checkpoint is None or record.offset < held.checkpoint.raw_offset:
                continue
            version = self._version(record)
            if version is None:
                continue
            seen = Seen(version.at, version.fingerprint, record.offset, record.header(COLUMNS) or "")
            overlap = self._overlaps.setdefault(connector, SeenVersions())
            overlap.restore(version.gsid, seen, held.checkpoint.remembered_from or 0)

    def _written(self, connector: str) -> Iterator[Version]:
        """Everything that the raw topic has of a connector, in order."""
        prefix = f"{connector}/".encode()
        for record in read_to_end(self._settings, self._settings.raw_topic, {self.number: None}):
            if (record.key or b"").startswith(prefix) and (version := self._version(record)) is not None:
                yield version

    def _version(self, record: ConsumedRecord) -> Version | None:
        """What a raw record says of its activity; None for one that says nothing."""
        gsid = (record.key or b"").decode("utf-8", "replace").partition("/")[2]
        if gsid == MARKER:
            return None
        if record.value is None:
            return Version(gsid, _deleted_at(record.header("deleted_at"), record.timestamp), None)
        try:
            kind, value = self._codec.decode(record.value)
        except DecodeError as error:  # somebody else wrote it: it cannot be a version of ours
            log.warning("raw_unreadable", lane=self.number, offset=record.offset, cause=str(error))
            return None
        return Version(gsid, value["modified_at"], value["fingerprint"]) if kind == "raw_activity" else None


def _start_of(connector: Connector, default: int) -> int:
    start = connector.definition.start
    return int(start.timestamp()) * 1000 if start is not None else default


def _deleted_at(header: str | None, default: int) -> int:
    try:
        return parse_date(int(header)) or default if header else default
    except ValueError:
        return default
