"""Resolution in as few calls as the tenant takes, against a tenant over real HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from enricher.activity.mentions import Mention
from enricher.resolution.model import Reference, distinct_mentions
from frame_gainsight.gainsight import ConfigError, UnknownFieldError
from tests.unit.enricher.conftest import TenantRig, refer

NOBODY = "nobody@nowhere.example"


def want(
    mentions: Sequence[Mention], companies: Sequence[str] = (), relationships: Sequence[str] = ()
) -> list[Reference]:
    return [
        refer(mentions),
        *(refer((), company=c) for c in companies),
        *(refer((), relationship=r) for r in relationships),
    ]


def some(rig: TenantRig, count: int = 20) -> list[Reference]:
    world = rig.tenant.world
    emails = [p["Email"].lower() for p in world.rows("person") if p["Email"]][:count]
    emails += [u["Email"].lower() for u in world.rows("gsuser")[:3]]
    companies = [c["Gsid"] for c in world.rows("company")]
    relationships = [r["Gsid"] for r in world.rows("relationship")]
    return want([Mention(e) for e in [*emails, NOBODY]], companies, relationships)


async def test_cold_it_takes_a_describe_and_a_query_an_object_and_warm_none(rig: TenantRig) -> None:
    resolver, wanted = rig.resolver(), some(rig)
    first = await resolver.resolve(wanted)
    assert len(first.new) > 20
    queried = ["person", "gsuser", "company", "company_person", "relationship"]
    assert rig.total() == 1 + len(queried)
    again = await resolver.resolve(wanted)
    assert rig.total() == 1 + len(queried)
    assert again.new == []
    for part in ("persons", "users", "memberships", "related"):
        assert getattr(again, part) == getattr(first, part)


async def test_only_unknown_values_are_looked_up_where_an_object_is_not_scanned(rig: TenantRig) -> None:
    resolver = rig.resolver(max_scan_rows=0)
    await resolver.resolve(some(rig, 5))
    rig.tenant.reset_calls()
    await resolver.resolve(some(rig, 6))
    assert rig.calls() == {"query gsuser": 1, "query company_person": 1}
    assert {c["in_values"] for c in rig.tenant.recent_calls()[-2:]} == {1}


async def test_the_people_of_a_small_tenant_are_read_once(rig: TenantRig) -> None:
    resolver = rig.resolver()
    await resolver.resolve(some(rig, 5))
    rig.tenant.reset_calls()
    found = await resolver.resolve(some(rig, 1000))
    assert rig.calls() == {}
    assert found.persons.keys() | found.users.keys() == rig.tenant.world.people.keys() | set(
        list(rig.tenant.world.users)[:3]
    )
    rig.tenant.reset_calls()
    strangers = [Mention(f"nobody{n}@nowhere.example") for n in range(50)]
    found = await resolver.resolve(want(strangers))
    assert (rig.calls(), found.persons, found.users) == ({}, {}, {})


async def test_no_reference_costs_no_call_but_the_describe(rig: TenantRig) -> None:
    await rig.resolver().resolve(want([], [], []))
    assert {k.split()[0] for k in rig.calls()} == {"describe"}
    assert rig.total() == 1


async def test_absence_is_an_answer(rig: TenantRig) -> None:
    resolver = rig.resolver()
    wanted = want([Mention(NOBODY)], ["1P02" + "0" * 32], [])
    found = await resolver.resolve(wanted)
    assert (found.persons, found.users, found.related["company"]) == ({}, {}, {})
    calls = rig.total()
    await resolver.resolve(wanted)
    assert rig.total() == calls
    rig.tenant.advance(6 * 3600 + 1)
    rig.tenant.reset_calls()
    await resolver.resolve(wanted)
    assert rig.calls()["query company"] == 1, "absence is believed for its own, shorter time"


async def test_an_old_answer_is_looked_up_again(rig: TenantRig) -> None:
    resolver, wanted = rig.resolver(), some(rig)
    await resolver.resolve(wanted)
    first = rig.calls()
    rig.tenant.advance(24 * 3600 + 1)
    rig.tenant.reset_calls()
    await resolver.resolve(wanted)
    assert rig.calls().keys() >= first.keys()
    rig.tenant.advance(24 * 3600 + 1)
    rig.tenant.reset_calls()
    await resolver.resolve(wanted, renew=False)
    assert rig.calls() == {}, "whatever is known counts for a replay"


async def test_emails_are_the_same_in_any_case(rig: TenantRig) -> None:
    person = next(p for p in rig.tenant.world.rows("person") if p["Email"])
    person["Email"] = person["Email"].upper()
    found = await rig.resolver().resolve(want([Mention(person["Email"].lower())], [], []))
    assert [row["Gsid"] for row in found.persons[person["Email"].lower()]] == [person["Gsid"]]


async def test_gsids_are_looked_up_as_persons_and_as_users(rig: TenantRig) -> None:
    world = rig.tenant.world
    person, user = world.rows("person")[0]["Gsid"], world.rows("gsuser")[0]["Gsid"]
    found = await rig.resolver().resolve(want([Mention(gsid=person), Mention(gsid=user)], [], []))
    assert found.persons_by_gsid.keys() == {person}
    assert found.users_by_gsid.keys() == {user}
    assert found.memberships.keys() == {person}


async def test_custom_objects_by_what_they_join(rig: TenantRig) -> None:
    mapping = {
        "objects": {"contract__gc": {"join": {"Company_ID__gc": "company"}}},
        "org_profile": {"value": "contract__gc.Value__gc", "csm": "company.Csm__gr.Email"},
    }
    wanted = some(rig)
    found = await rig.resolver(**mapping).resolve(wanted)
    contracts = rig.tenant.world.rows("contract__gc")
    assert {c: {r["Gsid"] for r in rows} for c, rows in found.custom["contract__gc"].items()} == {
        c: {r["Gsid"] for r in contracts if r["Company_ID__gc"] == c} for c in {r["Company_ID__gc"] for r in contracts}
    }
    companies = rig.tenant.world.rows("company")
    users = {u["Gsid"]: u["Email"] for u in rig.tenant.world.rows("gsuser")}
    assert {g: r["Csm__gr.Email"] for g, r in found.related["company"].items()} == {
        c["Gsid"]: users[c["Csm"]] for c in companies
    }


@pytest.mark.parametrize("absent", ["relationship", "company_person", "gsuser"])
async def test_an_object_that_only_we_want_may_be_missing(rig: TenantRig, absent: str) -> None:
    rig.tenant.set_variant("missing_object", True, object=absent)
    wanted = some(rig)
    resolver = rig.resolver()
    found = await resolver.resolve(wanted)
    assert found.persons
    assert found.related["company"]
    calls = rig.total()
    await resolver.resolve(wanted)
    assert rig.total() == calls


async def test_a_mapped_object_that_is_missing_is_named(rig: TenantRig) -> None:
    rig.tenant.set_variant("missing_object", True, object="relationship")
    wanted = want([], [], ["1P05" + "0" * 32])
    with pytest.raises(ConfigError, match="relationship"):
        await rig.resolver(org_profile={"stage": "relationship.Stage"}).resolve(wanted)


@pytest.mark.parametrize(
    "mapping",
    [
        {"org_profile": {"x": "company.Nowhere__gc"}},
        {"user_profile": {"x": "person.Nowhere__gc"}},
        {"user_profile": {"x": "company_person.Nowhere__gc"}},
    ],
    ids=["company", "person", "company_person"],
)
async def test_a_mapped_column_that_is_missing_is_named(rig: TenantRig, mapping: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="Nowhere__gc"):
        await rig.resolver(**mapping).resolve(some(rig))


async def test_a_column_that_vanishes_is_left_out_and_described_again(rig: TenantRig) -> None:
    resolver = rig.resolver()
    await resolver.resolve(want([], [], []))
    rig.tenant.set_variant("missing_fields", ["FirstName"], object="person")
    assert (await resolver.resolve(some(rig))).persons
    rig.tenant.reset_calls()
    await resolver.resolve(some(rig))
    assert rig.calls() == {"describe person": 1}


@pytest.mark.parametrize("status", [400, 413, 414])
async def test_refused_lists_are_made_smaller_and_the_size_is_remembered(rig: TenantRig, status: int) -> None:
    rig.tenant.set_variant("in_limit", {"max": 8, "status": status})
    resolver, wanted = rig.resolver(), some(rig)
    found = await resolver.resolve(wanted)
    emails = {m.email for m in distinct_mentions(wanted)}
    assert found.persons.keys() == emails & rig.tenant.world.people.keys()
    assert found.users.keys() == emails & rig.tenant.world.users.keys()
    rig.tenant.reset_calls()
    more = [p["Email"].lower() for p in rig.tenant.world.rows("person") if p["Email"]][20:30]
    await resolver.resolve(want([Mention(e) for e in more], [], []))
    assert all(call["status"] == 200 for call in rig.tenant.recent_calls()[-6:])


async def test_an_answer_with_fewer_columns_is_not_enough(rig: TenantRig) -> None:
    wanted = some(rig)
    await rig.resolver().resolve(wanted)
    rig.tenant.reset_calls()
    found = await rig.resolver(org_profile={"arr": "company.Arr"}).resolve(wanted)
    assert rig.calls() == {"query company": 1}
    assert all("Arr" in row for row in found.related["company"].values())


async def test_a_described_column_that_cannot_be_queried_is_done_without(rig: TenantRig) -> None:
    rig.tenant.set_variant("gone_fields", ["FirstName"], object="person")
    resolver, wanted = rig.resolver(), some(rig)
    found = await resolver.resolve(wanted)
    assert len(found.persons) >= 20
    assert all("FirstName" not in row for row in found.persons.values())


async def test_a_mapped_column_that_cannot_be_queried_is_named(rig: TenantRig) -> None:
    rig.tenant.set_variant("gone_fields", ["FirstName"], object="person")
    with pytest.raises(UnknownFieldError, match="FirstName"):
        await rig.resolver(user_profile={"first_name": "person.FirstName"}).resolve(some(rig))
