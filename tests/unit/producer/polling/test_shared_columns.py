"""What one reader of a tenant learns of its columns, all use at once: live polling, and backfills beside it."""

from __future__ import annotations

import asyncio

import pytest

from frame_gainsight.gainsight import GainsightError, Priority, RefusedQueryError
from producer.backfilling.runner import BackfillRunner
from producer.state.backfill import Backfill
from producer.timeline.keyset_reader import BY_DATE
from tests.unit.producer.rig import Rig

MAPPED = {"org_profile": {"arr": "company.Arr", "csm": "company.Csm__gr.Email", "stage": "relationship.Stage"}}


async def described(rig: Rig) -> None:
    """A feed that has its columns, and no reply to a query yet."""
    rig.tenant.set_variant("server_error", 503)
    with pytest.raises(GainsightError):
        await rig.poll()
    rig.tenant.clear_variants()
    await rig.feed.columns.ensure()


@pytest.mark.parametrize("readers", [2, 3, 5])
@pytest.mark.parametrize("code", ["P_5068", "P_5005"])
async def test_readers_that_are_refused_at_the_same_time_all_go_on_without_look_ups(
    rig: Rig, readers: int, code: str
) -> None:
    rig.define(**MAPPED)
    await described(rig)
    rig.tenant.set_variant("dotted_select", code)
    rig.create()
    rig.tenant.advance(30)
    sources = [rig.feed.source(Priority.LIVE if n % 2 else Priority.BACKFILL) for n in range(readers)]
    replies = await asyncio.gather(*(source.fetch([], BY_DATE) for source in sources))
    for source, reply in zip(sources, replies, strict=True):
        assert reply.rows and not any("." in column for row in reply.rows for column in row)
        source.close()


async def test_readers_that_miss_the_same_column_at_the_same_time_all_go_on_without_it(rig: Rig) -> None:
    await rig.poll()
    rig.tenant.set_variant("gone_fields", ["Source"], object="activity_timeline")
    rig.create()
    rig.tenant.advance(30)
    sources = [rig.feed.source(Priority.LIVE), rig.feed.source(Priority.BACKFILL)]
    for source, reply in zip(sources, await asyncio.gather(*(s.fetch([], BY_DATE) for s in sources)), strict=True):
        assert reply.rows and "Source" not in reply.rows[0]
        source.close()


async def test_a_reader_that_is_given_up_stays_so_although_the_columns_change(rig: Rig) -> None:
    rig.define(**MAPPED)
    await described(rig)
    rig.tenant.set_variant("slow", 0.5)
    source = rig.feed.source(Priority.BACKFILL)
    reading = asyncio.create_task(source.fetch([], BY_DATE))
    await asyncio.sleep(0)
    assert rig.feed.columns.drop(RefusedQueryError("no look-ups"), rig.feed.columns.select)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    source.close()


async def test_a_backfill_that_was_refused_goes_on_as_soon_as_live_polling_is_answered(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.define(tags={"author": "activity.AuthorId__gr.Name"})
    await rig.poll()
    waiting, awake = asyncio.Event(), asyncio.Event()

    async def sleep(seconds: float) -> None:
        waiting.set()
        await awake.wait()  # for ever: no wait of ours ends by its time

    monkeypatch.setattr(rig.clock, "sleep", sleep)
    rig.tenant.set_variant("dotted_select", "P_5068")
    now, day = rig.tenant.now(), 86_400_000
    runner = BackfillRunner(rig.feed, Backfill("acme", "one", now - 9 * day, now, now - 8 * day), covered=False)
    running = asyncio.create_task(runner.run())
    await asyncio.wait_for(waiting.wait(), 10)
    rig.create()
    rig.tenant.advance(30)
    with pytest.raises(RefusedQueryError):
        await rig.poll()
    assert "AuthorId__gr.Name" in (runner.backfill.cause or "")
    rig.tenant.clear_variants()  # an admin has set it right
    await rig.poll()
    assert (await asyncio.wait_for(running, 10)).state == "DONE"
