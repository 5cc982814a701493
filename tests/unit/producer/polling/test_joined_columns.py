"""Columns of companies and relationships are joined to the timeline, where the tenant takes it; else left out."""

from __future__ import annotations

from typing import Any

import pytest

from frame_gainsight.gainsight import RefusedQueryError
from frame_gainsight.sandbox.query.errors import Failure
from frame_gainsight.sandbox.scenarios.tenant_profiles import apply_profile
from tests.unit.producer.rig import Rig

MAPPED = {"org_profile": {"arr": "company.Arr", "csm": "company.Csm__gr.Email", "stage": "relationship.Stage"}}
JOINED = {
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
    return list(rig.lane.rows()[-rows:])


def joined(row: dict[str, Any]) -> set[str]:
    return {key for key in row if key.startswith(("GsCompanyId__gr", "GsRelationshipId__gr"))}


async def test_joined_columns_come_with_the_rows_in_the_same_call(rig: Rig) -> None:
    rig.define(**MAPPED)
    rows = await polled(rig)
    assert timeline_calls(rig) == 1
    companies = {c["Gsid"]: c for c in rig.tenant.world.rows("company")}
    users = {u["Gsid"]: u["Email"] for u in rig.tenant.world.rows("gsuser")}
    for row in rows:
        assert joined(row) == JOINED
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


async def test_a_mapped_column_that_the_company_lacks_keeps_its_columns_out(rig: Rig) -> None:
    rig.define(org_profile={"x": "company.Nowhere__gc", "stage": "relationship.Stage"})
    (row, *_) = await polled(rig)
    assert joined(row) == {k for k in JOINED if k.startswith("GsRelationshipId")}
    assert timeline_calls(rig) == 1
    assert rig.feed.columns.missing == {}, "wrong columns of companies are reported where companies are read"


@pytest.mark.parametrize("code", ["P_5005", "P_5068", "P_5026", "GSOBJ_1002"])
async def test_a_tenant_that_refuses_joined_columns_is_read_without_them(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    from frame_gainsight.sandbox.http import api
    from frame_gainsight.sandbox.query.errors import ApiError

    plain = api.evaluate

    def evaluate(body: Any, *rest: Any) -> Any:
        if any("__gr." in name and not name.startswith("AuthorId") for name in body["select"]):
            raise ApiError(Failure(400, code, "Column t2.Arr does not exist"))
        return plain(body, *rest)

    monkeypatch.setattr(api, "evaluate", evaluate)
    rig.define(**MAPPED)
    rows = await polled(rig)
    assert [joined(row) for row in rows] == [set()] * 3
    assert timeline_calls(rig) == 2
    assert rig.feed.columns.missing == {}
    await polled(rig)
    assert timeline_calls(rig) == 3, "they are tried once"


async def test_a_vanished_column_of_the_activity_is_dropped_and_the_joined_ones_stay(rig: Rig) -> None:
    rig.define(**MAPPED)
    await polled(rig)
    rig.tenant.set_variant("gone_fields", ["Source"], object="activity_timeline")
    (row, *_) = await polled(rig)
    assert "Source" not in row
    assert joined(row) == JOINED
    assert "Source" in rig.feed.columns.missing


async def test_a_key_that_may_not_see_companies_still_reads_the_timeline(rig: Rig) -> None:
    rig.define(**MAPPED)
    rig.tenant.set_variant("unauthorized", "GS_APIG_2401", object="company")
    rows = await polled(rig)
    assert [joined(row) for row in rows] == [set()] * 3


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
    assert rig.feed.columns.missing == {}, "nothing that people should mend"
    await polled(rig)
    rig.tenant.advance(2 * DAY)
    await polled(rig)
    assert timeline_calls(rig) == 5, "they are not tried again, after the next describe either"


async def test_a_plain_implementation_is_read(rig: Rig) -> None:
    apply_profile(rig.tenant, "plain")
    rig.define(tags={"source": "activity.Source"})
    assert len(await polled(rig, 5)) == 5
    assert dict(rig.lane.versions()) == rig.alive()


async def test_a_refused_look_up_that_is_mapped_is_an_error_that_names_it(rig: Rig) -> None:
    rig.define(**MAPPED, tags={"author": "activity.AuthorId__gr.Name"})
    rig.tenant.set_variant("dotted_select", "P_5068")
    rig.create()
    rig.tenant.advance(30)
    with pytest.raises(RefusedQueryError, match=r"Look-ups in it: AuthorId__gr\.Name\.$"):
        await rig.poll()
    with pytest.raises(RefusedQueryError):
        await rig.poll()
    assert timeline_calls(rig) == 4, "one call a poll from then on"


async def test_an_author_who_has_lost_a_column_is_read_by_id(rig: Rig) -> None:
    rig.define(**MAPPED)
    await polled(rig)
    rig.tenant.set_variant("gone_fields", ["Name"], object="gsuser")
    (row, *_) = await polled(rig)
    assert row["AuthorId"] and "AuthorId__gr.Email" not in row
    assert joined(row) == JOINED
