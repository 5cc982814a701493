"""Running a backfill, by the owner of its lane, beside live polling: slices in parallel, each page a transaction."""

from __future__ import annotations

import asyncio
import math
from asyncio import FIRST_COMPLETED
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import structlog

from frame_gainsight.gainsight import (
    Priority,
    ThrottledError,
    TransientError,
    format_date,
    whole_second,
)
from frame_gainsight.kafka import ProducerRecord
from frame_gainsight.runtime import RecordTooLargeError, cause_of
from frame_gainsight.runtime.backoff import Backoff
from frame_gainsight.runtime.pauses import with_pauses
from producer.backfilling.estimate import estimate
from producer.backfilling.known_versions import KnownVersions
from producer.boundary import ends_lane, foreseen
from producer.polling.columns import is_refusal
from producer.polling.feed import Feed
from producer.state.backfill import Backfill, Slice, cut, with_slice
from producer.state.checkpoint import OpenPeriod
from producer.state.seen_versions import versions_of
from producer.timeline.keyset_reader import Activity, Page, ahead, read_pages
from producer.timeline.window import Window

log = structlog.get_logger(__name__)

MAX_PARALLEL = 16
ROOM = 1.2  # times the calls that would do if all took equally long
RETRY = Backoff(first=2.0, longest=300.0)
CONFIG_WAIT = 600.0  # seconds after a failure that somebody must set right
SETTLE_CHECK_SECONDS = 30.0


class BackfillRunner:
    """Runs one backfill.

    Args:
        covered: the span, or part of it, has been read before: versions that the raw topic has are not written again.
        on_progress: called after every page, with the backfill as it is then.
    """

    def __init__(
        self, feed: Feed, backfill: Backfill, covered: bool, on_progress: Callable[[Backfill], None] | None = None
    ) -> None:
        self.backfill = backfill
        self._feed = feed
        self._covered = covered
        self._known: KnownVersions | None = None
        self._on_progress = on_progress
        self._busy: set[Window] = set()
        self._page_written = asyncio.Event()

    async def run(self) -> Backfill:
        """Works until the backfill is done. After a tenant's failure it is tried again, for as long as it takes.

        Raises BrokerError, FencedError; another owner goes on where the last transaction ended.
        """
        try:
            await self._persist(self._prepare)
            await self._read_slices()
        finally:
            if self._known is not None:
                self._known.close()
        if self.backfill.state != "DONE":  # there was nothing to read
            await self._write_state(state="DONE", cause=None)
        log.info("backfill_done", connector=self.backfill.connector, id=self.backfill.id, rows=self.backfill.rows)
        return self.backfill

    async def cancel(self) -> None:
        """Records that the backfill was given up; `run` must have ended before."""
        await self._write_state(state="CANCELLED")

    async def _persist(self, work: Callable[[], Awaitable[None]]) -> None:
        """Repeats a piece of work until it succeeds; the waits grow while nothing is written."""
        failures = 0
        while True:
            before = self.backfill.rows
            try:
                return await work()
            except Exception as error:  # the backfill's boundary
                if ends_lane(error):
                    raise
                failures = 1 if self.backfill.rows > before else failures + 1
                await self._wait(foreseen(error), failures)

    async def _wait(self, error: Exception, failures: int) -> None:
        """Records why the backfill does not go on, and waits."""
        seconds = RETRY.seconds(failures)
        if isinstance(error, ThrottledError) and error.retry_after:
            seconds = error.retry_after
        elif not isinstance(error, TransientError):
            seconds = CONFIG_WAIT
        context, columns = self._feed.context, self._feed.columns
        # What may help before the time is over: another reader learns of the tenant's columns, or a topic takes more.
        sooner = [columns.learnt()] if is_refusal(error) else []
        if isinstance(error, RecordTooLargeError):
            sooner.append(context.limits.raised(context.clock))
        waits = [asyncio.ensure_future(wait) for wait in (*sooner, context.clock.sleep(seconds))]
        try:
            await self._record_cause(cause_of(error, self._feed.definition.id))
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _record_cause(self, cause: str) -> None:
        """Records why the backfill does not go on, once."""
        if cause != self.backfill.cause:
            log.warning("backfill_waiting", connector=self.backfill.connector, id=self.backfill.id, cause=cause)
            await self._write_state(cause=cause)

    async def _prepare(self) -> None:
        """Estimates the span and cuts it into slices; after a restart both are on record."""
        feed, requested = self._feed, self.backfill
        await feed.columns.ensure()
        if self._covered and self._known is None:
            self._known = await asyncio.to_thread(lambda: KnownVersions(feed.versions()))
        if requested.state != "REQUESTED":
            return
        live_from = feed.write_order.live_from
        until = max(requested.since, min(requested.until if requested.until is not None else live_from, live_from))
        marks, calls, page_rows = requested.marks, 0, feed.context.settings.page_rows
        if not marks and requested.since < until:
            found = await estimate(feed.client, feed.definition, requested.since, until, page_rows)
            marks, calls = found.marks, found.probes
        await self._write_state(
            state="RUNNING",
            until=until,
            marks=marks,
            slices=cut(requested.since, until, marks, requested.newest_first, self._settled(), page_rows),
            started_at=feed.context.clock.now(),
            calls=requested.calls + calls,
            cause=None,
        )

    async def _read_slices(self) -> None:
        running: set[asyncio.Task[None]] = set()
        try:
            while self.backfill.slices:
                while len(running) < self._parallel() and (slice_ := self._next_slice()) is not None:
                    self._busy.add(slice_.window)
                    running.add(asyncio.create_task(self._read(slice_.window)))
                # Every page shows how slow the tenant is: more slices may be wanted.
                self._page_written.clear()
                page_written = asyncio.create_task(self._page_written.wait())
                try:
                    await asyncio.wait({*running, page_written}, return_when=FIRST_COMPLETED)
                finally:
                    page_written.cancel()
                for task in {t for t in running if t.done()}:
                    running.discard(task)
                    task.result()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            self._busy.clear()

    def _parallel(self) -> int:
        """Slices to read at the same time: enough to use the budget's calls a minute, however slow the tenant is."""
        client = self._feed.client
        return max(1, min(MAX_PARALLEL, math.ceil(client.calls_per_minute / 60 * client.latency * ROOM)))

    def _next_slice(self) -> Slice | None:
        return next((s for s in self.backfill.slices if s.window not in self._busy), None)

    async def _read(self, window: Window) -> None:
        await self._persist(lambda: self._read_on(window))
        self._busy.discard(window)

    async def _read_on(self, window: Window) -> None:
        """Reads a slice from where it stands to its end, once all its rows must have become visible."""
        while (ahead_by := window.end - self._settled()) > 0:
            at = format_date(self._feed.context.clock.now() + ahead_by)
            await self._record_cause(f"The last of it is read at {at}: until then rows may become visible.")
            await self._feed.context.clock.sleep(min(ahead_by / 1000, SETTLE_CHECK_SECONDS))
        slice_ = next(s for s in self.backfill.slices if s.window == window)
        source = self._feed.source(Priority.BACKFILL)
        calls = 0
        try:
            async with aclosing(ahead(read_pages(source, window, slice_.position, slice_.taken))) as pages:
                async for page in pages:
                    slice_ = await self._write_page(page, slice_, source.calls - calls)
                    calls = source.calls
                    page.release()
        finally:
            source.close()

    async def _write_page(self, page: Page, slice_: Slice, calls: int) -> Slice:
        """Writes the versions that the raw topic lacks of a page and, in the same transaction, the slice's position."""
        feed, write_order = self._feed, self._feed.write_order
        fetched_at, columns, last = feed.context.clock.now(), feed.columns.version, page.next is None
        period = OpenPeriod(self._poll_id(slice_.window), slice_.window, slice_.position, slice_.page, slice_.written)
        headers = feed.records.headers(period, last)
        async with write_order.turn:
            current = [a for a in page.activities if not write_order.is_stale(a.gsid, page.request)]
            new, beside = await versions_of(current, self._is_new)
            fitting = await feed.records.fitting(new, columns, headers, fetched_at)
            fresh, outgoing = fitting.activities, list(fitting.records)
            following = replace(
                slice_,
                position=page.next or slice_.position,
                taken=page.taken,
                page=slice_.page + 1,
                written=slice_.written + len(fresh),
            )
            if last and following.written:
                marker = replace(period, page=following.page, written=following.written)
                outgoing.append(feed.records.marker(marker, headers, fetched_at))
            dead = write_order.seen.new_unreadable([*page.unreadable, *beside, *fitting.refused])
            trailing = [feed.records.dead_letter(row, headers, fetched_at) async for row in with_pauses(dead)]

            def progress(offsets: Sequence[int]) -> Sequence[ProducerRecord]:
                for activity, _ in fresh:
                    write_order.note_backfilled(activity.gsid, page.request)
                write_order.seen.note_unreadable(dead)
                advanced = with_slice(self.backfill, slice_.window, None if last else following)
                self.backfill = replace(
                    advanced,
                    state="RUNNING" if advanced.slices else "DONE",
                    rows=advanced.rows + len(page.activities) + len(page.unreadable),
                    written=advanced.written + len(fresh),
                    calls=advanced.calls + calls,
                    updated_at=fetched_at,
                    cause=None,
                )
                return [*trailing, feed.records.backfill(self.backfill)]

            await self._commit(outgoing, progress)
        self._page_written.set()
        if self._on_progress is not None:
            self._on_progress(self.backfill)
        return following

    def _is_new(self, activity: Activity, fingerprint: str) -> bool:
        return self._known is None or not self._known.has(activity, fingerprint)

    def _settled(self) -> int:
        """The moment (milliseconds) before which every modified row has become visible, however late."""
        feed = self._feed
        now = feed.client.tenant_now()
        return whole_second((now if now is not None else feed.context.clock.now()) - feed.margin - feed.overlap)

    async def _write_state(self, **changes: Any) -> None:
        def state(_: Sequence[int]) -> Sequence[ProducerRecord]:
            self.backfill = replace(self.backfill, **changes, updated_at=self._feed.context.clock.now())
            return [self._feed.records.backfill(self.backfill)]

        async with self._feed.write_order.turn:
            await self._commit([], state)
        if self._on_progress is not None:
            self._on_progress(self.backfill)

    async def _commit(
        self, records: Sequence[ProducerRecord], then: Callable[[Sequence[int]], Sequence[ProducerRecord]]
    ) -> None:
        """Writes; what was noted of a transaction that failed is taken back."""
        before = self.backfill
        try:
            with self._feed.write_order.undone_on_error():
                await self._feed.write(records, then)
        except Exception:
            self.backfill = before
            raise

    def _poll_id(self, window: Window) -> str:
        return f"{self.backfill.connector}@backfill/{self.backfill.id}/{format_date(window.start)}"
