"""Every way in which tenants are thought to write a list of people into one string field.

Nobody outside has seen the content of InternalAttendees and ExternalAttendees described, so all are here.
"""

import re
from collections.abc import Callable, Iterable, Sequence

import orjson

from frame_gainsight.sandbox.tenant.activity import Activity, Address

KnownIds = Callable[[str], str | None]
"""Gsid of the person or gsuser with that (lower-case) email."""

_SPECIAL = re.compile(r'[()<>\[\]:;@\\,."]')


def angle(address: Address) -> str:
    """`Name <email>`; the name in double quotes where it holds a character with a meaning in address lists."""
    if address.email is None:
        return address.name or ""
    if not address.name:
        return address.email
    name = address.name
    if _SPECIAL.search(name):
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        name = f'"{escaped}"'
    return f"{name} <{address.email}>"


def bare(address: Address) -> str:
    """The email alone, or the name of one who has none."""
    return address.email or address.name or ""


def _named(address: Address) -> str:
    return address.name or address.email or ""


def _json(values: object) -> str:
    return orjson.dumps(values).decode()


FORMS = ("emails", "angle", "names", "json_strings", "json_objects", "gsids", "null")


def write(
    people: Sequence[Address],
    form: str,
    delimiter: str = ",",
    ids: KnownIds = lambda _: None,
    elsewhere: Iterable[str] = (),
) -> str | None:
    """`people` as one string of the given form; None when the list is empty, or for the form `null`.

    `names` writes a bare name only for one whose email is in `elsewhere` (the row's From, To or author), and
    `Name <email>` for the others, so that the row as a whole still shows who took part.  `gsids` falls back to the
    email of somebody the tenant does not know.
    """
    if not people or form == "null":
        return None
    joint = f"{delimiter} "
    if form == "emails":
        return joint.join(map(bare, people))
    if form == "angle":
        return joint.join(map(angle, people))
    if form == "names":
        known = set(elsewhere)
        return joint.join(_named(p) if p.email is None or p.email.lower() in known else angle(p) for p in people)
    if form == "bare_names":
        return joint.join(map(_named, people))
    if form == "json_strings":
        return _json([bare(p) for p in people])
    if form == "json_objects":
        return _json(
            [{"name": p.name, "email": p.email, "id": ids(p.email.lower()) if p.email else None} for p in people]
        )
    if form == "gsids":
        return joint.join((ids(p.email.lower()) if p.email else None) or bare(p) for p in people)
    raise ValueError(f"no such form of attendees: {form}")


def written_elsewhere(activity: Activity, author_email: str | None) -> set[str]:
    """Lower-case emails that From, To and the author already give."""
    found = {a.email.lower() for a in ((activity.sender, *activity.to) if activity.sender else activity.to) if a.email}
    if author_email:
        found.add(author_email.lower())
    return found
