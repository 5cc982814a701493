"""Slots that bound the large replies in memory."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack

import pytest

from frame_gainsight.gainsight import (
    ReplySlots,
    ReplyTooLargeError,
    TransientError,
)
from tests.unit.gainsight.conftest import COMPANIES, MEBIBYTE, failure, opened, rows_body
from tests.unit.gainsight.served import Request, Served


async def test_a_large_reply_waits_for_a_slot_and_keeps_it_until_it_is_released() -> None:
    slots = ReplySlots(1)
    with Served(lambda request: request.send(rows_body(2 * MEBIBYTE))) as server:
        async with opened(server.url, reply_slots=slots) as one, opened(server.url, reply_slots=slots) as other:
            first = await one.fetch(COMPANIES)
            assert slots.full()
            second = asyncio.create_task(other.fetch(COMPANIES))
            await asyncio.sleep(0.3)
            assert not second.done()
            first.release()
            first.release()  # gives back no more than one slot
            reply = await asyncio.wait_for(second, 10)
            assert slots.full()
            reply.release()
            assert not slots.full()
            await one.query(COMPANIES)
            assert not slots.full()  # those who only want rows keep nothing


async def test_small_replies_need_no_slot() -> None:
    slots = ReplySlots(1)
    await slots.acquire()
    with Served(lambda request: request.send(rows_body(MEBIBYTE // 2))) as server:
        async with opened(server.url, reply_slots=slots) as client:
            assert len(await asyncio.wait_for(client.query(COMPANIES), 10)) == 1


async def test_a_failing_call_and_a_forgotten_reply_give_their_slots_back() -> None:
    slots = ReplySlots(1)
    bodies = [b"x" * 2 * MEBIBYTE, rows_body(6 * MEBIBYTE), b'{"result": true, "data": 5, "x": "%s"}' % (b"x" * 2**21)]
    with Served(lambda request: request.send(bodies.pop(0) if bodies else rows_body(2 * MEBIBYTE))) as server:
        async with opened(server.url, reply_slots=slots, max_reply_bytes=4 * MEBIBYTE) as client:
            for kind in (TransientError, ReplyTooLargeError, TransientError):
                assert isinstance(await failure(client), kind)
                assert not slots.full()
            reply = await client.fetch(COMPANIES)
            assert slots.full()
            del reply
            await asyncio.sleep(0)
            assert not slots.full()


async def test_waiting_for_a_slot_does_not_count_as_the_tenant_s_slowness() -> None:
    slots = ReplySlots(1)
    slot = await slots.acquire()
    with Served(lambda request: request.send(rows_body(2 * MEBIBYTE))) as server:
        async with opened(server.url, reply_slots=slots, timeout=0.2) as client:
            waiting = asyncio.create_task(client.query(COMPANIES))
            await asyncio.sleep(1.5)  # more than five times the time for a read
            assert not waiting.done()
            slot.release()
            assert len(await asyncio.wait_for(waiting, 10)) == 1
            assert client.latency < 1


@pytest.mark.parametrize("before", [0, 2 * MEBIBYTE])
async def test_a_tenant_that_drips_its_reply_does_not_hold_a_call_nor_a_slot(before: int) -> None:
    def answer(request: Request) -> None:
        request.drip(rows_body(before)[:before], every=0.05, seconds=20)

    slots = ReplySlots(1)
    began = time.monotonic()
    with Served(answer) as server:
        async with opened(server.url, reply_slots=slots, timeout=0.2) as client:
            error = await failure(client)
    assert isinstance(error, TransientError) and "did not answer in time" in str(error)
    assert 0.9 < time.monotonic() - began < 5
    assert not slots.full()


async def test_tenants_that_drip_their_replies_keep_no_other_s_waiting() -> None:
    slots = ReplySlots(3, pace=64 * 1024, pace_seconds=1.2)

    def drip(request: Request) -> None:
        request.drip(rows_body(2 * MEBIBYTE)[: 2 * MEBIBYTE], every=0.05, seconds=30)

    async with AsyncExitStack() as stack:
        drips = [stack.enter_context(Served(drip)) for _ in range(4)]
        slow = [await stack.enter_async_context(opened(server.url, reply_slots=slots)) for server in drips]
        server = stack.enter_context(Served(lambda request: request.send(rows_body(2 * MEBIBYTE))))
        other = await stack.enter_async_context(opened(server.url, reply_slots=slots))
        dripping = [asyncio.create_task(failure(client)) for client in slow]
        while not slots.full():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)
        began = time.monotonic()
        assert len(await other.query(COMPANIES)) == 1
        assert time.monotonic() - began < 5
        for error in await asyncio.gather(*dripping):
            assert isinstance(error, TransientError)
            assert "too slowly" in str(error) and "http://127.0.0.1" in str(error)
        # From now on they have one slot in all.
        again = [asyncio.create_task(failure(client)) for client in slow]
        for _ in range(5):
            began = time.monotonic()
            assert len(await other.query(COMPANIES)) == 1
            assert time.monotonic() - began < 1
            assert not slots.full()
        await asyncio.gather(*again)
    assert not slots.full()


async def test_a_reply_that_comes_at_the_pace_is_not_given_up() -> None:
    slots = ReplySlots(1, pace=64 * 1024, pace_seconds=0.3)
    with Served(lambda request: request.slowly(rows_body(2 * MEBIBYTE), every=0.1, pieces=16)) as server:
        async with opened(server.url, reply_slots=slots) as client:
            assert len(await client.query(COMPANIES)) == 1


async def test_a_tenant_that_asks_for_much_leaves_a_slot_to_others() -> None:
    slots = ReplySlots(3)
    held = [await slots.acquire("much"), await slots.acquire("much")]
    third = asyncio.create_task(slots.acquire("much"))
    await asyncio.sleep(0)
    other = await asyncio.wait_for(slots.acquire("other"), 1)
    assert not third.done() and slots.full()
    other.release()
    await asyncio.sleep(0)
    assert not third.done() and not slots.full()
    held[0].release()
    await asyncio.wait_for(third, 1)


async def test_a_wait_for_a_slot_that_is_cancelled_takes_none() -> None:
    slots = ReplySlots(1)
    held = await slots.acquire("a")
    waiting = [asyncio.create_task(slots.acquire("b")), asyncio.create_task(slots.acquire("c"))]
    await asyncio.sleep(0)
    waiting[0].cancel()
    held.release()
    waiting[1].cancel()  # when it is its turn already
    await asyncio.gather(*waiting, return_exceptions=True)
    assert not slots.full()


async def test_a_large_page_of_a_failing_server_is_the_server_s_failure_and_takes_no_slot() -> None:
    slots = ReplySlots(1)
    await slots.acquire()
    with Served(lambda request: request.send(b"<p>" * MEBIBYTE, status=503)) as server:
        async with opened(server.url, reply_slots=slots, max_reply_bytes=2 * MEBIBYTE) as client:
            error = await failure(client)
    assert isinstance(error, TransientError) and error.status == 503


async def test_one_heavy_reply_is_in_memory_at_a_time_and_lighter_ones_pass_it() -> None:
    slots = ReplySlots(3, heavy_bytes=4 * MEBIBYTE)
    with (
        Served(lambda request: request.send(rows_body(6 * MEBIBYTE))) as heavy,
        Served(lambda request: request.send(rows_body(2 * MEBIBYTE))) as light,
    ):
        async with (
            opened(heavy.url, reply_slots=slots) as one,
            opened(heavy.url, reply_slots=slots, timeout=0.2) as other,
            opened(light.url, reply_slots=slots) as third,
        ):
            first = await one.fetch(COMPANIES)
            second = asyncio.create_task(other.fetch(COMPANIES))
            while not slots.heavy_awaited:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)
            assert len(await asyncio.wait_for(third.query(COMPANIES), 10)) == 1
            await asyncio.sleep(1.2)  # more than five times the time for a read: waiting does not count
            assert not second.done()
            first.release()
            (await asyncio.wait_for(second, 10)).release()
            assert other.latency < 1
    assert not slots.full() and not slots.heavy_awaited


async def test_a_slow_heavy_reply_gives_way_to_one_that_waits_for_its_place() -> None:
    slots = ReplySlots(3, heavy_bytes=2 * MEBIBYTE, pace=64 * 1024, pace_seconds=0.3, heavy_pace=1024 * MEBIBYTE)
    with Served(lambda request: request.slowly(rows_body(8 * MEBIBYTE), every=0.1, pieces=40)) as slow:
        async with opened(slow.url, reply_slots=slots) as one, opened(slow.url, reply_slots=slots) as other:
            giving_way = asyncio.create_task(failure(one))
            await asyncio.sleep(1.2)
            assert not giving_way.done()  # nobody waits yet
            began = time.monotonic()
            waiting = asyncio.create_task(other.query(COMPANIES))
            error = await asyncio.wait_for(giving_way, 10)
            assert isinstance(error, ReplyTooLargeError) and "too slowly" in str(error)
            assert time.monotonic() - began < 3
            assert len(await asyncio.wait_for(waiting, 10)) == 1


async def test_a_wait_for_the_heavy_slot_that_is_cancelled_leaves_it_to_others() -> None:
    slots = ReplySlots(3)
    held, second, third = [await slots.acquire(tenant) for tenant in "abc"]
    await slots.widen(held)
    waiting = [asyncio.create_task(slots.widen(slot)) for slot in (second, third)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    second.release()
    held.release()
    await asyncio.wait_for(waiting[1], 1)
    assert third.heavy and not second.heavy
