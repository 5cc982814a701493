"""Rows that a tenant gives twice in a page, or that were not asked for: each is written once, or a dead letter once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from frame_gainsight.gainsight import format_date
from producer.backfilling.runner import BackfillRunner
from producer.state.backfill import Backfill
from producer.timeline.keyset_reader import StuckError
from schemas import Codec
from tests.unit.producer.rig import Rig

DAY = 86_400_000
Row = dict[str, Any]


class Replies:
    """What becomes of the rows of each reply of the timeline."""

    def __init__(self, rig: Rig, change: Callable[[list[Row]], list[Row]]) -> None:
        self._fetch = rig.feed.client.fetch
        self._change = change
        rig.feed.client.fetch = self  # type: ignore[method-assign, assignment]

    async def __call__(self, query: Any, **more: Any) -> Any:
        reply = await self._fetch(query, **more)
        if query.object_name == "activity_timeline":
            reply.rows = self._change(reply.rows)
        return reply


def causes(rig: Rig, codec: Codec) -> list[tuple[str, str]]:
    """(Subject, cause) of each dead letter."""
    found = [codec.decode_as("dead_letter", letter.value or b"") for letter in rig.lane.dead]
    return [(orjson.loads(letter["value"])["Subject"], letter["cause"]) for letter in found]


async def backfilled(rig: Rig) -> None:
    now = rig.tenant.now()
    request = Backfill("acme", "one", now - 9 * DAY, now, now - 8 * DAY)
    assert (await BackfillRunner(rig.feed, request, covered=False).run()).state == "DONE"


async def test_equal_rows_of_a_page_are_one_version(rig: Rig) -> None:
    await rig.poll()
    Replies(rig, lambda rows: [*rows, *({**row, "GsCompanyId__gr.Arr": 7} for row in rows), *rows])
    gsid = rig.create()
    for _ in range(3):
        rig.tenant.advance(60)
        await rig.poll()
    assert [g for g, _ in rig.lane.versions()] == [gsid]
    assert rig.lane.markers()[0]["activities"] == 1
    assert rig.lane.dead == []


@pytest.mark.parametrize("descending", [False, True])
async def test_versions_of_an_activity_in_one_page_are_written_in_the_order_of_their_dates(
    rig: Rig, descending: bool
) -> None:
    await rig.poll()

    def older(rows: list[Row]) -> list[Row]:
        pairs = [(r | {"LastModifiedDate": rig.alive()[r["Gsid"]] - 5000, "Subject": "older"}, r) for r in rows]
        return [r for pair in pairs for r in (pair[::-1] if descending else pair)]

    rig.tenant.advance(20)
    gsid = rig.create(Subject="newer")
    Replies(rig, older)
    for _ in range(3):
        rig.tenant.advance(60)
        await rig.poll()
    at = rig.alive()[gsid]
    assert rig.lane.versions() == [(gsid, at - 5000), (gsid, at)]
    assert [r["Subject"] for r in rig.lane.rows()] == ["older", "newer"]
    assert rig.lane.dead == []


async def test_of_rows_of_one_date_that_differ_one_is_written_and_the_others_are_dead_letters_once(
    rig: Rig, codec: Codec
) -> None:
    await rig.poll()
    turn = iter(range(10))

    def twins(rows: list[Row]) -> list[Row]:
        found = [r | {"Subject": s} for r in rows for s in ("one", "two", "three")]
        return found[::-1] if next(turn) % 2 else found

    Replies(rig, twins)
    gsid = rig.create()
    for _ in range(4):
        rig.tenant.advance(60)
        await rig.poll()
    assert rig.lane.versions() == [(gsid, rig.alive()[gsid])]
    assert [r["Subject"] for r in rig.lane.rows()] == ["three"]
    letters = causes(rig, codec)
    assert sorted(s for s, _ in letters) == ["one", "two"]
    assert all(f"another row of {gsid} with the same LastModifiedDate" in cause for _, cause in letters)


async def test_a_backfill_writes_an_activity_that_a_page_has_twice_once(rig: Rig) -> None:
    gsid = rig.create()
    rig.tenant.advance(8.5 * DAY / 1000)
    rig.define(start=None)
    await rig.poll()
    Replies(rig, lambda rows: [*rows, *rows])
    await backfilled(rig)
    assert [g for g, _ in rig.lane.versions()] == [gsid]


@pytest.mark.parametrize("off", [-365 * DAY, -3 * 3_600_000, 2 * 3_600_000, 30 * 365 * DAY])
async def test_a_row_that_was_not_asked_for_is_a_dead_letter_once(rig: Rig, codec: Codec, off: int) -> None:
    rig.define(start=None)
    await rig.poll()
    at = rig.tenant.now() + off
    wrong = {"Gsid": "W1", "LastModifiedDate": format_date(at), "Subject": "wrong"}
    Replies(rig, lambda rows: sorted([*rows, wrong], key=lambda r: str(r["LastModifiedDate"])))
    ids = []
    for _ in range(6):
        ids.append(rig.create())
        rig.tenant.advance(900)
        await rig.poll()
    assert [g for g, _ in rig.lane.versions()] == ids
    ((subject, cause),) = causes(rig, codec)
    assert subject == "wrong"
    assert f"gave W1, modified at {format_date(at)}" in cause and "why the query's dates are not heeded" in cause


async def test_a_row_that_was_not_asked_for_leads_no_reading_astray(rig: Rig, codec: Codec) -> None:
    rig.set(page_rows=3)
    await rig.poll()
    wrong = {"Gsid": "W1", "LastModifiedDate": "2099-01-01T00:00:00Z", "Subject": "wrong"}
    Replies(rig, lambda rows: [*rows[:2], wrong] if len(rows) == 3 else rows)
    ids = []
    for _ in range(9):
        ids.append(rig.create())
        rig.tenant.advance(2)
    rig.tenant.advance(60)
    await rig.poll()
    assert sorted(g for g, _ in rig.lane.versions()) == sorted(ids)
    assert [s for s, _ in causes(rig, codec)] == ["wrong"]


async def test_a_full_page_of_rows_that_were_not_asked_for_fails_the_poll_with_the_cause(rig: Rig) -> None:
    rig.set(page_rows=2)
    await rig.poll()
    Replies(rig, lambda rows: [r | {"LastModifiedDate": "2020-01-01T00:00:00Z"} for r in rows])
    for _ in range(2):
        rig.create()
    rig.tenant.advance(60)
    with pytest.raises(StuckError, match=r"None of the 2 rows of a full page.*gave .*2020-01-01.*dates are not heeded"):
        await rig.poll()


async def test_backfills_and_polls_together_write_one_dead_letter_of_a_row_that_was_not_asked_for(
    rig: Rig, codec: Codec
) -> None:
    rig.define(start=None)
    gsid = rig.create()
    rig.tenant.advance(8.5 * DAY / 1000)
    await rig.poll()
    wrong = {"Gsid": "W1", "LastModifiedDate": "2020-01-01T00:00:00Z", "Subject": "wrong"}
    Replies(rig, lambda rows: [wrong, *rows])
    await backfilled(rig)
    rig.tenant.advance(60)
    await rig.poll()
    assert [g for g, _ in rig.lane.versions()] == [gsid]
    assert [s for s, _ in causes(rig, codec)] == ["wrong"]
