"""Identity: an activity's mentions to participants, re-identified by their email addresses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from connectors import needs
from enricher.attendees import Mention, Side
from enricher.names import fold, full_name
from enricher.resolve import Resolved
from gainsight import Row, value_of

Role = Literal["agent", "customer", "unknown"]


@dataclass(frozen=True, slots=True)
class Participant:
    """Someone who took part. `rows` is what their profile is mapped from, by root."""

    email: str | None
    name: str | None
    role: Role
    user_id: str | None
    account_id: str | None
    rows: dict[str, list[Row]] = field(default_factory=dict)


def identify(mentions: Sequence[Mention], company: str | None, found: Resolved) -> list[Participant]:
    """The distinct participants, in the order first mentioned.

    Known by email, else by Gsid, else by name: a name is somebody where exactly one user, or exactly one of the
    company's people, has it. A gsuser is an agent, a person a customer; whom the tenant does not know is an agent when
    listed among the internal attendees. A name alone is dropped when a participant has it.
    """
    merged: dict[str, Mention] = {}
    for named_so in mentions:
        mention = _with_email(_with_gsid(named_so, company, found), found)
        key = mention.email or mention.gsid or f"name:{fold(mention.name or '')}"
        merged[key] = _merge(merged[key], mention) if key in merged else mention
    known = [_participant(m, company, found) for m in merged.values() if m.email or m.gsid]
    named = {fold(name) for p in known if (name := p.name)}
    named |= {fold(m.name) for m in merged.values() if m.name and (m.email or m.gsid)}
    return [
        _participant(m, company, found)
        for m in merged.values()
        if m.email or m.gsid or (m.name and fold(m.name) not in named)
    ]


def _with_gsid(mention: Mention, company: str | None, found: Resolved) -> Mention:
    """A bare name gets the Gsid of the one who has it: among the internal attendees a user's, among the external ones
    a person's of the company, elsewhere either's."""
    if mention.email or mention.gsid or not mention.name:
        return mention
    name = fold(mention.name)
    person = found.named_people.get(company or "", {}).get(name) if mention.side is not Side.INTERNAL else None
    user = found.named_users.get(name) if mention.side is not Side.EXTERNAL else None
    gsid = person or user
    return Mention(None, mention.name, gsid, mention.side) if gsid else mention


def _with_email(mention: Mention, found: Resolved) -> Mention:
    """A mention by Gsid gets the email of its gsuser or person, so that it meets the others of the same one."""
    if mention.email or not mention.gsid:
        return mention
    row = found.users_by_gsid.get(mention.gsid) or found.persons_by_gsid.get(mention.gsid)
    email = value_of(row, "Email") if row else None
    if not isinstance(email, str) or not email.strip():
        return mention
    return Mention(email.strip().lower(), mention.name, mention.gsid, mention.side)


def _merge(first: Mention, second: Mention) -> Mention:
    sides = (first.side, second.side)  # listed as internal anywhere, or the author: internal
    side = next((s for s in (Side.INTERNAL, Side.EXTERNAL) if s in sides), Side.UNSAID)
    return Mention(first.email, first.name or second.name, first.gsid or second.gsid, side)


def _participant(mention: Mention, company: str | None, found: Resolved) -> Participant:
    user = _user(mention, found)
    if user is not None:
        return Participant(
            mention.email, full_name(user) or mention.name, "agent", _gsid(user), None, {needs.GSUSER: [user]}
        )
    person = _person(mention, company, found)
    if person is None:
        role: Role = "agent" if mention.side is Side.INTERNAL else "unknown"
        return Participant(mention.email, mention.name, role, None, None)
    gsid = _gsid(person)
    membership = _membership(found.memberships.get(gsid or "", []), company, found)
    rows = {needs.PERSON: [person]} | ({needs.COMPANY_PERSON: [membership]} if membership else {})
    account = _company_of(membership, found) if membership else None
    return Participant(mention.email, full_name(person) or mention.name, "customer", gsid, account, rows)


def _user(mention: Mention, found: Resolved) -> Row | None:
    row = found.users.get(mention.email) if mention.email else None
    return row or (found.users_by_gsid.get(mention.gsid) if mention.gsid else None)


def _person(mention: Mention, company: str | None, found: Resolved) -> Row | None:
    """Of several persons with one address: who is at the activity's company, else at any, else the first by Gsid."""
    rows = found.persons.get(mention.email, []) if mention.email else []
    if not rows:
        return found.persons_by_gsid.get(mention.gsid) if mention.gsid else None

    def rank(row: Row) -> tuple[bool, bool, bool, str]:
        held = found.memberships.get(_gsid(row) or "", [])
        active = [m for m in held if value_of(m, "Active") is not False]
        there = any(_company_of(m, found) == company for m in active)
        return (company is None or not there, not active, not held, _gsid(row) or "")

    return min(rows, key=rank)


def _membership(rows: Sequence[Row], company: str | None, found: Resolved) -> Row | None:
    """The activity's company wins, then the primary one, then the first by Gsid; inactive ones come last."""

    def rank(row: Row) -> tuple[bool, bool, bool, str]:
        return (
            value_of(row, "Active") is False,
            _company_of(row, found) != company or company is None,
            value_of(row, "IsPrimaryCompany") is not True,
            str(value_of(row, "Gsid") or ""),
        )

    return min(rows, key=rank, default=None)


def _company_of(row: Row, found: Resolved) -> str | None:
    link = needs.first_described(found.described.get(needs.COMPANY_PERSON), needs.COMPANY_OF)
    value = value_of(row, link) if link else None
    return value if isinstance(value, str) and value else None


def _gsid(row: Row) -> str | None:
    value = value_of(row, "Gsid")
    return value if isinstance(value, str) and value else None
