"""Manual edits, made through the control API: field names and values as Gainsight writes them, onto an activity."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from email.utils import parseaddr
from typing import Any

from frame_gainsight.sandbox.query.dates import moment
from frame_gainsight.sandbox.tenant.activity import Activity, Address, Written
from frame_gainsight.sandbox.tenant.world import World

Change = dict[str, Any]
_Setter = Callable[[Activity, Any], Change]


_BETWEEN = re.compile(r'[,;](?=(?:[^"]*"[^"]*")*[^"]*$)')
"""A comma or semicolon outside double quotes."""


def addresses(value: Any) -> tuple[Address, ...]:
    """People from `"Name <email>, email"` (`;` too), from a list of such texts, or from null."""
    if value is None:
        return ()
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(t, str) for t in texts):
        raise ValueError(f"not people: {value!r}")
    parts = [part.strip() for text in texts for part in _BETWEEN.split(text)]
    return tuple(_address(part) for part in parts if part)


def _address(text: str) -> Address:
    if "@" not in text:
        return Address(text, None)
    name, email = parseaddr(text)
    return Address(name or None, email)


def _text(name: str) -> _Setter:
    def put(activity: Activity, value: Any) -> Change:
        if value is not None and not isinstance(value, str):
            raise ValueError(f"not a text: {value!r}")
        return {name: value}

    return put


def _people(name: str) -> _Setter:
    return lambda activity, value: {name: addresses(value)}


def _sender(activity: Activity, value: Any) -> Change:
    found = addresses(value)
    return {"sender": found[0] if found else None}


def _notes(activity: Activity, value: Any) -> Change:
    return {"body": Written(activity.body.text if isinstance(activity.body, Written) else None, value)}


def _plain(activity: Activity, value: Any) -> Change:
    html = activity.body.html if isinstance(activity.body, Written) else None
    return {"body": Written(value, html), "plain": value is not None}


def _date(name: str) -> _Setter:
    return lambda activity, value: {name: moment(value)}


def _topics(activity: Activity, value: Any) -> Change:
    return {"topics": tuple(value or ())}


_SETTERS: Mapping[str, _Setter] = {
    "Gsid": _text("gsid"),
    "Subject": _text("subject"),
    "Notes": _notes,
    "NotesPlainText": _plain,
    "TypeName": _text("type_name"),
    "ActivityDate": _date("occurred_ms"),
    "CreatedDate": _date("created_ms"),
    "AuthorId": _text("author"),
    "GsCompanyId": _text("company"),
    "GsRelationshipId": _text("relationship"),
    "ContextName": _text("context"),
    "ContextId": _text("context_id"),
    "From": _sender,
    "To": _people("to"),
    "InternalAttendees": _people("internal"),
    "ExternalAttendees": _people("external"),
    "ConversationId": _text("conversation"),
    "Source": _text("source"),
    "Ant__Sentiment__c": _text("sentiment"),
    "Ant__Topics__c": _topics,
}

_PEOPLE = ("From", "To", "InternalAttendees", "ExternalAttendees", "GsCompanyId")


def filled(
    activity: Activity,
    fields: Mapping[str, Any],
    world: World,
    *,
    created: bool = False,
    modified_ms: int | None = None,
) -> Activity:
    """`activity` with `fields`.

    A created one whose people or company are given has no made-up people beside them.  Raises ValueError for a field
    that cannot be set, or a value that makes no sense.
    """
    if modified_ms is not None:
        activity = replace(activity, modified_ms=modified_ms)
    if created and any(name in fields for name in _PEOPLE):
        activity = _bare(activity, fields)
    if "Notes" in fields and "NotesPlainText" not in fields:
        activity = replace(activity, plain=False, body=Written(None, None))
    elif "NotesPlainText" in fields:
        activity = replace(activity, body=Written(None, None))
    for name, value in fields.items():
        setter = _SETTERS.get(name)
        if setter is None:
            close = get_close_matches(name, _SETTERS, n=3)
            raise ValueError(f"no field {name!r} to set" + (f"; did you mean {' or '.join(close)}?" if close else ""))
        activity = replace(activity, **setter(activity, value))
    if fields.get("GsCompanyId") is not None and activity.company not in world.by_id("company"):
        raise ValueError(f"no company {activity.company}")
    return activity


def _bare(activity: Activity, fields: Mapping[str, Any]) -> Activity:
    """Without the people that a generated activity came with, and without what belongs to its company."""
    activity = replace(activity, sender=None, to=(), internal=(), external=(), conversation=None)
    activity = replace(activity, author=None, logged_by=None)
    if "GsCompanyId" in fields:
        activity = replace(activity, relationship=None, context="Company", context_id=fields["GsCompanyId"])
    return activity
