"""Pages over real HTTP: tenants that give fewer rows than requested, large bodies, refused queries."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import pairwise, product
from typing import Any

import pytest

from frame_gainsight.gainsight import GainsightClient, Query, RefusedQueryError, ReplySlots, TransientError
from frame_gainsight.gainsight.client import Reply
from producer.polling import page_size
from producer.polling.page_size import LEAST_ROWS
from tests.unit.producer.rig import Rig

HOUR = 3600
MARGIN = 3  # seconds between a window's end and the tenant's clock, rounded up


class Spy:
    """The queries of a client's timeline, and how many rows each one gave; it may refuse, or change the tenant."""

    def __init__(self, client: Any) -> None:
        self.queries: list[tuple[Query, int]] = []
        self.refused = 0
        self.refuse: Callable[[Query], bool] = lambda query: False
        self.after: Callable[[int], None] = lambda number: None
        self._fetch: Callable[..., Awaitable[Any]] = client.fetch
        client.fetch = self

    async def __call__(self, query: Query, **more: Any) -> Any:
        if self.refuse(query):
            self.refused += 1
            raise RefusedQueryError("not beside a date")
        try:
            reply = await self._fetch(query, **more)
        except RefusedQueryError:
            self.queries.append((query, -1))
            raise
        self.queries.append((query, len(reply.rows)))
        self.after(len(self.queries))
        return reply

    @property
    def limits(self) -> list[int]:
        return [query.limit for query, _ in self.queries]


async def polls(rig: Rig, count: int) -> int:
    """Makes so many polls, a minute apart; returns the rows that they wrote."""
    written = 0
    for _ in range(count):
        written += (await rig.poll()).written
        rig.tenant.advance(60)
    return written


def each_once(rig: Rig) -> None:
    versions = rig.lane.versions()
    assert len(versions) == len(set(versions)), "written twice"
    assert dict(versions) == rig.alive(), "lost"


def fill(rig: Rig, rows: int, seconds: float, **fields: Any) -> None:
    for _ in range(rows):
        rig.create(**fields)
        rig.tenant.advance(seconds / rows)


# Tenants that cap their pages


@pytest.mark.parametrize("seconds", [60, 0], ids=["spread", "crowded"])
@pytest.mark.parametrize(("cap", "more"), [*product([50, 77, 333], [0, 1, 3]), (1000, 1)])
async def test_a_cap_of_any_size_loses_nothing_and_costs_few_calls(
    rig: Rig, cap: int, more: int, seconds: float
) -> None:
    rows = 2 * cap + more if cap < 1000 else cap + more
    fill(rig, rows, seconds)
    rig.tenant.set_variant("page_cap", cap)
    rig.tenant.advance(30)
    await polls(rig, 4)
    each_once(rig)
    rereads = 4 * (rows // cap + 2)
    draining = 8 if seconds == 0 else 0  # a crowded second is requested by date, and then by Gsid
    assert rig.calls() <= rereads + 6 + draining


@pytest.mark.parametrize("cap", [50, 77])
async def test_a_page_that_the_tenant_caps_later_loses_nothing(rig: Rig, cap: int) -> None:
    fill(rig, 20, 60)
    await polls(rig, 2)
    rig.tenant.set_variant("page_cap", cap)
    fill(rig, 3 * cap + 1, 60)
    await polls(rig, 4)
    each_once(rig)


async def test_rows_behind_a_page_of_doubtful_length_come_at_the_next_poll(rig: Rig) -> None:
    fill(rig, 150, 60)
    rig.tenant.set_variant("page_cap", 77)
    rig.tenant.advance(30)
    first = await rig.poll()
    assert (first.written, first.pages) == (77, 1)
    assert rig.lane.checkpoint().unsure_from is not None
    rig.kill()
    rig.tenant.advance(60)
    assert (await rig.poll()).written == 73, "also after a restart"
    assert rig.lane.checkpoint().unsure_from is None
    each_once(rig)


async def test_a_page_shorter_than_an_earlier_one_costs_one_call(rig: Rig) -> None:
    fill(rig, 130, 60)
    rig.tenant.advance(30)
    await polls(rig, 3)
    rig.tenant.advance(2 * HOUR)
    await polls(rig, 1)
    for rows in (60, 99, 110):
        fill(rig, rows, 30)
        rig.tenant.advance(2 * HOUR)
        before = rig.tenant.calls()["by_endpoint"]["query activity_timeline"]
        assert (await rig.poll()).written == rows
        assert rig.tenant.calls()["by_endpoint"]["query activity_timeline"] == before + 1
    each_once(rig)


async def test_the_first_long_page_of_an_uncapped_tenant_costs_no_call_more(rig: Rig) -> None:
    fill(rig, 133, 60)
    rig.tenant.advance(30)
    assert (await rig.poll()).written == 133
    assert rig.calls() == 2, "describe and the page"


async def test_pages_of_the_same_length_are_probed_once_a_day(rig: Rig) -> None:
    fill(rig, 133, 60)
    rig.tenant.advance(2 * HOUR)
    fill(rig, 133, 60)
    rig.tenant.advance(30)
    await rig.poll()
    before = rig.tenant.calls()["by_endpoint"]["query activity_timeline"]
    for _ in range(5):
        rig.tenant.advance(10)
        await rig.poll()
    queries = rig.tenant.calls()["by_endpoint"]["query activity_timeline"] - before
    assert queries <= 6, "one a poll, and the probe"
    each_once(rig)


async def test_the_longest_page_survives_a_restart(rig: Rig) -> None:
    fill(rig, 130, 60)
    rig.tenant.advance(30)
    await polls(rig, 3)
    assert rig.lane.checkpoint().proven_rows == rig.feed.size.proven >= 130
    rig.kill()
    rig.tenant.advance(2 * HOUR)
    await rig.poll()
    fill(rig, 90, 30)
    rig.tenant.advance(2 * HOUR)
    before = rig.tenant.calls()["by_endpoint"]["query activity_timeline"]
    rig.kill()
    assert (await rig.poll()).written == 90
    assert rig.feed.size.proven >= 130
    assert rig.tenant.calls()["by_endpoint"]["query activity_timeline"] == before + 1


# The end of a window


def timeline_calls(rig: Rig) -> int:
    return int(rig.tenant.calls()["by_endpoint"]["query activity_timeline"])


def quiet_then_a_burst(rig: Rig, quiet: int, burst: int, seconds: float) -> None:
    """A period of ten minutes that is quiet but for its last `seconds`; the next poll's window has all of it."""
    fill(rig, quiet, 600 - seconds)
    fill(rig, burst, seconds)
    rig.tenant.advance(MARGIN)


@pytest.mark.parametrize("seconds", [0.5, 29])
@pytest.mark.parametrize("quiet", [99, 100, 150])
@pytest.mark.parametrize("cap", [None, 100], ids=["uncapped", "capped"])
async def test_a_burst_at_the_end_of_a_window_is_read_by_its_poll(
    rig: Rig, cap: int | None, quiet: int, seconds: float
) -> None:
    rig.set(page_rows=1000 if cap else 100)
    if cap:
        rig.tenant.set_variant("page_cap", cap)
    quiet_then_a_burst(rig, quiet, 120, seconds)
    first = await rig.poll()
    assert first.written == quiet + 120
    assert rig.lane.checkpoint().unsure_from is None
    each_once(rig)
    fill(rig, 10, 1)
    rig.tenant.advance(30)
    assert (await rig.poll()).written == 10, "and so is the next one, a minute later"


async def test_a_full_page_at_the_end_of_a_window_costs_one_call_more(rig: Rig) -> None:
    rig.set(page_rows=100)
    fill(rig, 100, 590)
    rig.tenant.advance(20)
    first = await rig.poll()
    assert (first.written, first.pages, timeline_calls(rig)) == (100, 2, 2)


# Large bodies


def bound_replies(rig: Rig, monkeypatch: pytest.MonkeyPatch, size: int) -> Spy:
    monkeypatch.setattr(page_size, "PAGE_BYTES", size)
    rig.feed.client._transport._max_reply_bytes = size
    return Spy(rig.feed.client)


async def test_a_reply_that_is_too_large_is_requested_again_with_half_the_rows(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rig.poll()
    rig.set(page_rows=64)
    rig.kill()
    await polls(rig, 1)
    spy = bound_replies(rig, monkeypatch, 100_000)
    fill(rig, 90, 60, Notes="x" * 5000)
    rig.tenant.advance(30)
    await rig.poll()
    each_once(rig)
    refused = [query.limit for query, rows in spy.queries if rows < 0]
    assert spy.queries[0][0].limit == 64
    assert spy.queries[0][1] == -1
    assert refused == sorted(refused, reverse=True)
    assert all(b <= a / 2 for a, b in pairwise(refused))
    assert len(refused) <= 4, "the pages that follow keep below"
    last_refusal = max(n for n, (_, rows) in enumerate(spy.queries) if rows < 0)
    assert len(spy.queries) - last_refusal >= 5
    assert max(spy.limits[last_refusal + 1 :]) <= 20
    assert rig.lane.dead == []


async def test_pages_grow_again_with_smaller_rows(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.set(page_rows=64)
    await polls(rig, 1)
    bound_replies(rig, monkeypatch, 100_000)
    fill(rig, 40, 60, Notes="x" * 8000)
    rig.tenant.advance(2 * HOUR)
    await rig.poll()
    small = rig.feed.size.limit()
    assert small <= 12
    fill(rig, 400, 60)
    rig.tenant.advance(30)
    assert (await rig.poll()).written == 400
    assert rig.feed.size.limit() >= 2 * small
    each_once(rig)


async def test_rows_of_which_two_do_not_fit_are_an_error(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await polls(rig, 1)
    spy = bound_replies(rig, monkeypatch, 20_000)
    fill(rig, 5, 10, Notes="x" * 30_000)
    rig.tenant.advance(30)
    with pytest.raises(RefusedQueryError, match="20,000 bytes"):
        await rig.poll()
    assert spy.limits[-1] == LEAST_ROWS
    assert len(spy.limits) <= 13, "5000 halved until nothing is left"
    assert rig.lane.versions() == []


# A crowded second of which a tenant does not take `Gsid GT` beside the dates


def gsid_beside_dates(query: Query) -> bool:
    return any(c.name == "Gsid" and c.operator == "GT" for c in query.where)


@pytest.mark.parametrize("keys", ["requested", "upper", "lower"])
@pytest.mark.parametrize("rows", [6, 7, 12, 13, 25])
async def test_a_crowded_second_is_read_by_offset_where_gsids_are_refused(rig: Rig, rows: int, keys: str) -> None:
    rig.set(page_rows=7)
    await polls(rig, 1)
    rig.tenant.set_variant("keys", keys)
    spy = Spy(rig.feed.client)
    spy.refuse = gsid_beside_dates
    fill(rig, 3, 3)
    fill(rig, rows, 0)
    rig.tenant.advance(1)
    fill(rig, 3, 3)
    rig.tenant.advance(30)
    await rig.poll()
    assert (spy.refused > 0) is (rows > 6)
    each_once(rig)


@pytest.mark.parametrize("leaving", [1, 2, 3, 9])
@pytest.mark.parametrize("how", ["edit", "delete"])
async def test_rows_that_leave_the_second_meanwhile_hide_none_of_the_others(rig: Rig, how: str, leaving: int) -> None:
    rig.set(page_rows=7)
    await polls(rig, 1)
    spy = Spy(rig.feed.client)
    spy.refuse = gsid_beside_dates
    fill(rig, 30, 0)
    rig.tenant.advance(30)
    gsids = sorted(rig.alive())
    gone = gsids[:leaving]

    def leave(number: int) -> None:
        if number in (3, 4):
            for gsid in gone[:: 1 if number == 3 else -1][: leaving // 2 if number == 4 else leaving]:
                if gsid in rig.alive():
                    rig.tenant.edit(gsid) if how == "edit" else rig.tenant.delete(gsid)

    spy.after = leave
    await rig.poll()
    assert spy.refused > 0
    found = [gsid for gsid, _ in rig.lane.versions()]
    assert set(gsids) - set(gone) <= set(found), "hidden by what left before it"
    assert len(rig.lane.versions()) == len(set(rig.lane.versions()))
    spy.after = lambda number: None
    rig.tenant.advance(2 * HOUR)
    await rig.poll()
    assert {g: at for g, at in dict(rig.lane.versions()).items() if at is not None} == rig.alive()


async def test_a_second_that_changes_faster_than_it_is_read_is_left_for_the_next_poll(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("producer.timeline.keyset_reader.MAX_RESTARTS", 3)
    rig.set(page_rows=7)
    await polls(rig, 1)
    spy = Spy(rig.feed.client)
    spy.refuse = gsid_beside_dates
    fill(rig, 60, 0)
    rig.tenant.advance(30)
    gsids = iter(sorted(rig.alive()))
    spy.after = lambda number: rig.tenant.edit(next(gsids)) and None
    with pytest.raises(TransientError, match="change faster"):
        await rig.poll()
    spy.after = lambda number: None
    rig.tenant.advance(30)
    await polls(rig, 2)
    assert dict(rig.lane.versions()) == rig.alive()


async def test_a_large_page_that_is_done_with_keeps_no_memory_while_the_reading_goes_on(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Reply] = []
    fetch = GainsightClient.fetch

    async def large(self: GainsightClient, query: Query, **more: Any) -> Reply:
        reply = await fetch(self, query, **more)
        reply.slot = await slots.acquire()
        given.append(reply)
        return reply

    slots = ReplySlots(100)
    monkeypatch.setattr(GainsightClient, "fetch", large)
    fill(rig, 40, 1.0)
    rig.tenant.advance(600)
    await rig.poll()
    each_once(rig)
    rows = [row for reply in given for row in reply.rows]
    assert len(rows) >= 40 and not any(rows)
