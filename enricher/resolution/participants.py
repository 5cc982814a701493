"""Participants: an activity's mentions, identified by their Gsids, their email addresses or their names.

An activity's participants are a function of the activity and of the tenant's records. Rows found for another activity
of the same batch must not change them: only rows that the activity's own mentions refer to are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from enricher.activity.mentions import Mention, Side
from enricher.activity.person_name import fold, full_name
from enricher.resolution.model import Reference, Resolved
from frame_gainsight.connectors.columns import required
from frame_gainsight.gainsight import Row, parse_flag, value_of

Role = Literal["agent", "customer", "unknown"]


@dataclass(frozen=True, slots=True)
class Participant:
    """Someone who took part. `rows`: those that the profile is mapped from, by root of a path."""

    email: str | None
    name: str | None
    role: Role
    user_id: str | None
    account_id: str | None
    rows: dict[str, list[Row]] = field(default_factory=dict)


@dataclass(slots=True)
class _MergedMention:
    """All mentions of one participant.

    Attributes:
        is_looked_up: whether a mention has this very address, so that all persons who have it were looked up.
        gsids: the tenant's users and persons whom the mentions name by Gsid.
        meant: the same by a bare name.
        is_name_only: whether a bare name that stands for no row is all there is.
    """

    email: str | None
    name: str | None = None
    side: Side = Side.UNLISTED
    is_looked_up: bool = False
    gsids: list[str] = field(default_factory=list)
    meant: list[str] = field(default_factory=list)
    is_name_only: bool = False


def identify(reference: Reference, found: Resolved) -> list[Participant]:
    """An activity's distinct participants, in the order first mentioned: each address once.

    A mention is identified by its own Gsid, where the tenant has it; else by its address; else by its name, where
    exactly one user, or exactly one of the company's people, has it. A user is an agent, a person otherwise a customer;
    somebody unknown to the tenant is an agent when listed among the internal attendees. A name alone is dropped when a
    participant has it.
    """
    names, company = set(found.bare_names[reference]), reference.company
    merged = _merged([m for m in reference.mentions if _is_addressed(m) or m in names], company, found)
    people = [(mention, _participant(mention, company, found)) for mention in merged]
    named = {fold(p.name) for mention, p in people if p.name and not mention.is_name_only}
    return [p for mention, p in people if not mention.is_name_only or fold(p.name or "") not in named]


def only_named(mentions: Sequence[Mention], company: str | None, found: Resolved) -> list[Mention]:
    """An activity's mentions by name alone, less the names of those whom it mentions by address or Gsid.

    Those must have been looked up; the names that are left have to be looked up next.
    """
    names = [m for m in mentions if m.name and not _is_addressed(m)]
    if not names:
        return []
    others = [m for m in mentions if _is_addressed(m)]
    people = [_participant(mention, company, found) for mention in _merged(others, company, found)]
    named = {fold(name) for name in (*(m.name for m in others), *(p.name for p in people)) if name}
    return [m for m in names if fold(m.name or "") not in named]


def _is_addressed(mention: Mention) -> bool:
    return bool(mention.email or mention.gsid)


def _merged(mentions: Sequence[Mention], company: str | None, found: Resolved) -> list[_MergedMention]:
    """Mentions merged by address, or where there is none by Gsid or name.

    The address of a Gsid is that of its row, else the one that stands beside it. An address that the tenant does not
    know, beside a Gsid that it does, is another address of the same participant.
    """
    both = [(m.email, m.gsid) for m in reversed(mentions) if m.email and m.gsid]
    beside = {gsid: email for email, gsid in both}
    known = [(email, gsid) for email, gsid in both if _row(gsid, found)]
    aliases = {email: gsid for email, gsid in known if not (found.users.get(email) or found.persons.get(email))}
    people: dict[str, _MergedMention] = {}
    for mention in mentions:
        own = mention.gsid if _row(mention.gsid, found) else aliases.get(mention.email or "")
        meant = None if _is_addressed(mention) else _meant(mention, company, found)
        gsid = own or meant
        row = _row(gsid, found)
        email = (_email(row) if row else mention.email) or beside.get(gsid or mention.gsid or "")
        key = email or gsid or mention.gsid or f"name:{fold(mention.name or '')}"
        merged = people.setdefault(key, _MergedMention(email))
        merged.name = merged.name or mention.name
        sides = (merged.side, mention.side)  # listed as internal anywhere, or the author: internal
        merged.side = next((s for s in (Side.INTERNAL, Side.EXTERNAL) if s in sides), Side.UNLISTED)
        merged.is_looked_up |= email is not None and mention.email == email
        merged.gsids += [own] if own else []
        merged.meant += [meant] if meant else []
        merged.is_name_only = not (gsid or _is_addressed(mention))
    return list(people.values())


def _meant(mention: Mention, company: str | None, found: Resolved) -> str | None:
    """The Gsid of the one who has a bare name: among the internal attendees a user, among the external ones a person
    of the company, elsewhere either."""
    name = fold(mention.name or "")
    person = found.named_people.get(company or "", {}).get(name) if mention.side is not Side.INTERNAL else None
    user = found.named_users.get(name) if mention.side is not Side.EXTERNAL else None
    gsid = person or user
    return gsid if _row(gsid, found) else None


def _participant(mention: _MergedMention, company: str | None, found: Resolved) -> Participant:
    user = _user(mention, found)
    if user is not None:
        name = full_name(user) or mention.name
        return Participant(mention.email, name, "agent", _gsid(user), None, {required.GSUSER: [user]})
    persons = _persons(mention, found)
    if not persons:
        role: Role = "agent" if mention.side is Side.INTERNAL else "unknown"
        return Participant(mention.email, mention.name, role, None, None)
    person = _person(persons, mention.meant, company, found)
    gsid = _gsid(person)
    membership = _membership(found.memberships.get(gsid or "", []), company, found)
    rows = {required.PERSON: [person]} | ({required.COMPANY_PERSON: [membership]} if membership else {})
    account = _company_of(membership, found) if membership else None
    return Participant(mention.email, full_name(person) or mention.name, "customer", gsid, account, rows)


def _row(gsid: str | None, found: Resolved) -> Row | None:
    return (found.users_by_gsid.get(gsid) or found.persons_by_gsid.get(gsid)) if gsid else None


def _user(mention: _MergedMention, found: Resolved) -> Row | None:
    """The mentioned user: by Gsid or name, else by address, unless that only stands beside a Gsid."""
    for gsid in (*mention.gsids, *mention.meant):
        if row := found.users_by_gsid.get(gsid):
            return row
    theirs = not mention.gsids or any(_email(row) for g in mention.gsids if (row := _row(g, found)))
    return found.users.get(mention.email) if mention.email and theirs else None


def _persons(mention: _MergedMention, found: Resolved) -> list[Row]:
    """The persons who may be meant: by Gsid, else by address, else by name."""
    own = [row for g in mention.gsids if (row := found.persons_by_gsid.get(g))]
    having = found.persons.get(mention.email or "") if mention.is_looked_up else None
    return own or having or [row for g in mention.meant if (row := found.persons_by_gsid.get(g))]


def _email(row: Row) -> str | None:
    email = value_of(row, "Email")
    return email.strip().lower() or None if isinstance(email, str) else None


def _person(rows: Sequence[Row], meant: Sequence[str], company: str | None, found: Resolved) -> Row:
    """The one of several persons with one address: named, else at the activity's company, else formerly there, else at
    any company, else the first by Gsid."""

    def rank(row: Row) -> tuple[bool, bool, bool, bool, bool, str]:
        gsid = _gsid(row) or ""
        held = found.memberships.get(gsid, [])
        active = [m for m in held if parse_flag(value_of(m, "Active")) is not False]
        was, is_ = (company is not None and any(_company_of(m, found) == company for m in of) for of in (held, active))
        return (gsid not in meant, not is_, not was, not active, not held, gsid)

    return rows[0] if len(rows) == 1 else min(rows, key=rank)


def _membership(rows: Sequence[Row], company: str | None, found: Resolved) -> Row | None:
    """The membership at the activity's company, also when it has ended: there the person took part. Of the others the
    primary one, else the first by Gsid; inactive ones come last."""

    def rank(row: Row) -> tuple[bool, bool, bool, str]:
        return (
            _company_of(row, found) != company or company is None,
            parse_flag(value_of(row, "Active")) is False,
            parse_flag(value_of(row, "IsPrimaryCompany")) is not True,
            str(value_of(row, "Gsid") or ""),
        )

    return rows[0] if len(rows) == 1 else min(rows, key=rank, default=None)


def _company_of(row: Row, found: Resolved) -> str | None:
    value = value_of(row, found.company_link) if found.company_link else None
    return value if isinstance(value, str) and value else None


def _gsid(row: Row) -> str | None:
    value = value_of(row, "Gsid")
    return value if isinstance(value, str) and value else None
