"""The schedule of a lane's work: each connector polled on its period, its backfills beside; none waits for others."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import structlog
import xxhash

from frame_gainsight.connectors import Connector, StartAheadError, VaultUnavailableError
from frame_gainsight.gainsight import ThrottledError, TransientError
from frame_gainsight.runtime import Clock, Failure, RecordTooLargeError, cause_of
from frame_gainsight.runtime.backoff import Backoff
from producer.backfilling.runner import BackfillRunner
from producer.boundary import ends_lane, foreseen
from producer.lane import Lane
from producer.polling.columns import Columns, is_refusal
from producer.polling.feed import Feed
from producer.polling.poller import Poller, PollResult
from producer.state.backfill import Backfill
from producer.state.poll_failure import failure_of
from schemas import RegistryError

log = structlog.get_logger(__name__)

MAX_POLLS = 64  # of a process, at the same time; as many of connectors that are known to be quick
QUICK_SECONDS = 2.0  # below which a poll is quick
SLOW_SECONDS = 10.0  # after which a poll does not count among them any more, so that slow tenants starve no other
FIRST_RETRY = 15.0  # seconds after a first failure that may pass by itself
LONGEST_RETRY = 3600.0  # seconds after a failure that somebody must set right, or a period where that is longer


class PollSlots:
    """The slots for polls that run at the same time in a process.

    Connectors whose last poll was quick have slots of their own: they wait for none whose tenant is slow, or of which
    nothing is known yet.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._of_quick, self._of_others = asyncio.Semaphore(MAX_POLLS), asyncio.Semaphore(MAX_POLLS)
        self._quick: set[str] = set()

    @contextlib.asynccontextmanager
    async def acquire(self, connector: str) -> AsyncIterator[None]:
        """A slot until the block ends, or for SLOW_SECONDS, so that slow tenants starve no other."""
        slots = self._of_quick if connector in self._quick else self._of_others
        await slots.acquire()
        began = self._clock.monotonic()
        timer = asyncio.create_task(self._release_when_slow(slots))
        try:
            yield
        finally:
            quick = self._clock.monotonic() - began < QUICK_SECONDS
            self._quick.add(connector) if quick else self._quick.discard(connector)
            if timer.cancel():
                slots.release()

    async def _release_when_slow(self, slots: asyncio.Semaphore) -> None:
        await self._clock.sleep(SLOW_SECONDS)
        slots.release()


@dataclass(slots=True)
class Observer:
    """Callbacks for what happens in a lane."""

    on_poll: Callable[[PollResult, Feed, float], None]
    """After a poll that went well: its result, feed and seconds."""
    on_failure: Callable[[str, Exception], None]
    on_backfill: Callable[[Backfill, Feed], None]


@dataclass(slots=True)
class _Work:
    """A connector's own task, and the events that wake it: its definition changed, its backfills did."""

    task: asyncio.Task[None] | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    backfills_changed: asyncio.Event = field(default_factory=asyncio.Event)


class LaneSchedule:
    """Runs the work of one lane. Each connector has a task of its own; Kafka's failure ends them all, a tenant's none.

    Whatever else a connector's work raises is that connector's failure: it is counted, recorded with its cause, and the
    work tried again after a back-off.

    Args:
        wanted: the connectors that are to be polled at present.
        removed: connectors that were removed, registered anew since or not; `run` clears their recorded failures, and
            takes them out.
        once: each is polled once, and its backfills are done; then `run` ends.
    """

    def __init__(
        self,
        lane: Lane,
        clock: Clock,
        slots: PollSlots,
        observer: Observer,
        wanted: Callable[[], Iterable[Connector]],
        once: bool,
        removed: set[str],
    ) -> None:
        self._lane = lane
        self._removed = removed
        self._clock = clock
        self._slots = slots
        self._observer = observer
        self._wanted = wanted
        self._once = once
        self._registered: dict[str, Connector] = {}
        self._changed = asyncio.Event()
        self._work: dict[str, _Work] = {}

    def registry_changed(self) -> None:
        """Wakes the schedule: a definition came, changed or went."""
        self._changed.set()

    def state_changed(self, connector: str) -> None:
        """Wakes the connector's task: a backfill was requested or cancelled, or a damaged checkpoint was replaced."""
        if (work := self._work.get(connector)) is not None:
            work.backfills_changed.set()
            if self._lane.is_damaged(connector):
                work.changed.set()

    async def run(self) -> None:
        """Works until cancelled. Raises BrokerError, FencedError."""
        try:
            while True:
                self._changed.clear()
                before, self._registered = self._registered, {c.id: c for c in self._wanted()}
                await self._end(self._work.keys() - self._registered.keys())
                await self._lane.keep_only(self._registered)
                for id_ in list(self._removed):  # the next one of this id has not failed yet
                    await self._lane.recovered(id_)
                    if id_ not in self._registered:
                        self._lane.removed(id_)
                    self._removed.discard(id_)
                for id_, connector in self._registered.items():
                    if (known := self._work.get(id_)) is None or (known.task is not None and known.task.done()):
                        work = self._work[id_] = _Work()
                        work.task = asyncio.create_task(self._run_connector(id_, work), name=f"connector-{id_}")
                    elif before.get(id_) != connector:
                        self._work[id_].changed.set()
                if self._once:
                    await _all_of(*(w.task for w in self._work.values() if w.task is not None))
                    return
                await _first_of(self._changed.wait(), *(w.task for w in self._work.values() if w.task is not None))
        finally:
            await self._end(list(self._work))

    async def _end(self, connectors: Iterable[str]) -> None:
        await _stop([task for c in connectors if (task := self._work.pop(c).task) is not None])

    async def _run_connector(self, id_: str, work: _Work) -> None:
        """Polls on the connector's period, with its backfills beside; begins anew when its definition changes."""
        failures, restarted = 0, False
        while (connector := self._registered.get(id_)) is not None:
            work.changed.clear()
            try:
                feed = await self._lane.feed(connector)
                polling = self._keep_polling(feed, restarted)
                backfilling = self._keep_backfilling(feed, work.backfills_changed)
                if self._once:
                    await _all_of(polling, backfilling)
                    return
                await _first_of(work.changed.wait(), polling, backfilling)
                failures, restarted = 0, True
            except Exception as error:  # the connector's boundary
                if ends_lane(error):
                    raise
                failures += 1
                delay = await self._failed(id_, error, failures, connector.definition.period)
                if self._once:
                    return
                await _first_of(work.changed.wait(), self._wait(error, delay))

    async def _keep_polling(self, feed: Feed, restarted: bool) -> None:
        poller, failures = Poller(feed), 0
        delay = 0.0 if restarted or self._once else self._first_wait(feed)
        failed: Exception | None = None
        while True:
            await self._wait(failed, delay, feed.columns)
            begun, failed = self._clock.monotonic(), None
            try:
                async with self._slots.acquire(feed.definition.id):
                    result = await poller.poll()
                failures = 0
                if result.clock_fault is None:
                    await self._lane.recovered(feed.definition.id)
                else:
                    await self._lane.failed(feed.definition.id, Failure.CONFIG.value, result.clock_fault)
                self._observer.on_poll(result, feed, self._clock.monotonic() - begun)
                delay = self._next_wait(feed, least=feed.definition.period / 10)
            except Exception as error:  # the connector's boundary
                if ends_lane(error):
                    raise
                failures, failed = failures + 1, error
                delay = await self._failed(feed.definition.id, error, failures, feed.definition.period)
            if self._once:
                return

    async def _failed(self, connector: str, error: Exception, failures: int, period: float) -> float:
        """Counts, logs and records a connector's failure; returns the seconds until the next try."""
        error = foreseen(error)
        try:
            self._observer.on_failure(connector, error)
            await self._lane.failed(connector, failure_of(error), cause_of(error, connector))
        except Exception as second:
            if ends_lane(second):
                raise
            log.exception("failure_not_recorded", connector=connector, cause=str(foreseen(second)))
        return _retry_wait(error, failures, period)

    async def _wait(self, failed: Exception | None, delay: float, columns: Columns | None = None) -> None:
        """Waits for `delay` seconds, or until what failed may go on: topics take larger records, or another reader has
        learnt of the tenant's columns."""
        sooner = []
        if isinstance(failed, RecordTooLargeError):
            sooner.append(self._lane.limits_raised())
        if columns is not None and failed is not None and is_refusal(failed):
            sooner.append(columns.learnt())
        await _first_of(self._clock.sleep(delay), *sooner)

    def _first_wait(self, feed: Feed) -> float:
        """Seconds until the first poll after the lane was taken: none when it is due, else the rest of the period."""
        checkpoint, period = feed.write_order.checkpoint, feed.definition.period
        since = (self._clock.now() - checkpoint.cursor) / 1000
        if checkpoint.period is not None or checkpoint.cursor == checkpoint.begun or since >= period:
            return 0.0
        return max(0.0, min(self._next_wait(feed), period - since))

    def _next_wait(self, feed: Feed, least: float = 0.0) -> float:
        """Seconds until the connector's next turn, `least` or more.

        Turns are a period apart, and each connector's own: many connectors spread over the period, however they were
        started.
        """
        period = feed.definition.period * 1000
        turn = xxhash.xxh3_64_intdigest(feed.definition.id.encode()) % period
        wait = (period - (self._clock.now() - turn) % period) / 1000
        return wait if wait >= least else wait + period / 1000

    async def _keep_backfilling(self, feed: Feed, changed: asyncio.Event) -> None:
        """Does the requested backfills, one after the other."""
        id_ = feed.definition.id
        while True:
            changed.clear()
            backfill = self._lane.backfill_of(id_)
            if backfill is not None:
                await self._backfill(feed, backfill, changed)
            elif self._once:
                return
            else:
                await changed.wait()

    async def _backfill(self, feed: Feed, backfill: Backfill, changed: asyncio.Event) -> None:
        def progress(now: Backfill) -> None:
            known = self._lane.known_backfill(now)
            if known is None or known.state != "CANCELLED":
                self._lane.note_backfill(now)
            self._observer.on_backfill(now, feed)

        runner = BackfillRunner(feed, backfill, self._lane.is_covered(backfill), progress)
        running = asyncio.create_task(runner.run())
        try:
            while not running.done():
                await _first_of(changed.wait(), running)
                changed.clear()
                known = self._lane.known_backfill(backfill)
                if known is not None and known.state == "CANCELLED" and not running.done():
                    await _stop([running])
                    await runner.cancel()
                    return
            running.result()
        finally:
            await _stop([running])


async def _first_of(*awaitables: Awaitable[Any]) -> None:
    """Waits for the first to end, and cancels those that were no tasks before. Raises the first one's failure."""
    tasks = [a if isinstance(a, asyncio.Future) else asyncio.ensure_future(a) for a in awaitables]
    ours = [t for t, a in zip(tasks, awaitables, strict=True) if t is not a]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _stop(ours)
    for task in done:
        task.result()


async def _all_of(*awaitables: Awaitable[Any]) -> None:
    """Waits for all; the first that fails cancels the others."""
    tasks = [asyncio.ensure_future(a) for a in awaitables]
    try:
        await asyncio.gather(*tasks)
    finally:
        await _stop(tasks)


async def _stop(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancels tasks and waits for their end. Raises the failure of one."""
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            raise result


def _retry_wait(error: Exception, failures: int, period: float) -> float:
    """Seconds until the next try. A failure that may pass by itself is tried again soon, others less and less often."""
    if isinstance(error, ThrottledError) and error.retry_after:
        return error.retry_after
    if isinstance(error, StartAheadError):
        return min(max(error.seconds, 1.0), LONGEST_RETRY)
    if isinstance(error, TransientError | VaultUnavailableError | RegistryError):
        return Backoff(FIRST_RETRY, max(period, 1.0)).seconds(failures)
    return max(period, Backoff(period, LONGEST_RETRY).seconds(failures))
