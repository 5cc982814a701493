"""The people of a tenant, as far as they are known: persons with their memberships, and users.

A person comes with its company_person rows and is kept as one answer. Asks nothing: that is the finder's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from connectors import needs
from connectors.paths import LOOKUP_SUFFIX
from enricher.desk import Desk
from enricher.entities import EMAIL, GSID, MEMBERSHIPS
from enricher.whole import Reading, Whole, Wholes
from gainsight import Row, value_of

PERSON, GSUSER, MEMBER = needs.PERSON, needs.GSUSER, needs.COMPANY_PERSON


class Roster:
    """The persons and users of one connector.

    Attributes:
        desk: where they are kept.
        wholes: what of them was read as a whole.
    """

    def __init__(self, desk: Desk, wholes: Wholes) -> None:
        self.desk = desk
        self.wholes = wholes

    # What is known

    @property
    def link(self) -> str | None:
        """The column of company_person that holds the person's Gsid; None: the tenant has no such object."""
        return needs.first_described(self.desk.described.get(MEMBER), needs.PERSON_OF)

    def member_columns(self) -> tuple[str, ...]:
        return self.desk.columns(MEMBER) if self.link else ()

    def person_columns(self) -> tuple[str, ...]:
        """What a person's answer must have: its own columns, and those of its memberships."""
        own = self.desk.columns(PERSON, *((EMAIL,) if PERSON in self.desk.described else ()))
        return (*own, *(f"{MEMBERSHIPS}.{c}" for c in self.member_columns()))

    def user_columns(self) -> tuple[str, ...]:
        return self.desk.columns(GSUSER)

    def user(self, field: str, value: str) -> Row | bool | None:
        """The user with that email or Gsid; False: there is none; None: not known."""
        return self._first(self._known(GSUSER, field, value, self.user_columns()))

    def persons(self, field: str, value: str) -> list[Row] | None:
        """The persons with that email or Gsid; None: not known."""
        return self._known(PERSON, field, value, self.person_columns())

    @staticmethod
    def _first(rows: list[Row] | None) -> Row | bool | None:
        return None if rows is None else rows[0] if rows else False

    def _known(self, name: str, field: str, value: str, columns: tuple[str, ...]) -> list[Row] | None:
        if not columns:
            return []  # the tenant has no such object
        desk = self.desk
        if field == EMAIL:
            found: list[Row] = []
            for key in desk.cache.with_email(desk.definition.id, name, value):
                entity = desk.cache.fresh(key, columns, desk.since)
                if entity is None:
                    return None
                found += entity.rows
            if found:
                return found
        elif (entity := desk.fresh(name, GSID, value, columns)) is not None:
            return list(entity.rows)
        absent = desk.fresh(name, field, value)
        if absent is not None and not absent.rows:
            return []
        return [] if self.covers(name) else None

    def covers(self, name: str) -> bool:
        """Whether whoever is not known of an object is known to be absent."""
        if name == PERSON and self.link is not None and not self.is_sure(MEMBER):
            return False
        return self.is_sure(name)

    def is_sure(self, name: str) -> bool:
        return self.wholes.covers(self.reading(name))

    def whole(self, name: str) -> Whole | None:
        """How far an object has been read, while that counts."""
        return self.wholes.state(self.reading(name))

    def is_unheard_of(self, gsid: str) -> bool:
        """Whether the Gsid is taken to be nobody's only since all were read without it."""
        keys = (self.desk.key(name, GSID, gsid) for name in (PERSON, GSUSER))
        return (self.covers(PERSON) or self.covers(GSUSER)) and not any(key in self.desk.cache for key in keys)

    def reading(self, name: str) -> Reading | None:
        """How persons (by way of their memberships, or without) and users are read; None: that is not possible."""
        desk = self.desk
        if name not in desk.described:
            return None
        if name == GSUSER:
            select = desk.columns(GSUSER, EMAIL, GSID)
            return Reading(name, GSID, self.user_columns(), select, GSUSER, lambda rows: self.keep_users(rows, select))
        columns = self.person_columns()
        if name == PERSON:
            select = desk.columns(PERSON, EMAIL, GSID)
            return Reading(name, GSID, columns, select, PERSON, lambda rows: self.keep_persons(rows, select))
        dotted = self.dotted()
        if dotted is None or self.link is None:
            return None
        return Reading(name, self.link, columns, dotted[1], PERSON, self.keep_members)  # one's memberships together

    def dotted(self) -> tuple[str, tuple[str, ...]] | None:
        """The look-up from company_person to its person, and the columns of both; None: there is no such way."""
        desk, link = self.desk, self.link
        described = desk.described.get(MEMBER)
        field = described.field(link) if described and link else None
        if field is None or not field.lookup_objects or desk.facts.dotted is False:
            return None
        own = desk.columns(PERSON, EMAIL)
        if any(c.count(".") >= needs.MOST_LOOKUPS for c in own):
            return None
        lookup = field.lookup or f"{field.name}{LOOKUP_SUFFIX}"
        return lookup, tuple(dict.fromkeys([*desk.columns(MEMBER, link or ""), *(f"{lookup}.{c}" for c in own)]))

    # Keeping

    def kept_person(self, gsid: str) -> Sequence[Row]:
        entity = self.desk.cache.get(self.desk.key(PERSON, GSID, gsid))
        return entity.rows if entity is not None else ()

    def keep_members(self, rows: Sequence[Row], *, add: bool = False) -> None:
        """Persons out of company_person rows. `add`: to the memberships that they are known to have."""
        dotted = self.dotted()
        link = self.link
        if dotted is None or link is None:
            return
        lookup = dotted[0]
        own = self.desk.columns(PERSON, EMAIL)
        columns = self.desk.columns(MEMBER, link)
        people: dict[str, Row] = {}
        memberships: defaultdict[str, list[Row]] = defaultdict(list)
        for row in rows:
            if gsid := text_of(row, link):
                people[gsid] = {c: v for c in own if (v := value_of(row, f"{lookup}.{c}")) is not None and v != ""}
                people[gsid][GSID] = gsid
                memberships[gsid].append({c: v for c in columns if (v := value_of(row, c)) is not None and v != ""})
        for gsid, person in people.items():
            before = memberships_of(next(iter(self.kept_person(gsid)), {})) if add else []
            self.keep_person(gsid, person, _merged(before, memberships[gsid]), own)

    def change_members(self, rows: Sequence[Row]) -> None:
        """Takes over changed company_person rows, of those persons who are known, or of all where all are."""
        if (link := self.link) is None:
            return
        reading = self.reading(MEMBER)
        lookup = (self.dotted() or ("",))[0]
        known = []
        for row in rows:
            gsid, email = text_of(row, link), text_of(row, f"{lookup}.{EMAIL}").strip().lower()
            if self.kept_person(gsid) or self.wholes.reaches(reading, gsid):
                known.append(row)
            elif email:
                self.desk.cache.drop(self.desk.key(PERSON, EMAIL, email))
        self.keep_members(known, add=True)

    def change(self, name: str, rows: Sequence[Row]) -> None:
        """Takes over changed persons or users, of those who are known, or of all where all are."""
        for row in rows:
            gsid = text_of(row, GSID)
            before = self.desk.cache.get(self.desk.key(name, GSID, gsid))
            if (before is None or not before.rows) and not self._is_all_there_is(name, gsid):
                self.desk.cache.drop(self.desk.key(name, EMAIL, text_of(row, EMAIL).strip().lower()))
                continue
            if name == GSUSER:
                self.keep_users([row], self.user_columns())
            else:
                held = memberships_of(before.rows[0]) if before is not None and before.rows else []
                self.keep_person(gsid, row, held, self.desk.columns(PERSON, EMAIL))

    def _is_all_there_is(self, name: str, gsid: str) -> bool:
        """Whether of somebody unknown a changed row is all there is to know: who came where all was read."""
        if name == PERSON and self.link is not None and not self.wholes.reaches(self.reading(MEMBER), gsid):
            return False
        return self.wholes.reaches(self.reading(name), gsid)

    def gone(self, name: str, gsid: str) -> None:
        """A person, a user or a membership was deleted."""
        desk = self.desk
        if name in (PERSON, GSUSER):
            if desk.cache.get(desk.key(name, GSID, gsid)) is not None:
                desk.keep(name, GSID, gsid, (), [])
            return
        for key in desk.cache.keys(desk.definition.id, PERSON):
            entity = desk.cache.get(key)
            row = entity.rows[0] if entity is not None and entity.rows else {}
            held = memberships_of(row)
            left = [m for m in held if m.get(GSID) != gsid]
            if entity is not None and len(left) < len(held):
                desk.keep(PERSON, GSID, key.value, entity.columns, [{**row, MEMBERSHIPS: left}])

    def keep_person(self, gsid: str, row: Row, memberships: Sequence[Row], own: tuple[str, ...]) -> None:
        columns = (*own, *(f"{MEMBERSHIPS}.{c}" for c in self.member_columns()))
        person = {k: v for k, v in filled(row).items() if k != MEMBERSHIPS}
        ordered = sorted(memberships, key=lambda m: str(m.get(GSID) or ""))
        self.desk.keep(PERSON, GSID, gsid, columns, [{**person, MEMBERSHIPS: ordered}])

    def keep_persons(self, rows: Sequence[Row], columns: tuple[str, ...]) -> None:
        """Persons out of their own rows, with the memberships that they are known to have."""
        for row in rows:
            if gsid := text_of(row, GSID):
                before = self.kept_person(gsid)
                self.keep_person(gsid, row, memberships_of(before[0]) if before else [], columns)

    def keep_users(self, rows: Sequence[Row], columns: tuple[str, ...]) -> None:
        for row in rows:
            if gsid := text_of(row, GSID):
                self.desk.keep(GSUSER, GSID, gsid, columns, [filled(row)])

    def keep_absent(self, name: str, by: str, values: Sequence[str], rows: Sequence[Row], column: str) -> None:
        found = {text_of(row, column).strip().lower() for row in rows}
        for value in values:
            if value.lower() not in found:
                self.desk.keep(name, by, value, (), [])


def memberships_of(row: Row) -> list[Row]:
    held = row.get(MEMBERSHIPS)
    return held if isinstance(held, list) else []


def _merged(before: Sequence[Row], changed: Sequence[Row]) -> list[Row]:
    new = {m.get(GSID) for m in changed}
    return [*(m for m in before if m.get(GSID) not in new), *changed]


def filled(row: Row) -> Row:
    return {k: v for k, v in row.items() if v is not None and v != ""}


def text_of(row: Row, column: str) -> str:
    value = value_of(row, column)
    return value if isinstance(value, str) else ""
