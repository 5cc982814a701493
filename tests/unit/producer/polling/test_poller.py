"""A connector's polls against a tenant over real HTTP: what is written, what is not, and what a crash costs."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import orjson
import pytest
import structlog

from frame_gainsight.gainsight import ConfigError, TransientError
from schemas import Codec
from tests.unit.producer.rig import Rig

HOUR = 3600


async def test_the_first_poll_writes_what_there_is_and_closes_the_period(rig: Rig) -> None:
    ids = [rig.create() for _ in range(3)]
    rig.tenant.advance(10)
    result = await rig.poll()
    assert (result.written, result.rows, result.pages, result.dead) == (3, 3, 1, 0)
    assert sorted(g for g, _ in rig.lane.versions()) == sorted(ids)
    (marker,) = rig.lane.markers()
    assert marker["activities"] == 3
    assert rig.lane.records[-1].key == b"acme/!period"
    checkpoint = rig.lane.checkpoint()
    assert checkpoint.period is None
    assert checkpoint.cursor == marker["period_end"]
    assert rig.lane.transactions == 1
    headers = dict(rig.lane.records[0].headers)
    assert (headers["connector"], headers["page"], headers["last_page"]) == (b"acme", b"0", b"true")


async def test_an_empty_window_moves_the_cursor_and_writes_no_marker(rig: Rig) -> None:
    await rig.poll()
    first = rig.lane.checkpoint().cursor
    rig.tenant.advance(600)
    await rig.poll()
    assert rig.lane.checkpoint().cursor == first + 600_000
    assert rig.lane.records == []


async def test_what_has_not_changed_is_read_again_and_not_written_again(rig: Rig) -> None:
    for _ in range(4):
        rig.create()
    rig.tenant.advance(60)
    await rig.poll()
    written, transactions = len(rig.lane.raw), rig.lane.transactions
    rig.tenant.advance(60)
    result = await rig.poll()
    assert (result.written, result.unchanged) == (0, 4)
    assert (len(rig.lane.raw), rig.lane.transactions) == (written, transactions + 1), "nothing but the checkpoint"


async def test_a_poll_costs_one_call_and_the_first_one_more(rig: Rig) -> None:
    rig.create()
    rig.tenant.advance(60)
    await rig.poll()
    assert rig.calls() == 2
    rig.tenant.advance(60)
    await rig.poll()
    assert rig.calls() == 3


async def test_a_poll_makes_no_call_while_there_is_nothing_to_read(rig: Rig) -> None:
    await rig.poll()
    calls = rig.calls()
    rig.tenant.advance(0.5)
    result = await rig.poll()
    assert (result.window, rig.calls()) == (None, calls)


async def test_an_edit_is_a_new_version(rig: Rig) -> None:
    gsid = rig.create()
    rig.tenant.advance(60)
    await rig.poll()
    edited = rig.tenant.edit(gsid, {"Subject": "changed"})["version_ms"]
    rig.tenant.advance(60)
    await rig.poll()
    assert [at for g, at in rig.lane.versions() if g == gsid][-1] == edited
    assert [r["Subject"] for r in rig.lane.rows()] == ["hello", "changed"]


async def test_a_late_row_within_the_overlap_is_found(rig: Rig) -> None:
    early = rig.create()
    late = str(rig.tenant.create({"Subject": "late"}, visible_in=500)["id"])
    rig.tenant.advance(60)
    await rig.poll()
    assert [g for g, _ in rig.lane.versions()] == [early]
    rig.tenant.advance(500)
    await rig.poll()
    assert [g for g, _ in rig.lane.versions()] == [early, late]


async def test_a_late_row_is_found_also_without_a_start(rig: Rig) -> None:
    rig.define(start=None)
    rig.tenant.advance(60)
    await rig.poll()
    late = str(rig.tenant.create({"Subject": "late"}, visible_in=120)["id"])
    for _ in range(3):
        rig.tenant.advance(60)
        await rig.poll()
        rig.kill()
    assert [g for g, _ in rig.lane.versions()] == [late]


async def test_only_the_defined_activity_types_are_read(rig: Rig) -> None:
    email = rig.create(TypeName="Email")
    rig.create(TypeName="Call")
    rig.define(activity_types=["Email"])
    rig.tenant.advance(60)
    await rig.poll()
    assert [g for g, _ in rig.lane.versions()] == [email]


async def test_each_page_is_a_transaction(rig: Rig) -> None:
    for _ in range(5):
        rig.create()
        rig.tenant.advance(2)
    rig.set(page_rows=2)
    rig.lane.settings = rig.settings
    rig.tenant.advance(10)
    result = await rig.poll()
    assert result.pages == rig.lane.transactions >= 3
    headers = [dict(r.headers) for r in rig.lane.records]
    assert [h["last_page"] for h in headers].count(b"true") >= 1
    assert headers[-1]["last_page"] == b"true"
    assert len({h["poll_id"] for h in headers}) == 1
    assert rig.lane.markers()[0]["activities"] == 5


async def test_rows_that_cannot_be_read_go_to_the_dead_letters_once(rig: Rig, codec: Codec) -> None:
    good = [rig.create() for _ in range(3)]
    rig.tenant.advance(60)
    rig.tenant.create({"Gsid": "", "Subject": "no key"})
    rig.tenant.advance(60)
    for _ in range(3):
        await rig.poll()
        rig.tenant.advance(60)
    assert sorted(g for g, _ in rig.lane.versions()) == sorted(good)
    (letter,) = rig.lane.dead
    value = codec.decode_as("dead_letter", letter.value or b"")
    assert orjson.loads(value["value"])["Subject"] == "no key"
    assert "no Gsid" in value["cause"]


# Crashes


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("pages_before", [0, 1, 2, 3])
@pytest.mark.parametrize("shape", ["spread", "crowded"])
async def test_a_crash_between_pages_loses_and_repeats_nothing(
    rig: Rig, when: str, pages_before: int, shape: str
) -> None:
    for _ in range(7):
        rig.create()
        rig.tenant.advance(1 if shape == "spread" else 0)
    rig.set(page_rows=2)
    rig.tenant.advance(60)
    rig.lane.fail_next(when, pages_before)
    assert await rig.poll_until_done() == 1
    versions = rig.lane.versions()
    assert len(versions) == len(set(versions)), "written twice"
    assert dict(versions) == rig.alive(), "lost"
    (marker,) = rig.lane.markers()
    assert marker["activities"] == 7, "the marker counts the whole period, not what is left of it"
    assert len({dict(r.headers)["poll_id"] for r in rig.lane.records}) == 1
    rig.tenant.advance(60)
    rig.kill()
    assert (await rig.poll()).written == 0


async def test_polls_lose_nothing_and_write_nothing_twice_whatever_happens(rig: Rig) -> None:
    """Hours of edits, deletions, late rows and crashes, with tiny pages."""
    random = Random(7)
    rig.set(page_rows=3)
    rig.define(period=60, overlap=120, deletions_every=300)
    for _ in range(60):
        for _ in range(random.randrange(4)):
            known = list(rig.alive())
            action = random.choice(["create", "create", "late", "edit", "delete"])
            if action == "create" or not known:
                for _ in range(random.choice([1, 1, 5])):
                    rig.create()
            elif action == "late":
                rig.tenant.create({"Subject": "late"}, visible_in=random.randrange(100))
            elif action == "edit":
                rig.tenant.edit(random.choice(known))
            else:
                rig.tenant.delete(random.choice(known))
            rig.tenant.advance(random.choice([0, 1, 20]))
        if random.random() < 0.3:
            rig.tenant.set_variant("edit_while_paging", 1, times=2)
        if random.random() < 0.3:
            rig.lane.fail_next(random.choice(["before", "after"]), random.randrange(3))
        if random.random() < 0.3:
            rig.kill()
        rig.tenant.advance(60)
        await rig.poll_until_done()
    rig.tenant.clear_variants()
    rig.lane.fail_on.clear()
    rig.tenant.advance(600)
    await rig.poll()
    versions = rig.lane.versions()
    assert len(versions) == len(set(versions))
    assert {g: at for g, at in dict(versions).items() if at is not None} == rig.alive()
    truth = {a["activity_id"]: a["subject"] for a in rig.tenant.truth()["activities"]}
    assert {r["Gsid"]: r["Subject"] for r in rig.lane.rows() if r["Gsid"] in truth} == truth


async def test_the_overlap_forgets_what_is_not_read_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producer.polling.poller.REMEMBERED_ROWS", 0)
    for _ in range(20):
        rig.create()
        rig.tenant.advance(300)
        await rig.poll()
    checkpoint = rig.lane.checkpoint()
    assert checkpoint.raw_offset > len(rig.lane.raw) - 12
    rig.kill()
    assert (await rig.poll()).written == 0


# Tenants that change or differ


async def test_a_poll_goes_on_without_a_field_that_vanishes(rig: Rig) -> None:
    rig.create()
    rig.tenant.advance(60)
    await rig.poll()
    rig.tenant.set_variant("missing_fields", ["ConversationId"], object="activity_timeline")
    gsid = rig.create()
    rig.tenant.advance(60)
    before = rig.calls()
    result = await rig.poll()
    assert rig.calls() == before + 2, "the refused query, and the one without the field"
    assert "ConversationId" in result.missing["ConversationId"]
    assert (result.written, result.unchanged) == (1, 1), "what was read with the field is no new version without it"
    assert gsid in dict(rig.lane.versions())
    assert "ConversationId" not in rig.lane.rows()[-1]


@pytest.mark.parametrize("killed", [False, True])
async def test_fields_that_describe_shows_and_no_query_finds_are_left_out(rig: Rig, killed: bool) -> None:
    first = rig.create()
    rig.tenant.advance(60)
    await rig.poll()
    rig.tenant.set_variant("gone_fields", ["From", "Source"], object="activity_timeline")
    gsid = rig.create()
    rig.tenant.advance(60)
    if killed:
        rig.kill()
    assert set((await rig.poll()).missing) == {"From", "Source"}
    assert sorted(g for g, _ in rig.lane.versions()) == sorted([first, gsid])
    before = rig.calls()
    rig.tenant.advance(60)
    await rig.poll()
    assert rig.calls() == before + 1


async def test_a_field_that_changes_while_columns_do_is_a_new_version_all_the_same(rig: Rig) -> None:
    gsid = rig.create()
    rig.tenant.advance(60)
    await rig.poll()
    rig.tenant.set_variant("gone_fields", ["From"], object="activity_timeline")
    rig.tenant.edit(gsid, {"Subject": "new"})
    rig.tenant.advance(60)
    assert (await rig.poll()).written == 1


@pytest.mark.parametrize("variant", ["gone_fields", "missing_fields"])
async def test_a_mapped_field_that_is_missing_is_a_warning_that_names_it(rig: Rig, variant: str) -> None:
    rig.define(tags={"sentiment": "activity.Ant__Sentiment__c"})
    rig.tenant.set_variant(variant, ["Ant__Sentiment__c"], object="activity_timeline")
    gsid = rig.create()
    rig.tenant.advance(60)
    with structlog.testing.capture_logs() as logs:
        result = await rig.poll()
    assert "mapping" in result.missing["Ant__Sentiment__c"]
    assert [e["field"] for e in logs if e["event"] == "field_missing"] == ["Ant__Sentiment__c"]
    assert gsid in dict(rig.lane.versions())


@pytest.mark.parametrize("field", ["Gsid", "LastModifiedDate"])
async def test_a_tenant_that_hides_a_required_field_is_an_error_that_names_it(rig: Rig, field: str) -> None:
    rig.tenant.set_variant("hidden_fields", [field], object="activity_timeline")
    with pytest.raises(ConfigError, match=field):
        await rig.poll()


async def test_a_key_that_may_not_read_activities_is_an_error_for_people(rig: Rig) -> None:
    rig.tenant.set_variant("missing_object", True, object="activity_timeline")
    with pytest.raises(ConfigError, match="admin"):
        await rig.poll()


@pytest.mark.parametrize(
    ("variant", "value"),
    [
        ("dates", "ms"),
        ("dates", "iso_fraction"),
        ("dates", "iso_offset"),
        ("nulls", "empty"),
        ("nulls", "absent"),
        ("keys", "upper"),
        ("keys", "lower"),
        ("data", "list"),
        ("page_cap", 50),
        ("gzip", "always"),
        ("missing_fields", ["From", "To", "Ant__Sentiment__c", "NotesPlainText", "AuthorId"]),
    ],
)
async def test_every_row_is_written_once_in_whatever_form_the_tenant_replies(
    rig: Rig, variant: str, value: Any
) -> None:
    for number in range(130):
        rig.create()
        rig.tenant.advance(number % 3)
    rig.tenant.set_variant(variant, value)
    rig.tenant.advance(60)
    assert (await rig.poll()).written == 130
    rig.tenant.advance(60)
    assert (await rig.poll()).written == 0
    assert dict(rig.lane.versions()) == rig.alive()


@pytest.mark.parametrize("empty", ["data", "null", "no_data", "gsobj_1011"])
async def test_every_form_of_an_empty_reply_is_an_empty_window(rig: Rig, empty: str) -> None:
    rig.tenant.set_variant("empty", empty)
    rig.tenant.advance(2 * HOUR)
    result = await rig.poll()
    assert (result.rows, result.tombstones) == (0, 0)
    assert rig.lane.checkpoint().cursor > 0


async def test_a_change_of_the_replys_form_makes_no_new_version(rig: Rig) -> None:
    for _ in range(5):
        rig.create()
    rig.tenant.advance(60)
    await rig.poll()
    rig.tenant.set_variant("nulls", "absent")
    rig.tenant.set_variant("keys", "upper")
    rig.tenant.advance(60)
    assert (await rig.poll()).written == 0


async def test_a_failing_call_leaves_everything_for_the_next_poll(rig: Rig) -> None:
    for _ in range(6):
        rig.create()
        rig.tenant.advance(1)
    rig.set(page_rows=2)
    rig.tenant.advance(60)
    rig.tenant.set_variant("server_error", 503, every=3)
    failures = 0
    while len(rig.lane.versions()) < 6 and failures < 20:
        try:
            await rig.poll()
        except TransientError:
            failures += 1
    assert failures > 0
    assert dict(rig.lane.versions()) == rig.alive()
    assert len(rig.lane.versions()) == 6


async def test_a_longer_overlap_reads_nothing_that_was_forgotten(rig: Rig) -> None:
    rig.define(overlap=60)
    for _ in range(3):
        rig.create()
        rig.tenant.advance(120)
        await rig.poll()
    rig.define(overlap=HOUR)
    rig.kill()
    for _ in range(2):
        rig.tenant.advance(60)
        await rig.poll()
    versions = rig.lane.versions()
    assert len(versions) == len(set(versions)) == 3
    checkpoint = rig.lane.checkpoint()
    assert checkpoint.remembered_from is not None
    assert checkpoint.cursor - checkpoint.remembered_from >= 120_000, "the overlap grows from poll to poll"


@pytest.mark.parametrize("ahead", [-240, -3, 3, 240, 890])
async def test_what_happens_at_a_tenant_whose_clock_differs_is_read_at_once(rig: Rig, ahead: int) -> None:
    rig.clock.tenant_ahead = ahead * 1000
    await rig.poll()
    first = rig.create()
    rig.tenant.advance(10)
    assert (await rig.poll()).written == 1
    rig.tenant.edit(first, {"Subject": "changed"})
    rig.tenant.advance(10)
    result = await rig.poll()
    assert (result.written, result.clock_fault) == (1, None)
    assert rig.lane.checkpoint().cursor <= rig.tenant.now() - rig.feed.margin


async def test_a_clock_too_far_ahead_is_not_followed_and_that_is_said_with_what_to_do(rig: Rig) -> None:
    rig.clock.tenant_ahead = 20 * 60_000
    rig.tenant.advance(3600)
    await rig.poll()
    rig.create()
    rig.tenant.advance(10)
    result = await rig.poll()
    assert result.written == 0
    assert rig.lane.checkpoint().cursor <= rig.clock.now()
    assert result.clock_fault is not None
    assert "20 minutes ahead" in result.clock_fault and "proxy" in result.clock_fault
    rig.tenant.advance(20 * 60)
    assert (await rig.poll()).written == 1
    rig.clock.tenant_ahead = 0
    await rig.poll()  # asks, and sees it
    assert (await rig.poll()).clock_fault is None


async def test_a_clock_that_drifted_behind_is_followed_and_said(rig: Rig) -> None:
    rig.clock.tenant_ahead = -20 * 60_000
    rig.create()
    rig.tenant.advance(10)
    result = await rig.poll()
    assert result.written == 1
    assert result.clock_fault is not None and "20 minutes behind" in result.clock_fault


@pytest.mark.parametrize(("years", "words"), [(-56, "56 years behind"), (73, "73 years ahead")])
async def test_a_date_that_is_no_time_is_a_failure_until_it_is_set_right(rig: Rig, years: int, words: str) -> None:
    rig.clock.tenant_ahead = years * 31_557_600_000
    rig.create()
    rig.tenant.advance(10)
    for _ in range(2):
        with pytest.raises(ConfigError, match=words) as caught:
            await rig.poll()
        assert "Check this machine's clock" in str(caught.value)
    assert rig.lane.records == []
    rig.clock.tenant_ahead = 0
    assert (await rig.poll()).written == 1


async def test_a_clock_before_what_was_read_already_is_a_failure_until_it_is_set_right(rig: Rig) -> None:
    """Else nothing would be read, and nothing said."""
    rig.tenant.advance(7200)
    await rig.poll()
    rig.tenant.advance(-3600)
    rig.clock.tenant_ahead = -3_600_000
    for _ in range(2):
        with pytest.raises(ConfigError, match="60 minutes behind"):
            await rig.poll()
    rig.tenant.advance(3600)
    rig.clock.tenant_ahead = 0
    rig.create()
    rig.tenant.advance(10)
    assert (await rig.poll()).written == 1


async def test_a_start_that_is_still_to_come_is_no_fault_of_the_clock(rig: Rig) -> None:
    await rig.poll()
    rig.feed.write_order.checkpoint = replace(rig.feed.write_order.checkpoint, cursor=rig.tenant.now() + 86_400_000)
    result = await rig.poll()
    assert (result.window, result.clock_fault) == (None, None)
