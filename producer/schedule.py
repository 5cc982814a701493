"""When a lane's work is done: each connector polled on its period, its backfills beside, none waiting for another."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import xxhash

from frame_gainsight.connectors import Connector, ConnectorError, Definition, VaultUnavailableError
from frame_gainsight.gainsight import GainsightError, ThrottledError, TransientError
from frame_gainsight.runtime import Clock, cause_of
from producer.backfilling.runner import BackfillRunner
from producer.lane import Lane
from producer.metrics import failure_of
from producer.polling.feed import Feed
from producer.polling.poller import Poller, PollResult
from producer.state.backfill import Backfill
from producer.timeline.keyset_reader import StuckError

AT_ONCE = 64  # polls of a process
SLOW_SECONDS = 10.0  # after which a poll does not count among them any more: a slow tenant takes nobody's place
FIRST_RETRY = 15.0  # seconds after a first failure that may pass by itself, doubled with each further one
MOST_RETRY = 3600.0

POLL_ERRORS = (GainsightError, ConnectorError, StuckError)


class PollSlots:
    """How many polls begin at once in a process."""

    def __init__(self, clock: Clock, count: int = AT_ONCE, slow: float = SLOW_SECONDS) -> None:
        self._clock = clock
        self._free = asyncio.Semaphore(count)
        self._slow = slow

    @contextlib.asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """A place, given up after a while by those who take long."""
        await self._free.acquire()
        timer = asyncio.create_task(self._give_up())
        try:
            yield
        finally:
            if timer.cancel():
                self._free.release()

    async def _give_up(self) -> None:
        await self._clock.sleep(self._slow)
        self._free.release()


@dataclass(slots=True)
class Observer:
    """Who is told what happened."""

    on_poll: Callable[[PollResult, Feed, float], None]
    """A poll that went well, of this feed, and its seconds."""
    on_failure: Callable[[str, Exception], None]
    on_backfill: Callable[[Backfill, Feed], None]


@dataclass(slots=True)
class _Work:
    """A connector's own task, and what it is told: that its definition changed, that its backfills did."""

    task: asyncio.Task[None] | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)


class LaneSchedule:
    """The work of one lane. Each connector has a task of its own; Kafka's trouble ends them all, a tenant's none.

    Args:
        wanted: the connectors that are to be polled at present.
        gone: connectors that were removed, registered anew since or not; those that are seen to are taken out of it.
        once: each is polled once, and its backfills are done; then `run` ends.
    """

    def __init__(
        self,
        lane: Lane,
        clock: Clock,
        places: PollSlots,
        observer: Observer,
        wanted: Callable[[], Iterable[Connector]],
        once: bool = False,
        gone: set[str] | None = None,
    ) -> None:
        self._lane = lane
        self._gone = gone if gone is not None else set()
        self._clock = clock
        self._places = places
        self._observer = observer
        self._wanted = wanted
        self._once = once
        self._registered: dict[str, Connector] = {}
        self._changed = asyncio.Event()
        self._work: dict[str, _Work] = {}

    def registry_changed(self) -> None:
        """A definition came, changed or went."""
        self._changed.set()

    def backfill_asked(self, connector: str) -> None:
        """A backfill was asked for, or cancelled."""
        if (work := self._work.get(connector)) is not None:
            work.asked.set()

    async def run(self) -> None:
        """Works until cancelled. Raises BrokerError, FencedError."""
        try:
            while True:
                self._changed.clear()
                before, self._registered = self._registered, {c.id: c for c in self._wanted()}
                await self._end(self._work.keys() - self._registered.keys())
                await self._lane.keep_only(self._registered)
                for id_ in list(self._gone):  # the next one of this id has no trouble yet, and its own is to be told
                    await self._lane.recovered(id_)
                    self._gone.discard(id_)
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
        failures, at_once = 0, False
        while (connector := self._registered.get(id_)) is not None:
            work.changed.clear()
            try:
                feed = await self._lane.feed(connector)
            except POLL_ERRORS as error:
                failures += 1
                await self._failed(id_, error)
                if self._once:
                    return
                await _first_of(work.changed.wait(), self._clock.sleep(_retry_wait(error, failures, connector)))
                continue
            polling = self._keep_polling(feed, at_once)
            backfilling = self._keep_backfilling(feed, work.asked)
            if self._once:
                await _all_of(polling, backfilling)
                return
            await _first_of(work.changed.wait(), polling, backfilling)
            failures, at_once = 0, True

    async def _keep_polling(self, feed: Feed, at_once: bool) -> None:
        poller, failures = Poller(feed), 0
        delay = 0.0 if at_once or self._once else self._first_wait(feed)
        while True:
            await self._clock.sleep(delay)
            begun = self._clock.monotonic()
            try:
                async with self._places.one():
                    result = await poller.poll()
            except POLL_ERRORS as error:
                failures += 1
                await self._failed(feed.definition.id, error)
                delay = _retry_wait(error, failures, feed.definition)
            else:
                failures = 0
                await self._lane.recovered(feed.definition.id)
                self._observer.on_poll(result, feed, self._clock.monotonic() - begun)
                delay = self._next_wait(feed, least=feed.definition.period / 10)
            if self._once:
                return

    async def _failed(self, connector: str, error: Exception) -> None:
        self._observer.on_failure(connector, error)
        await self._lane.failed(connector, failure_of(error), cause_of(error, connector))

    def _first_wait(self, feed: Feed) -> float:
        """Seconds until the first poll of a lane that came to us: none when it is due, else what was left."""
        checkpoint, period = feed.ledger.checkpoint, feed.definition.period
        since = (self._clock.now() - checkpoint.cursor) / 1000
        if checkpoint.period is not None or checkpoint.cursor == checkpoint.begun or since >= period:
            return 0.0
        return max(0.0, min(self._next_wait(feed), period - since))

    def _next_wait(self, feed: Feed, least: float = 0.0) -> float:
        """Seconds until the connector's next turn. Turns are a period apart, and each connector's own: many connectors
        spread over the period, however they were started."""
        period = feed.definition.period * 1000
        turn = xxhash.xxh3_64_intdigest(feed.definition.id.encode()) % period
        wait = (period - (self._clock.now() - turn) % period) / 1000
        return wait if wait >= least else wait + period / 1000

    async def _keep_backfilling(self, feed: Feed, asked: asyncio.Event) -> None:
        """Does what is asked for, one backfill after the other."""
        id_ = feed.definition.id
        while True:
            asked.clear()
            backfill = self._lane.backfill_of(id_)
            if backfill is not None:
                await self._backfill(feed, backfill, asked)
            elif self._once:
                return
            else:
                await asked.wait()

    async def _backfill(self, feed: Feed, backfill: Backfill, asked: asyncio.Event) -> None:
        def progress(now: Backfill) -> None:
            known = self._lane.known_backfill(now)
            if known is None or known.state != "CANCELLED":
                self._lane.note_backfill(now)
            self._observer.on_backfill(now, feed)

        worker = BackfillRunner(feed, backfill, self._lane.is_covered(backfill), progress)
        running = asyncio.create_task(worker.run())
        try:
            while not running.done():
                await _first_of(asked.wait(), running)
                asked.clear()
                known = self._lane.known_backfill(backfill)
                if known is not None and known.state == "CANCELLED" and not running.done():
                    await _stop([running])
                    await worker.cancel()
                    return
            running.result()
        finally:
            await _stop([running])


async def _first_of(*awaitables: Awaitable[Any]) -> None:
    """Waits for the first of them, and ends those that it began itself. Raises what it failed with."""
    tasks = [a if isinstance(a, asyncio.Future) else asyncio.ensure_future(a) for a in awaitables]
    ours = [t for t, a in zip(tasks, awaitables, strict=True) if t is not a]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _stop(ours)
    for task in done:
        task.result()


async def _all_of(*awaitables: Awaitable[Any]) -> None:
    """Waits for all of them; the first that fails ends the others."""
    tasks = [asyncio.ensure_future(a) for a in awaitables]
    try:
        await asyncio.gather(*tasks)
    finally:
        await _stop(tasks)


async def _stop(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancels tasks and waits for their end. Raises what one of them failed with."""
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            raise result


def _retry_wait(error: Exception, failures: int, connector: Connector | Definition) -> float:
    """Seconds until the next try. What may pass by itself is tried soon, what somebody must set right less and less."""
    period = (connector if isinstance(connector, Definition) else connector.definition).period
    if isinstance(error, ThrottledError) and error.retry_after:
        return error.retry_after
    if isinstance(error, TransientError | VaultUnavailableError):
        return min(max(period, 1.0), FIRST_RETRY * 2.0 ** min(failures - 1, 20))
    return max(period, min(MOST_RETRY, period * 2.0 ** min(failures - 1, 20)))
