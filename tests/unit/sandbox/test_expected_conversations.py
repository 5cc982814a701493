"""The oracle: expected conversations agree with what the API serves, and follow from it."""

import json
import re
from email.utils import getaddresses
from html import unescape
from typing import Any

import orjson

ACTIVITY = "activity_timeline"
FIELDS = [
    "Gsid",
    "Subject",
    "Notes",
    "NotesPlainText",
    "ActivityDate",
    "LastModifiedDate",
    "TypeName",
    "GsCompanyId",
    "GsCompanyId__gr.Name",
    "GsRelationshipId__gr.Name",
    "AuthorId__gr.Email",
    "AuthorId__gr.Name",
    "UserEmail",
    "UserName",
    "InternalAttendees",
    "ExternalAttendees",
    "From",
    "To",
    "ConversationId",
]


def listed(text: str | None) -> list[tuple[str, str]]:
    """(name, email) pairs of one attendee string, read as a connector might."""
    if not text:
        return []
    if text.startswith("["):
        found = []
        for item in json.loads(text):
            name, email = (item["name"], item["email"]) if isinstance(item, dict) else (None, item)
            found.append((name or "", email or "") if "@" in (email or "") else (name or email or "", ""))
        return found
    parts = re.split(r"[;,]\s*(?=(?:[^\"]*\"[^\"]*\")*[^\"]*$)", text)
    pairs = [getaddresses([part])[0] for part in parts if "@" in part]
    return pairs + [(part.strip(), "") for part in parts if "@" not in part]


def found_in(row: dict[str, Any]) -> set[str]:
    """Lower-case emails of a row, and names that have none."""
    people = [p for f in ("From", "To", "InternalAttendees", "ExternalAttendees") for p in listed(row[f])]
    by = ("AuthorId__gr.Name", "AuthorId__gr.Email") if row["AuthorId__gr.Email"] else ("UserName", "UserEmail")
    people.append((row[by[0]] or "", row[by[1]] or ""))
    emails = {email.lower() for _, email in people if email}
    known = {name for name, email in people if name and email}
    return emails | {name for name, email in people if not email and name and name not in known}


def collapsed(text: str | None) -> str | None:
    return " ".join(text.split()) if text is not None else None


def test_activities_can_be_found_from_the_rows(reader: Any) -> None:
    rows = {r["Gsid"]: r for r in reader.rows(ACTIVITY, FIELDS)}
    truth = reader.tenant.truth()
    assert [a["activity_id"] for a in truth["activities"]] == [
        r["Gsid"] for r in reader.rows(ACTIVITY, ["Gsid"], orderBy={"LastModifiedDate": "asc", "Gsid": "asc"})
    ]
    for activity in truth["activities"]:
        row = rows[activity["activity_id"]]
        assert found_in(row) == {p["email"] or p["name"] for p in activity["participants"]}
        assert activity["conversation_id"] == (row["ConversationId"] or row["Gsid"])
        assert (activity["type"], activity["subject"]) == (row["TypeName"], row["Subject"])
        assert activity["account_name"] == row["GsCompanyId__gr.Name"]
        assert activity["relationship_name"] == row["GsRelationshipId__gr.Name"]
        html = (
            None
            if row["Notes"] is None
            else unescape(re.sub("<[^>]*>", lambda t: "" if t[0] in ("<b>", "</b>") else " ", row["Notes"]))
        )
        assert collapsed(activity["body_text"]) == collapsed(html)
        if row["NotesPlainText"] is not None:
            assert row["NotesPlainText"] == activity["body_text"]


def test_bodies_roles_and_accounts_are_of_every_kind(reader: Any) -> None:
    activities = reader.tenant.truth()["activities"]
    people = [p for a in activities for p in a["participants"]]
    assert {p["role"] for p in people} == {"agent", "customer", "unknown"}
    assert all((p["account_id"] is not None) == (p["role"] == "customer") for p in people)
    assert any(p["role"] == "agent" and p["user_id"] is None for p in people)
    assert any(p["email"] is None for p in people)
    assert any(a["body_text"] is None for a in activities)
    assert any(a["body_text"] and not a["body_text"].isascii() for a in activities)
    assert any(ord(c) > 0xFFFF for a in activities for c in a["body_text"] or "")
    rows = reader.rows(ACTIVITY, ["Notes", "NotesPlainText", "AuthorId"])
    assert any(r["Notes"] and r["NotesPlainText"] is None for r in rows)
    assert any(r["AuthorId"] is None for r in rows)


def test_participants_by_the_rules(client: Any) -> None:
    world = client.tenant.world
    (two_jobs,) = (next(p for p in world.rows("person") if p["Email"] and len(world.employers.get(p["Gsid"], [])) > 1),)
    first, second = (row["Company_ID"] for row in world.employers[two_jobs["Gsid"]][:2])
    third = next(c["Gsid"] for c in world.rows("company") if c["Gsid"] not in (first, second))
    agent = world.rows("gsuser")[2]

    def told(company: str) -> dict[str, Any]:
        made = client.tenant.create(
            {
                "From": f"Whoever <{two_jobs['Email'].upper()}>",
                "To": f"{agent['Email']}, x@nowhere.example",
                "InternalAttendees": ["new.colleague@acme.example", "Front Desk"],
                "ExternalAttendees": "Night Shift; x@nowhere.example",
                "GsCompanyId": company,
            }
        )
        activities = client.tenant.truth()["activities"]
        return next(a for a in activities if a["activity_id"] == made["id"])

    people = {p["email"] or p["name"]: p for p in told(second)["participants"]}
    email = two_jobs["Email"].lower()
    assert people.pop(email) == {
        "email": email,
        "name": two_jobs["Name"],
        "role": "customer",
        "user_id": two_jobs["Gsid"],
        "account_id": second,
    }
    assert {key: (p["role"], p["user_id"]) for key, p in people.items()} == {
        agent["Email"]: ("agent", agent["Gsid"]),
        "x@nowhere.example": ("unknown", None),
        "new.colleague@acme.example": ("agent", None),
        "Front Desk": ("agent", None),
        "Night Shift": ("unknown", None),
    }
    elsewhere = next(p for p in told(third)["participants"] if p["email"] == email)
    assert elsewhere["account_id"] == first  # the primary company


def test_people_and_accounts_have_labels_and_the_latest_contract(reader: Any) -> None:
    truth, world = reader.tenant.truth(), reader.tenant.world
    industries = {label for _, label in world.picklists["company.Industry"].items}
    assert {a["Industry"] for a in truth["accounts"].values()} <= industries | {None}
    for gsid, account in truth["accounts"].items():
        rows = reader.rows("contract__gc", ["Gsid", "ModifiedDate"], ("Company_ID__gc", "EQ", [gsid]))
        latest = max(rows, key=lambda r: r["ModifiedDate"], default=None)
        assert (account["contract__gc"] or {}).get("Gsid") == (latest["Gsid"] if latest else None)
        (served,) = reader.rows("company", ["Csm__gr.Email"], ("Gsid", "EQ", [gsid]))
        assert account["Csm__gr.Email"] == served["Csm__gr.Email"]
    email, person = next((e, p) for e, p in truth["people"].items() if len(p["by_company"]) > 1)
    assert person["person"]["Email"].lower() == email
    assert person["company_person"]["IsPrimaryCompany"] is True
    assert person["company_person"] in person["by_company"].values()


def test_deletions_tell_what_was_there(reader: Any) -> None:
    truth = reader.tenant.truth()
    log = {r["RecordId"] for r in reader.rows("record_delete_log", ["RecordId"])}
    assert {d["activity_id"] for d in truth["deleted"]} == log
    assert not log & {a["activity_id"] for a in truth["activities"]}
    for deleted in truth["deleted"]:
        assert deleted["seen_from_ms"] <= deleted["last_version_ms"] + 120_000
        assert deleted["last_version_ms"] < deleted["deleted_at_ms"]


def test_the_truth_over_http_is_the_truth(reader: Any) -> None:
    served = reader.http.get("/_sandbox/truth").json()
    assert served == orjson.loads(orjson.dumps(reader.tenant.truth()))
    assert served["clock"] == "2026-03-02T08:20:00Z"
