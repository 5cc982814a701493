"""Companies and relationships ride along with the timeline, where the tenant takes it; else it is read without them."""

from __future__ import annotations

from typing import Any

import pytest

from frame_gainsight.gainsight import RefusedQueryError
from frame_gainsight.sandbox.http.errors import Failure
from frame_gainsight.sandbox.scenarios.tenant_profiles import implement
from tests.unit.producer.rig import Rig

MAPPED = {"org_profile": {"arr": "company.Arr", "csm": "company.Csm__gr.Email", "stage": "relationship.Stage"}}
RIDING = {
    "GsCompanyId__gr.Gsid",
    "GsCompanyId__gr.Name",
    "GsCompanyId__gr.Arr",
    "GsCompanyId__gr.Csm__gr.Email",
    "GsRelationshipId__gr.Gsid",
    "GsRelationshipId__gr.Name",
    "GsRelationshipId__gr.Stage",
}


def timeline_calls(rig: Rig) -> int:
    return int(rig.tenant.calls()["by_endpoint"].get("query activity_timeline", 0))


async def polled(rig: Rig, rows: int = 3) -> list[dict[str, Any]]:
    for _ in range(rows):
        rig.create()
    rig.tenant.advance(30)
    result = await rig.poll()
    assert result.written == rows
    return list(rig.bus.rows()[-rows:])


def riding(row: dict[str, Any]) -> set[str]:
    return {key for key in row if key.startswith(("GsCompanyId__gr", "GsRelationshipId__gr"))}


async def test_they_come_with_the_rows_in_the_same_call(rig: Rig) -> None:
    rig.define(**MAPPED)
    rows = await polled(rig)
    assert timeline_calls(rig) == 1
    companies = {c["Gsid"]: c for c in rig.tenant.world.rows("company")}
    users = {u["Gsid"]: u["Email"] for u in rig.tenant.world.rows("gsuser")}
    for row in rows:
        assert riding(row) == RIDING
        company = companies[row["GsCompanyId"]]
        assert row["GsCompanyId__gr.Arr"] == company["Arr"]
        assert row["GsCompanyId__gr.Csm__gr.Email"] == users.get(company["Csm"])


async def test_a_changed_company_makes_no_new_version(rig: Rig) -> None:
    rig.define(**MAPPED)
    await polled(rig)
    for company in rig.tenant.world.rows("company"):
        company["Arr"] = 17
    rig.tenant.advance(30)
    assert (await rig.poll()).written == 0


async def test_a_mapped_column_that_the_company_does_not_have_keeps_it_from_riding(rig: Rig) -> None:
    rig.define(org_profile={"x": "company.Nowhere__gc", "stage": "relationship.Stage"})
    (row, *_) = await polled(rig)
    assert riding(row) == {k for k in RIDING if k.startswith("GsRelationshipId")}
    assert timeline_calls(rig) == 1
    assert rig.feed.columns.missing == {}, "what is wrong with the company's columns is told by who reads companies"


@pytest.mark.parametrize("code", ["P_5005", "P_5068", "P_5026", "GSOBJ_1002"])
async def test_a_tenant_that_refuses_them_is_read_without(rig: Rig, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    from frame_gainsight.sandbox.http import api
    from frame_gainsight.sandbox.http.errors import ApiError

    plain = api.evaluate

    def evaluate(body: Any, *rest: Any) -> Any:
        if any("__gr." in name and not name.startswith("AuthorId") for name in body["select"]):
            raise ApiError(Failure(400, code, "Column t2.Arr does not exist"))
        return plain(body, *rest)

    monkeypatch.setattr(api, "evaluate", evaluate)
    rig.define(**MAPPED)
    rows = await polled(rig)
    assert [riding(row) for row in rows] == [set()] * 3
    assert timeline_calls(rig) == 2
    assert rig.feed.columns.missing == {}
    await polled(rig)
    assert timeline_calls(rig) == 3, "it is asked about once"


async def test_a_column_of_its_own_that_vanishes_is_still_dropped_alone(rig: Rig) -> None:
    rig.define(**MAPPED)
    await polled(rig)
    rig.tenant.set_variant("gone_fields", ["Source"], object="activity_timeline")
    (row, *_) = await polled(rig)
    assert "Source" not in row
    assert riding(row) == RIDING
    assert "Source" in rig.feed.columns.missing


async def test_a_key_that_may_not_see_companies_still_reads_the_timeline(rig: Rig) -> None:
    rig.define(**MAPPED)
    rig.tenant.set_variant("unauthorized", "GS_APIG_2401", object="company")
    rows = await polled(rig)
    assert [riding(row) for row in rows] == [set()] * 3


# Tenants that take no look-ups at all

DAY = 86_400


@pytest.mark.parametrize("code", ["P_5068", "P_5005"])
async def test_a_tenant_without_look_ups_is_read_by_its_own_columns(rig: Rig, code: str) -> None:
    rig.define(**MAPPED)
    rig.tenant.set_variant("dotted_select", code)
    for row in await polled(rig):
        assert not any("." in column for column in row)
        assert row["AuthorId"]
    assert timeline_calls(rig) == 3, "with what rides along, with the author's columns, without both"
    assert rig.feed.columns.missing == {}, "nothing that somebody should see to"
    await polled(rig)
    rig.tenant.advance(2 * DAY)
    await polled(rig)
    assert timeline_calls(rig) == 5, "it is not tried again, after the next look at the fields either"


async def test_a_plain_implementation_is_read(rig: Rig) -> None:
    implement(rig.tenant, "plain")
    rig.define(tags={"source": "activity.Source"})
    assert len(await polled(rig, 5)) == 5
    assert dict(rig.bus.versions()) == rig.alive()


async def test_a_mapped_look_up_is_not_done_without_but_named(rig: Rig) -> None:
    rig.define(**MAPPED, tags={"author": "activity.AuthorId__gr.Name"})
    rig.tenant.set_variant("dotted_select", "P_5068")
    rig.create()
    rig.tenant.advance(30)
    with pytest.raises(RefusedQueryError, match=r"Look-ups in it: AuthorId__gr\.Name\.$"):
        await rig.poll()
    with pytest.raises(RefusedQueryError):
        await rig.poll()
    assert timeline_calls(rig) == 4, "one call a poll from then on"


async def test_an_author_who_has_lost_a_column_is_told_by_the_id(rig: Rig) -> None:
    rig.define(**MAPPED)
    await polled(rig)
    rig.tenant.set_variant("gone_fields", ["Name"], object="gsuser")
    (row, *_) = await polled(rig)
    assert row["AuthorId"] and "AuthorId__gr.Email" not in row
    assert riding(row) == RIDING
