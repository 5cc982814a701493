"""Full scans: the calls that they save, when they are worth it, and that nobody who came meanwhile is missed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from enricher.activity.mentions import Mention
from enricher.resolution.entity_cache import EntityCache
from enricher.resolution.model import Reference
from frame_gainsight.sandbox import Clock, Limits, Tenant
from tests.unit.enricher.conftest import TenantRig, refer
from tests.unit.enricher.resolution.test_people_lookup import HOUR, people, queries, right, want


@pytest.fixture
def tenant() -> Tenant:
    return Tenant(seed=3, clock=Clock.stopped("2026-03-02T08:00:00Z"), size=60, limits=Limits(None, None))


# People


async def strangers(rig: TenantRig, resolver: Any, windows: int) -> list[int]:
    """The queries of so many windows, in each of which is one whom the tenant does not know."""
    counted = []
    for window in range(windows):
        emails = [*people(rig)[window :: windows + 7], f"stranger{window}@nowhere.example"]
        right(rig, await resolver.resolve(want(emails)), emails)
        counted.append(sum(queries(rig).values()))
    return counted


async def test_persons_of_several_pages_are_scanned_since_each_stranger_costs_two_calls(rig: TenantRig) -> None:
    rig.tenant.set_variant("page_cap", 100)
    counted = await strangers(rig, rig.resolver(max_scan_rows=2000), 9)
    pages = sum(len(rig.tenant.world.rows(name)) // 99 + 1 for name in ("company_person", "person"))
    assert sum(counted) <= pages + 6, "how many there are, what may follow, and a page cut in two"
    assert counted[4:] == [0] * 5, "and from then on nobody costs a call"


async def test_too_large_an_object_is_looked_up_by_value_and_its_size_is_found_out_once(rig: TenantRig) -> None:
    rig.tenant.set_variant("page_cap", 100)
    counted = await strangers(rig, rig.resolver(max_scan_rows=300), 9)
    assert counted[3:] == [2] * 6, "memberships, and persons who have none"
    assert sum(counted) <= 9 * 2 + 6


async def test_an_object_that_was_evicted_is_not_scanned_again(rig: TenantRig) -> None:
    rig.cache = EntityCache(24 * HOUR, 6 * HOUR, max_entries=150)
    counted = await strangers(rig, rig.resolver(), 6)
    assert max(counted[1:]) <= 3, "by value"


async def test_who_came_between_two_pages_of_a_scan_is_known(rig: TenantRig) -> None:
    rig.tenant.set_variant("page_cap", 100)
    world, resolver = rig.tenant.world, rig.resolver(max_scan_rows=2000)
    await strangers(rig, resolver, 1)
    first = min(row["Gsid"] for row in world.rows("person"))
    new = {"Gsid": first[:-1] + "!", "Email": "new@there.example", "FirstName": "New", "Name": "New There"}
    company = world.rows("company")[0]["Gsid"]
    rig.tenant.advance(60)
    rig.tenant.add_record("person", new)
    rig.tenant.add_record("company_person", {"Person_ID": new["Gsid"], "Company_ID": company})
    rig.tenant.advance(3600)  # the look for changes finds it where has been read already
    await strangers(rig, resolver, 9)
    found = await resolver.resolve(want([new["Email"]]))
    assert [row["Gsid"] for row in found.persons[new["Email"]]] == [new["Gsid"]]
    assert [m["Company_ID"] for m in found.memberships[new["Gsid"]]] == [company]
    assert queries(rig) == {}


async def test_a_mentioned_gsid_is_looked_up_though_all_people_were_scanned(rig: TenantRig) -> None:
    world, resolver = rig.tenant.world, rig.resolver()
    await strangers(rig, resolver, 3)
    company = world.rows("company")[0]["Gsid"]
    person = rig.tenant.add_record("person", {"Email": "young@there.example", "Name": "Young There"})
    rig.tenant.add_record("company_person", {"Person_ID": person, "Company_ID": company})
    user = rig.tenant.add_record("gsuser", {"Email": "agent@here.example", "Name": "New Agent"})
    gone = "1C00" + "0" * 32
    queries(rig)
    wanted = [refer([Mention(gsid=g) for g in (person, user, gone)])]
    for calls in ({"person": 1, "company_person": 1, "gsuser": 1}, {}):
        found = await resolver.resolve(wanted)
        assert (found.persons_by_gsid.keys(), found.users_by_gsid.keys()) == ({person}, {user})
        assert [m["Company_ID"] for m in found.memberships[person]] == [company]
        assert queries(rig) == calls


# Custom objects


def of(companies: Sequence[str]) -> list[Reference]:
    return [refer((), company=c) for c in companies]


CONTRACTS = {
    "objects": {"contract__gc": {"join": {"Company_ID__gc": "company"}, "pick": "all"}},
    "org_profile": {"value": "contract__gc.Value__gc"},
}


def contracts(rig: TenantRig, companies: Sequence[str]) -> dict[str, set[str]]:
    rows = rig.tenant.world.rows("contract__gc")
    found = {c: {r["Gsid"] for r in rows if r["Company_ID__gc"] == c} for c in companies}
    return {c: gsids for c, gsids in found.items() if gsids}


def of_custom(found: Any) -> dict[str, set[str]]:
    return {c: {r["Gsid"] for r in rows} for c, rows in found.custom["contract__gc"].items()}


async def test_of_a_small_custom_object_no_company_costs_a_call_after_the_first(rig: TenantRig) -> None:
    resolver = rig.resolver(**CONTRACTS)
    companies = [c["Gsid"] for c in rig.tenant.world.rows("company")]
    assert of_custom(await resolver.resolve(of(companies[:1]))) == contracts(rig, companies[:1])
    for calls in (1, 0, 0):  # what may follow a page that is larger than any before is asked for once
        rig.tenant.reset_calls()
        assert of_custom(await resolver.resolve(of(companies))) == contracts(rig, companies)
        assert rig.calls().get("query contract__gc", 0) == calls


async def test_the_custom_rows_of_a_new_company_are_noticed_within_the_interval(rig: TenantRig) -> None:
    resolver = rig.resolver(**CONTRACTS)
    companies = [c["Gsid"] for c in rig.tenant.world.rows("company")]
    await resolver.resolve(of(companies))
    new = rig.tenant.add_record("company", {"Name": "Newcomers"})
    rig.tenant.add_record("contract__gc", {"Name__gc": "First", "Value__gc": 7.0, "Company_ID__gc": new})
    rig.tenant.advance(3600)
    rig.tenant.reset_calls()
    found = await resolver.resolve(of([*companies, new]))
    assert found.related["company"][new]["Name"] == "Newcomers", "its Gsid is asked for, though all companies were read"
    assert of_custom(found) == contracts(rig, [*companies, new])
    assert rig.calls()["query contract__gc"] == 1
    for number, calls in enumerate((1, 0, 0)):  # what may follow the page; nothing else within the interval
        rig.tenant.reset_calls()
        await resolver.resolve(of([*companies, new, f"1P02{number:032}"]))
        assert rig.calls().get("query contract__gc", 0) == calls


@pytest.mark.parametrize("refusal", ["no dates", "too large"])
async def test_a_custom_object_that_cannot_be_scanned_is_looked_up_by_value(rig: TenantRig, refusal: str) -> None:
    if refusal == "no dates":
        rig.tenant.set_variant("missing_fields", ["ModifiedDate"], object="contract__gc")
    if refusal == "too large":
        rig.tenant.set_variant("page_cap", 50)
    resolver = rig.resolver(max_scan_rows=60 if refusal == "too large" else 20_000, **CONTRACTS)
    companies = [c["Gsid"] for c in rig.tenant.world.rows("company")]
    for some_of in (companies[:2], companies[1:4], companies, companies):
        assert of_custom(await resolver.resolve(of(some_of))) == contracts(rig, some_of)


async def test_a_custom_object_of_several_pages_cuts_no_companys_rows_in_two(rig: TenantRig) -> None:
    rig.tenant.set_variant("page_cap", 50)
    resolver = rig.resolver(**CONTRACTS)
    companies = [c["Gsid"] for c in rig.tenant.world.rows("company")]
    assert len(rig.tenant.world.rows("contract__gc")) > 50
    counted = []
    for start in range(6):
        rig.tenant.reset_calls()
        assert of_custom(await resolver.resolve(of(companies[start::6]))) == contracts(rig, companies[start::6])
        counted.append(rig.calls().get("query contract__gc", 0))
    assert counted[3:] == [0, 0, 0], "by value at first, then as a whole"
