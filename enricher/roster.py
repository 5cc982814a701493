"""The people of a tenant, as far as they are known: persons with their memberships, and users.

A person comes with its company_person rows and is kept as one answer. Asks nothing: that is the finder's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from connectors import needs
from connectors.paths import LOOKUP_SUFFIX
from enricher.desk import Desk
from enricher.entities import EMAIL, GSID, MEMBERSHIPS
from gainsight import Row, value_of

PERSON, GSUSER, MEMBER = needs.PERSON, needs.GSUSER, needs.COMPANY_PERSON
WHOLE = "!whole"


@dataclass(frozen=True, slots=True)
class Whole:
    """An object that was read as a whole: since when, how fresh (milliseconds), and up to which key.

    `surely`: nothing follows that key. `too_large`: it was not read, since it has too many rows.
    """

    columns: tuple[str, ...]
    begun: int
    until: int
    last: str
    surely: bool
    too_large: bool

    def row(self) -> Row:
        return {"begun": self.begun, "until": self.until, "last": self.last, "surely": self.surely} | (
            {"too_large": True} if self.too_large else {}
        )


class Roster:
    """The persons and users of one connector.

    Attributes:
        desk: where they are kept.
        room: object → answers forgotten when it was read as a whole.
    """

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.room: dict[str, int] = {}

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
        state = self.whole(name)
        return state is not None and state.surely and not state.too_large

    def whole(self, name: str) -> Whole | None:
        """What is known of an object as a whole, while it counts."""
        desk = self.desk
        entity = desk.cache.get(desk.key(WHOLE, "object", name))
        if entity is None or not entity.rows:
            return None
        row = entity.rows[0]
        state = Whole(
            entity.columns, row["begun"], row["until"], row["last"], row["surely"], bool(row.get("too_large"))
        )
        wanted = self.person_columns() if name in (PERSON, MEMBER) else self.user_columns()
        old = desk.since is not None and desk.since - state.begun > desk.cache.ttl
        forgotten = desk.cache.forgotten(desk.definition.id, PERSON if name == MEMBER else name)
        if old or not set(wanted) <= set(state.columns) or forgotten > self.room.get(name, 0):
            return None
        return state

    def renewed(self, name: str, until: int) -> None:
        """All changes of an object until then are known."""
        if (state := self.whole(name)) is not None:
            self.keep_whole(name, Whole(state.columns, state.begun, until, state.last, state.surely, state.too_large))

    def forget_whole(self, name: str) -> None:
        """The object has changed too much to follow: it is read anew when somebody is met who is not known."""
        self.desk.keep(WHOLE, "object", name, (), [])

    def keep_whole(self, name: str, state: Whole) -> None:
        self.desk.keep(WHOLE, "object", name, state.columns, [state.row()])

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
        sure = self.is_sure(MEMBER)
        lookup = (self.dotted() or ("",))[0]
        known = []
        for row in rows:
            gsid, email = text_of(row, link), text_of(row, f"{lookup}.{EMAIL}").strip().lower()
            if sure or self.kept_person(gsid):
                known.append(row)
            elif email:
                self.desk.cache.drop(self.desk.key(PERSON, EMAIL, email))
        self.keep_members(known, add=True)

    def change(self, name: str, rows: Sequence[Row]) -> None:
        """Takes over changed persons or users, of those who are known, or of all where all are."""
        for row in rows:
            gsid = text_of(row, GSID)
            before = self.desk.cache.get(self.desk.key(name, GSID, gsid))
            if not self.covers(name) and (before is None or not before.rows):
                self.desk.cache.drop(self.desk.key(name, EMAIL, text_of(row, EMAIL).strip().lower()))
                continue
            if name == GSUSER:
                self.keep_users([row], self.user_columns())
            else:
                held = memberships_of(before.rows[0]) if before is not None and before.rows else []
                self.keep_person(gsid, row, held, self.desk.columns(PERSON, EMAIL))

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
