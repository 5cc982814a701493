"""Descriptions of a tenant's objects: fields, types, look-ups, picklist labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

PICKLISTS = frozenset({"PICKLIST", "MULTISELECTDROPDOWNLIST"})
DATES = frozenset({"DATE", "DATETIME"})
MAX_FIELDS = 5000  # of an object; and items of a picklist
MAX_TEXT = 1024  # characters of a name or label


@dataclass(frozen=True, slots=True)
class Field:
    """One field. `lookup` is the prefix of its dotted paths, such as `Csm__gr`; `lookup_objects` are where it leads.

    `options` maps a picklist item's Gsid → its label.
    """

    name: str
    data_type: str
    lookup: str | None = None
    lookup_objects: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ObjectDescription:
    """One object's fields, found by name whatever the case. Hidden fields are left out: they cannot be queried."""

    name: str
    fields: Mapping[str, Field]

    def field(self, name: str) -> Field | None:
        return self.fields.get(name.lower())

    def by_lookup(self, name: str) -> Field | None:
        """The look-up field whose dotted paths begin with `name`, such as `Csm__gr`."""
        wanted = name.lower()
        return next(
            (f for f in self.fields.values() if f.lookup_objects and (f.lookup or f"{f.name}__gr").lower() == wanted),
            None,
        )


@dataclass(frozen=True, slots=True)
class Listed:
    """An entry of the list of objects. `kind`: STANDARD, CUSTOM or SYSTEM; `readable` with this key."""

    name: str
    label: str
    kind: str
    readable: bool


def parse_listed(data: Mapping[str, Any]) -> Listed:
    """One entry of the list. An object whose entry lacks `readable` is taken to be readable."""
    name = _text(data.get("objectName"))
    return Listed(
        name, _text(data.get("label")) or name, _text(data.get("objectType")), data.get("readable") is not False
    )


def parse_object(data: Mapping[str, Any]) -> ObjectDescription:
    """One object of a describe reply. Missing parts, and those of another type, are taken as absent: field sets differ
    by tenant. Of more than MAX_FIELDS fields, and of more items of a picklist, the first are taken."""
    fields = {}
    for raw in _mappings(data.get("fields")):
        meta = _mapping(raw.get("meta"))
        name = _text(raw.get("fieldName"))
        if meta.get("hidden") or not name:
            continue
        detail = _mapping(meta.get("lookupDetail")) if meta.get("hasLookup") else {}
        objects = tuple(o for one in _mappings(detail.get("lookupObjects")) if (o := _text(one.get("objectName"))))
        options = {
            value: _text(one.get("label")) or value
            for one in _mappings(raw.get("options"))
            if (value := _text(one.get("value")))
        }
        lookup = _text(detail.get("lookupName")) or None
        fields[name.lower()] = Field(name, _text(raw.get("dataType")), lookup, objects, options)
    return ObjectDescription(_text(data.get("objectName")), fields)


def _text(value: Any) -> str:
    """A name or label; "" for what is none, or is too long to be one."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    text = str(value) if value else ""
    return text if len(text) <= MAX_TEXT else ""


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _mappings(value: Any) -> Iterator[Mapping[str, Any]]:
    """The objects of a list, as many as a tenant may have."""
    items = value if isinstance(value, list) else []
    return (item for item in islice(items, MAX_FIELDS) if isinstance(item, Mapping))
