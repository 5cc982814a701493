"""Records that change: seen by queries at once, in the delete logs when they go, and followed by the truth."""

from random import Random
from typing import Any

import pytest

from frame_gainsight.sandbox import Limits, Live, Tenant
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


def test_a_name_follows_its_parts(client: Any) -> None:
    tenant = client.tenant
    person = a_person(tenant)
    tenant.edit_record("person", person["Gsid"], {"LastName": "Newly-Wed"})
    assert client.rows("person", ["Name"], ("Gsid", "EQ", [person["Gsid"]])) == [
        {"Name": f"{person['FirstName']} Newly-Wed"}
    ]


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


def test_a_deleted_company_takes_its_memberships_and_relationships_along(client: Any) -> None:
    tenant = client.tenant
    gsid = tenant.world.rows("relationship")[0]["CompanyId"]
    tenant.delete_record("company", gsid)
    assert not [r for r in tenant.world.rows("company_person") if r["Company_ID"] == gsid]
    assert not [r for r in tenant.world.rows("relationship") if r["CompanyId"] == gsid]
    rows = client.rows(ACTIVITY, ["GsCompanyId", "GsCompanyId__gr.Name"], ("GsCompanyId", "EQ", [gsid]))
    assert rows
    assert {r["GsCompanyId__gr.Name"] for r in rows} == {None}
    activities = [a for a in tenant.truth()["activities"] if a["account_id"] == gsid]
    assert len(activities) == len(rows)
    assert {a["account_name"] for a in activities} == {None}
    for _ in range(30):
        tenant.create()  # by whoever wrote before: their emails go on


def test_an_author_who_is_no_user_any_more(client: Any) -> None:
    tenant = client.tenant
    row = next(r for r in client.rows(ACTIVITY, ["Gsid", "AuthorId", "AuthorId__gr.Email"]) if r["AuthorId"])
    tenant.delete_record("gsuser", row["AuthorId"])
    (now,) = client.rows(ACTIVITY, ["AuthorId", "AuthorId__gr.Email", "UserEmail"], ("Gsid", "EQ", [row["Gsid"]]))
    assert now == {"AuthorId": row["AuthorId"], "AuthorId__gr.Email": None, "UserEmail": None}
    (activity,) = (a for a in tenant.truth()["activities"] if a["activity_id"] == row["Gsid"])
    assert row["AuthorId"] not in {p["user_id"] for p in activity["participants"]}


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


def test_merged_persons_of_one_company_are_there_once(client: Any) -> None:
    tenant = client.tenant
    winner = a_person(tenant)
    (kept,) = jobs_of(tenant, winner["Gsid"])
    loser = tenant.add_record("person", {"Name": "Twice", "Email": "twice@far.example"})
    twice = tenant.add_record("company_person", {"Person_ID": loser, "Company_ID": kept["Company_ID"]})
    tenant.merge_persons(loser, winner["Gsid"])
    assert jobs_of(tenant, winner["Gsid"]) == [kept]
    assert kept["IsPrimaryCompany"] is True
    log = client.rows("record_delete_log", LOG, ("DeletedOn", "GTE", [iso(tenant.now())]))
    assert {r["RecordId"] for r in log} == {loser, twice}


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


def test_the_timeline_is_the_same_whatever_happens_to_records() -> None:
    def lived(changed: bool) -> list[Any]:
        tenant = Tenant(seed=4, scenario=Live(start="2026-03-02T08:00:00Z"), size=4, limits=Limits(None, None))
        tenant.clock.stop()
        tenant.set_clock("2026-03-02T09:00:00Z")
        assert tenant.timeline.current
        if changed:
            for person in [p["Gsid"] for p in tenant.world.rows("person")]:
                tenant.delete_record("person", person)
        tenant.advance(3600)
        first = dict(tenant.timeline.current)
        tenant.set_clock("2026-03-02T08:30:00Z")  # reads the stream from its beginning again
        tenant.timeline  # noqa: B018
        tenant.set_clock("2026-03-02T10:00:00Z")
        assert tenant.timeline.current == first
        return sorted(first)

    assert lived(changed=True) == lived(changed=False)


@pytest.mark.parametrize(
    ("name", "fields", "said"),
    [
        ("persn", {}, "did you mean person"),
        (ACTIVITY, {}, "no records of"),
        ("person", {"Emial": "x"}, "did you mean Email"),
        ("company", {"Arr": "much"}, "a number"),
        ("company", {"Arr": True}, "a number"),
        ("company", {"Industry": "Alchemy"}, "no item"),
        ("company", {"Csm": "1P01NOBODY"}, "no gsuser"),
        ("company", {"RenewalDate": "soon"}, "soon"),
        ("company_person", {"Active": "true"}, "true or false"),
        ("company_person", {"Person_ID": None}, "needs Person_ID"),
        ("person", {"Gsid": "1C00X"}, "a Gsid"),
    ],
)
def test_wrong_changes_change_nothing(client: Any, name: str, fields: dict[str, Any], said: str) -> None:
    tenant = client.tenant
    before = tenant.world.copy()
    gsid = tenant.world.rows(name if name in OBJECTS else "person")[0]["Gsid"]
    with pytest.raises(ValueError, match=said):
        tenant.edit_record(name, gsid, {"ModifiedDate": 0} | fields)
    assert tenant.world.tables == before.tables


def test_an_email_is_one_persons_and_one_users(client: Any) -> None:
    tenant = client.tenant
    person, user = a_person(tenant), tenant.world.rows("gsuser")[0]
    for name, email in (("person", person["Email"].swapcase()), ("gsuser", user["Email"].upper())):
        with pytest.raises(ValueError, match="already"):
            tenant.add_record(name, {"Email": email})
    tenant.edit_record("person", person["Gsid"], {"Email": person["Email"].upper()})  # one's own
    tenant.add_record("gsuser", {"Name": "Both", "Email": person["Email"]})
    with pytest.raises(ValueError, match="already"):
        tenant.edit_record("person", a_person(tenant, 1)["Gsid"], {"Email": person["Email"]})


def test_memberships_need_both_ends(client: Any) -> None:
    with pytest.raises(ValueError, match="needs Company_ID"):
        client.tenant.add_record("company_person", {"Person_ID": a_person(client.tenant)["Gsid"]})
    with pytest.raises(ValueError, match="itself"):
        client.tenant.merge_persons(a_person(client.tenant)["Gsid"], a_person(client.tenant)["Gsid"])


def test_records_change_over_http(client: Any) -> None:
    def change(status: int = 200, **body: Any) -> Any:
        reply = client.http.post("/_sandbox/records", json=body)
        assert reply.status_code == status, reply.text
        return reply.json()

    company = client.tenant.world.rows("company")[0]["Gsid"]
    one = change(op="add", object="person", fields={"Name": "Ann", "Email": "ann@new.example"})["id"]
    two = change(op="add", object="person", fields={"Name": "Anne", "Email": "anne@new.example"})["id"]
    job = change(op="add", object="company_person", fields={"Person_ID": one, "Company_ID": company})["id"]
    change(op="edit", object="company_person", id=job, fields={"Title": "CTO"})
    change(op="merge", id=one, into=two)
    rows = client.rows("company_person", ["Gsid", "Title"], ("Person_ID__gr.Email", "EQ", ["anne@new.example"]))
    assert rows == [{"Gsid": job, "Title": "CTO"}]
    change(op="delete", object="person", id=two)
    assert client.rows("company_person", ["Gsid"], ("Gsid", "EQ", [job])) == []
    assert "add, edit, delete or merge" in change(400, op="rename")["error"]
    assert "not there" in change(404, op="delete", object="person", id=two)["error"]
    assert "not there" in change(404, op="merge", id=two, into="x")["error"]
    assert client.tenant.calls()["by_endpoint"].keys() == {"query company_person"}
