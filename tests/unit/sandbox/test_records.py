"""Records that change: seen by queries at once, in the delete logs when they go, and followed by the truth."""

from random import Random
from typing import Any

import pytest

from frame_gainsight.sandbox import Tenant
from frame_gainsight.sandbox.query.dates import iso
from frame_gainsight.sandbox.tenant.records import OBJECTS

ACTIVITY = "activity_timeline"
LOG = ["RecordId", "DeletedOn", "ObjectName"]


@pytest.fixture(autouse=True)
def _later(client: Any) -> None:
    client.tenant.advance(3600)


def a_person(tenant: Tenant, number: int = 0, jobs: int = 1) -> dict[str, Any]:
    """A person with an email and so many memberships, all of them active."""
    world = tenant.world
    found = [
        p
        for p in world.rows("person")
        if p["Email"]
        and len(world.employers.get(p["Gsid"], ())) == jobs
        and sum(r["Person_ID"] == p["Gsid"] for r in world.rows("company_person")) == jobs
        and p["Email"].lower() not in world.users
    ]
    return found[number]


def jobs_of(tenant: Tenant, person: str) -> list[dict[str, Any]]:
    return [r for r in tenant.world.rows("company_person") if r["Person_ID"] == person]


def told(tenant: Tenant, email: str, company: str) -> dict[str, Any]:
    """What the truth says of somebody who writes about a company now."""
    made = tenant.create({"From": email, "GsCompanyId": company, "ExternalAttendees": None})
    (activity,) = (a for a in tenant.truth()["activities"] if a["activity_id"] == made["id"])
    (participant,) = activity["participants"]
    return dict(participant)


# edit


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("company", {"Name": "Renamed", "Arr": 1.5, "Industry": "Energy", "RenewalDate": "2027-01-31"}),
        ("person", {"Location": "Elsewhere", "Email": "New.Address@far.example"}),
        ("company_person", {"Title": "Chief Listener", "Active": False}),
        ("relationship", {"Name": "Far East"}),
        ("gsuser", {"Timezone": "Mars", "IsActiveUser": False}),
        ("contract__gc", {"Value__gc": 7}),
    ],
)
def test_an_edit_is_seen_at_once_and_moves_the_date(client: Any, name: str, fields: dict[str, Any]) -> None:
    tenant = client.tenant
    gsid = tenant.world.rows(name)[0]["Gsid"]
    assert client.rows(name, ["Gsid"], ("ModifiedDate", "GTE", [iso(tenant.now())])) == []
    label = tenant.world.picklists["company.Industry"].items[0][1]
    tenant.edit_record(name, gsid, {k: label if k == "Industry" else v for k, v in fields.items()})
    tenant.set_variant("dates", "iso", object=name)
    tenant.set_variant("picklists", "label")
    (row,) = client.rows(name, ["Gsid", "ModifiedDate", *fields], ("ModifiedDate", "GTE", [iso(tenant.now())]))
    assert row.pop("Gsid") == gsid
    assert row.pop("ModifiedDate") == iso(tenant.now())
    assert row == {k: label if k == "Industry" else v for k, v in fields.items()}


def test_a_new_email_is_found_and_the_old_one_not(client: Any) -> None:
    tenant = client.tenant
    person = a_person(tenant)
    gsid, old = person["Gsid"], person["Email"]
    (company,) = (r["Company_ID"] for r in jobs_of(tenant, gsid))
    assert [r["Gsid"] for r in client.rows("person", ["Gsid"], ("Email", "IN", [old]))] == [gsid]
    tenant.edit_record("person", gsid, {"Email": "moved@far.example"})
    assert client.rows("person", ["Gsid"], ("Email", "IN", [old])) == []
    assert [r["Gsid"] for r in client.rows("person", ["Gsid"], ("Email", "IN", ["MOVED@far.example"]))] == [gsid]
    (job,) = client.rows("company_person", ["Person_ID"], ("Person_ID__gr.Email", "IN", ["moved@far.example"]))
    assert job["Person_ID"] == gsid
    assert told(tenant, "Moved@far.example", company)["user_id"] == gsid
    assert told(tenant, old, company)["role"] == "unknown"


def test_whoever_changes_company_is_told_there(client: Any) -> None:
    tenant = client.tenant
    person = a_person(tenant)
    (job,) = jobs_of(tenant, person["Gsid"])
    old = job["Company_ID"]
    new = next(c["Gsid"] for c in tenant.world.rows("company") if c["Gsid"] != old)
    tenant.edit_record("company_person", job["Gsid"], {"Company_ID": new})
    assert person in tenant.world.members[new]
    assert person not in tenant.world.members.get(old, [])
    assert told(tenant, person["Email"], old)["account_id"] == new
    assert client.rows("company_person", ["Gsid"], ("Company_ID", "IN", [new]), ("Person_ID", "EQ", [person["Gsid"]]))


def test_the_account_of_somebody_with_several_jobs(client: Any) -> None:
    tenant = client.tenant
    person = a_person(tenant, jobs=2)
    first, second = sorted(jobs_of(tenant, person["Gsid"]), key=lambda r: not r["IsPrimaryCompany"])
    third = next(
        c["Gsid"] for c in tenant.world.rows("company") if c["Gsid"] not in (first["Company_ID"], second["Company_ID"])
    )

    def account(company: str) -> str | None:
        found = told(tenant, person["Email"], company)["account_id"]
        return None if found is None else str(found)

    assert account(third) == first["Company_ID"]  # the primary one
    tenant.edit_record("company_person", first["Gsid"], {"Active": False})
    assert tenant.truth()["people"][person["Email"].lower()]["company_person"]["Gsid"] == second["Gsid"]
    assert account(third) == second["Company_ID"]  # one where the person still is
    assert account(first["Company_ID"]) == first["Company_ID"]  # was there when it happened
    tenant.edit_record("company_person", second["Gsid"], {"Active": False})
    assert account(second["Company_ID"]) == second["Company_ID"]
    assert account(third) == first["Company_ID"]
    tenant.delete_record("company_person", first["Gsid"])
    tenant.delete_record("company_person", second["Gsid"])
    assert account(third) is None


# add


def test_a_new_person_is_somebody_from_then_on(client: Any) -> None:
    tenant = client.tenant
    company = tenant.world.rows("company")[3]["Gsid"]
    assert told(tenant, "ann@new.example", company)["user_id"] is None
    gsid = tenant.add_record("person", {"FirstName": "Ann", "LastName": "New", "Email": "Ann@new.example"})
    alone = told(tenant, "ann@new.example", company)
    assert (alone["user_id"], alone["account_id"], alone["name"]) == (gsid, None, "Ann New")
    job = tenant.add_record("company_person", {"Person_ID": gsid, "Company_ID": company, "Title": "CTO"})
    assert told(tenant, "ann@new.example", company)["account_id"] == company
    (row,) = client.rows(
        "company_person",
        ["Gsid", "Active", "IsPrimaryCompany", "Person_ID__gr.Name"],
        ("Person_ID__gr.Email", "IN", ["ANN@NEW.EXAMPLE"]),
    )
    assert row == {"Gsid": job, "Active": True, "IsPrimaryCompany": True, "Person_ID__gr.Name": "Ann New"}
    other = tenant.world.rows("company")[4]["Gsid"]
    second = tenant.add_record("company_person", {"Person_ID": gsid, "Company_ID": other})
    assert tenant.world.by_id("company_person")[second]["IsPrimaryCompany"] is False


def test_new_records_of_every_object_are_modified_now(client: Any) -> None:
    tenant = client.tenant
    company = tenant.add_record("company", {"Name": "Newco"})
    person = tenant.add_record("person", {"Name": "Ann"})
    made = {
        "company": company,
        "person": person,
        "company_person": tenant.add_record("company_person", {"Person_ID": person, "Company_ID": company}),
        "relationship": tenant.add_record("Relationship", {"companyid": company, "Name": "East"}),
        "gsuser": tenant.add_record("gsuser", {"Name": "Bob", "Email": "bob@acme.example"}),
        "contract__gc": tenant.add_record("contract__gc", {"Company_ID__gc": company, "Value__gc": 9.5}),
    }
    assert set(made) == set(OBJECTS)
    for name, gsid in made.items():
        rows = client.rows(name, ["Gsid", "CreatedDate"], ("ModifiedDate", "GTE", [iso(tenant.now())]))
        assert [r["Gsid"] for r in rows] == [gsid]
    assert tenant.truth()["accounts"][company]["contract__gc"]["Value__gc"] == 9.5
    assert told(tenant, "bob@acme.example", company)["role"] == "agent"


# delete and merge


def test_a_deleted_person_is_gone_and_in_the_log_with_the_memberships(client: Any) -> None:
    tenant = client.tenant
    person = a_person(tenant, jobs=2)
    gsid, email = person["Gsid"], person["Email"]
    jobs = [r["Gsid"] for r in jobs_of(tenant, gsid)]
    company = jobs_of(tenant, gsid)[0]["Company_ID"]
    asked = ("DeletedOn", "GTE", [iso(tenant.now())])
    tenant.delete_record("person", gsid)
    assert client.rows("person", ["Gsid"], ("Gsid", "IN", [gsid])) == []
    assert client.rows("company_person", ["Gsid"], ("Gsid", "IN", jobs)) == []
    assert client.rows("company_person", ["Gsid"], ("Person_ID__gr.Email", "IN", [email])) == []
    log = client.rows("record_delete_log", LOG, asked, orderBy={"DeletedOn": "asc", "RecordId": "asc"})
    expected = [(gsid, "person"), *((job, "company_person") for job in jobs)]
    assert {(r["RecordId"], r["ObjectName"]) for r in log} == set(expected)
    assert client.rows("record_delete_log", LOG, asked, ("ObjectName", "IN", ["company", ACTIVITY])) == []
    assert told(tenant, email, company) == {
        "email": email.lower(), "name": None, "role": "unknown", "user_id": None, "account_id": None
    }  # fmt: skip
    assert email.lower() not in tenant.truth()["people"]
    tenant.advance(15 * 86_400 + 1)
    assert client.rows("record_delete_log", LOG) == []


def test_of_two_merged_persons_one_is_left_with_what_both_had(client: Any) -> None:
    tenant = client.tenant
    loser, winner = a_person(tenant), a_person(tenant, jobs=2)
    (moved,) = jobs_of(tenant, loser["Gsid"])
    kept = jobs_of(tenant, winner["Gsid"])
    before = {r["Gsid"] for r in (moved, *kept)}
    tenant.merge_persons(loser["Gsid"], winner["Gsid"])
    rows = client.rows("company_person", ["Gsid", "IsPrimaryCompany"], ("Person_ID", "EQ", [winner["Gsid"]]))
    assert {r["Gsid"] for r in rows} == before
    assert sum(r["IsPrimaryCompany"] for r in rows) == 1
    changed = client.rows("company_person", ["Gsid"], ("ModifiedDate", "GTE", [iso(tenant.now())]))
    assert changed == [{"Gsid": moved["Gsid"]}]
    log = client.rows("record_delete_log", LOG, ("DeletedOn", "GTE", [iso(tenant.now())]))
    assert [(r["RecordId"], r["ObjectName"]) for r in log] == [(loser["Gsid"], "person")]
    assert told(tenant, winner["Email"], moved["Company_ID"])["account_id"] == moved["Company_ID"]
    assert told(tenant, loser["Email"], moved["Company_ID"])["user_id"] is None


# all of it


def test_after_any_changes_indexes_find_what_the_rows_say(client: Any) -> None:
    tenant, rng = client.tenant, Random(5)
    world = tenant.world
    client.rows("company_person", ["Gsid"], ("Company_ID", "EQ", ["x"]), ("Person_ID__gr.Email", "EQ", ["x"]))

    def any_of(name: str) -> str:
        return str(rng.choice(world.rows(name))["Gsid"])

    for number in range(150):
        match rng.randrange(6):
            case 0:
                person = tenant.add_record("person", {"Name": "X", "Email": f"n{number}@far.example"})
                tenant.add_record("company_person", {"Person_ID": person, "Company_ID": any_of("company")})
            case 1:
                tenant.edit_record("person", any_of("person"), {"Email": f"e{number}@far.example"})
            case 2:
                tenant.edit_record("company_person", any_of("company_person"), {"Company_ID": any_of("company")})
            case 3:
                tenant.delete_record("person", any_of("person"))
            case 4 if (one := any_of("person")) != (two := any_of("person")):
                tenant.merge_persons(one, two)
            case 5:
                tenant.delete_record("company_person", any_of("company_person"))
    persons = {p["Gsid"]: p for p in world.rows("person")}
    emails = {p["Email"].lower() for p in persons.values() if p["Email"]}
    assert set(world.people) == emails
    assert {r["Person_ID"] for r in world.rows("company_person")} <= set(persons)
    for email in sorted(emails):
        (found,) = client.rows("person", ["Gsid"], ("Email", "IN", [email]))
        assert persons[found["Gsid"]]["Email"].lower() == email
        jobs = client.rows("company_person", ["Gsid"], ("Person_ID__gr.Email", "IN", [email]))
        assert {j["Gsid"] for j in jobs} == {j["Gsid"] for j in jobs_of(tenant, found["Gsid"])}
    for company in world.rows("company"):
        jobs = client.rows("company_person", ["Gsid"], ("Company_ID", "EQ", [company["Gsid"]]))
        expected = {r["Gsid"] for r in world.rows("company_person") if r["Company_ID"] == company["Gsid"]}
        assert {j["Gsid"] for j in jobs} == expected
