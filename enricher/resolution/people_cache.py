"""The people of a tenant, as far as they are known: persons with their memberships, and users.

A person comes with its company_person rows and is kept as one answer. Asks nothing: that is the finder's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from enricher.resolution.entity_cache import EMAIL, GSID, MEMBERSHIPS, Entity, EntityKey
from enricher.resolution.full_scan import FullScans, ScanProgress, ScanSpec
from enricher.resolution.tenant_lookup import TenantLookup
from frame_gainsight.connectors.columns import required
from frame_gainsight.connectors.definition.paths import LOOKUP_SUFFIX, MAX_LOOKUP_LEVELS
from frame_gainsight.gainsight import Row, value_of

PERSON, GSUSER, MEMBER = required.PERSON, required.GSUSER, required.COMPANY_PERSON
NAME = "Name"


class PeopleCache:
    """The persons and users of one connector.

    Attributes:
        desk: where they are kept.
        wholes: what of them was read as a whole.
    """

    def __init__(self, desk: TenantLookup, wholes: FullScans) -> None:
        self.desk = desk
        self.wholes = wholes

    # What is known

    @property
    def link(self) -> str | None:
        """The column of company_person that holds the person's Gsid; None: the tenant has no such object."""
        return required.first_described(self.desk.described.get(MEMBER), required.PERSON_OF)

    def member_columns(self) -> tuple[str, ...]:
        return self.desk.columns(MEMBER) if self.link else ()

    def person_columns(self) -> tuple[str, ...]:
        """What a person's answer must have: its own columns, and those of its memberships."""
        own = self.desk.columns(PERSON, *((EMAIL,) if PERSON in self.desk.described else ()))
        return (*own, *(f"{MEMBERSHIPS}.{c}" for c in self.member_columns()))

    def user_columns(self) -> tuple[str, ...]:
        return self.desk.columns(GSUSER)

    def users(self, field: str, values: Iterable[str]) -> dict[str, list[Row]]:
        """The users with these emails or Gsids, none where there is none; without the values that are not known."""
        return self._known(GSUSER, field, values, self.user_columns())

    def persons(self, field: str, values: Iterable[str]) -> dict[str, list[Row]]:
        """The persons with these emails or Gsids, none where there is none; without the values that are not known."""
        return self._known(PERSON, field, values, self.person_columns())

    def _known(self, name: str, field: str, values: Iterable[str], columns: tuple[str, ...]) -> dict[str, list[Row]]:
        if not columns:
            return {value: [] for value in values}  # the tenant has no such object
        read_through = self._is_read_through(name)
        covered = read_through and self.covers(name)
        whole = self.whole(name)
        known = {}
        for value in values:
            rows: list[Row] | None = self._listed(name, field, value, columns, whole) if read_through else []
            if not rows and not covered:
                rows = self._answered(name, field, value, columns)
            if rows is not None:
                known[value] = rows
        return known

    def _listed(
        self, name: str, field: str, value: str, columns: tuple[str, ...], whole: ScanProgress | None
    ) -> list[Row]:
        """Who of an object that was read to its end has the email or Gsid."""
        desk = self.desk
        keys = desk.cache.with_email(desk.definition.id, name, value) if field == EMAIL else ()
        answers = [self._fresh(key, columns, whole) for key in keys or (desk.key(name, field, value),)]
        return [row for entity in answers if entity is not None for row in entity.rows]

    def _answered(self, name: str, field: str, value: str, columns: tuple[str, ...]) -> list[Row] | None:
        """Who has the email or Gsid, by an answer of its own."""
        desk = self.desk
        if field == GSID and (entity := desk.fresh(name, GSID, value, columns)) is not None:
            return list(entity.rows)
        answer = desk.fresh(name, field, value)
        if answer is None or (field == GSID and answer.rows):
            return None
        found: list[Row] = []
        for told in answer.rows:  # everybody who has the email
            entity = desk.fresh(name, GSID, text_of(told, GSID), columns)
            if entity is None:
                return None
            found += entity.rows
        return found

    def _is_read_through(self, name: str) -> bool:
        """Whether it was read to its end, as it seemed: then whoever has an email is known, if anybody is."""
        state = self.whole(MEMBER if name == PERSON and self.link is not None else name)
        return state is not None and state.ended and not state.too_large

    def _fresh(self, key: EntityKey, columns: tuple[str, ...], whole: ScanProgress | None) -> Entity | None:
        """An answer about an object that was read as a whole: where age does not count, that reading still does."""
        since = self.desk.since
        entity = self.desk.cache.fresh(key, columns, since)
        overtaken = since is None and entity is not None and whole is not None and entity.fetched_at < whole.begun
        return None if overtaken else entity

    def covers(self, name: str) -> bool:
        """Whether whoever is not known of an object is known to be absent."""
        if name == PERSON and self.link is not None and not self.is_sure(MEMBER):
            return False
        return self.is_sure(name)

    def is_sure(self, name: str) -> bool:
        return self.wholes.covers(self.reading(name))

    def whole(self, name: str) -> ScanProgress | None:
        """How far an object has been read, while that counts."""
        return self.wholes.state(self.reading(name))

    def is_unheard_of(self, gsid: str) -> bool:
        """Whether the Gsid is taken to be nobody's only since all were read without it."""
        keys = (self.desk.key(name, GSID, gsid) for name in (PERSON, GSUSER))
        return (self.covers(PERSON) or self.covers(GSUSER)) and not any(key in self.desk.cache for key in keys)

    def reading(self, name: str) -> ScanSpec | None:
        """How persons (by way of their memberships, or without) and users are read; None: that is not possible."""
        desk = self.desk
        if name not in desk.described:
            return None
        if name == GSUSER:
            select = desk.columns(GSUSER, EMAIL, GSID)
            return ScanSpec(name, GSID, self.user_columns(), select, GSUSER, lambda rows: self.keep_users(rows, select))
        columns = self.person_columns()
        if name == PERSON:
            select = desk.columns(PERSON, EMAIL, GSID)
            return ScanSpec(name, GSID, columns, select, PERSON, lambda rows: self.keep_persons(rows, select))
        dotted = self.dotted()
        if dotted is None or self.link is None:
            return None
        return ScanSpec(name, self.link, columns, dotted[1], PERSON, self.keep_members)  # one's memberships together

    def dotted(self) -> tuple[str, tuple[str, ...]] | None:
        """The look-up from company_person to its person, and the columns of both; None: there is no such way."""
        desk, link = self.desk, self.link
        described = desk.described.get(MEMBER)
        field = described.field(link) if described and link else None
        if field is None or not field.lookup_objects or desk.facts.dotted is False:
            return None
        own = desk.columns(PERSON, EMAIL)
        if any(c.count(".") >= MAX_LOOKUP_LEVELS for c in own):
            return None
        lookup = field.lookup or f"{field.name}{LOOKUP_SUFFIX}"
        return lookup, tuple(dict.fromkeys([*desk.columns(MEMBER, link or ""), *(f"{lookup}.{c}" for c in own)]))

    # Keeping

    def kept(self, name: str, gsid: str) -> Entity | None:
        """The answer about a person or user who is known, however old."""
        entity = self.desk.cache.get(self.desk.key(name, GSID, gsid))
        return entity if entity is not None and entity.rows else None

    def memberships(self, gsid: str) -> list[Row]:
        """What is known of a person's memberships."""
        entity = self.kept(PERSON, gsid)
        return memberships_of(entity.rows[0]) if entity is not None else []

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
            before = self.kept(PERSON, gsid) if add else None
            if before is not None and not self._has_all(before):
                self.desk.drop(before.key)  # its other memberships lack what is mapped by now
                continue
            held = memberships_of(before.rows[0]) if before is not None else []
            self.keep_person(gsid, person, _merged(held, memberships[gsid]), own)

    def _has_all(self, person: Entity) -> bool:
        return set(self.person_columns()) <= set(person.columns)

    def change_members(self, rows: Sequence[Row]) -> None:
        """Takes over changed company_person rows, of those persons who are known, or of all where all are."""
        if (link := self.link) is None:
            return
        reading = self.reading(MEMBER)
        lookup = (self.dotted() or ("",))[0]
        at = required.first_described(self.desk.described.get(MEMBER), required.COMPANY_OF) or ""
        known = []
        for row in rows:
            gsid = text_of(row, link)
            self._forget_email(PERSON, gsid, text_of(row, f"{lookup}.{EMAIL}"))
            if self.kept(PERSON, gsid) or self.wholes.reaches(reading, gsid):
                known.append(row)
        self._forget_member_names({text_of(row, at) for row in rows}, {text_of(row, link) for row in rows})
        self.keep_members(known, add=True)

    def change(self, name: str, rows: Sequence[Row]) -> None:
        """Takes over changed persons or users, of those who are known, or of all where all are."""
        for row in rows:
            gsid = text_of(row, GSID)
            self._forget_email(name, gsid, text_of(row, EMAIL))
            before = self.kept(name, gsid)
            if before is None and not self._is_all_there_is(name, gsid):
                continue
            if name == GSUSER:
                self.keep_users([row], self.user_columns())
            elif before is not None and not self._has_all(before):
                self.desk.drop(before.key)
            else:
                held = memberships_of(before.rows[0]) if before is not None else []
                self.keep_person(gsid, row, held, self.desk.columns(PERSON, EMAIL))
        if name == GSUSER and rows:
            self._forget_user_names()
        elif rows:
            self._forget_member_names((), {text_of(row, GSID) for row in rows})

    def _forget_email(self, name: str, gsid: str, email: str) -> None:
        """Who has an email is asked anew, where somebody has got or lost it."""
        before, email = self.kept(name, gsid), email.strip().lower()
        had = text_of(before.rows[0], EMAIL).strip().lower() if before is not None else None
        if had != email:
            for one in filter(None, (had, email)):
                self.desk.drop(self.desk.key(name, EMAIL, one))

    def _forget_member_names(self, companies: Collection[str], gsids: Collection[str]) -> None:
        """The names of a company's people are asked anew, where some of them are others or are named otherwise."""
        for key in self.desk.cache.keys(self.desk.definition.id, MEMBER):
            entity = self.desk.cache.get(key)
            if key.value in companies or (entity and any(text_of(row, GSID) in gsids for row in entity.rows)):
                self.desk.drop(key)

    def _forget_user_names(self) -> None:
        for key in self.desk.cache.keys(self.desk.definition.id, GSUSER):
            if key.field == NAME:
                self.desk.drop(key)

    def _is_all_there_is(self, name: str, gsid: str) -> bool:
        """Whether of somebody unknown a changed row is all there is to know: who came where all was read."""
        if name == PERSON and self.link is not None and not self.wholes.reaches(self.reading(MEMBER), gsid):
            return False
        return self.wholes.reaches(self.reading(name), gsid)

    def gone(self, name: str, gsid: str) -> None:
        """A person, a user or a membership was deleted."""
        desk = self.desk
        if name in (PERSON, GSUSER):
            if self.kept(name, gsid) is not None:
                desk.keep(name, GSID, gsid, (), [])
            self._forget_user_names() if name == GSUSER else self._forget_member_names((), {gsid})
            return
        for key in desk.cache.keys(desk.definition.id, MEMBER):
            desk.drop(key)
        for key in desk.cache.keys(desk.definition.id, PERSON):
            entity = desk.cache.get(key) if key.field == GSID else None
            row = entity.rows[0] if entity is not None and entity.rows else {}
            held = memberships_of(row)
            left = [m for m in held if m.get(GSID) != gsid]
            if entity is not None and len(left) < len(held):
                desk.keep(PERSON, GSID, key.value, entity.columns, [{**row, MEMBERSHIPS: left}])

    def end_memberships(self, before: int) -> None:
        """All were read since that moment (milliseconds): who is not among them has none any more."""
        desk = self.desk
        for key in desk.cache.keys(desk.definition.id, PERSON):
            entity = desk.cache.get(key) if key.field == GSID else None
            if entity is not None and entity.fetched_at < before and entity.rows and memberships_of(entity.rows[0]):
                row = {**entity.rows[0], MEMBERSHIPS: []}
                desk.keep(PERSON, GSID, key.value, entity.columns, [row], entity.fetched_at)

    def keep_person(self, gsid: str, row: Row, memberships: Sequence[Row], own: tuple[str, ...]) -> None:
        columns = (*own, *(f"{MEMBERSHIPS}.{c}" for c in self.member_columns()))
        person = {k: v for k, v in filled(row).items() if k != MEMBERSHIPS}
        ordered = sorted(memberships, key=lambda m: str(m.get(GSID) or ""))
        self.desk.keep(PERSON, GSID, gsid, columns, [{**person, MEMBERSHIPS: ordered}])

    def keep_persons(self, rows: Sequence[Row], columns: tuple[str, ...]) -> None:
        """Persons out of their own rows, with the memberships that they are known to have."""
        for row in rows:
            if gsid := text_of(row, GSID):
                self.keep_person(gsid, row, self.memberships(gsid), columns)

    def keep_users(self, rows: Sequence[Row], columns: tuple[str, ...]) -> None:
        for row in rows:
            if gsid := text_of(row, GSID):
                self.desk.keep(GSUSER, GSID, gsid, columns, [filled(row)])

    def keep_asked(self, name: str, by: str, values: Sequence[str], rows: Sequence[Row]) -> None:
        """That all who have these emails, or Gsids, are among the rows."""
        if by == EMAIL:
            self.keep_emails(name, values, [(text_of(row, EMAIL), text_of(row, GSID)) for row in rows])
            return
        found = {text_of(row, GSID) for row in rows}
        for value in values:
            if value not in found:
                self.desk.keep(name, GSID, value, (), [])

    def keep_emails(self, name: str, emails: Iterable[str], pairs: Iterable[tuple[str, str]]) -> None:
        """Who has each of these (lower-case) emails, by pairs of email and Gsid; nobody is an answer too."""
        having: defaultdict[str, set[str]] = defaultdict(set)
        for email, gsid in pairs:
            having[email.strip().lower()].add(gsid)
        for email in emails:
            self.desk.keep(name, EMAIL, email, (), [{GSID: gsid} for gsid in sorted(having[email]) if gsid])


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
