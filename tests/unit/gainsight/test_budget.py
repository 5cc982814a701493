"""Our share of the tenant's calls, in the fixed windows in which the tenant counts."""

from __future__ import annotations

import asyncio
import heapq
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frame_gainsight.gainsight import CallBudget, Priority, ThrottledError
from tests.unit.gainsight.conftest import FakeClock

MINUTE = 1_772_445_600_000  # 10:00:00
DAY_START = 1_772_409_600_000  # 00:00:00


async def spend(budget: CallBudget, calls: int) -> None:
    for _ in range(calls):
        await budget.acquire()


async def test_a_minute_s_calls_go_out_without_a_wait_and_the_next_waits_for_the_minute_s_end(clock: FakeClock) -> None:
    clock.at = MINUTE + 15_000
    budget = CallBudget(clock, 1.0)
    await spend(budget, 100)
    assert clock.slept == []
    await budget.acquire()
    assert clock.slept == [45.0]


async def test_windows_are_fixed_and_a_new_one_is_whole_again(clock: FakeClock) -> None:
    clock.at = MINUTE + 59_999
    budget = CallBudget(clock, 1.0)
    await spend(budget, 100)
    clock.at = MINUTE + 60_000
    await spend(budget, 100)
    assert clock.slept == []


@pytest.mark.parametrize(("share", "calls"), [(1.0, 100), (0.5, 50), (0.25, 25), (0.001, 1)])
async def test_a_share_is_that_part_and_at_least_one_call(clock: FakeClock, share: float, calls: int) -> None:
    budget = CallBudget(clock, share)
    await spend(budget, calls)
    assert clock.slept == []
    await budget.acquire()
    assert clock.slept == [60.0]


async def test_concurrent_calls_never_exceed_a_window(clock: FakeClock) -> None:
    budget = CallBudget(clock, 0.1)
    made: list[int] = []

    async def one() -> None:
        await budget.acquire()
        made.append(clock.at // 60_000)

    await asyncio.gather(*(one() for _ in range(35)))
    assert [made.count(minute) for minute in sorted(set(made))] == [10, 10, 10, 5]


async def test_a_spent_day_is_an_error_with_the_time_of_its_end_and_not_a_wait_until_midnight(clock: FakeClock) -> None:
    clock.at = DAY_START + 3_600_000
    budget = CallBudget(clock, 0.5, per_minute=1000, per_day=20)
    await spend(budget, 10)
    assert budget.spent[1] == 10
    with pytest.raises(ThrottledError) as caught:
        await budget.acquire()
    assert caught.value.retry_after == 23 * 3600
    assert clock.slept == []
    clock.at = DAY_START + 86_400_000
    assert budget.spent[1] == 0
    await budget.acquire()
    assert budget.spent[1] == 1


@pytest.mark.parametrize(("retry_after", "wait"), [(7.0, 7.0), (0.0, 0.0), (None, 45.0)])
async def test_throttling_stops_all_calls_for_retry_after_or_until_the_minute_s_end(
    clock: FakeClock, retry_after: float | None, wait: float
) -> None:
    clock.at = MINUTE + 15_000
    budget = CallBudget(clock, 1.0)
    assert budget.throttled(retry_after) == wait
    await budget.acquire()
    assert sum(clock.slept) == wait


async def test_a_shorter_wait_does_not_shorten_a_longer_one(clock: FakeClock) -> None:
    budget = CallBudget(clock, 1.0)
    budget.throttled(30)
    budget.throttled(5)
    await budget.acquire()
    assert sum(clock.slept) == 30


async def test_a_clock_set_back_does_not_stop_calls_for_long(clock: FakeClock) -> None:
    budget = CallBudget(clock, 0.01)
    await budget.acquire()
    clock.at -= 3_600_000
    await budget.acquire()
    assert sum(clock.slept) <= 60


# ---- several calls that wait ----------------------------------------------------------------------------------------


class ManualClock:
    """Time passes only in `pass_`, which wakes each sleeper at its time. The wall clock can be set apart."""

    def __init__(self, at: int) -> None:
        self.wall = at
        self.steady = 0
        self.sleeps = 0
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = count()

    def now(self) -> int:
        return self.wall

    def monotonic(self) -> float:
        return self.steady / 1000

    async def sleep(self, seconds: float) -> None:
        self.sleeps += 1
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.steady + round(seconds * 1000), next(self._numbers), woken))
        await woken

    async def pass_(self, seconds: float = 0) -> None:
        end = self.steady + round(seconds * 1000)
        await _settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            at, _, woken = heapq.heappop(self._sleepers)
            self._move(at)
            if not woken.done():
                woken.set_result(None)
            await _settle()
        self._move(end)

    def _move(self, steady: int) -> None:
        self.wall += steady - self.steady
        self.steady = steady


async def _settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class Callers:
    """Calls that wait for the budget, and the order in which they went."""

    def __init__(self, budget: CallBudget) -> None:
        self.budget = budget
        self.went: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def ask(self, name: str, priority: Priority = Priority.LIVE) -> None:
        async def one() -> None:
            await self.budget.acquire(priority)
            self.went.append(name)

        self.tasks[name] = asyncio.create_task(one())
        await _settle()


async def test_live_calls_go_before_a_backfill_s_and_each_in_the_order_they_came() -> None:
    clock = ManualClock(MINUTE)
    callers = Callers(CallBudget(clock, 1.0, per_minute=3))
    await spend(callers.budget, 3)
    for name in ("b1", "b2", "l1", "l2", "l3", "l4"):
        await callers.ask(name, Priority.LIVE if name[0] == "l" else Priority.BACKFILL)
    await clock.pass_(59)
    assert callers.went == []
    await clock.pass_(1)
    assert callers.went == ["l1", "l2", "l3"]
    await clock.pass_(60)
    assert callers.went == ["l1", "l2", "l3", "l4", "b1"]  # one of three is kept for live calls
    await callers.ask("l5")
    assert callers.went[5:] == ["l5"]
    await clock.pass_(60)
    assert callers.went[6:] == ["b2"]


@pytest.mark.parametrize(("limit", "backfills"), [(1, 1), (2, 1), (10, 9), (20, 19), (39, 38), (100, 95), (1000, 950)])
async def test_a_backfill_leaves_a_part_of_each_minute(limit: int, backfills: int) -> None:
    clock = ManualClock(MINUTE)
    callers = Callers(CallBudget(clock, 1.0, per_minute=limit))
    for n in range(limit + 1):
        await callers.ask(f"b{n}", Priority.BACKFILL)
    assert len(callers.went) == backfills
    assert limit < 20 or backfills >= 0.9 * limit
    for n in range(limit - backfills):
        await callers.ask(f"l{n}")
    assert len(callers.went) == limit  # what was kept is there
    for task in callers.tasks.values():
        task.cancel()
    await _settle()


async def test_a_backfill_leaves_a_tenth_of_the_day_and_fails_when_the_rest_is_used_up() -> None:
    clock = ManualClock(MINUTE)
    budget = CallBudget(clock, 1.0, per_minute=1000, per_day=20)
    for _ in range(18):
        await budget.acquire(Priority.BACKFILL)
    with pytest.raises(ThrottledError, match="backfills' part") as caught:
        await budget.acquire(Priority.BACKFILL)
    assert caught.value.retry_after == 14 * 3600
    assert "(18) of the connector's share of the day's API calls (20) is used up until 00:00 UTC" in str(caught.value)
    await spend(budget, 2)
    with pytest.raises(ThrottledError, match="The connector's share of the day's API calls"):
        await budget.acquire(Priority.BACKFILL)


async def test_a_live_call_that_can_go_sooner_than_the_sleeping_backfill_does() -> None:
    clock = ManualClock(MINUTE + 10_000)
    callers = Callers(CallBudget(clock, 1.0, per_minute=20))
    for _ in range(19):
        await callers.budget.acquire(Priority.BACKFILL)
    await callers.ask("b", Priority.BACKFILL)  # until the minute's end
    callers.budget.throttled(5)
    await callers.ask("l")
    await clock.pass_(5)
    assert callers.went == ["l"]
    await clock.pass_(45)
    assert callers.went == ["l", "b"]


async def test_a_cancelled_call_takes_nothing_and_leaves_no_task() -> None:
    clock = ManualClock(MINUTE)
    callers = Callers(CallBudget(clock, 1.0, per_minute=1))
    await callers.ask("first")
    before = len(asyncio.all_tasks())
    await callers.ask("second")
    await callers.ask("third")
    callers.tasks["second"].cancel()
    await clock.pass_(60)
    assert callers.went == ["first", "third"]
    await callers.ask("fourth")
    callers.tasks["fourth"].cancel()
    await _settle()
    assert len(asyncio.all_tasks()) == before
    assert callers.budget.spent[1] == 2


async def test_many_waiting_calls_sleep_once_a_minute() -> None:
    clock = ManualClock(MINUTE)
    callers = Callers(CallBudget(clock, 1.0, per_minute=10))
    for n in range(50):
        await callers.ask(str(n))
    await clock.pass_(240)
    assert callers.went == [str(n) for n in range(50)]
    assert clock.sleeps == 4


async def test_a_waiting_call_fails_when_its_wait_becomes_long() -> None:
    clock = ManualClock(MINUTE)
    callers = Callers(CallBudget(clock, 1.0, per_minute=1))
    await spend(callers.budget, 1)
    await callers.ask("waits")
    callers.budget.throttled(3600)
    await clock.pass_(60)
    with pytest.raises(ThrottledError):
        await callers.tasks["waits"]


async def test_a_clock_that_fails_fails_the_waiting_calls() -> None:
    class Broken(ManualClock):
        async def sleep(self, seconds: float) -> None:
            raise RuntimeError("no time")

    budget = CallBudget(Broken(MINUTE), 1.0, per_minute=1)
    await spend(budget, 1)
    with pytest.raises(RuntimeError, match="no time"):
        await asyncio.wait_for(budget.acquire(), 5)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(list(Priority)), st.integers(1, 30)),
        st.tuples(st.just("headers"), st.integers(0, 50)),
        st.tuples(st.just("pass"), st.integers(1, 70)),
    ),
    max_size=25,
)


@given(st.integers(1, 30), STEPS)
async def test_no_minute_has_more_calls_than_our_share_whatever_the_headers(
    limit: int, steps: list[tuple[object, int]]
) -> None:
    clock = ManualClock(MINUTE)
    budget = CallBudget(clock, 1.0, per_minute=limit)
    made: list[tuple[int, Priority]] = []
    tasks: list[asyncio.Task[None]] = []

    async def one(priority: Priority) -> None:
        await budget.acquire(priority)
        made.append((clock.wall // 60_000, priority))

    for what, number in steps:
        if isinstance(what, Priority):
            tasks += [asyncio.create_task(one(what)) for _ in range(number)]
            await _settle()
        elif what == "headers":
            budget.update_from_headers(1000, number, None)
        else:
            await clock.pass_(number)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for minute in {m for m, _ in made}:
        assert len([1 for m, _ in made if m == minute]) <= limit
        backfills = len([1 for m, p in made if m == minute and p is Priority.BACKFILL])
        assert backfills <= (limit - max(1, limit // 20) if limit > 1 else 1)


# ---- the day, kept over a restart ---------------------------------------------------------------------------------


async def test_a_restart_does_not_begin_the_day_anew(clock: FakeClock) -> None:
    clock.at = DAY_START + 3_600_000
    first = CallBudget(clock, 0.5, per_day=100)
    await spend(first, 20)
    assert first.spent == (DAY_START // 86_400_000, 20)
    second = CallBudget(clock, 0.5, per_day=100, spent_today=first.spent)
    assert (second.spent[1], second.left_today, second.per_day) == (20, 30, 50)
    clock.at += 86_400_000
    yesterdays = (DAY_START // 86_400_000, 20)
    third = CallBudget(clock, 0.5, per_day=100, spent_today=yesterdays)
    assert (third.spent[1], third.left_today) == (0, 50)
    assert first.spent == (DAY_START // 86_400_000 + 1, 0)


def test_shares_are_whole_calls_also_where_a_float_is_a_little_less(clock: FakeClock) -> None:
    budget = CallBudget(clock, 0.29, per_minute=100, per_day=1000)
    assert (budget.per_minute, budget.per_day) == (29, 290)


# ---- the tenant's headers ----------------------------------------------------------------------------------------


async def test_no_call_goes_before_the_reset_when_the_tenant_has_none_left(clock: FakeClock) -> None:
    budget = CallBudget(clock, 1.0)
    budget.update_from_headers(100, 0, 12.0)
    await budget.acquire()
    assert clock.slept == [12.0]


async def test_no_call_goes_before_the_minute_s_end_when_none_is_left_and_no_reset_given(clock: FakeClock) -> None:
    clock.at = MINUTE + 15_000
    budget = CallBudget(clock, 1.0)
    budget.update_from_headers(None, 0, None)
    await budget.acquire()
    assert clock.slept == [45.0]


@pytest.mark.parametrize("reset", [3 * 86_400.0, 1e300])
async def test_an_absurdly_far_reset_is_a_day_at_the_most(clock: FakeClock, reset: float) -> None:
    budget = CallBudget(clock, 1.0)
    budget.update_from_headers(100, 0, reset)
    with pytest.raises(ThrottledError, match="The tenant allows no call until 10:00 UTC") as caught:
        await budget.acquire()
    assert caught.value.retry_after == 86_400
    clock.at += 86_400_000
    await budget.acquire()


async def test_fewer_remaining_calls_by_the_tenant_count_since_others_call_too(clock: FakeClock) -> None:
    clock.at = MINUTE + 15_000
    budget = CallBudget(clock, 0.5)
    await spend(budget, 10)
    budget.update_from_headers(100, 3, 45.0)
    await spend(budget, 3)
    assert clock.slept == []
    await budget.acquire()
    assert clock.slept == [45.0]
    await spend(budget, 49)  # the next minute is whole
    assert clock.slept == [45.0]


async def test_more_remaining_calls_by_the_tenant_do_not_make_our_share_larger(clock: FakeClock) -> None:
    budget = CallBudget(clock, 0.1)
    budget.update_from_headers(100, 3, None)
    budget.update_from_headers(100, 100, None)
    await spend(budget, 10)
    assert clock.slept == []
    budget.update_from_headers(1000, 1000, None)
    await budget.acquire()
    assert clock.slept == [60.0]


@pytest.mark.parametrize("headers", [(None, None, 12.0), (100, None, None), (100, -1, 12.0), (10, 11, 12.0)])
async def test_nonsense_in_headers_changes_nothing(
    clock: FakeClock, headers: tuple[int | None, int | None, float | None]
) -> None:
    budget = CallBudget(clock, 1.0)
    budget.update_from_headers(*headers)
    await spend(budget, 100)
    assert clock.slept == []


# ---- throttled without a time -------------------------------------------------------------------------


async def test_lasting_throttling_is_tried_ever_more_seldom_up_to_an_hour(clock: FakeClock) -> None:
    clock.at = MINUTE + 15_000
    budget = CallBudget(clock, 1.0)
    waits = []
    for _ in range(9):
        waits.append(budget.throttled(None))
        clock.at += round(waits[-1] * 1000)
    assert waits == [45, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    budget.succeeded()
    clock.at = MINUTE + 86_400_000 + 30_000
    assert budget.throttled(None) == 30


async def test_throttled_calls_that_were_under_way_together_count_once(clock: FakeClock) -> None:
    budget = CallBudget(clock, 1.0)
    assert [budget.throttled(None) for _ in range(5)] == [60] * 5
    clock.at += 60_000
    assert budget.throttled(None) == 120


async def test_the_error_of_long_throttling_says_until_when(clock: FakeClock) -> None:
    budget = CallBudget(clock, 1.0)
    budget.throttled(None)
    clock.at += 60_000
    budget.throttled(None)
    with pytest.raises(ThrottledError) as caught:
        await budget.acquire()
    assert str(caught.value) == (
        "The tenant throttles without saying for how long: no call until 10:03 UTC; polling goes on then and misses "
        "nothing."
    )


async def test_the_error_of_a_spent_day_says_how_many_calls_and_until_when(clock: FakeClock) -> None:
    budget = CallBudget(clock, 0.25, spent_today=(clock.at // 86_400_000, 12_500))
    with pytest.raises(ThrottledError) as caught:
        await budget.acquire()
    assert str(caught.value) == (
        "The connector's share of the day's API calls (12,500) is used up until 00:00 UTC; polling goes on then and "
        "misses nothing."
    )


async def test_a_wall_clock_that_is_set_back_does_not_make_throttling_longer() -> None:
    clock = ManualClock(MINUTE)
    callers = Callers(CallBudget(clock, 1.0))
    assert callers.budget.throttled(30) == 30
    clock.wall -= 3_600_000
    await callers.ask("call")
    await clock.pass_(30)
    assert callers.went == ["call"]


async def test_a_budget_that_replaces_another_goes_on_with_its_calls_and_waits(clock: FakeClock) -> None:
    clock.at = MINUTE + 15_000
    before = CallBudget(clock, 1.0)
    await spend(before, 60)
    after = CallBudget(clock, 0.7, spent_today=(before.spent[0], 3), after=before)
    assert after.spent == before.spent
    await spend(after, 10)
    assert clock.slept == []
    await after.acquire()
    assert clock.slept == [45.0]
    after.throttled(120)
    last = CallBudget(clock, 0.7, after=after)
    with pytest.raises(ThrottledError):
        await last.acquire()


async def test_a_budget_that_replaces_another_of_an_earlier_minute_has_all_of_this_one_s(clock: FakeClock) -> None:
    clock.at = MINUTE
    before = CallBudget(clock, 1.0)
    await spend(before, 100)
    clock.at = MINUTE + 60_000
    after = CallBudget(clock, 1.0, after=before)
    await spend(after, 100)
    assert clock.slept == []
    assert after.spent[1] == 200
