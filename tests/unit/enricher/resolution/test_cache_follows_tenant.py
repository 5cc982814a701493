"""Cached answers follow the tenant: with shared emails, changed mappings, restarts and little memory."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest

from enricher.activity.mentions import Mention, Side
from enricher.resolution import entity_cache as entities
from enricher.resolution.entity_cache import EntityCache
from enricher.resolution.model import Resolved
from frame_gainsight.gainsight import AccessKey, CallBudget, GainsightClient, HttpTransport
from frame_gainsight.kafka import ConsumedRecord
from frame_gainsight.runtime import Settings
from frame_gainsight.sandbox import Clock, Limits, Tenant
from schemas import Codec
from tests.unit.enricher.conftest import TenantRig, refer
from tests.unit.enricher.resolution.test_people_lookup import queries, want

HOUR = 3600
CONTRACTS = {
    "objects": {"contract__gc": {"join": {"Company_ID__gc": "company"}, "pick": "all"}},
    "org_profile": {"name": "contract__gc.Name__gc"},
}
both_ways = pytest.mark.parametrize("max_scan_rows", [20_000, 0], ids=["scanned", "by value"])


@pytest.fixture
def tenant() -> Tenant:
    return Tenant(seed=3, clock=Clock.stopped("2026-03-02T08:00:00Z"), size=40, limits=Limits(None, None))


class Case:
    """A person with one membership, and what else of the tenant is of use."""

    def __init__(self, rig: TenantRig) -> None:
        self.rig = rig
        self.tenant = rig.tenant
        self.world = rig.tenant.world
        jobs = self.world.rows("company_person")
        self.job = next(j for j in jobs if sum(k["Person_ID"] == j["Person_ID"] for k in jobs) == 1)
        self.person = next(p for p in self.world.rows("person") if p["Gsid"] == self.job["Person_ID"])
        self.email = self.person["Email"].lower()
        self.others = [p["Email"].lower() for p in self.world.rows("person") if p["Email"] and p is not self.person]

    def join(self, company: str, **fields: Any) -> str:
        """A new person of a company."""
        sharing = [p for p in self.world.rows("person") if (p["Email"] or "").lower() == fields["Email"]]
        self._rename(sharing, None)  # the simulated tenant lets nobody share one
        gsid = str(self.tenant.add_record("person", fields))
        self._rename(sharing, fields["Email"])
        self.tenant.add_record("company_person", {"Person_ID": gsid, "Company_ID": company})
        return gsid

    def _rename(self, people: list[dict[str, Any]], email: str | None) -> None:
        for person in people:
            person["Email"] = email
        self.world.index()

    def edit(self, row: dict[str, Any], **fields: Any) -> None:
        row.update(fields, ModifiedDate=self.tenant.now())


@pytest.fixture
def case(rig: TenantRig) -> Case:
    return Case(rig)


def gsids(found: Resolved, email: str) -> set[str]:
    return {str(row["Gsid"]) for row in found.persons.get(email, ())}


# An email that several have


@both_ways
async def test_who_shares_an_email_is_found_though_another_who_has_it_is_known(case: Case, max_scan_rows: int) -> None:
    other = case.join(case.job["Company_ID"], Email=case.email, Name="Another One")
    resolver = case.rig.resolver(max_scan_rows)
    await resolver.resolve([refer([Mention(gsid=other)])])
    assert gsids(await resolver.resolve(want([case.email])), case.email) == {case.person["Gsid"], other}


@both_ways
@pytest.mark.parametrize("how", ["new", "renamed"])
async def test_who_gets_an_email_later_is_found_within_the_interval(case: Case, how: str, max_scan_rows: int) -> None:
    resolver = case.rig.resolver(max_scan_rows)
    before = case.join(case.job["Company_ID"], Email="before@x.example", Name="Another One")
    await resolver.resolve(want([case.email, "before@x.example", *case.others[:50]]))
    case.tenant.advance(60)
    if how == "new":
        other = case.join(case.job["Company_ID"], Email=case.email, Name="Another One")
    else:
        other = before
        case.edit(next(p for p in case.world.rows("person") if p["Gsid"] == before), Email=case.email)
    case.tenant.advance(HOUR)
    found = await resolver.resolve(want([case.email, "before@x.example"]))
    assert gsids(found, case.email) == {case.person["Gsid"], other}
    assert gsids(found, "before@x.example") == ({before} if how == "new" else set())


# A mapping that changes


@both_ways
async def test_another_join_gets_the_rows_of_that_join_only(case: Case, max_scan_rows: int) -> None:
    rows = case.world.rows("contract__gc")
    companies = [c["Gsid"] for c in case.world.rows("company")]
    for row in rows:  # a second way to a company: to another one
        row["Name__gc"] = companies[(companies.index(row["Company_ID__gc"]) + 1) % len(companies)]
    wanted = [refer((), company=c) for c in companies]
    value = {"org_profile": {"value": "contract__gc.Value__gc"}}
    joins = [{"objects": {"contract__gc": {"join": {name: "company"}}}} for name in ("Company_ID__gc", "Name__gc")]
    await case.rig.resolver(max_scan_rows, **value, **joins[0]).resolve(wanted)
    resolver = case.rig.resolver(max_scan_rows, **value, **joins[1])
    for _ in range(6):
        found = await resolver.resolve(wanted)
        gsids_of = {c: {r["Gsid"] for r in of} for c, of in found.custom["contract__gc"].items()}
        assert gsids_of == {c: s for c in companies if (s := {r["Gsid"] for r in rows if r["Name__gc"] == c})}
        case.tenant.advance(HOUR)
        case.edit(rows[0], Value__gc=rows[0]["Value__gc"] + 1)


@both_ways
@pytest.mark.parametrize("intervals", [1, 2, 3, 4])  # until it is the contracts' turn
async def test_a_change_completes_no_old_answer_for_a_new_mapping(
    case: Case, intervals: int, max_scan_rows: int
) -> None:
    company, second = case.job["Company_ID"], case.world.rows("company")[-1]["Gsid"]
    for name in ("One", "Two"):
        case.tenant.add_record("contract__gc", {"Name__gc": name, "Value__gc": 3.0, "Company_ID__gc": company})
    case.tenant.add_record(
        "company_person", {"Person_ID": case.person["Gsid"], "Company_ID": second, "Title": "Director"}
    )
    rows = [r for r in case.world.rows("contract__gc") if r["Company_ID__gc"] == company]
    wanted = [refer([Mention(case.email)], company)]
    for _ in range(intervals):
        case.tenant.advance(HOUR)
        await case.rig.resolver(max_scan_rows, **CONTRACTS).resolve(wanted)
    case.tenant.advance(600)
    case.edit(rows[0], Name__gc="Changed")
    case.edit(case.job, Role="Changed")
    case.tenant.advance(HOUR)
    more = {"value": "contract__gc.Value__gc", "name": "contract__gc.Name__gc"}
    mapping = CONTRACTS | {"org_profile": more, "user_profile": {"title": "company_person.Title"}}
    found = await case.rig.resolver(max_scan_rows, **mapping).resolve(wanted)
    values = {r["Gsid"]: r.get("Value__gc") for r in found.custom["contract__gc"][company]}
    assert values == {r["Gsid"]: r["Value__gc"] for r in rows}
    titles = {m["Company_ID"]: m.get("Title") for m in found.memberships[case.person["Gsid"]]}
    assert titles == {company: case.job["Title"], second: "Director"}


async def test_what_a_mapping_adds_is_followed_from_then_on(case: Case) -> None:
    wanted = [refer([Mention(case.email)], case.job["Company_ID"])]
    await case.rig.resolver(0).resolve(wanted)
    case.tenant.advance(50 * 60)
    resolver = case.rig.resolver(0, **CONTRACTS)
    await resolver.resolve(wanted)
    row = next(r for r in case.world.rows("contract__gc") if r["Company_ID__gc"] == case.job["Company_ID"])
    case.tenant.advance(60)
    case.edit(row, Name__gc="Changed")
    for _ in range(5):
        case.tenant.advance(HOUR)
        found = await resolver.resolve(wanted)
    assert "Changed" in {r["Name__gc"] for r in found.custom["contract__gc"][case.job["Company_ID"]]}


# Deletions of which nothing tells


@both_ways
async def test_without_a_log_age_ends_a_deleted_membership_too(case: Case, max_scan_rows: int) -> None:
    case.tenant.set_variant("delete_log", "missing")
    resolver, wanted = case.rig.resolver(max_scan_rows), want([case.email, "nobody@x.example"])
    assert (await resolver.resolve(wanted)).memberships[case.person["Gsid"]]
    case.tenant.delete_record("company_person", case.job["Gsid"])
    for _ in range(30):
        case.tenant.advance(HOUR)
        found = await resolver.resolve(wanted)
    assert found.memberships[case.person["Gsid"]] == []


async def test_who_is_gone_costs_no_call_in_each_window(case: Case) -> None:
    case.tenant.set_variant("delete_log", "missing")
    resolver, wanted = case.rig.resolver(), want([case.email])
    await resolver.resolve(wanted)
    case.tenant.delete_record("person", case.person["Gsid"])
    case.tenant.advance(25 * HOUR)
    await resolver.resolve(wanted)
    await resolver.resolve(want([case.email, "nobody@x.example"]))
    queries(case.rig)
    assert not (await resolver.resolve(wanted)).persons
    assert queries(case.rig) == {}


# Restarts


class Topic:
    """The entities topic: what resolving published, as real records."""

    def __init__(self, rig: TenantRig) -> None:
        self._rig = rig
        self._settings, self._codec = Settings(_env_file=None), Codec()
        self._records: dict[bytes, bytes | None] = {}

    def take(self, found: Resolved) -> Resolved:
        for change in found.new:
            record = entities.encode(self._codec, self._settings, 0, change)
            self._records[record.key] = record.value
        return found

    def restart(self) -> None:
        self._rig.cache = EntityCache(24 * HOUR * 1000, 6 * HOUR * 1000)
        for offset, (key, value) in enumerate(self._records.items()):
            entities.restore(self._codec, self._rig.cache, ConsumedRecord("entities", 0, offset, key, value))


@pytest.mark.parametrize("restarts", [False, True])
async def test_what_was_noticed_survives_a_restart(case: Case, restarts: bool) -> None:
    topic, new = Topic(case.rig), "brand.new@customer.example"
    topic.take(await case.rig.resolver(0).resolve(want([case.email, new])))
    case.tenant.advance(60)
    gsid = case.join(case.job["Company_ID"], Email=new, Name="Brand New")
    case.tenant.advance(HOUR)
    topic.take(await case.rig.resolver(0).resolve(want([case.email])))  # notices, and does not ask for the new one
    if restarts:
        topic.restart()
    case.tenant.advance(60)
    assert gsids(await case.rig.resolver(0).resolve(want([new])), new) == {gsid}


async def test_answers_given_up_for_too_many_changes_stay_given_up(case: Case) -> None:
    topic, mapping = Topic(case.rig), {"user_profile": {"role": "company_person.Role"}}
    topic.take(await case.rig.resolver(0, **mapping).resolve(want([case.email, case.others[0]])))
    case.tenant.advance(60)
    for row in case.world.rows("company_person"):
        case.edit(row, Role="Renamed")
    case.tenant.set_variant("page_cap", 50, object="company_person")
    case.tenant.advance(HOUR)
    topic.take(await case.rig.resolver(0, **mapping).resolve(want([case.others[0]])))
    topic.restart()
    found = await case.rig.resolver(0, **mapping).resolve(want([case.email]))
    assert [m["Role"] for m in found.memberships[case.person["Gsid"]]] == ["Renamed"]


# Little memory


@both_ways
async def test_a_window_that_does_not_fit_into_memory_is_resolved_all_the_same(case: Case, max_scan_rows: int) -> None:
    case.rig.cache = EntityCache(24 * HOUR * 1000, 6 * HOUR * 1000, max_entries=30)
    companies = [c["Gsid"] for c in case.world.rows("company")]
    mentions = [Mention(e) for e in [case.email, *case.others]]
    found = await case.rig.resolver(max_scan_rows).resolve(
        [refer(mentions), *(refer((), company=c) for c in companies)]
    )
    missing = {m.email for m in mentions} - found.persons.keys() - found.users.keys()
    assert not missing
    assert found.related["company"].keys() == set(companies)
    assert len(case.rig.cache) <= 30


async def test_others_of_the_lane_take_nothing_away_that_is_being_used(case: Case) -> None:
    rng = Random(1)
    case.rig.cache = EntityCache(24 * HOUR * 1000, 6 * HOUR * 1000, max_entries=2 * len(case.world.rows("person")))
    emails = [*(u["Email"].lower() for u in case.world.rows("gsuser")[:3]), *case.others[:6]]

    async def resolve(number: int) -> Resolved:
        access, budget = AccessKey(case.tenant.access_key), CallBudget(case.rig.clock, 1.0, 10**9, 10**9)
        transport = HttpTransport(case.rig.url, access, budget, case.rig.clock, retry_seconds=0.0001)
        async with GainsightClient(transport) as client:
            ask = client.query

            async def late(query: Any) -> Any:
                await asyncio.sleep(rng.uniform(0.01, 0.2))
                return await ask(query)

            client.query = late  # type: ignore[method-assign,assignment]
            case.rig.client = client
            return await case.rig.resolver(id=f"c{number}").resolve(want(emails))  # type: ignore[no-any-return]

    for found in await asyncio.gather(*(resolve(number) for number in range(24))):
        assert not set(emails) - found.users.keys() - found.persons.keys()


# Names


async def test_names_looked_up_by_company_follow_who_comes_and_goes(case: Case) -> None:
    company, resolver = case.job["Company_ID"], case.rig.resolver(0)
    wanted = [refer([Mention(name=n, side=Side.EXTERNAL) for n in ("New Comer", "Old Hand")], company)]
    old = case.join(company, Name="Old Hand", FirstName="Old", LastName="Hand", Email="old@x.example")
    found = await resolver.resolve(wanted)
    assert found.named_people[company] == {"old hand": old}
    case.tenant.advance(60)
    new = case.join(company, Name="New Comer", FirstName="New", LastName="Comer", Email="new@x.example")
    job = next(j["Gsid"] for j in case.world.rows("company_person") if j["Person_ID"] == old)
    case.tenant.delete_record("company_person", job)
    case.tenant.advance(HOUR)
    assert (await resolver.resolve(wanted)).named_people[company] == {"new comer": new}


@both_ways
@pytest.mark.parametrize("fault", ["missing_fields", "gone_fields"])
async def test_users_without_names_are_no_fault_of_the_mapping(case: Case, fault: str, max_scan_rows: int) -> None:
    case.tenant.set_variant(fault, ["Name"], object="gsuser")
    mentions = [Mention(case.email), Mention(name="Somebody Inside", side=Side.INTERNAL)]
    found = await case.rig.resolver(max_scan_rows).resolve([refer(mentions)])
    assert gsids(found, case.email) == {case.person["Gsid"]}
    assert found.named_users == {}


async def test_a_refusal_does_not_end_following_for_good(case: Case) -> None:
    user = case.world.rows("gsuser")[2]
    wanted = want([user["Email"].lower()])
    resolver = case.rig.resolver(user_profile={"zone": "gsuser.Timezone"})
    await resolver.resolve(wanted)
    case.tenant.set_variant("failure", {"status": 400, "code": "GSOBJ_1007"}, object="gsuser", endpoint="query")
    for _ in range(4):
        case.tenant.advance(HOUR)
        await resolver.resolve(wanted)
    case.tenant.clear_variants()
    case.tenant.advance(HOUR)
    case.edit(user, Timezone="Mars")
    for _ in range(8):
        case.tenant.advance(HOUR)
        found = await resolver.resolve(wanted)
    assert [row["Timezone"] for row in found.users.values()] == ["Mars"]
