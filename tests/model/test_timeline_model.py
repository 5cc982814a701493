"""The real reading code against a tenant that changes between any two steps, and a process that dies at any of them.

The invariant: every version that could be read when a poll began, that did not change until it ended, and that became
visible within the overlap, is written; none is written twice; the latest is written last, tombstones included. The
variants at the end break the code in the ways that peers are broken, and must be found.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

import frame_gainsight.gainsight.batch_query
import frame_gainsight.gainsight.delete_log
import producer.backfilling.runner
import producer.polling.page_size
import producer.polling.poller
from frame_gainsight.gainsight import parse_date
from frame_gainsight.runtime import Settings
from producer.polling.page_size import PageEnd, PageSize
from producer.polling.timeline_source import TimelineSource
from producer.state.write_order import WriteOrder
from producer.timeline.keyset_reader import BY_DATE, MODIFIED, Page, PageReply, Position, _between, _read, read_pages
from producer.timeline.window import Window
from tests.fixtures.poll_model import OVERLAP, PERIOD, SECOND, T0, PolledTenant

SCHEDULES = int(os.environ.get("MODEL_SCHEDULES", "2000"))
SHARE = int(os.environ.get("MODEL_WORKERS", "2"))
GSIDS = [f"G{n}" for n in range(6)]


class Schedule(RuleBasedStateMachine):
    """One schedule: what happens at the tenant, which step is done next, when the process dies."""

    run = 0
    overlap = OVERLAP

    def __init__(self) -> None:
        super().__init__()
        type(self).run += 1
        self.loop = LOOP
        self.model: PolledTenant = None  # type: ignore[assignment]

    @initialize(
        page=st.integers(2, 5), cap=st.sampled_from([None, None, 2, 3]), refuses=st.booleans(), past=st.integers(0, 5)
    )
    def begin(self, page: int, cap: int | None, refuses: bool, past: int) -> None:
        self.model = PolledTenant(self.loop, SETTINGS.model_copy(update={"page_rows": page}), overlap=self.overlap)
        tenant = self.model.tenant
        tenant.cap, tenant.refuses_three_terms = cap, refuses
        tenant.now = T0 - 30 * SECOND
        for n in range(past):
            tenant.commit(f"P{n}", 0)
            tenant.now += (n % 2) * SECOND
        tenant.now = T0
        self._settle()

    def _settle(self) -> None:
        self.loop.run_until_complete(self.model.settle())

    @rule(gsid=st.sampled_from(GSIDS), late=st.sampled_from([0, 0, 0, 1, 3, OVERLAP]))
    def commit(self, gsid: str, late: int) -> None:
        self.model.tenant.commit(gsid, late)

    @rule(count=st.integers(2, 6), late=st.sampled_from([0, 0, 2]))
    def commit_many_in_one_second(self, count: int, late: int) -> None:
        for gsid in GSIDS[:count]:
            self.model.tenant.commit(gsid, late)

    @rule(gsid=st.sampled_from([*GSIDS, "P0", "P1"]))
    def delete(self, gsid: str) -> None:
        self.model.tenant.delete(gsid)

    @rule(n=st.integers(0, 4))
    def edit_the_past(self, n: int) -> None:
        if self.model.tenant.current(f"P{n}") is not None:
            self.model.tenant.commit(f"P{n}", 0)

    @rule(milliseconds=st.sampled_from([300, 1000, 1000, 2000, PERIOD * 1000]))
    def tick(self, milliseconds: int) -> None:
        self.model.tenant.now += milliseconds

    @rule(steps=st.lists(st.integers(0, 5), min_size=1, max_size=6))
    def step(self, steps: list[int]) -> None:
        for which in steps:
            self.model.gates.open(which)
            self._settle()

    @rule()
    def poll(self) -> None:
        self.model.poll()
        self._settle()

    @rule(seconds=st.sampled_from([1, PERIOD, OVERLAP + PERIOD]), count=st.integers(1, 2))
    def whole_polls(self, seconds: int, count: int) -> None:
        """Polls come to their end while whatever else is under way stands still."""
        for _ in range(count):
            self.model.tenant.now += seconds * SECOND
            self.model.poll()
            self._until_idle("poll")

    @rule(n=st.integers(0, 4), opened=st.integers(1, 6), deleted=st.booleans())
    def overtake_the_backfill(self, n: int, opened: int, deleted: bool) -> None:
        """It goes on a little; then what it may have read changes, and polls write that before it goes on again."""
        for _ in range(opened):
            self.model.gates.open(0, "backfill")
            self._settle()
        if deleted:
            self.model.tenant.delete(f"P{n}")
        else:
            self.edit_the_past(n)
        self.whole_polls(OVERLAP + PERIOD, 1)

    @rule(back=st.sampled_from([40, 29, 3]), newest_first=st.booleans())
    def backfill(self, back: int, newest_first: bool) -> None:
        self.model.backfill(T0 - back * SECOND, newest_first)
        self._settle()

    @rule()
    def crash(self) -> None:
        self.model.crash()
        self._settle()

    @invariant()
    def nothing_twice_and_in_order(self) -> None:
        if self.model is not None:
            self.model.check_order()

    def teardown(self) -> None:
        if self.model is None:
            return
        try:
            self._finish()
        finally:
            self.model.crash()
            self._settle()

    def _finish(self) -> None:
        """Nothing happens any more but polls, and the backfill goes to its end."""
        model = self.model
        if any(b.is_open for b in model.log.backfills.values()):
            model.backfill(T0)
        for _ in range(4):  # two more than it takes, were each of a poll's pages to be doubted
            model.tenant.now += (OVERLAP + PERIOD) * SECOND
            model.poll()
            self._until_idle("poll", "backfill")
        model.check_end()

    def _until_idle(self, *work: str) -> None:
        """Lets the named work go on, in turns, until none of it is left."""
        for _ in range(400):
            self._settle()
            left = [name for name in work if name in self.model.busy]
            if not left:
                return
            # A work that waits for another's transaction to end goes on when that does.
            opened = [self.model.gates.open(0, name) for name in left]
            if not any(opened):
                self.model.gates.open(0)
        raise AssertionError("it does not come to an end")


LOOP = asyncio.SelectorEventLoop()
SETTINGS = Settings(_env_file=None, overlap_margin_seconds=1)
QUIET = settings(
    max_examples=max(1, SCHEDULES // SHARE),
    stateful_step_count=15,
    deadline=None,
    database=None,
    report_multiple_bugs=False,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(autouse=True)
def small_numbers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Short pages are doubted from two rows on; and nothing runs in threads, whose order could not be replayed."""

    async def directly(work: Callable[[], Any]) -> Any:
        return work()

    monkeypatch.setattr(producer.polling.page_size, "LEAST_CAP", 2)
    monkeypatch.setattr(frame_gainsight.gainsight.delete_log, "LEAST_CAP", 2)
    monkeypatch.setattr(frame_gainsight.gainsight.batch_query, "LEAST_CAP", 2)
    monkeypatch.setattr(producer.polling.poller, "REMEMBERED_ROWS", 4)
    monkeypatch.setattr(asyncio, "to_thread", directly)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("part", range(SHARE))
def test_every_version_is_written_once_and_the_latest_last_whatever_happens(part: int) -> None:
    Schedule.run = 0
    run_state_machine_as_test(Schedule, settings=QUIET)
    print(f"{Schedule.run} schedules")
    assert Schedule.run >= SCHEDULES // SHARE


# The same invariant must be violated by broken variants.


class FromAPast(Schedule):
    """Schedules that begin with a backfill: others mostly have none when it matters."""

    @initialize(page=st.integers(2, 5), past=st.integers(2, 5), newest_first=st.booleans())
    def begin(self, page: int, past: int, newest_first: bool) -> None:
        Schedule.begin(self, page, None, False, past)
        self.backfill(29, newest_first)


class WithoutOverlap(Schedule):
    """A definition whose overlap is 0."""

    overlap = 0


async def by_offset(source: Any, window: Window, position: Position, **_: Any) -> AsyncGenerator[Page]:
    """Pages by offset, as several public connectors read them."""
    offset = 0
    while True:
        reply = await source.fetch(_between(window.start, window.end), BY_DATE, offset)
        activities, unreadable = _read(reply.rows)
        offset += len(reply.rows)
        following = position if reply.full and reply.rows else None
        yield Page(activities, unreadable, following, frozenset(), reply.request, reply.release)
        if following is None:
            return


def behind_the_latest(cursor: int, overlap: int, beginning: int, now: int, margin: int) -> Window | None:
    """A window from one second behind the latest row that was read, as a peer does."""
    latest = max((seen.at for seen in _overlap_of_the_run()), default=cursor - SECOND)
    end = (now - margin) // SECOND * SECOND
    start = latest // SECOND * SECOND + SECOND
    return Window(start, end) if end > start else None


def _overlap_of_the_run() -> list[Any]:
    return [entry[2] for entry in CURRENT[0].log.raw if entry is not None and entry[1] is not None]


CURRENT: list[PolledTenant] = []


def broken_offset(patch: pytest.MonkeyPatch) -> type[Schedule]:
    patch.setattr(producer.polling.poller, "read_pages", by_offset)
    return Schedule


def broken_overlap(patch: pytest.MonkeyPatch) -> type[Schedule]:
    return WithoutOverlap


def broken_cursor(patch: pytest.MonkeyPatch) -> type[Schedule]:
    patch.setattr(producer.polling.poller, "next_window", behind_the_latest)
    patch.setattr(PolledTenant, "_boot", _booted(PolledTenant._boot))
    return Schedule


def _booted(boot: Callable[[PolledTenant], Any]) -> Callable[[PolledTenant], Any]:
    def remembering(model: PolledTenant) -> Any:
        CURRENT[:] = [model]
        return boot(model)

    return remembering


def broken_order(patch: pytest.MonkeyPatch) -> type[Schedule]:
    """A backfill that does not know what was written since its requests."""
    patch.setattr(WriteOrder, "is_stale", lambda *_: False)
    return FromAPast


def broken_resume(patch: pytest.MonkeyPatch) -> type[Schedule]:
    """A backfill that is taken up again without what it had taken of the present second."""

    def forgetful(source: Any, window: Window, position: Position, taken: Any = ()) -> AsyncGenerator[Page]:
        return read_pages(source, window, position)

    patch.setattr(producer.backfilling.runner, "read_pages", forgetful)
    patch.setattr("producer.backfilling.runner.KnownVersions.has", lambda *_: False)
    return Schedule


def broken_end(patch: pytest.MonkeyPatch) -> type[Schedule]:
    """What a page has left of its window's end counts as read."""

    async def read_through(*given: Any, **more: Any) -> AsyncGenerator[Page]:
        async for page in read_pages(*given, **more):
            yield replace(page, unsure_from=None)

    patch.setattr(producer.polling.poller, "read_pages", read_through)
    patch.setattr(Schedule, "overlap", 1)
    return Schedule


def broken_pace(patch: pytest.MonkeyPatch) -> type[Schedule]:
    """A full page that reaches the last second of its window counts as the last one; the next poll has the rest."""
    fetch = TimelineSource.fetch

    async def near_enough(source: TimelineSource, conditions: Any, order: Any, offset: int = 0) -> PageReply:
        reply = await fetch(source, conditions, order, offset)
        (end,) = (parse_date(c.values[0]) for c in conditions if c.operator == "LT")
        last = parse_date(reply.rows[-1][MODIFIED]) if reply.rows else None
        near = order == BY_DATE and end is not None and last is not None and last >= end - SECOND
        return replace(reply, full=False, unsure=True) if near and reply.full else reply

    patch.setattr(TimelineSource, "fetch", near_enough)
    return Schedule


def broken_page_end(patch: pytest.MonkeyPatch) -> type[Schedule]:
    """Every page that is shorter than requested is taken for the last one."""
    patch.setattr("producer.polling.page_size.PageSize.end_of", _never_capped)
    return Schedule


def _never_capped(size: PageSize, rows: int, limit: int) -> PageEnd:
    return PageEnd.FULL if rows >= limit else PageEnd.LAST


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "breaking",
    [
        broken_overlap,
        broken_offset,
        broken_cursor,
        broken_order,
        broken_resume,
        broken_page_end,
        broken_end,
        broken_pace,
    ],
)
def test_broken_variants_of_the_producer_are_found(breaking: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = breaking(monkeypatch)
    found_soon = settings(QUIET, max_examples=20_000, phases=(Phase.generate,))  # far more than it ever took
    with pytest.raises(AssertionError, match=r"missed|left for|written twice|behind|stands"):
        run_state_machine_as_test(machine, settings=found_soon)
