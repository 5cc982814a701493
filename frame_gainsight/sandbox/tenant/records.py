"""Records other than activities: added, edited, deleted and merged, with fields and values as Gainsight writes them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from frame_gainsight.sandbox.query.dates import moment
from frame_gainsight.sandbox.query.schema import DATES, SCHEMAS, Field, ObjectSchema, Row, Value
from frame_gainsight.sandbox.query.tables import RowTable
from frame_gainsight.sandbox.tenant.world import World

OBJECTS = ("company", "person", "company_person", "relationship", "gsuser", "contract__gc")
"""The objects whose records can be changed."""

# What belongs to a record and is deleted with it. Other look-ups of a deleted record lead nowhere from then on.
_BELONGING: Mapping[str, tuple[tuple[str, str], ...]] = {
    "person": (("company_person", "Person_ID"),),
    "company": (("company_person", "Company_ID"), ("relationship", "CompanyId")),
}
_NEEDED: Mapping[str, tuple[str, ...]] = {"company_person": ("Person_ID", "Company_ID"), "relationship": ("CompanyId",)}
_BY_EMAIL = ("person", "gsuser")
_KINDS: Mapping[str, tuple[Any, str]] = {
    "BOOLEAN": (bool, "true or false"),
    **dict.fromkeys(("NUMBER", "CURRENCY", "PERCENTAGE"), (int | float, "a number")),
}


@dataclass(frozen=True, slots=True)
class Removal:
    """An entry of the delete logs."""

    object: str
    gsid: str
    deleted_ms: int


class Records:
    """Changes a world's rows and keeps its look-ups and its tables' indexes right.

    Changes have no history: setting the clock back does not undo them.  Every `at_ms` is the
    tenant's present, which becomes ModifiedDate unless that is given.  `fields` are as in describe, in any case;
    picklist items by label or Gsid, dates in any form that queries take, look-ups as Gsids of records that are there.
    All methods raise KeyError for a record that is not there, and ValueError, in words for people, for an object that
    cannot be changed, or a field or value that makes no sense; nothing has changed then.
    """

    def __init__(self, world: World, tables: Mapping[str, RowTable]) -> None:
        self._world = world
        self._tables = tables
        self._added = 0
        self.removed: list[Removal] = []

    def add(self, name: str, fields: Mapping[str, Any], at_ms: int) -> str:
        """Add a record; its Gsid.  A person or user may have no email that another has.

        Left out, a name is made of first and last name, a membership is active, and it is the primary one when the
        person has no other.
        """
        schema = _schema(name)
        values = {"CreatedDate": at_ms, "ModifiedDate": at_ms} | self._values(schema, fields, None)
        if schema.name == "company_person":
            first = not any(r["IsPrimaryCompany"] for r in self._world.employers.get(str(values["Person_ID"]), ()))
            values = {"Active": True, "IsPrimaryCompany": first} | values
        elif schema.name == "gsuser":
            values = {"IsActiveUser": True} | values
        self._added += 1
        row = self._world.add(schema.name, f"added/{self._added}", **values)
        self._tables[schema.name].entered(row)
        self._world.index()
        return str(row["Gsid"])

    def edit(self, name: str, gsid: str, fields: Mapping[str, Any], at_ms: int) -> None:
        """Change a record's fields.  With another first or last name, Name follows unless it is given."""
        schema = _schema(name)
        row = self._row(schema.name, gsid)
        self._put(schema.name, row, {"ModifiedDate": at_ms} | self._values(schema, fields, row))

    def delete(self, name: str, gsid: str, at_ms: int) -> None:
        """Delete a record and what belongs to it: a person's memberships, a company's memberships and relationships."""
        schema = _schema(name)
        row = self._row(schema.name, gsid)
        for belonging, field in _BELONGING.get(schema.name, ()):
            for other in [r for r in self._world.rows(belonging) if r[field] == gsid]:
                self._remove(belonging, other, at_ms)
        self._remove(schema.name, row, at_ms)

    def merge(self, loser: str, winner: str, at_ms: int) -> None:
        """Make one person of two: what the loser is at companies, the winner is now, and the loser is deleted.

        Where the winner is at the same company, the winner's own row stays and the loser's is deleted.  The winner
        keeps its primary company.
        """
        gone, stays = self._row("person", loser), self._row("person", winner)
        if gone is stays:
            raise ValueError("a person cannot be merged with itself")
        held = [r for r in self._world.rows("company_person") if r["Person_ID"] == winner]
        places = {r["Company_ID"] for r in held}
        primary = any(r["IsPrimaryCompany"] for r in held)
        for row in [r for r in self._world.rows("company_person") if r["Person_ID"] == loser]:
            if row["Company_ID"] in places:
                self._remove("company_person", row, at_ms)
                continue
            moved: Row = {"Person_ID": winner, "ModifiedDate": at_ms}
            self._put("company_person", row, moved | ({"IsPrimaryCompany": False} if primary else {}))
        self._remove("person", gone, at_ms)

    def _row(self, name: str, gsid: str) -> Row:
        row = self._tables[name].get(gsid)
        if row is None:
            raise KeyError(gsid)
        return row

    def _put(self, name: str, row: Row, values: Row) -> None:
        self._tables[name].leaving(row)
        row.update(values)
        self._tables[name].entered(row)
        self._world.index()

    def _remove(self, name: str, row: Row, at_ms: int) -> None:
        self._tables[name].leaving(row)
        rows = self._world.rows(name)
        del rows[next(index for index, other in enumerate(rows) if other is row)]
        self._world.index()
        self.removed.append(Removal(name, str(row["Gsid"]), at_ms))

    # Values

    def _values(self, schema: ObjectSchema, fields: Mapping[str, Any], row: Row | None) -> Row:
        """The given fields in stored form.  `row`: the one that is edited."""
        values: Row = {}
        for name, given in fields.items():
            field = schema.find(name)
            if field is None:
                known = [f.name for f in schema.fields]
                raise ValueError(f"{schema.name} has no field {name!r}" + _meant(name, known))
            values[field.name] = self._value(field, given)
        if "Gsid" in values and (row is not None or not values["Gsid"] or self._taken(values["Gsid"])):
            raise ValueError("a Gsid is given once, to a record that is added, and not to two")
        for needed in _NEEDED.get(schema.name, ()):
            if values.get(needed, row[needed] if row else None) is None:
                raise ValueError(f"a record of {schema.name} needs {needed}")
        if schema.name in _BY_EMAIL:
            self._check_email(schema.name, values.get("Email"), row)
            if "Name" not in values and not values.keys().isdisjoint(("FirstName", "LastName")):
                parts = [values.get(f, row[f] if row else None) for f in ("FirstName", "LastName")]
                values["Name"] = " ".join(str(p) for p in parts if p) or None
        return values

    def _taken(self, gsid: Value) -> bool:
        return any(table.get(gsid) for table in self._tables.values())

    def _check_email(self, name: str, email: Value, row: Row | None) -> None:
        if not email:
            return
        held = self._world.people if name == "person" else self._world.users
        if held.get(str(email).lower(), row) is not row:
            raise ValueError(f"there is a {name} with the email {email} already")

    def _value(self, field: Field, given: Any) -> Value:
        if given is None:
            return None
        if field.type in DATES:
            return moment(given)
        kind, wanted = _KINDS.get(field.type, (str, "a text"))
        if not isinstance(given, kind) or (isinstance(given, bool) and kind is not bool):
            raise ValueError(f"{field.name} is {wanted}, not {given!r}")
        if field.lookup is not None and self._tables[field.lookup].get(given) is None:
            raise ValueError(f"{field.name}: no {field.lookup} {given}")
        stored: Value = given if field.picklist is None else self._item(field.picklist, given)
        return stored

    def _item(self, picklist: str, text: str) -> str:
        items = self._world.picklists[picklist].items
        found = next((gsid for gsid, label in items if text in (gsid, label)), None)
        if found is None:
            raise ValueError(f"{picklist} has no item {text!r}" + _meant(text, [label for _, label in items]))
        return found


def _schema(name: str) -> ObjectSchema:
    if name.lower() not in OBJECTS:
        raise ValueError(f"no records of {name!r} to change" + (_meant(name, OBJECTS) or f"; of {', '.join(OBJECTS)}"))
    return SCHEMAS[name.lower()]


def _meant(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, list(known), n=3)
    return f"; did you mean {' or '.join(close)}?" if close else ""
