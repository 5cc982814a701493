"""Changed and deleted entities are noticed once an interval, in three calls, and not while no activities come."""

from __future__ import annotations

from typing import Any

import pytest

from enricher.activity.mentions import Mention
from frame_gainsight.sandbox import Clock, Limits, Tenant
from tests.unit.enricher.conftest import TenantRig, refer

HOUR = 3600
MAPPING = {
    "objects": {"contract__gc": {"join": {"Company_ID__gc": "company"}}},
    "user_profile": {
        "title": "company_person.Title",
        "role": "company_person.Role",
        "place": "person.Location",
        "zone": "gsuser.Timezone",
    },
    "org_profile": {"value": "contract__gc.Value__gc", "arr": "company.Arr"},
}


@pytest.fixture
def tenant() -> Tenant:
    return Tenant(seed=3, clock=Clock.stopped("2026-03-02T08:00:00Z"), size=40, limits=Limits(None, None))


class Case:
    """A person, a user and a company of the tenant, known to the resolver."""

    def __init__(self, rig: TenantRig, max_scan_rows: int) -> None:
        self.rig = rig
        self.world = rig.tenant.world
        self.resolver = rig.resolver(max_scan_rows, **MAPPING)
        jobs = self.world.rows("company_person")
        self.job = next(j for j in jobs if sum(other["Person_ID"] == j["Person_ID"] for other in jobs) == 1)
        self.person = next(p for p in self.world.rows("person") if p["Gsid"] == self.job["Person_ID"])
        self.user = self.world.rows("gsuser")[2]
        self.company = next(
            c for c in self.world.rows("company") if any(k["Company_ID__gc"] == c["Gsid"] for k in self.contracts())
        )
        self.emails = [self.person["Email"].lower(), self.user["Email"].lower(), "nobody@nowhere.example"]

    def contracts(self) -> list[dict[str, Any]]:
        return list(self.world.rows("contract__gc"))

    async def look(self) -> tuple[Any, dict[str, int]]:
        self.rig.tenant.reset_calls()
        reference = refer([Mention(e) for e in self.emails], self.company["Gsid"])
        found = await self.resolver.resolve([reference])
        return found, self.rig.calls()

    def title(self, found: Any) -> Any:
        (row,) = found.memberships[self.person["Gsid"]]
        return row.get("Title")

    def edit(self, row: dict[str, Any], **fields: Any) -> None:
        row.update(fields, ModifiedDate=self.rig.tenant.now())

    def advance(self, seconds: float) -> None:
        self.rig.tenant.advance(seconds)


@pytest.fixture(params=[20_000, 0], ids=["scanned", "by value"])
def case(rig: TenantRig, request: Any) -> Case:
    return Case(rig, request.param)


async def test_a_change_is_noticed_after_the_interval_and_costs_no_call_before(case: Case) -> None:
    await case.look()
    case.advance(60)
    case.edit(case.job, Title="Chief Listener")
    case.edit(case.person, Location="Elsewhere")
    case.edit(case.user, Timezone="Mars")
    found, calls = await case.look()
    assert calls == {}
    assert case.title(found) != "Chief Listener"
    places, zones = set(), set()
    for interval in range(3):
        case.advance(HOUR)
        found, calls = await case.look()
        assert 1 <= sum(calls.values()) <= 3, f"interval {interval}: {calls}"
        assert case.title(found) == "Chief Listener"
        places |= {found.persons[case.emails[0]][0].get("Location")}
        zones |= {found.users[case.emails[1]].get("Timezone")}
    assert "Elsewhere" in places
    assert "Mars" in zones


async def test_no_call_is_made_while_no_activities_come(case: Case) -> None:
    await case.look()
    for _ in range(5):
        case.advance(HOUR)
    _, calls = await case.look()
    assert sum(calls.values()) <= 3


async def test_a_custom_objects_change_takes_its_turn(case: Case) -> None:
    found, _ = await case.look()
    before = {r["Gsid"]: r["Value__gc"] for r in found.custom["contract__gc"][case.company["Gsid"]]}
    case.advance(60)
    contract = next(c for c in case.contracts() if c["Gsid"] in before)
    case.edit(contract, Value__gc=1.5)
    for _ in range(5):
        case.advance(HOUR)
        found, calls = await case.look()
        assert sum(calls.values()) <= 3
    after = {r["Gsid"]: r["Value__gc"] for r in found.custom["contract__gc"][case.company["Gsid"]]}
    assert after == before | {contract["Gsid"]: 1.5}


async def test_a_replay_polls_for_no_changes(case: Case) -> None:
    await case.look()
    case.advance(10 * HOUR)
    case.rig.tenant.reset_calls()
    reference = refer([Mention(e) for e in case.emails], case.company["Gsid"])
    await case.resolver.resolve([reference], renew=False)
    assert case.rig.calls() == {}


async def test_too_many_changes_to_read_drop_the_answers(case: Case) -> None:
    await case.look()
    case.advance(60)
    for row in case.world.rows("company_person"):
        case.edit(row, Role="Renamed")
    case.rig.tenant.set_variant("page_cap", 50, object="company_person")
    case.advance(HOUR)
    found, _ = await case.look()
    assert found.persons[case.emails[0]]
    (row,) = found.memberships[case.person["Gsid"]]
    assert row["Role"] == "Renamed"


async def intervals(case: Case, count: int = 5) -> Any:
    """After so many hours: every object has had its turn."""
    found = None
    for _ in range(count):
        case.advance(HOUR)
        found, _ = await case.look()
    return found


LOGS = {
    "in the log": {"delete_log": "low"},
    "in the high volume log": {"delete_log": "both", "high_volume": ["person", "company_person"]},
}


@pytest.mark.parametrize("log", LOGS.values(), ids=LOGS)
async def test_a_deleted_person_is_absent_from_then_on(case: Case, log: dict[str, Any]) -> None:
    """The log for objects with many records is looked into once a day."""
    for name, value in log.items():
        case.rig.tenant.set_variant(name, value)
    found, _ = await case.look()
    assert found.persons[case.emails[0]]
    case.advance(60)
    case.rig.tenant.delete_record("person", case.person["Gsid"])
    found = await intervals(case, 25 if "high_volume" in log else 5)
    assert not found.persons.get(case.emails[0])


async def test_without_a_log_the_age_of_an_answer_ends_it(case: Case) -> None:
    case.rig.tenant.set_variant("delete_log", "missing")
    await case.look()
    case.advance(60)
    case.rig.tenant.delete_record("person", case.person["Gsid"])
    found = await intervals(case, 30)
    assert not found.persons.get(case.emails[0])


async def test_a_deleted_membership_is_gone_and_a_new_one_is_there(case: Case) -> None:
    await case.look()
    case.advance(60)
    tenant = case.rig.tenant
    tenant.delete_record("company_person", case.job["Gsid"])
    other = next(c["Gsid"] for c in case.world.rows("company") if c["Gsid"] != case.job["Company_ID"])
    tenant.add_record("company_person", {"Person_ID": case.person["Gsid"], "Company_ID": other})
    found = await intervals(case)
    assert [m["Company_ID"] for m in found.memberships[case.person["Gsid"]]] == [other]


async def test_of_two_that_were_merged_the_winner_has_the_companies(case: Case) -> None:
    persons = {r["Person_ID"] for r in case.world.rows("company_person")}
    loser = next(p for p in case.world.rows("person") if p["Gsid"] in persons and p["Email"] and p is not case.person)
    case.emails.append(loser["Email"].lower())
    await case.look()
    case.advance(60)
    wanted = {r["Company_ID"] for r in case.world.rows("company_person") if r["Person_ID"] == loser["Gsid"]}
    wanted.add(case.job["Company_ID"])
    case.rig.tenant.merge_persons(loser["Gsid"], case.person["Gsid"])
    found = await intervals(case)
    assert not found.persons.get(case.emails[-1])
    assert {m["Company_ID"] for m in found.memberships[case.person["Gsid"]]} == wanted


async def test_a_company_that_was_renamed_and_one_that_was_deleted(case: Case) -> None:
    found, _ = await case.look()
    assert found.related["company"][case.company["Gsid"]]["Arr"] != 77.0
    case.advance(60)
    case.rig.tenant.edit_record("company", case.company["Gsid"], {"Arr": 77.0})
    found = await intervals(case)
    assert found.related["company"][case.company["Gsid"]]["Arr"] == 77.0
    case.rig.tenant.delete_record("company", case.company["Gsid"])
    found = await intervals(case)
    assert not found.related["company"].get(case.company["Gsid"])


async def test_a_tenant_without_dates_of_change(case: Case) -> None:
    for name in ("person", "company_person", "gsuser"):
        case.rig.tenant.set_variant("missing_fields", ["ModifiedDate"], object=name)
    await case.look()
    case.advance(60)
    case.edit(case.job, Title="Chief Listener")
    found = await intervals(case, 30)
    assert case.title(found) == "Chief Listener", "when its answer is too old"
