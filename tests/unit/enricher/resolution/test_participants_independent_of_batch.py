"""An activity's participants are the same whatever else is in its batch."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from enricher.conversation.build import build
from enricher.resolution.entity_cache import EntityCache
from enricher.resolution.model import Reference
from frame_gainsight.sandbox import Clock, Limits, Tenant
from frame_gainsight.sandbox.tenant.activity import Address
from frame_gainsight.sandbox.tenant.attendee_formats import FORMS, write
from tests.unit.enricher.conftest import HOUR, TenantRig, raw

WAYS = pytest.mark.parametrize("max_scan_rows", [20_000, 0], ids=["scanned", "by value"])
ALIAS = "alias@elsewhere.example"


@pytest.fixture
def tenant() -> Tenant:
    return Tenant(seed=3, clock=Clock.stopped("2026-03-02T08:00:00Z"), size=8, limits=Limits(None, None))


def add(tenant: Tenant, name: str, **values: Any) -> dict[str, Any]:
    row: dict[str, Any] = tenant.world.add(name, f"of the test {len(tenant.world.rows(name))}", **values)
    tenant.world.index()
    return row


def somebody(tenant: Tenant) -> tuple[dict[str, Any], str]:
    """A person who works for one company, and its Gsid."""
    world = tenant.world
    held = [j["Person_ID"] for j in world.rows("company_person")]
    job = next(j for j in world.rows("company_person") if j["Active"] and held.count(j["Person_ID"]) == 1)
    return next(p for p in world.rows("person") if p["Gsid"] == job["Person_ID"] and p["Email"]), job["Company_ID"]


def second(tenant: Tenant, person: dict[str, Any]) -> dict[str, Any]:
    """Another person with the same address, of no company."""
    return add(tenant, "person", Email=person["Email"], Name="Second Sharer", FirstName="Second", LastName="Sharer")


async def participants(rig: TenantRig, rows: Sequence[dict[str, Any]], max_scan_rows: int) -> list[Any]:
    """The participants of each, resolved together by somebody who knows nothing yet."""
    rig.cache = EntityCache(24 * HOUR, 6 * HOUR)
    references = [Reference.of(raw(row, f"G{number}")) for number, row in enumerate(rows)]
    found = await rig.resolver(max_scan_rows).resolve(references)
    return [build(r, rig.definition(), found)["participants"] for r in references]


async def in_any_batch(
    rig: TenantRig, row: dict[str, Any], others: Sequence[dict[str, Any]], max_scan_rows: int
) -> list[Any]:
    """(email, name, role, user_id, account_id) of an activity's participants; the others must not change them."""
    ((*alone,),) = await participants(rig, [row], max_scan_rows)
    together, *_ = await participants(rig, [row, *others], max_scan_rows)
    assert together == alone
    return [tuple(p[k] for k in ("email", "name", "role", "user_id", "account_id")) for p in alone]


@WAYS
async def test_a_gsid_beside_an_address_that_the_tenant_does_not_know(rig: TenantRig, max_scan_rows: int) -> None:
    person, company = somebody(rig.tenant)
    there = (person["Email"].lower(), person["Name"], "customer", person["Gsid"], company)
    attendee = {"personId": person["Gsid"], "email": ALIAS, "name": "X"}
    row = {"ExternalAttendees": [attendee], "GsCompanyId": company}
    named = {"ExternalAttendees": person["Gsid"], "GsCompanyId": company}
    assert await in_any_batch(rig, row, [named], max_scan_rows) == [there]
    assert await in_any_batch(rig, row | {"From": f"X <{ALIAS}>"}, [named], max_scan_rows) == [there], (
        "the alias is theirs"
    )


@WAYS
async def test_a_gsid_beside_the_address_of_somebody_else(rig: TenantRig, max_scan_rows: int) -> None:
    person, company = somebody(rig.tenant)
    user = rig.tenant.world.rows("gsuser")[0]
    attendee = {"personId": person["Gsid"], "email": user["Email"]}
    row = {"ExternalAttendees": [attendee], "From": user["Email"], "GsCompanyId": company}
    agent = (user["Email"].lower(), user["Name"], "agent", user["Gsid"], None)
    customer = (person["Email"].lower(), person["Name"], "customer", person["Gsid"], company)
    assert await in_any_batch(rig, row, [{"From": person["Email"]}], max_scan_rows) == [agent, customer]


@WAYS
async def test_a_name_that_stands_beside_an_address_is_nobody_elses(rig: TenantRig, max_scan_rows: int) -> None:
    person, company = somebody(rig.tenant)
    row = {"From": f"{person['Name']} <private@mail.example>", "ExternalAttendees": person["Name"]}
    other = {"ExternalAttendees": person["Name"], "GsCompanyId": company}
    found = await in_any_batch(rig, row | {"GsCompanyId": company}, [other], max_scan_rows)
    assert found == [("private@mail.example", person["Name"], "unknown", None, None)]


@WAYS
async def test_a_gsid_of_one_of_several_with_the_same_address(rig: TenantRig, max_scan_rows: int) -> None:
    person, company = somebody(rig.tenant)
    sharer = second(rig.tenant, person)
    row = {"ExternalAttendees": sharer["Gsid"], "GsCompanyId": company}
    theirs = (person["Email"].lower(), "Second Sharer", "customer", sharer["Gsid"], None)
    others = [{"ExternalAttendees": person["Email"], "GsCompanyId": company}]
    assert await in_any_batch(rig, row, others, max_scan_rows) == [theirs]
    assert await in_any_batch(rig, row | {"From": person["Email"]}, others, max_scan_rows) == [theirs], "one address"


@WAYS
async def test_a_person_by_gsid_or_by_name_whose_address_is_a_users(rig: TenantRig, max_scan_rows: int) -> None:
    user = rig.tenant.world.rows("gsuser")[0]
    company = rig.tenant.world.rows("company")[0]["Gsid"]
    person = add(rig.tenant, "person", Email=user["Email"], Name="Otherwise Called")
    add(rig.tenant, "company_person", Person_ID=person["Gsid"], Company_ID=company, Active=True)
    agent = (user["Email"].lower(), user["Name"], "agent", user["Gsid"], None)
    for attendee in (person["Gsid"], "Otherwise Called"):
        row = {"ExternalAttendees": attendee, "GsCompanyId": company}
        assert await in_any_batch(rig, row, [{"From": user["Email"]}], max_scan_rows) == [agent]


@WAYS
async def test_an_author_whose_address_has_changed_since_the_row_was_read(rig: TenantRig, max_scan_rows: int) -> None:
    user = rig.tenant.world.rows("gsuser")[0]
    old = "old.name@acme.example"
    agent = (user["Email"].lower(), user["Name"], "agent", user["Gsid"], None)
    author = {"AuthorId": user["Gsid"], "AuthorId__gr.Email": old, "AuthorId__gr.Name": "Old Name"}
    assert await in_any_batch(rig, author, [{"From": user["Email"]}], max_scan_rows) == [agent]
    assert await in_any_batch(rig, {"From": f"Old Name <{old}>", **author}, [{"From": old}], max_scan_rows) == [agent]


# Any window


def anyone(tenant: Tenant, rng: Random) -> list[Address]:
    """People to take part: persons, users, sharers of addresses and of names, and strangers."""
    world = tenant.world
    rows = [*rng.sample(world.rows("person"), 5), *rng.sample(world.rows("gsuser"), 2)]
    rows += [r for r in world.rows("person") if r["Name"] in ("Second Sharer", "Otherwise Called", "No Address")]
    known = [Address(str(r["Name"]), str(r["Email"]) if r["Email"] else None) for r in rows]
    aliases = [Address(a.name, f"alias{n}@elsewhere.example") for n, a in enumerate(known[:3])]
    renamed = [Address("Somebody", a.email) for a in known[3:6]]
    return [*known, *aliases, *renamed, Address("Front Desk", None), Address(None, "nobody@nowhere.example")]


def people_in(tenant: Tenant, rng: Random, known: Sequence[Address]) -> Any:
    """An attendee field: in any of the forms, or objects whose Gsid and address need not be of the same."""
    world = tenant.world
    gsids = [str(r["Gsid"]) for name in ("person", "gsuser") for r in world.rows(name)]
    gsids = [*rng.sample(gsids, 2), *(str(r["Gsid"]) for r in world.rows("person")[-3:]), "1C00" + "0" * 32]
    group = rng.sample(known, rng.randrange(1, 4))
    form = rng.choice((*FORMS, "bare_names", "pairs", "pairs", "any gsids"))
    if form == "pairs":
        return [{"id": rng.choice([*gsids, None]), "email": a.email, "name": a.name} for a in group]
    if form == "any gsids":
        return "; ".join(rng.sample(gsids, 2))
    return write(group, form, rng.choice(",;"), world.known_id)


def activity(tenant: Tenant, rng: Random, known: Sequence[Address]) -> dict[str, Any]:
    author = rng.choice(tenant.world.rows("gsuser"))
    row: dict[str, Any] = {"GsCompanyId": rng.choice([c["Gsid"] for c in tenant.world.rows("company")[:3]])}
    row |= {f: people_in(tenant, rng, known) for f in ("ExternalAttendees", "InternalAttendees")}
    row |= {f: write(rng.sample(known, 1), rng.choice(("angle", "emails", "bare_names"))) for f in ("From", "To")}
    row["AuthorId"] = rng.choice([author["Gsid"], None])
    row["AuthorId__gr.Email"] = rng.choice([author["Email"], "old.name@acme.example", None])
    row |= {"UserEmail": author["Email"], "UserName": rng.choice([author["Name"], "Somebody"])}
    return {field: value for field, value in row.items() if rng.random() < 0.8}


@pytest.fixture
def crowd(tenant: Tenant) -> Tenant:
    """With persons who share an address, a name or a user's address, who have none, and who have left."""
    person, company = somebody(tenant)
    user = tenant.world.rows("gsuser")[0]
    companies = [c["Gsid"] for c in tenant.world.rows("company")[:3]]
    namesake = add(tenant, "person", Email="namesake@there.example", Name=person["Name"])
    of = [second(tenant, person), add(tenant, "person", Email=user["Email"], Name="Otherwise Called")]
    of += [add(tenant, "person", Name="No Address"), namesake]
    for number, one in enumerate(of[1:]):
        add(tenant, "company_person", Person_ID=one["Gsid"], Company_ID=companies[number], Active=number != 2)
    add(tenant, "company_person", Person_ID=of[0]["Gsid"], Company_ID=companies[0], Active=False)
    add(tenant, "company_person", Person_ID=namesake["Gsid"], Company_ID=company, Active=True)
    return tenant


@WAYS
@pytest.mark.parametrize("seed", range(6))
async def test_any_activities_alone_and_together(rig: TenantRig, crowd: Tenant, seed: int, max_scan_rows: int) -> None:
    rng = Random(seed)
    known = anyone(crowd, rng)
    rows = [activity(crowd, rng, known) for _ in range(12)]
    together = await participants(rig, rows, max_scan_rows)
    for row, found in zip(rows, together, strict=True):
        assert await participants(rig, [row], max_scan_rows) == [found], row
        addresses = [p["email"] for p in found if p["email"]]
        assert len(addresses) == len(set(addresses)), row
