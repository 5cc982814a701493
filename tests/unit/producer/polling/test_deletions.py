"""Deleted activities become tombstones once, from whichever source the tenant has."""

from __future__ import annotations

from typing import Any

import pytest
import structlog

from frame_gainsight.gainsight import Query, TransientError
from tests.unit.producer.rig import Rig

HOUR = 3600


async def test_a_deletion_gives_one_tombstone(rig: Rig) -> None:
    kept, gone = rig.create(), rig.create()
    rig.tenant.advance(60)
    await rig.poll()
    rig.tenant.delete(gone)
    rig.tenant.advance(HOUR)
    result = await rig.poll()
    assert result.tombstones == 1
    assert [v for v in rig.lane.versions() if v[1] is None] == [(gone, None)]
    assert rig.lane.records[-1].key == b"acme/!period", "the enricher closes the window of tombstones at once"
    for kill in (False, True, True):
        rig.tenant.advance(HOUR)
        if kill:
            rig.kill()
        assert (await rig.poll()).tombstones == 0
    assert [g for g, _ in rig.lane.versions()].count(gone) == 2
    assert [g for g, _ in rig.lane.versions()].count(kept) == 1


@pytest.mark.parametrize("killed", [False, True])
async def test_a_deletion_at_the_end_of_a_poll_is_not_written_again_by_the_next(rig: Rig, killed: bool) -> None:
    gone = rig.create()
    rig.tenant.advance(HOUR)
    rig.tenant.delete(gone)
    rig.tenant.advance(3)
    assert (await rig.poll()).tombstones == 1
    for _ in range(4):
        rig.tenant.advance(900)
        if killed:
            rig.kill()
        await rig.poll()
    assert [v for v in rig.lane.versions() if v[1] is None] == [(gone, None)]


async def test_deletions_are_polled_on_an_interval_of_their_own(rig: Rig) -> None:
    rig.define(deletions_every=1800, start="2026-03-02T08:00:00Z")
    await rig.poll()
    for _ in range(12):
        rig.tenant.advance(600)
        await rig.poll()
    assert rig.tenant.calls()["by_endpoint"]["query record_delete_log"] in (3, 4, 5)


@pytest.mark.parametrize("killed", [False, True])
async def test_an_activity_that_came_back_after_its_deletion_is_not_deleted_again(rig: Rig, killed: bool) -> None:
    rig.define(deletions_every=60)
    gsid = rig.create()
    rig.tenant.advance(HOUR)
    rig.tenant.delete(gsid)
    rig.tenant.advance(5)
    await rig.poll()
    assert rig.lane.versions()[-1] == (gsid, None)
    rig.tenant.create({"Gsid": gsid, "Subject": "restored"})
    for _ in range(5):
        rig.tenant.advance(120)
        if killed:
            rig.kill()
        await rig.poll()
    assert rig.lane.versions()[-1][1] is not None, "the restored activity is the last word"


async def test_a_tenant_without_a_source_of_deletions_is_warned_of_once(rig: Rig) -> None:
    rig.tenant.set_variant("delete_log", "missing")
    rig.tenant.set_variant("deleted_call", "missing")
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            rig.tenant.advance(2 * HOUR)
            await rig.poll()
    assert [entry["event"] for entry in logs].count("no_deletions") == 1
    assert rig.tenant.calls()["by_endpoint"]["query record_delete_log"] == 1


@pytest.mark.parametrize(("log", "call"), [("low", "missing"), ("high", "missing"), ("missing", "on"), ("both", "on")])
async def test_deletions_are_read_from_whichever_source_the_tenant_has(rig: Rig, log: str, call: str) -> None:
    rig.tenant.set_variant("delete_log", log)
    rig.tenant.set_variant("deleted_call", call)
    ids = [rig.create() for _ in range(3)]
    rig.tenant.advance(60)
    await rig.poll()
    for gsid in ids:
        rig.tenant.delete(gsid)
        rig.tenant.advance(2 * HOUR)
        assert (await rig.poll()).tombstones == 1
    assert [v for v in rig.lane.versions() if v[1] is None] == [(gsid, None) for gsid in ids]


async def test_once_one_source_has_named_deletions_the_others_are_read_once_a_day(rig: Rig) -> None:
    ids = [rig.create() for _ in range(30)]
    rig.tenant.advance(60)
    await rig.poll()
    before = dict(rig.tenant.calls()["by_endpoint"])
    for gsid in ids:
        rig.tenant.delete(gsid)
        rig.tenant.advance(HOUR)
        assert (await rig.poll()).tombstones == 1
    calls = rig.tenant.calls()["by_endpoint"]
    made = {name: calls.get(name, 0) - before.get(name, 0) for name in calls}
    assert made["query record_delete_log"] == 30
    assert 1 <= made["query record_delete_log_high_volume"] <= 2
    assert 1 <= made["deleted"] <= 2


async def test_a_delete_log_that_appears_later_is_read_from_where_it_was_missed(rig: Rig) -> None:
    gsid = rig.create()
    rig.tenant.advance(60)
    await rig.poll()
    rig.tenant.set_variant("delete_log", "missing")
    rig.tenant.set_variant("deleted_call", "missing")
    rig.tenant.delete(gsid)
    for _ in range(3):
        rig.tenant.advance(2 * HOUR)
        assert (await rig.poll()).tombstones == 0
    rig.tenant.clear_variants()
    rig.tenant.advance(24 * HOUR)
    assert (await rig.poll()).tombstones == 1


@pytest.mark.parametrize("killed", [False, True])
async def test_an_activity_that_may_have_come_back_long_ago_is_queried_before_its_tombstone(
    rig: Rig, killed: bool
) -> None:
    rig.define(deletions_every="1d")
    gsid = rig.create()
    gone = rig.create()
    rig.tenant.advance(60)
    await rig.poll()
    rig.tenant.delete(gsid)
    rig.tenant.delete(gone)
    rig.tenant.advance(120)
    rig.create(Gsid=gsid, Subject="back")
    for _ in range(25):
        rig.tenant.advance(HOUR)
        await rig.poll()
        if killed:
            rig.kill()
    assert [v for v in rig.lane.versions() if v[1] is None] == [(gone, None)]


async def test_a_capped_delete_log_is_read_to_its_end(rig: Rig) -> None:
    ids = [rig.create() for _ in range(120)]
    rig.tenant.advance(60)
    await rig.poll()
    for gsid in ids:
        rig.tenant.delete(gsid)
    rig.tenant.set_variant("page_cap", 50)
    rig.tenant.advance(HOUR)
    assert (await rig.poll()).tombstones == 120


# Logs without an end


async def test_a_long_delete_log_is_read_in_parts_from_poll_to_poll(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frame_gainsight.gainsight.delete_log.MOST", 100)
    rig.tenant.set_variant("page_cap", 50)
    rig.define(overlap=600)
    ids = [rig.create() for _ in range(250)]
    rig.tenant.advance(60)
    await rig.poll()
    for gsid in ids:
        rig.tenant.delete(gsid)
        rig.tenant.advance(1)
    rig.tenant.advance(HOUR)
    found = []
    for _ in range(4):
        found.append((await rig.poll()).tombstones)
        rig.tenant.advance(60)
    assert found[0] == 100 and found[-1] <= 60 and sum(found) == 250
    assert sorted(g for g, at in rig.lane.versions() if at is None) == sorted(ids), "each once"


@pytest.mark.parametrize("ahead", [0, 3_600_000, -3_600_000 * 24])
async def test_a_delete_log_without_an_end_is_given_up_with_the_cause_and_rows_go_on(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    monkeypatch.setattr("frame_gainsight.gainsight.delete_log.MOST", 100)
    monkeypatch.setattr("frame_gainsight.gainsight.delete_log.MOST_BY_FAR", 500)
    await rig.poll()
    pages = 0
    query = rig.feed.client.query

    async def endless(asked: Query, **more: Any) -> list[dict[str, Any]]:
        nonlocal pages
        if asked.object_name != "record_delete_log":
            return await query(asked, **more)
        pages += 1
        assert pages <= 20, "without an end"
        at = rig.tenant.now() + ahead
        return [{"RecordId": f"D{pages}-{n}", "DeletedOn": at, "ObjectName": "activity_timeline"} for n in range(50)]

    monkeypatch.setattr(rig.feed.client, "query", endless)
    gsid = rig.create()
    rig.tenant.advance(2 * HOUR)
    with pytest.raises(
        TransientError, match=r"record_delete_log has more than 500 deletions .* Ask the Gainsight admin"
    ):
        await rig.poll()
    assert pages == 10
    assert [g for g, _ in rig.lane.versions()] == [gsid]


@pytest.mark.parametrize("past", [30, 3 * HOUR, 400 * 24 * HOUR])
async def test_a_log_that_does_not_heed_dates_names_a_deletion_again_and_again_and_it_is_written_once(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, past: int
) -> None:
    rig.define(deletions_every=60)
    await rig.poll()
    query = rig.feed.client.query
    row = {"RecordId": "G1", "DeletedOn": rig.tenant.now() - past * 1000, "ObjectName": "activity_timeline"}

    async def heedless(asked: Query, **more: Any) -> list[dict[str, Any]]:
        return [row] if asked.object_name == "record_delete_log" else await query(asked, **more)

    monkeypatch.setattr(rig.feed.client, "query", heedless)
    for _ in range(12):
        rig.tenant.advance(900)
        await rig.poll()
    assert rig.lane.versions() == [("G1", None)]
