"""Slots for polls: a crowd of slow tenants keeps no connector waiting whose polls are quick."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from producer.schedule import MAX_POLLS, QUICK_SECONDS, SLOW_SECONDS, PollSlots
from tests.unit.gainsight.conftest import FakeClock


class Clock(FakeClock):
    """Its sleepers sleep until they are cancelled."""

    async def sleep(self, seconds: float) -> None:
        assert seconds == SLOW_SECONDS
        await asyncio.Event().wait()


async def test_a_quick_connector_waits_for_no_crowd_of_slow_ones() -> None:
    clock = Clock()
    slots = PollSlots(clock)
    async with slots.acquire("quick"):
        pass
    async with slots.acquire("slow lately"):
        clock.at += round(QUICK_SECONDS * 1000)
    async with AsyncExitStack() as crowd:
        for number in range(MAX_POLLS):
            await crowd.enter_async_context(slots.acquire(f"slow {number}"))
        async with asyncio.timeout(1), slots.acquire("quick"):
            pass
        for waiting in ("unknown", "slow lately"):
            taken = asyncio.create_task(slots.acquire(waiting).__aenter__())
            await asyncio.sleep(0)
            assert not taken.done()
            taken.cancel()
