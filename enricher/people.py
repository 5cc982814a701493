"""Persons and users: found by email, by Gsid or by name, in as few calls as the tenant takes.

A tenant's users are few, and many a tenant's persons are too: an object of moderate size is read as a whole, once, and
from then on nobody in it costs a call, nor does anybody who is not in it. Of larger ones, those who are met are looked
up. A person comes with its company_person rows and is kept as one answer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from connectors import needs
from connectors.paths import LOOKUP_SUFFIX
from enricher.desk import Desk
from enricher.entities import EMAIL, GSID, MEMBERSHIPS, EntityKey
from gainsight import (
    Chunking,
    Query,
    RefusedQueryError,
    ReplyTooLargeError,
    Row,
    UnknownFieldError,
    fetch_in,
    fetch_on,
    value_of,
)
from gainsight.query import MAX_ROWS

log = structlog.get_logger(__name__)

PERSON, GSUSER, MEMBER = needs.PERSON, needs.GSUSER, needs.COMPANY_PERSON
WHOLE = "!whole"
NAME = "Name"


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


class People:
    """The persons and users of one connector.

    Args:
        whole_rows: the most rows of an object that is read as a whole; 0: none is.
    """

    def __init__(self, desk: Desk, whole_rows: int) -> None:
        self._desk = desk
        self._whole_rows = whole_rows
        self._room: dict[str, int] = {}  # object → answers forgotten when it was read

    # What is known

    @property
    def link(self) -> str | None:
        """The column of company_person that holds the person's Gsid; None: the tenant has no such object."""
        return needs.first_described(self._desk.described.get(MEMBER), needs.PERSON_OF)

    def member_columns(self) -> tuple[str, ...]:
        return self._desk.columns(MEMBER) if self.link else ()

    def person_columns(self) -> tuple[str, ...]:
        """What a person's answer must have: its own columns, and those of its memberships."""
        own = self._desk.columns(PERSON, *((EMAIL,) if PERSON in self._desk.described else ()))
        return (*own, *(f"{MEMBERSHIPS}.{c}" for c in self.member_columns()))

    def user_columns(self) -> tuple[str, ...]:
        return self._desk.columns(GSUSER)

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
        desk = self._desk
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
        if name == PERSON and self.link is not None and not self._is_sure(MEMBER):
            return False
        return self._is_sure(name)

    def _is_sure(self, name: str) -> bool:
        state = self.whole(name)
        return state is not None and state.surely and not state.too_large

    def whole(self, name: str) -> Whole | None:
        """What is known of an object as a whole, while it counts."""
        desk = self._desk
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
        if old or not set(wanted) <= set(state.columns) or forgotten > self._room.get(name, 0):
            return None
        return state

    def renewed(self, name: str, until: int) -> None:
        """All changes of an object until then are known."""
        if (state := self.whole(name)) is not None:
            self._keep_whole(name, Whole(state.columns, state.begun, until, state.last, state.surely, state.too_large))

    def forget_whole(self, name: str) -> None:
        """The object has changed too much to follow: it is read anew when somebody is met who is not known."""
        self._desk.keep(WHOLE, "object", name, (), [])

    def _keep_whole(self, name: str, state: Whole) -> None:
        self._desk.keep(WHOLE, "object", name, state.columns, [state.row()])

    # Finding

    async def find(self, emails: Sequence[str], gsids: Sequence[str]) -> None:
        """Makes known whoever has one of these (lower-case) emails or Gsids, or that nobody has."""
        if self._unknown(EMAIL, emails) or self._unknown(GSID, gsids):
            await self._read_whole(MEMBER)  # first: the larger page tells that a smaller one is no capped one
        await self._find_users(EMAIL, emails)
        await self._find_users(GSID, gsids)
        for field, values in ((EMAIL, emails), (GSID, gsids)):
            if unknown := self._unknown(field, values):
                await self._find_persons(field, unknown)

    def _unknown(self, field: str, values: Iterable[str]) -> list[str]:
        """Those of whom it is not known whether they are a person; users are not asked about."""
        return [v for v in values if not self.user(field, v) and self.persons(field, v) is None]

    async def _find_users(self, field: str, values: Sequence[str]) -> None:
        unknown = [v for v in values if self.user(field, v) is None]
        if unknown:
            await self._read_whole(GSUSER)
            unknown = [v for v in unknown if self.user(field, v) is None]
        if not unknown:
            return
        desk = self._desk
        rows, columns = await desk.rows_in(GSUSER, field, unknown, desk.columns(GSUSER, field))
        self._keep_users(rows, columns)
        self._keep_absent(GSUSER, field, unknown, rows, field)

    async def _find_persons(self, field: str, values: Sequence[str]) -> None:
        members = self.whole(MEMBER)
        if self.link is None or self._is_sure(MEMBER):
            await self._read_whole(PERSON)
        elif members is None or members.too_large:
            await self._find_members(field, values)
        values = [v for v in values if self.persons(field, v) is None]
        if not values:
            return
        desk = self._desk
        rows, columns = await desk.rows_in(PERSON, field, values, desk.columns(PERSON, field))
        ids = list(dict.fromkeys(g for row in rows if (g := _text(row, GSID))))
        memberships = await self._memberships(ids)
        for row in rows:
            if gsid := _text(row, GSID):
                self._keep_person(gsid, row, memberships.get(gsid, []), columns)
        self._keep_absent(PERSON, field, values, rows, field)

    async def _memberships(self, persons: Sequence[str]) -> Mapping[str, list[Row]]:
        found: defaultdict[str, list[Row]] = defaultdict(list)
        link = self.link
        if not persons or link is None:
            return found
        if self._is_sure(MEMBER):  # those who have any are known
            return {g: _memberships_of(rows[0]) for g in persons if (rows := self._kept_person(g))}
        rows, _ = await self._desk.rows_in(MEMBER, link, persons, self._desk.columns(MEMBER, link))
        for row in rows:
            found[_text(row, link)].append(_filled(row))
        return found

    async def _find_members(self, field: str, values: Sequence[str]) -> None:
        """Persons by way of their company_person rows, where the tenant takes such a query."""
        desk, facts = self._desk, self._desk.facts
        dotted = self.dotted()
        if dotted is None or facts.dotted_in is False:
            return
        lookup, select = dotted
        link = self.link or ""
        by = f"{lookup}.{EMAIL}" if field == EMAIL else link
        # Refused for its form or for its size: the first such query does not tell, and there is another way.
        chunking = facts.chunking[MEMBER] if facts.dotted_in else Chunking(len(values))
        try:
            if not facts.dotted_in:
                first = values[: facts.chunking[MEMBER].size]
                rows = await fetch_in(desk.client, MEMBER, select, by, first, chunking, proven=facts.proven)
                values = values[len(first) :]
                facts.dotted = facts.dotted_in = True
                chunking = facts.chunking[MEMBER]
            else:
                rows = []
            rows += await fetch_in(desk.client, MEMBER, select, by, values, chunking, proven=facts.proven)
        except (RefusedQueryError, UnknownFieldError) as error:
            if facts.dotted_in:
                raise
            facts.dotted_in = False
            log.info("asked_in_two_steps", connector=desk.definition.id, cause=str(error))
            return
        self._keep_members(rows)

    def dotted(self) -> tuple[str, tuple[str, ...]] | None:
        """The look-up from company_person to its person, and the columns of both; None: there is no such way."""
        desk, link = self._desk, self.link
        described = desk.described.get(MEMBER)
        field = described.field(link) if described and link else None
        if field is None or not field.lookup_objects or desk.facts.dotted is False:
            return None
        own = desk.columns(PERSON, EMAIL)
        if any(c.count(".") >= needs.MOST_LOOKUPS for c in own):
            return None
        lookup = field.lookup or f"{field.name}{LOOKUP_SUFFIX}"
        return lookup, tuple(dict.fromkeys([*desk.columns(MEMBER, link or ""), *(f"{lookup}.{c}" for c in own)]))

    # Reading an object as a whole

    async def _read_whole(self, name: str) -> None:
        """Reads an object that is not too large, or what may follow of it."""
        if not self._whole_rows or (name == MEMBER and self.dotted() is None):
            return
        if name not in self._desk.described or (name == PERSON and PERSON not in self._desk.described):
            return
        state = self.whole(name)
        if state is not None and (state.surely or state.too_large):
            return
        desk, now = self._desk, self._desk.clock.now()
        columns, select = self._select(name)
        after = state.last if state is not None else ""
        self._room[name] = desk.cache.forgotten(desk.definition.id, PERSON if name == MEMBER else name)
        try:
            rows, last, surely, too_large = await self._stretch(name, select, after)
        except UnknownFieldError as error:
            if name == MEMBER and (error.field or "").lower() not in {c.lower() for c in self.member_columns()}:
                desk.facts.dotted = False
            else:
                desk.without(error, name, self.member_columns() if name == MEMBER else select, self.link or "")
                await self._read_whole(name)
            return
        except RefusedQueryError as error:
            log.info("not_read_as_a_whole", connector=desk.definition.id, object=name, cause=str(error))
            if name == MEMBER and desk.facts.dotted is None and not isinstance(error, ReplyTooLargeError):
                desk.facts.dotted = False
            else:
                self._keep_whole(name, Whole(columns, now, now, "", False, True))
            return
        if name == MEMBER:
            desk.facts.dotted = True
        if not too_large:
            self._keep_all(name, rows, select)
        begun, until = (state.begun, state.until) if state is not None else (now, now)
        self._keep_whole(name, Whole(columns, begun, until, last, surely, too_large))
        log.info("read_as_a_whole", connector=desk.definition.id, object=name, rows=len(rows), too_large=too_large)

    def _select(self, name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The columns that the object counts as read with, and those to select."""
        if name == MEMBER:
            found = self.dotted()
            assert found is not None
            return self.person_columns(), found[1]
        if name == PERSON:
            return self.person_columns(), self._desk.columns(PERSON, EMAIL, GSID)
        return self.user_columns(), self._desk.columns(GSUSER, EMAIL, GSID)

    async def _stretch(self, name: str, select: tuple[str, ...], after: str) -> tuple[list[Row], str, bool, bool]:
        """(rows, last key, surely all, too large); whether it is too large is asked for after the first page."""
        desk = self._desk
        query = Query(name, select)
        key = (self.link or GSID) if name == MEMBER else GSID  # a person's rows one after the other
        most = min(MAX_ROWS, self._whole_rows)
        part = await fetch_on(desk.client, query, key, desk.facts.proven, after=after, most=most)
        rows = part.rows
        if not part.ended:
            further = Query(name, [GSID], order_by={GSID: "asc"}, limit=1, offset=self._whole_rows)
            if await desk.client.query(further):
                return [], "", False, True
            part = await fetch_on(desk.client, query, key, desk.facts.proven, after=part.last, most=self._whole_rows)
            rows = rows + part.rows
            if not part.ended:
                return [], "", False, True
        return rows, part.last, part.surely, False

    def _keep_all(self, name: str, rows: Sequence[Row], select: tuple[str, ...]) -> None:
        if name == MEMBER:
            self._keep_members(rows)
        elif name == GSUSER:
            self._keep_users(rows, select)
        else:
            for row in rows:
                if gsid := _text(row, GSID):
                    before = self._kept_person(gsid)
                    self._keep_person(gsid, row, _memberships_of(before[0]) if before else [], select)

    # Keeping

    def _kept_person(self, gsid: str) -> Sequence[Row]:
        entity = self._desk.cache.get(self._desk.key(PERSON, GSID, gsid))
        return entity.rows if entity is not None else ()

    def _keep_members(self, rows: Sequence[Row], *, add: bool = False) -> None:
        """Persons out of company_person rows. `add`: to the memberships that they are known to have."""
        dotted = self.dotted()
        link = self.link
        if dotted is None or link is None:
            return
        lookup = dotted[0]
        own = self._desk.columns(PERSON, EMAIL)
        columns = self._desk.columns(MEMBER, link)
        people: dict[str, Row] = {}
        memberships: defaultdict[str, list[Row]] = defaultdict(list)
        for row in rows:
            if gsid := _text(row, link):
                people[gsid] = {c: v for c in own if (v := value_of(row, f"{lookup}.{c}")) is not None and v != ""}
                people[gsid][GSID] = gsid
                memberships[gsid].append({c: v for c in columns if (v := value_of(row, c)) is not None and v != ""})
        for gsid, person in people.items():
            before = _memberships_of(next(iter(self._kept_person(gsid)), {})) if add else []
            self._keep_person(gsid, person, _merged(before, memberships[gsid]), own)

    def change_members(self, rows: Sequence[Row]) -> None:
        """Takes over changed company_person rows, of those persons who are known, or of all where all are."""
        if (link := self.link) is None:
            return
        sure = self._is_sure(MEMBER)
        lookup = (self.dotted() or ("",))[0]
        known = []
        for row in rows:
            gsid, email = _text(row, link), _text(row, f"{lookup}.{EMAIL}").strip().lower()
            if sure or self._kept_person(gsid):
                known.append(row)
            elif email:
                self._desk.cache.drop(self._desk.key(PERSON, EMAIL, email))
        self._keep_members(known, add=True)

    def change(self, name: str, rows: Sequence[Row]) -> None:
        """Takes over changed persons or users, of those who are known, or of all where all are."""
        for row in rows:
            gsid = _text(row, GSID)
            before = self._desk.cache.get(self._desk.key(name, GSID, gsid))
            if not self.covers(name) and (before is None or not before.rows):
                self._desk.cache.drop(self._desk.key(name, EMAIL, _text(row, EMAIL).strip().lower()))
                continue
            if name == GSUSER:
                self._keep_users([row], self.user_columns())
            else:
                held = _memberships_of(before.rows[0]) if before is not None and before.rows else []
                self._keep_person(gsid, row, held, self._desk.columns(PERSON, EMAIL))

    def gone(self, name: str, gsid: str) -> None:
        """A person, a user or a membership was deleted."""
        desk = self._desk
        if name in (PERSON, GSUSER):
            if desk.cache.get(desk.key(name, GSID, gsid)) is not None:
                desk.keep(name, GSID, gsid, (), [])
            return
        for key in desk.cache.keys(desk.definition.id, PERSON):
            entity = desk.cache.get(key)
            row = entity.rows[0] if entity is not None and entity.rows else {}
            held = _memberships_of(row)
            left = [m for m in held if m.get(GSID) != gsid]
            if entity is not None and len(left) < len(held):
                desk.keep(PERSON, GSID, key.value, entity.columns, [{**row, MEMBERSHIPS: left}])

    def _keep_person(self, gsid: str, row: Row, memberships: Sequence[Row], own: tuple[str, ...]) -> None:
        columns = (*own, *(f"{MEMBERSHIPS}.{c}" for c in self.member_columns()))
        person = {k: v for k, v in _filled(row).items() if k != MEMBERSHIPS}
        ordered = sorted(memberships, key=lambda m: str(m.get(GSID) or ""))
        self._desk.keep(PERSON, GSID, gsid, columns, [{**person, MEMBERSHIPS: ordered}])

    def _keep_users(self, rows: Sequence[Row], columns: tuple[str, ...]) -> None:
        for row in rows:
            if gsid := _text(row, GSID):
                self._desk.keep(GSUSER, GSID, gsid, columns, [_filled(row)])

    def _keep_absent(self, name: str, by: str, values: Sequence[str], rows: Sequence[Row], column: str) -> None:
        found = {_text(row, column).strip().lower() for row in rows}
        for value in values:
            if value.lower() not in found:
                self._desk.keep(name, by, value, (), [])

    # Names

    async def users_named(self, names: Iterable[str]) -> dict[str, str]:
        """Folded name → Gsid of the users of that name, where only one has it."""
        desk = self._desk
        columns = self.user_columns()
        if not columns:
            return {}
        await self._read_whole(GSUSER)
        if self.covers(GSUSER):
            pairs = [
                (row, key.value) for key in desk.cache.keys(desk.definition.id, GSUSER) for row in self._rows_of(key)
            ]
            return _unique(pairs, names)
        missing = [n for n in names if desk.fresh(GSUSER, NAME, fold(n)) is None]
        if missing:
            rows, _ = await desk.rows_in(GSUSER, NAME, missing, desk.columns(GSUSER, NAME, GSID))
            for name in missing:
                same = [{GSID: _text(r, GSID), NAME: name} for r in rows if folded_name(r) == fold(name)]
                desk.keep(GSUSER, NAME, fold(name), (), same)
        answers = [desk.fresh(GSUSER, NAME, fold(n)) for n in names]
        return _unique([(row, _text(row, GSID)) for e in answers if e is not None for row in e.rows], names)

    async def members_named(self, names: Mapping[str, Iterable[str]]) -> dict[str, dict[str, str]]:
        """Company → folded name → Gsid of its person of that name, where only one has it.

        Those who left count only where nobody who is there has the name.
        """
        at = needs.first_described(self._desk.described.get(MEMBER), needs.COMPANY_OF)
        if at is None or self.link is None:
            return {}
        if self.whole(MEMBER) is None:
            await self._read_whole(MEMBER)
        whole = self.whole(MEMBER)
        read = whole is not None and not whole.too_large
        people = self._members_of(set(names), at) if read else await self._ask_members(names, at)
        found: dict[str, dict[str, str]] = {}
        for company, wanted in names.items():
            former = [(row, gsid) for row, gsid, active in people[company] if not active]
            present = [(row, gsid) for row, gsid, active in people[company] if active]
            taken = {folded_name(row) for row, _ in present}
            former = [(row, gsid) for row, gsid in former if folded_name(row) not in taken]
            found[company] = _unique([*present, *former], wanted)
        return found

    def _members_of(self, companies: set[str], at: str) -> dict[str, list[tuple[Row, str, bool]]]:
        found: dict[str, list[tuple[Row, str, bool]]] = {company: [] for company in companies}
        for key in self._desk.cache.keys(self._desk.definition.id, PERSON):
            for row in self._rows_of(key):
                for membership in _memberships_of(row):
                    if (company := _text(membership, at)) in companies:
                        found[company].append((row, key.value, value_of(membership, "Active") is not False))
        return found

    async def _ask_members(self, names: Mapping[str, Iterable[str]], at: str) -> dict[str, list[tuple[Row, str, bool]]]:
        """The people of companies, by name only; where the tenant gives no names with them, nobody."""
        desk, dotted = self._desk, self.dotted()
        found: dict[str, list[tuple[Row, str, bool]]] = {company: [] for company in names}
        if dotted is None or self.link is None:
            return found
        missing = [c for c in names if desk.fresh(MEMBER, at, c) is None]
        if missing:
            parts = [c for c in desk.columns(PERSON) if c in (NAME, "FirstName", "LastName")]
            select = (*desk.columns(MEMBER, self.link, at), *(f"{dotted[0]}.{c}" for c in parts))
            rows, _ = await desk.rows_in(MEMBER, at, missing, select)
            by_company: defaultdict[str, list[Row]] = defaultdict(list)
            for row in rows:
                told = {c: value_of(row, f"{dotted[0]}.{c}") for c in parts}
                active = value_of(row, "Active") is not False
                by_company[_text(row, at)].append({**_filled(told), GSID: _text(row, self.link), "Active": active})
            for company in missing:
                desk.keep(MEMBER, at, company, (), by_company[company])
        for company in names:
            answer = desk.fresh(MEMBER, at, company)
            found[company] = [(r, _text(r, GSID), bool(r["Active"])) for r in (answer.rows if answer else ())]
        return found

    def _rows_of(self, key: EntityKey) -> Sequence[Row]:
        entity = self._desk.cache.get(key) if key.field == GSID else None
        return entity.rows if entity is not None else ()


def folded_name(row: Row) -> str:
    """A row's name, for comparison: without case and with single blanks."""
    return fold(full_name(row) or "")


def _unique(pairs: Iterable[tuple[Row, str]], names: Iterable[str]) -> dict[str, str]:
    """Folded name → Gsid, of the wanted names that stand for one Gsid."""
    wanted = {fold(name) for name in names}
    found: defaultdict[str, set[str]] = defaultdict(set)
    for row, gsid in pairs:
        if (folded := folded_name(row)) in wanted:
            found[folded].add(gsid)
    return {folded: next(iter(gsids)) for folded, gsids in found.items() if len(gsids) == 1}


def fold(name: str) -> str:
    return " ".join(name.casefold().split())


def full_name(row: Row) -> str | None:
    """Name, or first and last name; None where there is neither."""
    name = value_of(row, NAME)
    if isinstance(name, str) and name.strip():
        return name.strip()
    parts = [p.strip() for f in ("FirstName", "LastName") if isinstance(p := value_of(row, f), str) and p.strip()]
    return " ".join(parts) or None


def _memberships_of(row: Row) -> list[Row]:
    held = row.get(MEMBERSHIPS)
    return held if isinstance(held, list) else []


def _merged(before: Sequence[Row], changed: Sequence[Row]) -> list[Row]:
    new = {m.get(GSID) for m in changed}
    return [*(m for m in before if m.get(GSID) not in new), *changed]


def _filled(row: Row) -> Row:
    return {k: v for k, v in row.items() if v is not None and v != ""}


def _text(row: Row, column: str) -> str:
    value = value_of(row, column)
    return value if isinstance(value, str) else ""
