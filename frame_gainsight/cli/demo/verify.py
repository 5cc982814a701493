"""Compares the conversations with those that the simulated tenant expects, field by field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from frame_gainsight.connectors import Definition, Path

Conversation = dict[str, Any]


@dataclass(slots=True)
class Verdict:
    """The outcome of the comparison. `mismatches` are `activity: field: expected … found …`."""

    expected: int = 0
    present: int = 0
    missing: list[str] = field(default_factory=list)
    surplus: list[str] = field(default_factory=list)
    undeleted: list[str] = field(default_factory=list)
    mismatches: list[str] = field(default_factory=list)
    duplicates: int = 0

    @property
    def right(self) -> bool:
        faults = (self.missing, self.surplus, self.undeleted, self.mismatches)
        return not any(faults) and not self.duplicates


def verify(
    expected: Mapping[str, Any],
    definition: Definition,
    conversations: Mapping[str, Conversation | None],
    seen: Mapping[str, int],
) -> Verdict:
    """Compares everything that the tenant has with everything that was published.

    Args:
        expected: `Tenant.truth()`.
        conversations: activity → latest value; None: deleted.
        seen: version → how often it was published.
    """
    verdict = Verdict(duplicates=sum(count - 1 for count in seen.values()))
    types = definition.activity_types
    wanted = [a for a in expected["activities"] if not types or a["type"] in types]
    verdict.expected = len(wanted)
    for activity in wanted:
        gsid = activity["activity_id"]
        found = conversations.get(gsid)
        if found is None or found["version"] != activity["version_ms"]:
            verdict.missing.append(gsid)
            continue
        verdict.present += 1
        for name, (wanted_value, got) in differences(activity, found, expected, definition).items():
            verdict.mismatches.append(f"{gsid}: {name}: expected {wanted_value!r}, found {got!r}")
    ids = {activity["activity_id"] for activity in wanted}
    deleted = {activity["activity_id"] for activity in expected["deleted"]}
    for gsid, found in conversations.items():
        if found is not None and gsid not in ids:
            (verdict.undeleted if gsid in deleted else verdict.surplus).append(gsid)
    return verdict


def differences(
    activity: Mapping[str, Any], found: Conversation, expected: Mapping[str, Any], definition: Definition
) -> dict[str, tuple[Any, Any]]:
    """Field → (expected, found), of the fields that differ."""
    account = expected["accounts"].get(activity["account_id"])
    pairs = {
        "subject": (activity["subject"], found["subject"]),
        "type": (activity["type"], found["type"]),
        "body_text": (_folded(activity["body_text"]), _folded(found["body_text"])),
        "conversation_id": (activity["conversation_id"], found["conversation_id"]),
        "occurred_at": (activity["occurred_at_ms"], found["occurred_at"]),
        "logged_at": (activity["logged_at_ms"], found["logged_at"]),
        "account": (_pair(activity, "account"), _idname(found["account"])),
        "relationship": (_pair(activity, "relationship"), _idname(found["relationship"])),
        "participants": (_expected_people(activity, expected, definition), _found_people(found)),
        "org_profile": (
            {n: v for n, p in definition.org_paths.items() if (v := _of_account(p, account)) is not None},
            found["account"]["profile"] if found["account"] else {},
        ),
        "tags": (
            {n: v for n, p in definition.tag_paths.items() if (v := _tag(p, activity, account)) is not None},
            {tag["name"]: tag["value"] for tag in found["tags"]},
        ),
    }
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _expected_people(activity: Mapping[str, Any], expected: Mapping[str, Any], definition: Definition) -> list[Any]:
    people = []
    for p in activity["participants"]:
        known = expected["people"].get(p["email"]) if p["role"] == "customer" else None
        rows: dict[str, Any] = {}
        if known is not None:
            membership = known["by_company"].get(p["account_id"]) or known["company_person"] or {}
            rows = {"person": known["person"], "company_person": membership}
        profile = {
            name: value
            for name, path in definition.user_paths.items()
            if (value := rows.get(path.root, {}).get(path.field)) not in (None, "")
        }
        people.append(_person(p, profile))
    return sorted(people)


def _found_people(found: Conversation) -> list[Any]:
    return sorted(_person(p, p["profile"]) for p in found["participants"])


def _person(p: Mapping[str, Any], profile: Mapping[str, Any]) -> Any:
    shown = tuple(str(p[name] or "") for name in ("email", "name", "role", "user_id", "account_id"))
    return (*shown, tuple(sorted((k, str(v)) for k, v in profile.items())))


def _of_account(path: Path, account: Mapping[str, Any] | None) -> Any:
    if account is None:
        return None
    row = account if path.root == "company" else account.get(path.root) or {}
    value = row.get(path.field)
    return None if value == "" else value


def _tag(path: Path, activity: Mapping[str, Any], account: Mapping[str, Any] | None) -> Any:
    if path.root == "activity":
        return activity["sentiment_label"] if path.field == "Ant__Sentiment__c" else None
    return _of_account(path, account)


def _pair(activity: Mapping[str, Any], what: str) -> tuple[Any, Any] | None:
    return (activity[f"{what}_id"], activity[f"{what}_name"]) if activity[f"{what}_id"] else None


def _idname(record: Mapping[str, Any] | None) -> tuple[Any, Any] | None:
    return (record["id"], record["name"]) if record else None


def _folded(text: str | None) -> str | None:
    """With blanks folded; a body that shows nothing to read has no text, whether null or empty."""
    return " ".join((text or "").split()) or None
