"""Our share of the tenant's calls, in the fixed windows in which the tenant counts."""

from __future__ import annotations

import asyncio

import pytest

from gainsight import CallBudget, ThrottledError
from tests.unit.gainsight.conftest import FakeClock

MINUTE = 1_772_445_600_000  # 10:00:00
DAY_START = 1_772_409_600_000  # 00:00:00


async def spend(budget: CallBudget, calls: int) -> None:
    for _ in range(calls):
        await budget.acquire()


async def test_a_whole_minute_s_calls_go_out_at_once_and_the_next_waits_for_the_minute_s_end(clock: FakeClock) -> None:
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


async def test_many_at_once_never_exceed_a_window(clock: FakeClock) -> None:
    budget = CallBudget(clock, 0.1)
    made: list[int] = []

    async def one() -> None:
        await budget.acquire()
        made.append(clock.at // 60_000)

    await asyncio.gather(*(one() for _ in range(35)))
    assert [made.count(minute) for minute in sorted(set(made))] == [10, 10, 10, 5]


async def test_a_spent_day_is_an_error_that_says_when_it_ends_and_not_a_wait_until_midnight(clock: FakeClock) -> None:
    clock.at = DAY_START + 3_600_000
    budget = CallBudget(clock, 0.5, per_minute=1000, per_day=20)
    await spend(budget, 10)
    assert budget.used_today == 10
    with pytest.raises(ThrottledError) as caught:
        await budget.acquire()
    assert caught.value.retry_after == 23 * 3600
    assert clock.slept == []
    clock.at = DAY_START + 86_400_000
    assert budget.used_today == 0
    await budget.acquire()
    assert budget.used_today == 1


@pytest.mark.parametrize(("retry_after", "wait"), [(7.0, 7.0), (0.0, 0.0), (None, 45.0)])
async def test_throttling_stops_all_calls_as_long_as_asked_or_until_the_minute_s_end(
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
