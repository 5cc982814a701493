"""Who an activity names: mentions of people, out of every form that tenants write them in."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

from enricher.activity import RawActivity


class Side(StrEnum):
    """How a mention is listed."""

    INTERNAL = "internal"
    EXTERNAL = "external"
    UNSAID = "unsaid"


@dataclass(frozen=True, slots=True)
class Mention:
    """A person as named: by email (lower case), by name, by Gsid, or by several of these."""

    email: str | None = None
    name: str | None = None
    gsid: str | None = None
    side: Side = Side.UNSAID


_EMAIL = re.compile(r"[^\s@<>,;:\"'()\[\]]+@[^\s@<>,;:\"'()\[\]]+\.?[^\s@<>,;:\"'()\[\].]+")
_UNQUOTED_COMMA = re.compile(r',(?=(?:[^"]*"[^"]*")*[^"]*$)')
_GSID = re.compile(r"[A-Z0-9]{36}")
_FIELDS = (
    ("From", Side.UNSAID),
    ("To", Side.UNSAID),
    ("Cc", Side.UNSAID),
    ("InternalAttendees", Side.INTERNAL),
    ("ExternalAttendees", Side.EXTERNAL),
)
_EMAIL_KEYS = ("email", "emailaddress", "address")
_NAME_KEYS = ("name", "fullname", "displayname")
_ID_KEYS = ("gsid", "id", "personid", "userid")


def mentions(activity: RawActivity) -> list[Mention]:
    """Everyone whom the activity names, in the order From, To, Cc, internal, external attendees, author."""
    found: list[Mention] = []
    for field, side in _FIELDS:
        found += parse_attendees(activity.get(field), side)
    email, name = activity.get("AuthorId__gr.Email"), activity.get("AuthorId__gr.Name")
    if isinstance(email, str):
        found += [Mention(normal_email(email), name if isinstance(name, str) else None, None, Side.INTERNAL)]
    elif isinstance(author := activity.get("AuthorId"), str) and _GSID.fullmatch(author):
        found.append(Mention(gsid=author, side=Side.INTERNAL))
    return found


def parse_attendees(value: Any, side: Side = Side.UNSAID) -> list[Mention]:
    """Mentions out of a field's value.

    Tenants write a JSON list of strings or of objects (as such or as text), a list parted by commas, semicolons or
    lines, `Name <email>`, bare emails, bare names, Gsids, or null.
    """
    if value is None or value == "":
        return []
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return _from_text(value.strip(), side)
    if isinstance(value, dict):
        return _from_object(value, side)
    if isinstance(value, list):
        return [mention for item in value for mention in parse_attendees(item, side)]
    return _from_text(str(value), side)


def normal_email(text: str) -> str | None:
    """The address in lower case, without blanks around it; None when there is none in the text.

    Plus-addresses stay as they are: `a+b@x` and `a@x` may be two mailboxes.
    """
    found = _EMAIL.search(text)
    return found[0].rstrip(".").lower() if found else None


def _from_object(value: dict[str, Any], side: Side) -> list[Mention]:
    by_key = {key.lower().replace("_", ""): v for key, v in value.items()}
    email = _first_text(by_key, _EMAIL_KEYS)
    name = _first_text(by_key, _NAME_KEYS)
    gsid = _first_text(by_key, _ID_KEYS)
    gsid = gsid if gsid and _GSID.fullmatch(gsid) else None
    mention = Mention(normal_email(email) if email else None, name, gsid, side)
    return [mention] if mention.email or mention.name or mention.gsid else []


def _first_text(by_key: dict[str, Any], keys: Iterable[str]) -> str | None:
    return next((v.strip() for k in keys if isinstance(v := by_key.get(k), str) and v.strip()), None)


def _from_text(text: str, side: Side) -> list[Mention]:
    parts = [part.strip() for part in re.split(r"[;\r\n]", text) if part.strip()]
    return [mention for part in parts for mention in _from_list(part, side)]


def _from_list(text: str, side: Side) -> list[Mention]:
    """One or more people parted by commas; a comma inside a quoted name does not part."""
    if "@" not in text:
        return [_plain(name.strip(), side) for name in text.split(",") if name.strip()]
    found = [_one(part.strip(), side) for part in _UNQUOTED_COMMA.split(text) if part.strip()]
    if not any(mention.email for mention in found):  # written in a way of its own: take the addresses in it
        return [Mention(email.rstrip(".").lower(), None, None, side) for email in _EMAIL.findall(text)]
    return found


def _one(text: str, side: Side) -> Mention:
    """`Name <email>`, an email, or a name. (The standard library's parser gives other answers in each Python.)"""
    email = normal_email(text[text.rfind("<") + 1 :]) or normal_email(text)
    if email is None:
        return _plain(text, side)
    name = text[: text.rfind("<")].strip().strip("'\"").strip() if "<" in text else ""
    return Mention(email, name if name and normal_email(name) is None else None, None, side)


def _plain(text: str, side: Side) -> Mention:
    return Mention(gsid=text, side=side) if _GSID.fullmatch(text) else Mention(name=text, side=side)
