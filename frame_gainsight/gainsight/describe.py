"""Descriptions of a tenant's objects: fields, types, look-ups, picklist labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PICKLISTS = frozenset({"PICKLIST", "MULTISELECTDROPDOWNLIST"})
DATES = frozenset({"DATE", "DATETIME"})


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
    name = str(data.get("objectName") or "")
    return Listed(
        name, str(data.get("label") or name), str(data.get("objectType") or ""), data.get("readable") is not False
    )


def parse_object(data: Mapping[str, Any]) -> ObjectDescription:
    """One object of a describe reply. Missing parts are taken as absent: field sets differ by tenant."""
    fields = {}
    for raw in data.get("fields") or []:
        meta = raw.get("meta") or {}
        if meta.get("hidden") or not raw.get("fieldName"):
            continue
        detail = (meta.get("lookupDetail") or {}) if meta.get("hasLookup") else {}
        objects = tuple(str(o.get("objectName")) for o in detail.get("lookupObjects") or [] if o.get("objectName"))
        options = {
            str(o["value"]): str(o.get("label") or o["value"]) for o in raw.get("options") or [] if o.get("value")
        }
        name = str(raw["fieldName"])
        fields[name.lower()] = Field(name, str(raw.get("dataType") or ""), detail.get("lookupName"), objects, options)
    return ObjectDescription(str(data.get("objectName") or ""), fields)
