"""The conversations built from a tenant are those that its truth knows, field by field, whatever the API's forms."""

from __future__ import annotations

from typing import Any

import pytest

from enricher.conversation.build import build
from enricher.resolution.model import Reference
from frame_gainsight.sandbox import Limits, Morning, Tenant
from tests.unit.enricher.conftest import TenantRig

MAPPING = {
    "objects": {"contract__gc": {"join": {"Company_ID__gc": "company"}, "pick": "latest"}},
    "user_profile": {
        "first_name": "person.FirstName",
        "title": "company_person.Title",
        "license": "gsuser.LicenseType",
    },
    "org_profile": {
        "arr": "company.Arr",
        "renewal": "company.RenewalDate",
        "csm_email": "company.Csm__gr.Email",
        "contract_value": "contract__gc.Value__gc",
        "relation": "relationship.Stage",
    },
    "tags": {
        "industry": "company.Industry",
        "sentiment": "activity.Ant__Sentiment__c",
        "topics": "activity.Ant__Topics__c",
    },
}
FOUND_BY_ALL = ("mixed", "emails", "angle", "names", "json_strings", "json_objects", "gsids")


@pytest.fixture(params=[1, 2, 3, 11], ids=lambda s: f"seed {s}")
def tenant(request: Any) -> Tenant:
    scenario = Morning(emails=80, edits=0.1, deletes=0.05, resolution="ms" if request.param % 2 else "s")
    return Tenant(seed=request.param, scenario=scenario, size=12, limits=Limits(None, None))


def folded(text: str | None) -> str | None:
    return None if text is None else " ".join(text.split())


def people(participants: Any) -> set[Any]:
    return {(p["email"], p["name"], p["role"], p["user_id"], p["account_id"]) for p in participants}


async def conversations(rig: TenantRig, *, joined: bool = True, max_scan_rows: int = 20_000) -> dict[str, Any]:
    definition = rig.definition(**MAPPING)
    references = [Reference.of(a) for a in await rig.activities(definition, joined=joined)]
    found = await rig.resolver(max_scan_rows, **MAPPING).resolve(references)
    return {r.activity.gsid: build(r, definition, found) for r in references}


def compare(built: dict[str, Any], truth: dict[str, Any], expected_people: Any, unit: int = 1000) -> None:
    """`unit`: milliseconds to which dates agree; the default form of dates has no fraction."""
    assert built.keys() == {a["activity_id"] for a in truth["activities"]}
    faults = []
    for told in truth["activities"]:
        made = built[told["activity_id"]]
        account = made["account"] or {"id": None, "name": None}
        relationship = made["relationship"] or {"id": None, "name": None}
        pairs = {
            "type": (made["type"], told["type"]),
            "subject": (made["subject"], told["subject"]),
            "body_text": (folded(made["body_text"]), folded(told["body_text"])),
            "body_html": (made["body_html"], told["body_html"]),
            "version": (made["version"] // unit, told["version_ms"] // unit),
            "conversation_id": (made["conversation_id"], told["conversation_id"]),
            "occurred_at": (made["occurred_at"] // unit, told["occurred_at_ms"] // unit),
            "logged_at": (made["logged_at"] // unit, told["logged_at_ms"] // unit),
            "account": ((account["id"], account["name"]), (told["account_id"], told["account_name"])),
            "relationship": (
                (relationship["id"], relationship["name"]),
                (told["relationship_id"], told["relationship_name"]),
            ),
            "participants": (people(made["participants"]), people(expected_people(told))),
            "each once": (len(made["participants"]), len(people(made["participants"]))),
        }
        faults += [(told["activity_id"], k, mine, theirs) for k, (mine, theirs) in pairs.items() if mine != theirs]
    assert faults == []


def compare_mapped(built: dict[str, Any], truth: dict[str, Any]) -> None:
    faults = []
    for told in truth["activities"]:
        made = built[told["activity_id"]]
        account = truth["accounts"][told["account_id"]]
        org = {
            "arr": account["Arr"],
            "csm_email": account["Csm__gr.Email"],
            "contract_value": (account["contract__gc"] or {}).get("Value__gc"),
        }
        tags = {
            "industry": account["Industry"],
            "sentiment": told["sentiment_label"],
            "topics": "; ".join(told["topic_labels"]) or None,
        }
        profile = made["account"]["profile"]
        faults += [(k, profile.get(k), v) for k, v in org.items() if profile.get(k) != v]
        mine = {t["name"]: t["value"] for t in made["tags"]}
        faults += [(k, mine.get(k), v) for k, v in tags.items() if mine.get(k) != v]
        for person in made["participants"]:
            if person["role"] == "customer":
                known = truth["people"][person["email"]]
                job = known["by_company"].get(person["account_id"]) or {}
                want = {"first_name": known["person"]["FirstName"], "title": job.get("Title")}
                faults += [(k, person["profile"].get(k), v) for k, v in want.items() if person["profile"].get(k) != v]
            elif person["user_id"] is None:
                assert person["profile"] == {}
    assert faults == []


@pytest.mark.parametrize("form", FOUND_BY_ALL)
async def test_whoever_can_be_found_is_found(rig: TenantRig, form: str) -> None:
    rig.tenant.set_variant("attendees", form)
    built, truth = await conversations(rig), rig.tenant.truth()
    compare(built, truth, lambda told: told["participants"])
    compare_mapped(built, truth)


@pytest.mark.parametrize("form", ["mixed", "names", "gsids"])
@pytest.mark.parametrize("joined", [True, False], ids=["joined", "looked up"])
@pytest.mark.parametrize("max_scan_rows", [20_000, 0], ids=["scanned", "by value"])
async def test_whichever_way_rows_are_read(rig: TenantRig, form: str, joined: bool, max_scan_rows: int) -> None:
    rig.tenant.set_variant("attendees", form)
    built, truth = await conversations(rig, joined=joined, max_scan_rows=max_scan_rows), rig.tenant.truth()
    compare(built, truth, lambda told: told["participants"])
    compare_mapped(built, truth)


@pytest.mark.parametrize("form", ["emails", "angle", "names", "gsids"])
@pytest.mark.parametrize("delimiter", [",", ";"])
async def test_whatever_parts_the_lists(rig: TenantRig, form: str, delimiter: str) -> None:
    rig.tenant.set_variant("attendees", form)
    rig.tenant.set_variant("attendee_delimiter", delimiter)
    compare(await conversations(rig), rig.tenant.truth(), lambda told: told["participants"])


@pytest.mark.parametrize("form", ["bare_names", "null"])
async def test_those_whose_address_is_nowhere_are_names_or_left_out(rig: TenantRig, form: str) -> None:
    rig.tenant.set_variant("attendees", form)
    timeline = rig.tenant.timeline.current
    users = {u["Gsid"]: u["Email"].lower() for u in rig.tenant.world.rows("gsuser")}
    ids = {p["Gsid"]: (p["Email"] or "").lower() for p in rig.tenant.world.rows("person")}
    at: dict[str, set[str]] = {}
    for row in rig.tenant.world.rows("company_person"):
        at.setdefault(ids[row["Person_ID"]], set()).add(row["Company_ID"])

    def seen(told: dict[str, Any]) -> list[dict[str, Any]]:
        activity = timeline[told["activity_id"]]
        header = [activity.sender, *activity.to] if activity.sender else list(activity.to)
        author = users.get(activity.author or activity.logged_by)
        elsewhere = {a.email.lower() for a in header if a and a.email} | {author}
        listed = (
            {} if form == "null" else {a.email.lower(): a for a in (*activity.external, *activity.internal) if a.email}
        )
        internal = {a.email.lower() for a in activity.internal if a.email} if form == "bare_names" else set()
        found = []
        for person in told["participants"]:
            email, stranger = person["email"], person["user_id"] is None
            if email is None:
                found += [person] if form == "bare_names" else []
            elif email in elsewhere:
                found.append(person | ({"role": "unknown"} if stranger and email not in internal else {}))
            elif email in listed and listed[email].name is None:
                found.append(person)
            elif email in listed:
                role = "agent" if email in internal else "unknown"
                if (email in users.values()) if email in internal else (told["account_id"] in at.get(email, ())):
                    found.append(person)  # the only one of that name
                    continue
                blank = {"email": None, "user_id": None, "account_id": None}
                found.append(person | blank | {"name": listed[email].name, "role": role})
        return found

    compare(await conversations(rig), rig.tenant.truth(), seen)


@pytest.mark.parametrize(
    "variants",
    [
        {"data": "list", "dates": "ms"},
        {"data": "records", "dates": "iso_fraction", "nulls": "absent"},
        {"dates": "iso_fraction", "nulls": "empty", "keys": "upper"},
        {"dates": "iso_offset", "keys": "lower", "multi_select": "joined"},
        {"dates": "ms", "picklists": "label", "multi_select": "joined", "keys": "described"},
        {"dates": "ms", "in_limit": {"max": 7, "status": 413}, "gzip": "always"},
        {"dates": "ms", "empty": "gsobj_1011", "attendees": "gsids", "nulls": "absent"},
    ],
    ids=lambda v: ",".join(f"{k}={x}" for k, x in v.items()),
)
async def test_whatever_the_forms_of_rows_and_replies(rig: TenantRig, variants: dict[str, Any]) -> None:
    for name, value in variants.items():
        rig.tenant.set_variant(name, value)
    built, truth = await conversations(rig), rig.tenant.truth()
    compare(built, truth, lambda told: told["participants"], unit=1 if "dates" in variants else 1000)
    compare_mapped(built, truth)


async def test_the_same_conversations_come_out_of_the_cache(rig: TenantRig) -> None:
    first = await conversations(rig)
    rig.tenant.reset_calls()
    again = await conversations(rig)
    assert again == first
    assert rig.calls().keys() == {
        "describe activity_timeline,company,relationship",
        "query activity_timeline",
    }, "only this test's own"
