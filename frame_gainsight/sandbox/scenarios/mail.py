"""Real mail as a scenario: an mbox or a folder of .eml files becomes activities, their people persons and users."""

import mailbox
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from pathlib import Path

from frame_gainsight.sandbox.query.dates import SECOND, moment
from frame_gainsight.sandbox.query.schema import Row
from frame_gainsight.sandbox.scenarios.parse_email import Mailed, read_message, text_of_html
from frame_gainsight.sandbox.tenant.activity import NO_BODY, Activity, Address, Body, Written
from frame_gainsight.sandbox.tenant.attendee_formats import FORMS
from frame_gainsight.sandbox.tenant.clock import Clock
from frame_gainsight.sandbox.tenant.gsid import digest, gsid
from frame_gainsight.sandbox.tenant.scenario import Change
from frame_gainsight.sandbox.tenant.world import World, local_part

USERS, PERSONS = 15, 60
"""Of a hundred addresses, how many are made users and how many persons; the rest is unknown to the tenant."""

_FORMS = tuple(f for f in FORMS if f not in ("gsids", "null", "names"))


@dataclass(frozen=True, slots=True)
class Mail:
    """The messages of `path`, logged one every `every` seconds from `start` on (None: from the clock's first moment).

    Each message becomes exactly one Email activity, whatever state it is in.  Which of its people are users, persons or
    unknown depends on the address and the seed alone; companies are invented from the addresses' domains.
    """

    path: Path | str
    start: str | None = None
    every: float = 1.0

    def __post_init__(self) -> None:
        if not Path(self.path).exists():
            raise FileNotFoundError(f"no such mbox file or folder of .eml files: {self.path}")
        if self.every < 0:
            raise ValueError("messages are logged one after the other: `every` is not negative")

    def clock(self) -> Clock:
        """Real time, or for a given start stopped when all messages are in."""
        if self.start is None:
            return Clock.real()
        return Clock.stopped(moment(self.start) + int((len(_messages(Path(self.path))) + 1) * self.every * SECOND))

    def populate(self, world: World) -> None:
        everybody: dict[str, Address] = {}
        for mailed in _messages(Path(self.path)):
            for address in _people(mailed):
                known = everybody.get(str(address.email).lower())
                if known is None or known.name is None:
                    everybody[str(address.email).lower()] = address
        taken = {str(r["Email"]).lower() for o in ("person", "gsuser") for r in world.rows(o) if r["Email"]}
        for email, address in sorted(everybody.items()):
            if email not in taken:
                _register(world, email, address)

    def changes(self, world: World, began_ms: int) -> Iterator[Change]:
        start = began_ms if self.start is None else moment(self.start)
        for number, mailed in enumerate(_messages(Path(self.path))):
            at = (start + int(number * self.every * SECOND)) // SECOND * SECOND
            activity = _activity(mailed, number, at, world)
            yield Change(max(at, start), at, "create", activity)


@lru_cache(maxsize=4)
def _messages(path: Path) -> tuple[Mailed, ...]:
    """Every message of a folder's .eml files in the order of their names, of one .eml file, or of an mbox."""
    if path.is_dir():
        return tuple(read_message(file.read_bytes()) for file in sorted(path.glob("*.eml")))
    if path.suffix.lower() == ".eml":
        return (read_message(path.read_bytes()),)
    box = mailbox.mbox(path, create=False)
    try:
        return tuple(read_message(box.get_bytes(key)) for key in sorted(box.keys()))
    finally:
        box.close()


def _people(mailed: Mailed) -> list[Address]:
    first = [] if mailed.sender is None else [mailed.sender]
    return [*first, *mailed.to, *mailed.cc]


def _domain(email: str) -> str:
    return email.rpartition("@")[2].lower()


def _register(world: World, email: str, address: Address) -> None:
    lot = digest(world.seed, "mail", email) % 100
    shown = address.name or email.partition("@")[0]
    first, _, last = shown.partition(" ")
    if lot < USERS:
        world.add(
            "gsuser",
            email,
            Name=shown,
            FirstName=first,
            LastName=last or None,
            Email=email,
            IsActiveUser=True,
        )
        return
    company = _company(world, _domain(email))
    if lot < USERS + PERSONS:
        person = world.add("person", email, Name=shown, FirstName=first, LastName=last or None, Email=email)
        world.add(
            "company_person",
            email,
            Person_ID=person["Gsid"],
            Company_ID=company["Gsid"],
            Active=True,
            IsPrimaryCompany=True,
            Title="Correspondent",
        )


def _company(world: World, domain: str) -> Row:
    known = next((c for c in world.rows("company") if c["Domain__gc"] == domain), None)
    if known is not None:
        return known
    name = local_part(domain.partition(".")[0]).replace(".", " ").title()
    user = next((u["Gsid"] for u in world.rows("gsuser")), None)
    return world.add("company", domain, Name=name, Domain__gc=domain, Status="Active", Csm=user)


def _body(mailed: Mailed) -> tuple[Body, bool]:
    """The body, and whether NotesPlainText is filled: not for mail that has HTML only."""
    if mailed.text is None and mailed.html is None:
        return NO_BODY, False
    if mailed.text is None:
        html = str(mailed.html)
        return Written(text_of_html(html) or None, html), False
    lines = escape(mailed.text, quote=False).replace("\n", "<br>")
    return Written(mailed.text, mailed.html or f"<div>{lines}</div>"), True


def _activity(mailed: Mailed, number: int, at: int, world: World) -> Activity:
    people = _people(mailed)
    internal = tuple(a for a in people if str(a.email).lower() in world.users)
    external = tuple(a for a in people if str(a.email).lower() not in world.users)
    company = _company_of(external, world)
    author = world.users[str(internal[0].email).lower()]["Gsid"] if internal else None
    body, plain = _body(mailed)
    lot = digest(world.seed, "mail form", number)
    form = _FORMS[lot % len(_FORMS)]
    return Activity(
        gsid=gsid("1I00", world.seed, "mail", number, mailed.message_id or ""),
        type_name="Email",
        subject=mailed.subject,
        body=body,
        occurred_ms=at if mailed.sent_ms is None else mailed.sent_ms,
        created_ms=at,
        modified_ms=at,
        author=str(author) if author else None,
        logged_by=str(author) if author else None,
        company=company,
        relationship=None,
        context="Company",
        context_id=company,
        sender=mailed.sender,
        to=mailed.to,
        internal=internal,
        external=external,
        conversation=mailed.thread,
        sentiment=None,
        topics=(),
        source="EMAIL",
        form=f"{form};" if lot % 3 == 0 else f"{form},",
        headers="angle," if lot % 2 else "emails,",
        plain=plain,
    )


def _company_of(external: tuple[Address, ...], world: World) -> str | None:
    """The company of the first known person, else the one that has the first address's domain."""
    emails = [str(a.email).lower() for a in external]
    for email in emails:
        person = world.people.get(email)
        if person is not None:
            return str(world.employers[str(person["Gsid"])][0]["Company_ID"])
    for email in emails:
        for company in world.rows("company"):
            if company["Domain__gc"] == _domain(email):
                return str(company["Gsid"])
    return None
