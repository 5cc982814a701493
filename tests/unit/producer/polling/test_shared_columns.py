"""What one reader of a tenant learns of its columns, all use at once: live polling, and backfills beside it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import structlog

from frame_gainsight.connectors.columns.required import columns
from frame_gainsight.gainsight import (
    Field,
    GainsightError,
    ObjectDescription,
    Priority,
    RefusedQueryError,
    UnknownFieldError,
)
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


# Refusals that name no column, and names that are none


class Unnamed:
    """A tenant that refuses a query of the timeline for some columns, and does not say for which."""

    def __init__(self, rig: Rig, monkeypatch: pytest.MonkeyPatch, *bad: str, named: str | None = None) -> None:
        self.calls = 0
        self.bad = set(bad)
        fetch = rig.feed.client.fetch

        async def refusing(query: Any, **more: Any) -> Any:
            if query.object_name == "activity_timeline":
                self.calls += 1
                if self.bad & set(query.select):
                    raise UnknownFieldError(query.object_name, named, 400)
            return await fetch(query, **more)

        monkeypatch.setattr(rig.feed.client, "fetch", refusing)


@pytest.mark.parametrize("named", [None, "Nowhere__c"])
@pytest.mark.parametrize("bad", ["Ant__Sentiment__c", "Notes"])
async def test_a_refusal_that_names_no_column_costs_optional_ones_only_and_says_so(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, bad: str, named: str | None
) -> None:
    rig.define(tags={"subject": "activity.Subject"})
    await rig.poll()
    tenant = Unnamed(rig, monkeypatch, bad, named=named)
    assert bad in rig.feed.columns.select
    gsid = rig.create()
    rig.tenant.advance(30)
    with structlog.testing.capture_logs() as logs:
        result = await rig.poll()
    assert [g for g, _ in rig.lane.versions()] == [gsid]
    assert rig.lane.rows()[0]["Subject"] == "hello"
    assert tenant.calls <= 5
    assert "does not say which" in result.missing[bad] and "Subject" not in result.missing
    assert [entry["event"] for entry in logs].count("fields_left_out") == (1 if bad.startswith("Ant") else 2)
    rig.tenant.advance(30)
    await rig.poll()
    before = tenant.calls
    rig.tenant.advance(30)
    await rig.poll()
    assert tenant.calls == before + 1, "nothing is tried twice"
    tenant.bad.clear()
    rig.tenant.advance(86_400)
    assert (await rig.poll()).missing == {} and bad in rig.feed.columns.select


async def test_a_refusal_for_a_mapped_column_that_it_does_not_name_is_an_error_after_few_calls(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.define(tags={"subject": "activity.Subject"})
    await rig.poll()
    tenant = Unnamed(rig, monkeypatch, "Subject")
    rig.tenant.advance(30)
    with pytest.raises(UnknownFieldError):
        await rig.poll()
    assert tenant.calls <= 6


@pytest.mark.parametrize("name", ['Ant__a"b\n', "Ant__a b", "Ant__a\0", "Ant__a,Gsid", "ant__'--", "Ant__" + "x" * 500])
async def test_a_field_whose_name_no_query_can_hold_is_not_selected(rig: Rig, name: str) -> None:
    await rig.poll()
    fields = {n: Field(n, "STRING") for n in ("Gsid", "LastModifiedDate", "Ant__Right__c", name)}
    described = ObjectDescription("activity_timeline", {n.lower(): f for n, f in fields.items()})
    assert columns(rig.feed.definition, "activity_timeline", described) == ["Gsid", "LastModifiedDate", "Ant__Right__c"]
