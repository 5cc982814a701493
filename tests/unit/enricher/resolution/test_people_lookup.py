"""Persons and users in the fewest calls, against a tenant over real HTTP, whatever its size and its caps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from enricher.activity.mentions import Mention, Side, mentions
from enricher.resolution.entity_cache import EntityCache
from enricher.resolution.model import Reference, Resolved
from frame_gainsight.sandbox import Clock, Limits, Tenant
from tests.unit.enricher.conftest import TenantRig, raw, refer

NOBODY = "nobody@nowhere.example"
HOUR = 3_600_000


@pytest.fixture
def tenant() -> Tenant:
    return Tenant(seed=3, clock=Clock.stopped("2026-03-02T08:00:00Z"), size=60, limits=Limits(None, None))


def people(rig: TenantRig) -> list[str]:
    return [p["Email"].lower() for p in rig.tenant.world.rows("person") if p["Email"]]


def users(rig: TenantRig) -> list[str]:
    return [u["Email"].lower() for u in rig.tenant.world.rows("gsuser")]


def want(emails: Sequence[str], company: str | None = None) -> list[Reference]:
    return [refer([Mention(e) for e in emails], company)]


def queries(rig: TenantRig) -> dict[str, int]:
    found = {k.removeprefix("query "): n for k, n in rig.calls().items() if k.startswith("query ")}
    rig.tenant.reset_calls()
    return found


def right(rig: TenantRig, found: Resolved, emails: Sequence[str]) -> None:
    """Exactly those who exist were found, each with all companies."""
    world = rig.tenant.world
    theirs = {e for e in emails if e in world.users}
    assert found.users.keys() == theirs
    persons = {e for e in emails if e in world.people} - theirs
    assert found.persons.keys() >= persons
    assert found.persons.keys() <= persons | theirs
    jobs: dict[str, set[str]] = {}
    for row in world.rows("company_person"):
        jobs.setdefault(row["Person_ID"], set()).add(row["Company_ID"])
    for email in persons:
        (person,) = found.persons[email]
        assert person["Gsid"] == world.people[email]["Gsid"]
        assert {m["Company_ID"] for m in found.memberships[person["Gsid"]]} == jobs.get(person["Gsid"], set())


async def test_a_cold_window_costs_one_query_for_each_kind_of_people_and_one_for_strangers(rig: TenantRig) -> None:
    resolver = rig.resolver()
    emails = [*people(rig)[:100], *users(rig)[:5], NOBODY]
    right(rig, await resolver.resolve(want(emails)), emails)
    assert queries(rig) == {"company_person": 1, "gsuser": 1, "person": 1}
    right(rig, await resolver.resolve(want(emails)), emails)
    assert queries(rig) == {}
    emails = [*people(rig), *users(rig)]
    right(rig, await resolver.resolve(want(emails)), emails)
    assert queries(rig) == {}, "they came with the others"
    await resolver.resolve(want(["stranger@nowhere.example"]))
    assert queries(rig) == {"company_person": 1, "person": 1}, "a next page, and those who are of no company"
    await resolver.resolve(want([f"stranger{n}@nowhere.example" for n in range(99)]))
    assert queries(rig) == {}


async def test_a_restart_knows_what_was_known(rig: TenantRig) -> None:
    emails = [*people(rig), *users(rig), NOBODY]
    first = await rig.resolver().resolve(want(emails))
    stored = first.new
    first = await rig.resolver().resolve(want(["other@nowhere.example"]))
    stored += first.new
    queries(rig)
    rig.cache = EntityCache(24 * HOUR, 6 * HOUR)
    for entity in stored:
        rig.cache.put(entity)
    found = await rig.resolver().resolve(want([*emails, "third@nowhere.example"]))
    right(rig, found, emails)
    assert queries(rig) == {}
    assert rig.total() == 0, "not even a describe"


async def test_an_evicted_answer_is_looked_up_again(rig: TenantRig) -> None:
    rig.cache = EntityCache(24 * HOUR, 6 * HOUR, max_entries=150)
    resolver = rig.resolver()
    emails = people(rig)
    for start in (0, 100, 200, 0):
        window = [*emails[start : start + 100], NOBODY]
        right(rig, await resolver.resolve(want(window)), window)
    assert len(rig.cache) <= 150


@pytest.mark.parametrize("cap", [50, 77, 100, 333])
@pytest.mark.parametrize("max_scan_rows", [20_000, 120, 0])
async def test_however_the_tenant_caps_its_pages(rig: TenantRig, cap: int, max_scan_rows: int) -> None:
    rig.tenant.set_variant("page_cap", cap)
    resolver = rig.resolver(max_scan_rows)
    emails = [*people(rig), *users(rig), NOBODY]
    for window in (emails[:40], emails, [*emails[::3], "other@nowhere.example"]):
        right(rig, await resolver.resolve(want(window)), window)


async def test_a_replay_looks_up_only_unknown_values(rig: TenantRig) -> None:
    resolver = rig.resolver()
    emails = [*people(rig), NOBODY]
    await resolver.resolve(want(emails))
    await resolver.resolve(want(["other@nowhere.example"]))
    rig.tenant.advance(1000 * 86_400)
    rig.tenant.reset_calls()
    found = await resolver.resolve(want(emails), renew=False)
    right(rig, found, emails)
    assert rig.total() == 0


async def test_names_are_found_among_the_companys_people_and_the_users(rig: TenantRig) -> None:
    world = rig.tenant.world
    job = next(j for j in world.rows("company_person") if j["Active"])
    person = next(p for p in world.rows("person") if p["Gsid"] == job["Person_ID"])
    user = world.rows("gsuser")[3]
    for max_scan_rows in (20_000, 0):
        rig.cache = EntityCache(24 * HOUR, 6 * HOUR)
        mentions = [
            Mention(name=person["Name"].upper(), side=Side.EXTERNAL),
            Mention(name=user["Name"], side=Side.INTERNAL),
            Mention(name="No Body", side=Side.EXTERNAL),
        ]
        resolver = rig.resolver(max_scan_rows)
        found = await resolver.resolve([refer(mentions, job["Company_ID"])])
        assert found.named_people == {job["Company_ID"]: {person["Name"].casefold(): person["Gsid"]}}
        assert found.named_users == {user["Name"].casefold(): user["Gsid"]}
        assert found.persons_by_gsid[person["Gsid"]]["Gsid"] == person["Gsid"]
        assert found.users_by_gsid[user["Gsid"]]["Email"] == user["Email"]
        queries(rig)
        await resolver.resolve([refer(mentions, job["Company_ID"])])
        assert queries(rig) == {}


async def test_a_name_that_two_have_stands_for_neither(rig: TenantRig) -> None:
    world = rig.tenant.world
    job, other = [j for j in world.rows("company_person") if j["Company_ID"] == world.rows("company")[1]["Gsid"]][:2]
    one, two = (next(p for p in world.rows("person") if p["Gsid"] == j["Person_ID"]) for j in (job, other))
    two["Name"] = one["Name"]
    mention = Mention(name=one["Name"], side=Side.EXTERNAL)
    found = await rig.resolver().resolve([refer([mention], job["Company_ID"])])
    assert found.named_people == {job["Company_ID"]: {}}


async def test_a_name_is_not_looked_up_where_the_address_is_beside_it(rig: TenantRig) -> None:
    world = rig.tenant.world
    job = next(j for j in world.rows("company_person") if j["Active"])
    person = next(p for p in world.rows("person") if p["Gsid"] == job["Person_ID"] and p["Email"])
    both = [Mention(person["Email"].lower()), Mention(name=person["Name"], side=Side.EXTERNAL)]
    resolver = rig.resolver(max_scan_rows=0)
    found = await resolver.resolve([refer(both, job["Company_ID"])])
    assert found.named_people == {}
    assert queries(rig) == {"gsuser": 1, "company_person": 1, "company": 1}


@pytest.mark.parametrize("max_scan_rows", [20_000, 0], ids=["scanned", "by value"])
async def test_a_gsid_beside_an_address_costs_a_call_only_where_the_address_is_not_its_own(
    rig: TenantRig, max_scan_rows: int
) -> None:
    world = rig.tenant.world
    *persons, other = [p for p in world.rows("person") if p["Email"]][:9]
    rows = [*persons, *world.rows("gsuser")[:2]]
    emails = [row["Email"].lower() for row in rows]
    right(rig, await rig.resolver(max_scan_rows).resolve(want(emails)), emails)
    by_email = queries(rig)
    rig.cache = EntityCache(24 * HOUR, 6 * HOUR)
    own = [Mention(row["Email"].lower(), gsid=row["Gsid"]) for row in rows]
    found = await rig.resolver(max_scan_rows).resolve([refer(own)])
    right(rig, found, emails)
    assert queries(rig) == by_email
    assert found.users_by_gsid.keys() | found.persons_by_gsid.keys() == {row["Gsid"] for row in rows}
    alias = Mention(emails[0], gsid=other["Gsid"])
    found = await rig.resolver(max_scan_rows).resolve([refer([alias, *own])])
    assert other["Gsid"] in found.persons_by_gsid
    expected = {} if max_scan_rows else {"gsuser": 2, "company_person": 1}  # is it a user, and is its address one's
    assert queries(rig) == expected


@pytest.mark.parametrize("max_scan_rows", [20_000, 0], ids=["scanned", "by value"])
async def test_the_authors_cost_one_call_more_at_most(rig: TenantRig, max_scan_rows: int) -> None:
    theirs = rig.tenant.world.rows("gsuser")
    rows = [
        {"AuthorId": u["Gsid"], "AuthorId__gr.Email": u["Email"] if n % 2 else f"old.{n}@acme.example"}
        for n, u in enumerate(theirs)
    ]
    same = [r | {"AuthorId__gr.Email": u["Email"]} for r, u in zip(rows, theirs, strict=True)]
    emails = want(sorted(m.email for r in same for m in mentions(raw(r)) if m.email))
    right(rig, await rig.resolver(max_scan_rows).resolve(emails), users(rig))
    by_email = queries(rig)
    rig.cache = EntityCache(24 * HOUR, 6 * HOUR)
    await rig.resolver(max_scan_rows).resolve([Reference.of(raw(r)) for r in same])
    assert queries(rig) == by_email
    rig.cache = EntityCache(24 * HOUR, 6 * HOUR)
    strangers = [f"old.{n}@acme.example" for n in range(0, len(theirs), 2)]
    await rig.resolver(max_scan_rows).resolve(want([*users(rig)[1::2], *strangers]))
    by_email = queries(rig)
    rig.cache = EntityCache(24 * HOUR, 6 * HOUR)
    found = await rig.resolver(max_scan_rows).resolve([Reference.of(raw(r)) for r in rows])
    assert found.users_by_gsid.keys() == {u["Gsid"] for u in theirs}
    assert queries(rig) == by_email | {"gsuser": 1 if max_scan_rows else 2}


async def test_a_failure_in_the_middle_loses_no_answer(rig: TenantRig) -> None:
    rig.tenant.set_variant("failure", {"status": 403, "code": "FORBIDDEN"}, object="gsuser", endpoint="query")
    resolver, emails = rig.resolver(), people(rig)[:10]
    with pytest.raises(Exception, match="forbids"):
        await resolver.resolve(want(emails))
    rig.tenant.clear_variants()
    found = await resolver.resolve(want(emails))
    kept = {(e.key.object_name, e.key.value) for e in found.new}
    assert {("person", p["Gsid"]) for p in rig.tenant.world.rows("person")} >= {k for k in kept if k[0] == "person"}
    assert sum(k[0] == "person" for k in kept) > 100, "what was read before the failure is published after it"


REFUSALS: dict[str, dict[str, Any]] = {
    "no columns through look-ups": {"dotted_select": "P_5005"},
    "look-ups that are none": {"dotted_select": "P_5068"},
    "no conditions through look-ups": {"dotted_where": "P_5005"},
    "no OR": {"no_or": True},
    "neither": {"dotted_where": "P_5068", "no_or": True},
    "nothing of it": {"dotted_select": "P_5005", "dotted_where": "P_5005", "no_or": True},
    "other spellings": {"spellings": {"Person_ID": "PersonId", "Company_ID": "CompanyId"}},
}


@pytest.mark.parametrize("max_scan_rows", [20_000, 0], ids=["scanned", "by value"])
@pytest.mark.parametrize("refused", REFUSALS.values(), ids=REFUSALS)
async def test_whatever_a_tenant_refuses_nobody_is_missed(
    rig: TenantRig, refused: dict[str, Any], max_scan_rows: int
) -> None:
    for name, value in refused.items():
        scope = {} if name == "no_or" else {"object": "company_person"}
        rig.tenant.set_variant(name, value, **scope)
    spelt = "CompanyId" if "spellings" in refused else "Company_ID"
    emails = [*people(rig)[:150], *users(rig)[:5], NOBODY]
    for _ in range(2):
        found = await rig.resolver(max_scan_rows).resolve(want(emails))
        for rows in found.memberships.values():
            for row in rows:
                row.setdefault("Company_ID", row.get(spelt))
        right(rig, found, emails)
        rig.tenant.advance(3600)
