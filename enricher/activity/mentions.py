"""Mentions: the people named in an activity, out of every form that tenants write them in."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from html import unescape
from itertools import islice
from typing import Any
from unicodedata import category

import orjson

from enricher.activity.raw_record import DataError, RawActivity

MAX_PEOPLE = 5000  # whom one activity names: each may be a call, and a participant
MAX_LENGTH = 1_000_000  # characters, and items of lists, of one field
MAX_EMAIL = 320  # characters: 64 before the @ and 255 behind it (RFC 3696, erratum 1690)
MAX_NAME = 300  # characters of a name that is compared and looked up


class Side(StrEnum):
    """The attendee list that a mention is in. `UNLISTED`: in neither, but in From, To or Cc."""

    INTERNAL = "internal"
    EXTERNAL = "external"
    UNLISTED = "unlisted"


@dataclass(frozen=True, slots=True)
class Mention:
    """A person as an activity names them: by email (lower case), name, Gsid, or several of these."""

    email: str | None = None
    name: str | None = None
    gsid: str | None = None
    side: Side = Side.UNLISTED


# The look-behind keeps this linear, whatever the text. Apostrophes are legal (o'brien@x), and so are bars, but tenants
# write bars between addresses.
_ATOM = r"[^\s@<>,;:\"()\[\]|]"
_EMAIL = re.compile(rf"(?<!{_ATOM}){_ATOM}+@(?!\.){_ATOM}+")
_LIST_ENDS = ",;\r\n"
_PARTS = re.compile(f"[{_LIST_ENDS}]")
# `Osei, Dana <dana@x>`: one word, a comma, and a name before an address. A list that has one person by a single name
# and the next one with an address is misread; that is rarer. At most two parts of a list are matched at once: linear.
_SURNAME_FIRST = re.compile(
    r"(?P<lead>(?:^|[,;\r\n])[^\S\r\n]*)(?P<last>(?![A-Z0-9]{36},)[^\s,;<>@\"()]+),[ \t]*"
    r"(?P<first>[^\s,;<>@\"()][^,;<>@\"()\r\n]*)<"
)
_OPENING = re.compile(r"<(?:\s*mailto:)?\s*'?$", re.IGNORECASE)
_COMMENT = re.compile(r"[\s'>]*\(([^()]*)\)")
_GSID = re.compile(r"[A-Z0-9]{36}")
_FIELDS = (
    ("From", Side.UNLISTED),
    ("To", Side.UNLISTED),
    ("Cc", Side.UNLISTED),
    ("InternalAttendees", Side.INTERNAL),
    ("ExternalAttendees", Side.EXTERNAL),
)
_AUTHOR = {"gsid": "AuthorId", "email": "AuthorId__gr.Email", "name": "AuthorId__gr.Name"}
_CREATOR = {"email": "UserEmail", "name": "UserName"}
_EMAIL_KEYS = ("email", "emailaddress", "address")
_NAME_KEYS = ("name", "fullname", "displayname")
# `id` and `gsid` of an attendee may be those of its own row; a user who is also a person counts as a user.
_ID_KEYS = ("userid", "personid", "gsid", "id")
_REFERENCE = re.compile(r"&(?:amp|apos|gt|lt|nbsp|quot|#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6});")
_PLACEHOLDER = re.compile(r"n/a|nil|none|null|object object|undefined|undisclosed[ -]recipients?", re.IGNORECASE)


def mentions(activity: RawActivity) -> list[Mention]:
    """Everyone named in the activity, in the order From, To, Cc, internal attendees, external attendees, author.

    Raises DataError for a field that is no list of people by its size.
    """
    found: list[Mention] = []
    for field, side in _FIELDS:
        found += parse_attendees(activity.get(field), side)
        if len(found) > MAX_PEOPLE:
            raise _too_many()
    return found + _author(activity)


def parse_attendees(value: Any, side: Side = Side.UNLISTED) -> list[Mention]:
    """The mentions in a field's value.

    Tenants write a JSON list of strings or of objects (as such or as text), a list separated by commas, semicolons or
    lines, `Name <email>`, bare emails, bare names, Gsids, or null; any of these may have been escaped for HTML.

    Raises DataError for a value that is no list of people by its size.
    """
    found: list[Mention] = []
    waiting, left = [value], MAX_LENGTH  # not by recursion: lists may be nested to any depth
    while waiting:
        item = waiting.pop()
        left -= 1 + (len(item) if isinstance(item, str | list | dict) else 0)
        if left < 0 or len(found) > MAX_PEOPLE:
            raise _too_many()
        if isinstance(item, str) and (read := _from_json(item)) is not None:
            item = read
        if isinstance(item, dict):
            found += _from_object(item, side)
        elif isinstance(item, list):
            waiting.extend(reversed(item))
        elif isinstance(item, str):
            found += _from_text(_clean(item), side)
    return found


def _too_many() -> DataError:
    return DataError(
        f"Its attendees are more than {MAX_PEOPLE} people, or a field of them has more than {MAX_LENGTH} characters."
    )


def _author(activity: RawActivity) -> list[Mention]:
    """The author, by Gsid and by the joined address, which is as old as the row; the Gsid does not change.

    Where there is neither, the creator (`UserEmail`, `UserName`), who is the author of most activities.
    """
    author, creator = (
        _from_object({key: activity.get(field) for key, field in fields.items()}, Side.INTERNAL)
        for fields in (_AUTHOR, _CREATOR)
    )
    return author if any(m.email or m.gsid for m in author) else creator or author


def visible(text: str) -> str:
    """The text without the invisible characters that mail programs leave behind: zero-width ones, marks of direction,
    soft hyphens, control characters. Every kind of blank becomes a space; ends of lines stay.
    """
    return text if text.isprintable() else "".join(map(_visible, text))


def _visible(char: str) -> str:
    if char.isprintable() or char in "\r\n":
        return char
    kind = category(char)
    if kind in ("Zl", "Zp"):
        return "\n"
    if char.isspace():
        return " "
    return "" if kind in ("Cc", "Cf") else char


def _clean(text: str) -> str:
    return visible(_REFERENCE.sub(lambda found: unescape(found[0]), text) if "&" in text else text)


def _from_json(text: str) -> Any:
    """The JSON list or object in a text; None where there is neither."""
    for form in (text, _clean(text)):
        if form.lstrip()[:1] in ("[", "{"):
            with suppress(orjson.JSONDecodeError):
                return orjson.loads(form)
    return None


def normal_email(text: str) -> str | None:
    """The address in lower case, without blanks around it; None when there is none in the text.

    Plus-addresses stay as they are: `a+b@x` and `a@x` may be two mailboxes.
    """
    return next(iter(_emails(_clean(text))), None)


def _from_object(value: dict[str, Any], side: Side) -> list[Mention]:
    by_key = {key.lower().replace("_", ""): v for key, v in value.items()}
    email = _first_text(by_key, _EMAIL_KEYS)
    name = _first_text(by_key, _NAME_KEYS)
    address = next(iter([*_emails(email), *_emails(name)]), None)
    gsid = next((v for k in _ID_KEYS if isinstance(v := by_key.get(k), str) and _GSID.fullmatch(v)), None)
    mention = Mention(address, None if _emails(name) else _name(name), gsid, side)
    return [mention] if mention.email or mention.name or mention.gsid else []


def _first_text(by_key: dict[str, Any], keys: Iterable[str]) -> str:
    texts = (_clean(v).strip() for k in keys if isinstance(v := by_key.get(k), str))
    return next((text for text in texts if text), "")


def _emails(text: str) -> dict[str, tuple[int, int]]:
    """The distinct addresses in a text, in lower case, each with its first position (start, end)."""
    found: dict[str, tuple[int, int]] = {}
    if "@" not in text:
        return found
    for match in _EMAIL.finditer(text):
        local, _, domain = match[0].strip("'").rstrip(".'").lower().partition("@")
        if local and domain and len(match[0]) <= MAX_EMAIL:
            found.setdefault(f"{local}@{domain}", match.span())
    return found


def _from_text(text: str, side: Side) -> list[Mention]:
    if "<" in text:
        text = _SURNAME_FIRST.sub(lambda m: f'{m["lead"]}"{m["last"]}, {m["first"].rstrip()}" <', text)
    parts = (part.strip() for part in _split(text))
    return list(islice((mention for part in parts if part for mention in _from_part(part, side)), MAX_PEOPLE + 1))


def _split(text: str) -> list[str]:
    """The parts of a list. A separator inside closed double quotes or round brackets does not count."""
    if '"' not in text and "(" not in text:
        return _PARTS.split(text)
    parts, start, quoted, depth, escaped = [], 0, False, 0, False
    for index, char in enumerate(text):
        if escaped:
            escaped = False
        elif quoted:
            escaped, quoted = char == "\\", char != '"'
        elif char == '"':
            quoted = True
        elif char == "(":
            depth += 1
        elif char == ")":
            depth = max(0, depth - 1)
        elif char in _LIST_ENDS and not depth:
            parts.append(text[start:index])
            start = index + 1
    return _PARTS.split(text) if quoted or depth else [*parts, text[start:]]


def _from_part(part: str, side: Side) -> list[Mention]:
    """One person, as `Name <email>`, `email (Name)`, email, name or Gsid; or several addresses in any other form."""
    emails = _emails(part)
    if not emails:
        return [_plain(name, side)] if (name := _name(_unquoted(part))) else []
    if len(emails) > 1 and "|" in part:
        pieces = [piece.strip() for piece in part.split("|") if piece.strip()]
        if all(_emails(piece) for piece in pieces):  # else a bar may belong to a name
            return [mention for piece in pieces for mention in _from_part(piece, side)]
    address, (start, end) = list(emails.items())[-1]
    opening = _OPENING.search(part, 0, start)
    if opening is not None and part.count("<") == 1:
        name = _unquoted(part[: opening.start()])
        return [Mention(address, None if _emails(name) else _name(name), None, side)]
    if len(emails) == 1 and (comment := _COMMENT.match(part, end)):
        return [Mention(address, _name(comment[1].strip()), None, side)]
    return [Mention(email, None, None, side) for email in emails]


def _unquoted(name: str) -> str:
    name = name.strip()
    if len(name) > 1 and name[0] == name[-1] and name[0] in "'\"":
        name = re.sub(r"\\(.)", r"\1", name[1:-1])
    return name.strip()


def _name(text: str) -> str | None:
    """The name; None for placeholders: `N/A`, `-`, `null`, and a group's own name in `undisclosed-recipients:;`."""
    if not text or len(text) > MAX_NAME or text[-1] == ":" or not any(char.isalnum() for char in text):
        return None
    return None if _PLACEHOLDER.fullmatch(text.strip("[]()<>{}'\" .-")) else text


def _plain(text: str, side: Side) -> Mention:
    return Mention(gsid=text, side=side) if _GSID.fullmatch(text) else Mention(name=text, side=side)
