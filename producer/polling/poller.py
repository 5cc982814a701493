"""One connector's polls: window by window, page by page, each page in one transaction with its checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

import structlog

from frame_gainsight.connectors.columns.required import ACTIVITY
from frame_gainsight.gainsight import ConfigError, Priority, Query, format_date, whole_second
from frame_gainsight.gainsight.tenant_clock import ABSURD, MAX_AHEAD, span
from frame_gainsight.kafka import ProducerRecord
from frame_gainsight.runtime.pauses import with_pauses
from producer.polling.deletions import Deleted, DeletionPoller
from producer.polling.feed import Feed
from producer.state.checkpoint import OpenPeriod
from producer.state.seen_versions import Seen, Verdict, versions_of
from producer.timeline.keyset_reader import Activity, Page, Position, Unreadable, ahead, read_pages
from producer.timeline.lateness import NEAR, enough_for
from producer.timeline.window import Window, next_window

log = structlog.get_logger(__name__)

# Versions are remembered for longer than the overlap, back to the last poll for deletions, so that it can tell which
# activities came back after their deletion; as far as that takes little memory. Beyond it the tenant is queried.
REMEMBERED_MS = 2 * 3_600_000
REMEMBERED_ROWS = 100_000


DRIFTED = 86_400.0  # seconds behind ours up to which a clock has drifted; further behind it is a simulated tenant's
_ADVICE = (
    "Check this machine's clock, and whether a proxy is before the tenant that sets or keeps the Date; or ask the "
    "Gainsight admin."
)


@dataclass(slots=True)
class PollResult:
    """The outcome of a poll. `late`: seconds of the overlap needed by each row that became visible late.

    `missing`: column → what to do about its absence. `clock_fault`: what is late by the tenant's clock.
    """

    connector: str
    window: Window | None = None
    pages: int = 0
    rows: int = 0
    written: int = 0
    unchanged: int = 0
    dead: int = 0
    tombstones: int = 0
    late: list[float] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    clock_fault: str | None = None


class Poller:
    """Polls one connector, whose feed its lane's owner has restored.

    After an error of the writer the poller may not be used again: its state may be ahead of what was committed.
    """

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._write_order = feed.write_order
        self._deletions = DeletionPoller(feed.definition, feed.client)

    async def poll(self) -> PollResult:
        """Reads the unfinished window, or the next one, and polls for deletions when that is due.

        Raises GainsightError (the next poll goes on where this one stopped), BrokerError, FencedError.
        """
        feed = self._feed
        result = PollResult(feed.definition.id)
        await feed.columns.ensure()
        period = self._write_order.checkpoint.period or await self._next_period()
        if period is not None:
            result.window = period.window
            await self._read(period, result)
        await self._poll_deletions(result)
        result.missing = dict(feed.columns.missing)
        result.clock_fault = self._doubtful_clock()
        log.info(
            "polled",
            connector=feed.definition.id,
            window=str(result.window),
            rows=result.rows,
            written=result.written,
            unchanged=result.unchanged,
            tombstones=result.tombstones,
            dead=result.dead,
        )
        self._warn_of_lateness(result)
        return result

    async def _next_period(self) -> OpenPeriod | None:
        feed, checkpoint = self._feed, self._write_order.checkpoint
        if self._unusable_clock() is not None:  # it may have been set right since the last call
            await feed.client.query(Query(ACTIVITY, ["Gsid"], limit=1))
            if (fault := self._unusable_clock()) is not None:
                raise ConfigError(fault)
        now = feed.client.tenant_now()
        assert now is not None
        beginning = min(feed.beginning, checkpoint.cursor)
        window = next_window(checkpoint.cursor, feed.overlap, beginning, now, feed.margin)
        if window is None:
            return None
        # After the overlap was made longer, it grows from poll to poll: what lies before was forgotten, and reading
        # it again would write it again.
        start = window.start if checkpoint.unsure_from is None else min(window.start, checkpoint.unsure_from)
        window = Window(max(start, whole_second(checkpoint.remembered_from or 0)), window.end)
        return OpenPeriod(_poll_id(feed.definition.id, window), window, Position(window.start))

    def _unusable_clock(self) -> str | None:
        """Why no window can be read by the tenant's clock, and what to do; None where one can."""
        feed, now = self._feed, self._feed.client.tenant_now()
        host = feed.definition.host
        if now is None:
            return (
                f"{host} sends no Date header that can be read: its clock, by which windows end, is unknown. Check "
                "that the host is the tenant's own address."
            )
        skew, ours = feed.client.clock_skew or 0.0, feed.context.clock.now()
        read_until = min(self._write_order.checkpoint.cursor, ours)
        if abs(skew) <= ABSURD and read_until - now <= MAX_AHEAD * 1000:
            return None
        return (
            f"The Date header of {host} is {_skewed(skew)}: by it, nothing later than {format_date(read_until)} can be "
            f"read. {_ADVICE}"
        )

    def _doubtful_clock(self) -> str | None:
        """What is late by the tenant's clock, and what to do; None where nothing is. Polls go on."""
        skew, host = self._feed.client.clock_skew or 0.0, self._feed.definition.host
        if skew > MAX_AHEAD:
            return (
                f"The Date header of {host} is {_skewed(skew)}, more than the {span(MAX_AHEAD)} for which it is "
                f"followed: activities come that much late. {_ADVICE}"
            )
        if -DRIFTED <= skew < -MAX_AHEAD:
            return f"The Date header of {host} is {_skewed(skew)}: activities may come that much late. {_ADVICE}"
        return None

    async def _read(self, period: OpenPeriod, result: PollResult) -> None:
        source = self._feed.source(Priority.LIVE)
        try:
            async with aclosing(ahead(read_pages(source, period.window, period.position))) as pages:
                async for page in pages:
                    period = await self._write_page(page, period, result)
                    page.release()
        finally:
            source.close()

    async def _write_page(self, page: Page, period: OpenPeriod, result: PollResult) -> OpenPeriod:
        """Writes the new versions of a page and, in the same transaction, where to go on."""
        feed, write_order = self._feed, self._write_order
        fetched_at = feed.context.clock.now()
        columns = feed.columns.version
        last = page.next is None
        headers = feed.records.headers(period, last)
        async with write_order.turn:
            current = [a for a in page.activities if not write_order.is_stale(a.gsid, page.request)]
            new, beside = await versions_of(
                current, lambda a, f: write_order.seen.verdict(a, f, columns) is Verdict.WRITE
            )
            fitting = await feed.records.fitting(new, columns, headers, fetched_at)
            fresh, outgoing = fitting.activities, list(fitting.records)
            dead = write_order.seen.new_unreadable([*page.unreadable, *beside, *fitting.refused])
            following = replace(
                period,
                page=period.page + 1,
                written=period.written + len(fresh),
                position=page.next or period.position,
            )
            trailing = [feed.records.dead_letter(row, headers, fetched_at) async for row in with_pauses(dead)]
            if last and following.written:
                outgoing.append(feed.records.marker(following, headers, fetched_at))
            late = self._lateness([activity for activity, _ in fresh])

            def checkpoint(offsets: Sequence[int]) -> Sequence[ProducerRecord]:
                for (activity, fingerprint), offset in zip(fresh, offsets, strict=False):
                    seen = Seen(activity.modified_at, fingerprint, offset, columns)
                    write_order.note(activity.gsid, seen, page.request)
                write_order.seen.note_unreadable(dead)
                self._advance(following, last, offsets[-1] + 1 if offsets else None, page.unsure_from)
                return [*trailing, feed.records.checkpoint(write_order.checkpoint)]

            with write_order.undone_on_error():
                await feed.write(outgoing, checkpoint)
        result.pages += 1
        result.rows += len(page.activities) + len(page.unreadable)
        result.written += len(fresh)
        result.unchanged += len(page.activities) - len(new) - len(beside)
        result.dead += len(dead)
        result.late += late
        return following

    def _lateness(self, fresh: Sequence[Activity]) -> list[float]:
        """Seconds of the overlap that each late row needed: it was not there when its second was read before."""
        checkpoint = self._write_order.checkpoint
        late = []
        for activity in fresh:
            if checkpoint.unsure_from is not None and activity.modified_at >= checkpoint.unsure_from:
                continue  # it may have been there, behind a capped page
            needed = (checkpoint.cursor - activity.modified_at) / 1000
            self._feed.lateness.observe(needed)
            if needed > 0:
                late.append(needed)
        return late

    def _warn_of_lateness(self, result: PollResult) -> None:
        needed, overlap = max(result.late, default=0.0), self._feed.overlap / 1000
        if not overlap or needed < NEAR * overlap:
            return
        log.warning(
            "rows_late",
            connector=self._feed.definition.id,
            seconds=round(needed),
            overlap=round(overlap),
            hint=f"rows become visible almost as late as the overlap reaches, and later ones would be missed; set "
            f"overlap: {enough_for(needed)}, or overlap: auto",
        )

    def _advance(self, period: OpenPeriod, last: bool, after: int | None, unsure_from: int | None) -> None:
        """Moves the checkpoint behind a page; `after` is the raw offset behind what was written."""
        feed, write_order, before = self._feed, self._write_order, self._write_order.checkpoint
        overlap = feed.overlap
        cursor = period.window.end if last else before.cursor
        # The rest of this window and the next window's overlap are read again.
        kept_from = period.window.end - overlap if last else min(period.position.at, period.window.end - overlap)
        if unsure_from is not None:
            kept_from = min(kept_from, unsure_from)
        if len(write_order.seen) <= REMEMBERED_ROWS:
            kept_from = min(kept_from, max(before.deletions_cursor - overlap, cursor - REMEMBERED_MS))
        kept_from = max(kept_from, before.remembered_from or 0)
        write_order.seen.forget(kept_from, before.deletions_cursor - overlap)
        write_order.checkpoint = replace(
            before,
            cursor=cursor,
            raw_offset=write_order.seen.first_offset(after if after is not None else before.raw_offset),
            period=None if last else period,
            remembered_from=kept_from,
            unsure_from=unsure_from if last else before.unsure_from,
            proven_rows=feed.size.proven,
            lateness=tuple(feed.lateness.counts),
            calls=feed.client.spent,
        )

    async def _poll_deletions(self, result: PollResult) -> None:
        """Writes a tombstone for every activity that was deleted."""
        feed, write_order = self._feed, self._write_order
        request = write_order.begin_request()
        try:
            deleted = await self._deletions.poll(write_order.checkpoint, feed.overlap, write_order.seen.is_deleted)
            if deleted is not None:
                await self._write_tombstones(deleted, request, result)
        finally:
            write_order.end_request(request)

    async def _write_tombstones(self, deleted: Deleted, request: int, result: PollResult) -> None:
        feed, write_order = self._feed, self._write_order
        fetched_at = feed.context.clock.now()
        period = OpenPeriod(
            _poll_id(feed.definition.id, deleted.window) + "!deletions", deleted.window, Position(deleted.window.start)
        )
        headers = feed.records.headers(period, last=True)
        seen = write_order.seen
        fresh = {g: at for g, at in deleted.at.items() if not seen.is_deleted(g) and not seen.outlives(g, at)}
        # A source that does not heed the dates names again what is older than the tombstones that are remembered.
        older = [_deletion(g, at) for g, at in fresh.items() if at < deleted.window.start]
        unwritten = {row.row["Gsid"] for row in seen.new_unreadable(older)}
        fresh = {g: at for g, at in fresh.items() if at >= deleted.window.start or g in unwritten}
        # What was written since an old deletion may be forgotten: the tenant knows whether the activity came back.
        doubtful = [g for g, at in fresh.items() if at < (write_order.checkpoint.remembered_from or 0)]
        alive = await self._deletions.alive(doubtful) if doubtful else set()
        async with write_order.turn:
            fresh = {g: at for g, at in fresh.items() if g not in alive and not write_order.is_stale(g, request)}
            refused = await feed.records.refused_tombstones(fresh, headers, fetched_at)
            fresh = {g: at for g, at in fresh.items() if g not in refused}
            outgoing, written = [], []
            async for gsid, at in with_pauses(fresh.items()):
                outgoing.append(feed.records.tombstone(gsid, at, headers, fetched_at))
                written.append(_deletion(gsid, at))
            dead = seen.new_unreadable(refused.values())
            trailing = [feed.records.dead_letter(row, headers, fetched_at) async for row in with_pauses(dead)]
            if fresh:
                outgoing.append(feed.records.marker(replace(period, written=len(fresh)), headers, fetched_at))

            def checkpoint(offsets: Sequence[int]) -> Sequence[ProducerRecord]:
                for (gsid, at), offset in zip(fresh.items(), offsets, strict=False):
                    write_order.note(gsid, Seen(at, None, offset), request)
                seen.note_unreadable([*dead, *written])
                default = offsets[-1] + 1 if offsets else write_order.checkpoint.raw_offset
                write_order.checkpoint = replace(
                    write_order.checkpoint,
                    deletions_cursor=deleted.cursor,
                    deletion_cursors=deleted.cursors,
                    raw_offset=seen.first_offset(default),
                )
                return [*trailing, feed.records.checkpoint(write_order.checkpoint)]

            with write_order.undone_on_error():
                await feed.write(outgoing, checkpoint)
        result.tombstones += len(fresh)
        result.dead += len(dead)


def _deletion(gsid: str, at: int) -> Unreadable:
    return Unreadable({"Gsid": gsid, "DeletedOn": at}, "It is older than what was asked for.")


def _skewed(skew: float) -> str:
    return f"{span(abs(skew))} {'ahead of' if skew > 0 else 'behind'} this machine's clock"


def _poll_id(connector: str, window: Window) -> str:
    """Names a poll by what it reads, so that a poll that is taken up again keeps its name."""
    return f"{connector}@{format_date(window.start)}/{format_date(window.end)}"
