"""Identity: an activity's mentions to participants, re-identified by their Gsids, their email addresses or their names.

An activity's participants are a function of the activity and of the tenant's records. What was found for another one of
the same window must not change them: of what was found, only that is used which the activity's own mentions ask for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from enricher.activity.mentions import Mention, Side
from enricher.resolution.name_lookup import fold, full_name
from frame_gainsight.connectors.columns import required
from frame_gainsight.gainsight import Row, parse_flag, value_of

if TYPE_CHECKING:
    from enricher.resolution.resolver import Resolved

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


@dataclass(slots=True)
class _Someone:
    """Mentions of one and the same.

    Attributes:
        asked: whether a mention has this very address, so that all persons are known who have it.
        gsids: whom of the tenant's users and persons the mentions name by Gsid.
        meant: the same by a bare name.
        alone: whether a bare name is all there is.
    """

    email: str | None
    name: str | None = None
    side: Side = Side.UNSAID
    asked: bool = False
    gsids: list[str] = field(default_factory=list)
    meant: list[str] = field(default_factory=list)
    alone: bool = False


def identify(mentions: Sequence[Mention], company: str | None, found: Resolved) -> list[Participant]:
    """The distinct participants, in the order first mentioned: each address once.

    A mention's own Gsid says who it is, where the tenant has it; else the address; else the name: that is somebody
    where exactly one user, or exactly one of the company's people, has it. Whose address is a gsuser's is an agent, a
    person otherwise a customer; whom the tenant does not know is an agent when listed among the internal attendees. A
    name alone is dropped when a participant has it.
    """
    names = set(only_named(mentions, company, found))
    people = _each_once([m for m in mentions if _is_addressed(m) or m in names], company, found)
    told = [(someone, _participant(someone, company, found)) for someone in people]
    named = {fold(p.name) for someone, p in told if p.name and not someone.alone}
    return [p for someone, p in told if not someone.alone or fold(p.name or "") not in named]


def only_named(mentions: Sequence[Mention], company: str | None, found: Resolved) -> list[Mention]:
    """An activity's mentions by name alone, where nobody whom it mentions in another way has the name.

    Needs who has the addresses and Gsids; which names have to be looked up follows.
    """
    names = [m for m in mentions if m.name and not _is_addressed(m)]
    if not names:
        return []
    others = [m for m in mentions if _is_addressed(m)]
    people = [_participant(someone, company, found) for someone in _each_once(others, company, found)]
    named = {fold(name) for name in (*(m.name for m in others), *(p.name for p in people)) if name}
    return [m for m in names if fold(m.name or "") not in named]


def _is_addressed(mention: Mention) -> bool:
    return bool(mention.email or mention.gsid)


def _each_once(mentions: Sequence[Mention], company: str | None, found: Resolved) -> list[_Someone]:
    """Who is mentioned, by address, or where there is none by Gsid or name.

    The address of a Gsid is that of its row, else the one that stands beside it. An address that the tenant does not
    know, beside a Gsid that it does, is another one of the same.
    """
    both = [(m.email, m.gsid) for m in reversed(mentions) if m.email and m.gsid]
    beside = {gsid: email for email, gsid in both}
    known = [(email, gsid) for email, gsid in both if _row(gsid, found)]
    aliases = {email: gsid for email, gsid in known if not (found.users.get(email) or found.persons.get(email))}
    people: dict[str, _Someone] = {}
    for mention in mentions:
        own = mention.gsid if _row(mention.gsid, found) else aliases.get(mention.email or "")
        meant = None if _is_addressed(mention) else _meant(mention, company, found)
        gsid = own or meant
        row = _row(gsid, found)
        email = (_email(row) if row else mention.email) or beside.get(gsid or mention.gsid or "")
        key = email or gsid or mention.gsid or f"name:{fold(mention.name or '')}"
        someone = people.setdefault(key, _Someone(email))
        someone.name = someone.name or mention.name
        sides = (someone.side, mention.side)  # listed as internal anywhere, or the author: internal
        someone.side = next((s for s in (Side.INTERNAL, Side.EXTERNAL) if s in sides), Side.UNSAID)
        someone.asked |= email is not None and mention.email == email
        someone.gsids += [own] if own else []
        someone.meant += [meant] if meant else []
        someone.alone = not (gsid or _is_addressed(mention))
    return list(people.values())


def _meant(mention: Mention, company: str | None, found: Resolved) -> str | None:
    """The Gsid of the one who has a bare name: among the internal attendees a user, among the external ones a person
    of the company, elsewhere either."""
    name = fold(mention.name or "")
    person = found.named_people.get(company or "", {}).get(name) if mention.side is not Side.INTERNAL else None
    user = found.named_users.get(name) if mention.side is not Side.EXTERNAL else None
    gsid = person or user
    return gsid if _row(gsid, found) else None


def _participant(someone: _Someone, company: str | None, found: Resolved) -> Participant:
    user = _user(someone, found)
    if user is not None:
        name = full_name(user) or someone.name
        return Participant(someone.email, name, "agent", _gsid(user), None, {required.GSUSER: [user]})
    persons = _persons(someone, found)
    if not persons:
        role: Role = "agent" if someone.side is Side.INTERNAL else "unknown"
        return Participant(someone.email, someone.name, role, None, None)
    person = _person(persons, someone.meant, company, found)
    gsid = _gsid(person)
    membership = _membership(found.memberships.get(gsid or "", []), company, found)
    rows = {required.PERSON: [person]} | ({required.COMPANY_PERSON: [membership]} if membership else {})
    account = _company_of(membership, found) if membership else None
    return Participant(someone.email, full_name(person) or someone.name, "customer", gsid, account, rows)


def _row(gsid: str | None, found: Resolved) -> Row | None:
    return (found.users_by_gsid.get(gsid) or found.persons_by_gsid.get(gsid)) if gsid else None


def _user(someone: _Someone, found: Resolved) -> Row | None:
    """The user, if it is one: by Gsid, else by address, which must be their own and not one that a Gsid goes before."""
    for gsid in (*someone.gsids, *someone.meant):
        if row := found.users_by_gsid.get(gsid):
            return row
    theirs = not someone.gsids or any(_email(row) for g in someone.gsids if (row := _row(g, found)))
    return found.users.get(someone.email) if someone.email and theirs else None


def _persons(someone: _Someone, found: Resolved) -> list[Row]:
    """The persons who it may be: by Gsid, else by address, else by name."""
    own = [row for g in someone.gsids if (row := found.persons_by_gsid.get(g))]
    having = found.persons.get(someone.email or "") if someone.asked else None
    return own or having or [row for g in someone.meant if (row := found.persons_by_gsid.get(g))]


def _email(row: Row) -> str | None:
    email = value_of(row, "Email")
    return email.strip().lower() or None if isinstance(email, str) else None


def _person(rows: Sequence[Row], meant: Sequence[str], company: str | None, found: Resolved) -> Row:
    """Of several persons with one address: who is named, else who is at the activity's company, else who was there,
    else who is at any, else the first by Gsid."""

    def rank(row: Row) -> tuple[bool, bool, bool, bool, bool, str]:
        gsid = _gsid(row) or ""
        held = found.memberships.get(gsid, [])
        active = [m for m in held if parse_flag(value_of(m, "Active")) is not False]
        was, is_ = (company is not None and any(_company_of(m, found) == company for m in of) for of in (held, active))
        return (gsid not in meant, not is_, not was, not active, not held, gsid)

    return rows[0] if len(rows) == 1 else min(rows, key=rank)


def _membership(rows: Sequence[Row], company: str | None, found: Resolved) -> Row | None:
    """The activity's company wins, also when they have left it: there they took part. Of the others the primary one
    does, then the first by Gsid; inactive ones come last."""

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
