"""Companies and relationships ride along with the timeline, where the tenant takes it; else it is read without them."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.errors import Failure

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


def timeline_calls(rig: Any) -> int:
    return int(rig.tenant.calls()["by_endpoint"].get("query activity_timeline", 0))


async def polled(rig: Any, rows: int = 3) -> list[dict[str, Any]]:
    for _ in range(rows):
        rig.create()
    rig.tenant.advance(30)
    result = await rig.poll()
    assert result.written == rows
    return list(rig.bus.rows()[-rows:])


def riding(row: dict[str, Any]) -> set[str]:
    return {key for key in row if key.startswith(("GsCompanyId__gr", "GsRelationshipId__gr"))}


async def test_they_come_with_the_rows_in_the_same_call(rig: Any) -> None:
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


async def test_a_changed_company_makes_no_new_version(rig: Any) -> None:
    rig.define(**MAPPED)
    await polled(rig)
    for company in rig.tenant.world.rows("company"):
        company["Arr"] = 17
    rig.tenant.advance(30)
    assert (await rig.poll()).written == 0


async def test_a_mapped_column_that_the_company_does_not_have_keeps_it_from_riding(rig: Any) -> None:
    rig.define(org_profile={"x": "company.Nowhere__gc", "stage": "relationship.Stage"})
    (row, *_) = await polled(rig)
    assert riding(row) == {k for k in RIDING if k.startswith("GsRelationshipId")}
    assert timeline_calls(rig) == 1
    assert rig.feed.columns.missing == {}, "what is wrong with the company's columns is told by who reads companies"


@pytest.mark.parametrize("code", ["P_5005", "P_5068", "P_5026", "GSOBJ_1002"])
async def test_a_tenant_that_refuses_them_is_read_without(rig: Any, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    from sandbox import api
    from sandbox.errors import ApiError

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


async def test_a_column_of_its_own_that_vanishes_is_still_dropped_alone(rig: Any) -> None:
    rig.define(**MAPPED)
    await polled(rig)
    rig.tenant.set_variant("gone_fields", ["Source"], object="activity_timeline")
    (row, *_) = await polled(rig)
    assert "Source" not in row
    assert riding(row) == RIDING
    assert "Source" in rig.feed.columns.missing


async def test_a_key_that_may_not_see_companies_still_reads_the_timeline(rig: Any) -> None:
    rig.define(**MAPPED)
    rig.tenant.set_variant("unauthorized", "GS_APIG_2401", object="company")
    rows = await polled(rig)
    assert [riding(row) for row in rows] == [set()] * 3
