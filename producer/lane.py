"""A lane that this process owns: its fenced writer, and the feeds of its connectors."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import structlog

from frame_gainsight.connectors import Connector, ConnectorError, StartAheadError, open_client
from frame_gainsight.gainsight import GainsightClient, format_date
from frame_gainsight.kafka import ConsumedRecord, KafkaLaneWriter, LaneWriter, ProducerRecord
from frame_gainsight.kafka.transactions import BATCH_BYTES
from frame_gainsight.runtime import BrokerError, RecordTooLargeError, TopicError, UnforeseenError
from frame_gainsight.runtime.aio import in_thread
from producer.context import ProducerContext
from producer.lane_restore import LaneConnector, LaneReader, decode_backfill
from producer.polling.columns import Columns
from producer.polling.feed import Feed
from producer.state.backfill import Backfill, overlaps
from producer.state.checkpoint import Checkpoint
from producer.state.checkpoint_keys import BACKFILL, parse_key
from producer.state.poll_failure import PollFailure
from producer.state.records import Records
from producer.state.write_order import WriteOrder
from producer.timeline.lateness import MAX_AUTO
from schemas import DecodeError

log = structlog.get_logger(__name__)

ROLE = "producer"
# A start further back than this is read as a backfill, beside live polling; a nearer one is the first window's.
FAR = 86_400_000
BY_START = "start-"  # ids of backfills that a definition's start has requested begin so


class CheckpointError(ConnectorError):
    """A connector's checkpoint cannot be read: guessing where to go on would lose rows or repeat them."""


class Lane:
    """One lane, owned by this process. Its transactions follow one another, whichever connector they are for."""

    def __init__(self, context: ProducerContext, number: int, writer: LaneWriter) -> None:
        self.number = number
        self._context = context
        self._writer = writer
        self._reader = LaneReader(context, number)
        self._writing = asyncio.Lock()
        self._connectors: dict[str, LaneConnector] = {}
        self._removed: set[str] = set()
        self._raw_end = 0
        self._last_raw = -1
        self._lost: asyncio.Future[dict[str, LaneConnector]] | None = None
        self._batch = BATCH_BYTES

    @staticmethod
    async def open(context: ProducerContext, number: int) -> Lane:
        """Takes the lane: first fences its former owner, then reads its state.

        When it is cancelled, it first waits for the writer that is being opened and closes it: opened later, it would
        fence the lane's next owner. Raises BrokerError.
        """

        def open_writer() -> KafkaLaneWriter:
            context.limits.read()
            batch = min(BATCH_BYTES, context.limits.smallest)
            return KafkaLaneWriter(context.settings, ROLE, number, batch_bytes=batch)

        opening = asyncio.ensure_future(asyncio.to_thread(open_writer))
        try:
            writer = await asyncio.shield(opening)
        except asyncio.CancelledError:
            with contextlib.suppress(Exception):
                await asyncio.to_thread((await opening).close)
            raise
        lane = Lane(context, number, writer)
        lane._batch = min(BATCH_BYTES, context.limits.smallest)
        restoring = asyncio.ensure_future(asyncio.to_thread(lane._reader.restore))
        try:
            lane._connectors, lane._raw_end = await asyncio.shield(restoring)
        except BaseException:
            await asyncio.wait([restoring])
            await lane.close()
            raise
        lane._last_raw = lane._raw_end - 1
        log.info("lane_opened", lane=number, connectors=len(lane._connectors), raw_end=lane._raw_end)
        return lane

    async def close(self) -> None:
        """Closes the feeds, and the writer after the transaction in flight."""
        await self.keep_only(())
        async with self._writing:
            await asyncio.to_thread(self._writer.close)

    async def feed(self, connector: Connector) -> Feed:
        """The connector's feed; made anew when its definition or key has changed.

        The former one must not be in use. Raises VaultError, CheckpointError when its checkpoint cannot be read, and
        for a new connector GainsightError and StartAheadError: where it begins follows the tenant's clock.
        """
        if connector.id in self._removed:
            await self._read_again(connector.id)
        context, known = self._context, self._known(connector.id)
        if known.damaged is not None:
            known = await self._restored_anew(connector.id)
        if known.damaged is not None:
            raise CheckpointError(known.damaged)
        if known.feed is not None and known.registered == connector:
            return known.feed
        await self._close_feed(connector.id)
        if known.checkpoint is None:
            await self._restore_lost(connector, known)
        client = await open_client(
            context.settings,
            context.vault,
            context.clock,
            connector,
            role="producer",
            spent_today=known.spent,
            budgets=context.budgets,
            reply_slots=context.reply_slots,
        )
        columns = Columns(connector.definition, client, context.clock)
        if known.write_order is None:
            try:
                checkpoint = known.restored or await self._first_checkpoint(connector, client, columns)
            except BaseException:
                await self._close_client(connector.id, client)
                raise
            known.write_order = WriteOrder(checkpoint, known.seen)
        former, known.registered = known.registered, connector
        known.feed = Feed(
            context,
            connector.definition,
            client,
            columns,
            Records(context, connector.id, self.number),
            self._write,
            known.write_order,
            lambda: self._reader.versions(connector.id),
        )
        if former is not None and former.definition.activity_types != connector.definition.activity_types:
            known.feed.size.proven = 0  # of the present types no row was met yet
        await self._give_up_former_starts(connector, known)
        self._request_past(connector, known)
        return known.feed

    async def keep_only(self, connectors: Iterable[str]) -> None:
        """Closes the feeds of all other connectors: they are paused, or not registered (any more)."""
        for id_ in self._connectors.keys() - set(connectors):
            await self._close_feed(id_)

    async def _close_feed(self, connector: str) -> None:
        known = self._connectors[connector]
        if (feed := known.feed) is not None:
            known.feed = None
            await self._close_client(connector, feed.client)

    async def _close_client(self, connector: str, client: GainsightClient) -> None:
        try:
            await client.close()
        except Exception as error:  # noqa: BLE001 - it is given up in any case
            log.warning("client_not_closed", connector=connector, cause=str(UnforeseenError(error)))

    async def limits_raised(self) -> None:
        """Returns when some topic takes larger records than now."""
        await self._context.limits.raised(self._context.clock)

    def removed(self, connector: str) -> None:
        """Forgets a connector that was removed, and whose feed is closed: when it is registered again, the topics tell
        whether it was purged, and what is left of it."""
        self._connectors.pop(connector, None)
        self._removed.add(connector)
        self._lost = None  # what was lost is looked for anew: it may have been purged

    async def failed(self, connector: str, failure: str, cause: str) -> None:
        """Records why the connector is not polled, and the calls that it made. Raises BrokerError, FencedError."""
        known, now = self._known(connector), self._context.clock.now()
        budget = self._context.budgets.get(connector)
        calls = budget.spent if budget is not None else known.spent or (0, 0)
        if known.failure is None:
            further: PollFailure | None = PollFailure(connector, failure, cause, now, now, calls)
        else:
            further = known.failure.after(failure, cause, now, calls)
        if further is not None:
            record = Records(self._context, connector, self.number).poll_failure(further)
            await self._write([], lambda _: [record])
            known.failure = further

    async def recovered(self, connector: str) -> None:
        """Clears the connector's failure, if one is recorded. Raises BrokerError, FencedError."""
        known = self._connectors.get(connector)
        if known is not None and known.failure is not None:
            records = Records(self._context, connector, self.number)
            await self._write([], lambda _: [records.poll_failure_cleared()])
            known.failure = None

    def backfill_of(self, connector: str) -> Backfill | None:
        """The backfill that is to be worked on: the one requested first."""
        known = self._connectors.get(connector)
        open_ = [b for b in known.backfills.values() if b.is_open] if known is not None else []
        return min(open_, key=lambda b: (b.requested_at, b.id), default=None)

    def known_backfill(self, backfill: Backfill) -> Backfill | None:
        """The latest state of a backfill."""
        return self._connectors[backfill.connector].backfills.get(backfill.id)

    def is_covered(self, backfill: Backfill) -> bool:
        """Whether a part of the span may have been read before, so that the raw topic must be read for it."""
        known = self._connectors[backfill.connector]
        checkpoint, until = known.checkpoint, backfill.until
        if until is None or checkpoint is None or checkpoint.begun is None or until > checkpoint.begun:
            return True
        others = (b for b in known.backfills.values() if b.id != backfill.id)
        return any(overlaps(other, backfill.since, until) for other in others)

    def note_backfill(self, backfill: Backfill) -> None:
        """Remembers a request, or how far a backfill has come."""
        known = self._known(backfill.connector)
        if backfill.state == "REQUESTED" and backfill.until is None:
            covered = _covered_from(known)
            if covered is not None and backfill.since < covered:
                backfill = replace(backfill, until=covered)
        known.backfills[backfill.id] = backfill

    def on_checkpoint_record(self, record: ConsumedRecord) -> str | None:
        """Follows the checkpoints topic for requests and cancellations of backfills; our own records come by too.

        Returns the connector whose backfills were requested or cancelled, or whose damaged record was replaced.
        """
        connector, part = parse_key(record.key)
        if self.is_damaged(connector) and (not part or part.startswith(BACKFILL)):
            return connector
        if record.value is None:
            if not part:
                self._forget(connector)
            return None
        if not part.startswith(BACKFILL):
            return None
        try:
            backfill = decode_backfill(self._context.codec, connector, part, record.value)
        except DecodeError as error:
            log.error("backfill_unreadable", lane=self.number, offset=record.offset, cause=str(error))
            return None
        known = self._known(backfill.connector).backfills.get(backfill.id)
        if backfill.state == "REQUESTED" and known is None:
            self.note_backfill(backfill)
        elif backfill.state == "CANCELLED" and known is not None and known.is_open:
            self.note_backfill(replace(known, state="CANCELLED"))
        else:
            return None
        return backfill.connector

    def is_damaged(self, connector: str) -> bool:
        """Whether a record of the connector does not read, so that it is not polled until that is replaced."""
        known = self._connectors.get(connector)
        return known is not None and known.damaged is not None

    async def _restored_anew(self, connector: str) -> LaneConnector:
        """The connector as it is on record now."""
        found, _ = await in_thread(lambda: self._reader.restore(connector))
        self._connectors[connector] = found.get(connector, LaneConnector())
        return self._connectors[connector]

    async def _restore_lost(self, connector: Connector, known: LaneConnector) -> None:
        """Restores a connector without checkpoint from the raw topic, where that has records of it from behind its
        start: its checkpoint is lost. The topic is read once for all of them."""
        if self._raw_end == 0:
            return
        if self._lost is None:
            with_checkpoint = {id_ for id_, known in self._connectors.items() if known.checkpoint is not None}
            self._lost = asyncio.ensure_future(in_thread(lambda: self._reader.lost(with_checkpoint)))
        try:
            lost = await asyncio.shield(self._lost)
        except BaseException:
            if self._lost is not None and self._lost.done():
                self._lost = None
            raise
        found = lost.pop(connector.id, None)
        if found is None or found.restored is None or found.restored.cursor < _start_of(connector, 0):
            return
        restored = found.restored
        every = connector.definition.deletions_every * 1000
        restored = replace(restored, deletions_cursor=max(0, min(restored.deletions_cursor, restored.cursor - every)))
        log.warning(
            "checkpoint_lost",
            connector=connector.id,
            cursor=restored.cursor,
            hint="it goes on behind the last period that the raw topic has of it, and writes nothing twice; a backfill "
            "that was under way is not known any more: frame-gainsight backfill ID --since DATE reads what is missing",
        )
        known.restored, known.seen = restored, found.seen

    def _known(self, connector: str) -> LaneConnector:
        return self._connectors.setdefault(connector, LaneConnector())

    async def _read_again(self, connector: str) -> None:
        """Restores a connector that was removed and is registered again, with what was requested meanwhile."""
        restored, self._raw_end = await asyncio.to_thread(self._reader.restore, connector)
        found = restored.get(connector, LaneConnector())
        if (known := self._connectors.get(connector)) is not None:
            meanwhile = {id_: b for id_, b in known.backfills.items() if not b.is_open or id_ not in found.backfills}
            found.backfills |= meanwhile
            found.failure = known.failure or found.failure
        self._connectors[connector] = found
        self._removed.discard(connector)

    def _forget(self, connector: str) -> None:
        """Forgets a connector whose checkpoint was deleted, unless it is polled now."""
        if (known := self._connectors.get(connector)) is not None and known.feed is None:
            del self._connectors[connector]
            self._lost = None

    async def _first_checkpoint(self, connector: Connector, client: GainsightClient, columns: Columns) -> Checkpoint:
        await columns.ensure()
        tenant_now = client.tenant_now()
        now = tenant_now if tenant_now is not None else self._context.clock.now()
        start = _start_of(connector, now // 1000 * 1000)
        latest = max(now, self._context.clock.now())
        if start > latest:  # no checkpoint is made of it, so that a corrected start begins like a new connector's
            raise StartAheadError(format_date(start), (start - latest) / 1000)
        # One that is in the future for the tenant alone, whose clock is behind ours, is our present.
        begun = start = min(start, now // 1000 * 1000)
        if now - start > FAR:  # as far back as rows may still become visible, live polling reads; the rest is done
            overlap = connector.definition.fixed_overlap
            begun = now // 1000 * 1000 - (MAX_AUTO if overlap is None else overlap) * 1000
        return Checkpoint(connector.id, begun, self._raw_end, begun, begun=begun)

    async def _give_up_former_starts(self, connector: Connector, known: LaneConnector) -> None:
        """Cancels what an earlier definition's start requested of the time before the present one."""
        if (given := connector.definition.start) is None:
            return
        start = int(given.timestamp()) * 1000
        former = [b for b in known.backfills.values() if b.is_open and b.id.startswith(BY_START) and b.since < start]
        if not former:
            return
        records = Records(self._context, connector.id, self.number)
        cancelled = [replace(b, state="CANCELLED", updated_at=self._context.clock.now()) for b in former]
        await self._write([], lambda _: [records.backfill(b) for b in cancelled])
        for backfill in cancelled:
            log.info("backfill_given_up", connector=connector.id, id=backfill.id, rows=backfill.rows)
            known.backfills[backfill.id] = backfill

    def _request_past(self, connector: Connector, known: LaneConnector) -> None:
        """Requests a backfill for a definition's start that lies before everything that is read already, or will be."""
        covered = _covered_from(known)
        if covered is None or connector.definition.start is None:
            return
        since = _start_of(connector, covered)
        id_ = f"{BY_START}{since // 1000}"
        if since < covered and id_ not in known.backfills:
            now = self._context.clock.now()
            log.info("backfill_requested_by_start", connector=connector.id, since=since, until=covered)
            known.backfills[id_] = Backfill(connector.id, id_, since, now, covered)

    async def _write(
        self, records: Sequence[ProducerRecord], then: Callable[[Sequence[int]], Sequence[ProducerRecord]]
    ) -> list[int]:
        """Writes all in one transaction, or nothing. Raises RecordTooLargeError for what a topic does not take."""

        limits = self._context.limits

        def fitting(offsets: Sequence[int]) -> Sequence[ProducerRecord]:
            made = then(offsets)
            if any(limits.refusal(record) is not None for record in made):
                limits.read()
            for record in made:
                if (refusal := limits.refusal(record)) is not None:
                    raise RecordTooLargeError(refusal)
            return made

        async with self._writing:
            writing = asyncio.ensure_future(asyncio.to_thread(self._writer.write, records, fitting))
            try:
                offsets = await asyncio.shield(writing)
            except asyncio.CancelledError:  # the work is being given up: the transaction in flight ends first
                await asyncio.wait([writing])
                writing.result()  # had it failed, our state in memory would be ahead of what was committed
                raise
            except RecordTooLargeError as error:
                await self._read_limits(error)
                raise
        self._note_raw(offsets)
        return offsets

    async def _read_limits(self, error: RecordTooLargeError) -> None:
        """Reads the limits after a refusal. Raises BrokerError when batches are larger than a topic takes now: they
        are smaller when the lane is opened anew."""
        await asyncio.to_thread(self._context.limits.read)
        if self._context.limits.smallest < self._batch:
            raise BrokerError(f"{error} Batches are made smaller.") from error

    def _note_raw(self, offsets: Sequence[int]) -> None:
        """Raises TopicError when the raw topic was created anew: its offsets begin again."""
        if not offsets:
            return
        if offsets[0] <= self._last_raw:
            raise TopicError(
                f"Topic {self._context.settings.raw_topic} was deleted and created anew (partition {self.number}: "
                f"offset {offsets[0]} after {self._last_raw}). The lane is opened anew, and what the overlap reads is "
                "written again; what the topic held before is read by: frame-gainsight backfill ID --since DATE"
            )
        self._last_raw = offsets[-1]


def _covered_from(known: LaneConnector) -> int | None:
    """The beginning of what has been read, or is being read, without a gap up to the cursor."""
    covered = known.checkpoint.begun if known.checkpoint is not None else None
    if covered is None:
        return None
    for backfill in sorted(known.backfills.values(), key=lambda b: b.since, reverse=True):
        reaches = backfill.until is None or backfill.until >= covered
        if backfill.state in ("REQUESTED", "RUNNING", "DONE") and reaches and backfill.since < covered:
            covered = backfill.since
    return covered


def _start_of(connector: Connector, default: int) -> int:
    start = connector.definition.start
    return int(start.timestamp()) * 1000 if start is not None else default
