"""The cached people of a tenant: persons with their memberships (`company_person` rows), and users.

A person and its memberships are one answer. No query is made here, but in `people_lookup`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from enricher.resolution.entity_cache import EMAIL, GSID, MEMBERSHIPS, Entity, EntityKey
from enricher.resolution.full_scan import FullScan, ScanProgress, ScanSpec
from enricher.resolution.tenant_lookup import TenantLookup
from frame_gainsight.connectors.columns import required
from frame_gainsight.connectors.definition.paths import LOOKUP_SUFFIX, MAX_LOOKUP_LEVELS
from frame_gainsight.gainsight import Row, value_of

PERSON, GSUSER, MEMBER = required.PERSON, required.GSUSER, required.COMPANY_PERSON
NAME = "Name"


class PeopleCache:
    """The persons and users of one connector.

    Attributes:
        lookup: the tenant's cache.
        scans: the full scans of persons, of users, and of memberships with their persons.
    """

    def __init__(self, lookup: TenantLookup, max_scan_rows: int) -> None:
        self.lookup = lookup
        self.scans = {
            PERSON: FullScan(lookup, PERSON, max_scan_rows, self._person_scan),
            GSUSER: FullScan(lookup, GSUSER, max_scan_rows, self._user_scan),
            MEMBER: FullScan(lookup, MEMBER, max_scan_rows, self._member_scan),
        }

    # Cached answers

    @property
    def link(self) -> str | None:
        """The column of `company_person` that holds the person's Gsid; None: the tenant has no such object."""
        return required.first_described(self.lookup.described.get(MEMBER), required.PERSON_OF)

    def member_columns(self) -> tuple[str, ...]:
        return self.lookup.columns(MEMBER) if self.link else ()

    def person_columns(self) -> tuple[str, ...]:
        """The columns that a person's answer must have: its own, and those of its memberships."""
        own = self.lookup.columns(PERSON, *((EMAIL,) if PERSON in self.lookup.described else ()))
        return (*own, *(f"{MEMBERSHIPS}.{c}" for c in self.member_columns()))

    def user_columns(self) -> tuple[str, ...]:
        return self.lookup.columns(GSUSER)

    def users(self, field: str, values: Iterable[str]) -> dict[str, list[Row]]:
        """Value → the users with this email or Gsid; [] where there is none. Unknown values are left out."""
        return self._known(GSUSER, field, values, self.user_columns())

    def persons(self, field: str, values: Iterable[str]) -> dict[str, list[Row]]:
        """Value → the persons with this email or Gsid; [] where there is none. Unknown values are left out."""
        return self._known(PERSON, field, values, self.person_columns())

    def _known(self, name: str, field: str, values: Iterable[str], columns: tuple[str, ...]) -> dict[str, list[Row]]:
        if not columns:
            return {value: [] for value in values}  # the tenant has no such object
        exhausted = self._is_exhausted(name)
        confirmed = exhausted and self.is_confirmed(name)
        progress = self.scans[name].progress()
        known = {}
        for value in values:
            rows: list[Row] | None = self._scanned(name, field, value, columns, progress) if exhausted else []
            if not rows and not confirmed:
                rows = self._looked_up(name, field, value, columns)
            if rows is not None:
                known[value] = rows
        return known

    def _scanned(
        self, name: str, field: str, value: str, columns: tuple[str, ...], progress: ScanProgress | None
    ) -> list[Row]:
        """The rows of an exhausted object that have the email or Gsid."""
        lookup = self.lookup
        keys = lookup.cache.with_email(lookup.definition.id, name, value) if field == EMAIL else ()
        answers = [self._fresh(key, columns, progress) for key in keys or (lookup.key(name, field, value),)]
        return [row for entity in answers if entity is not None for row in entity.rows]

    def _looked_up(self, name: str, field: str, value: str, columns: tuple[str, ...]) -> list[Row] | None:
        """The rows that have the email or Gsid, by the answer of a look-up by value; None without such an answer."""
        lookup = self.lookup
        if field == GSID and (entity := lookup.fresh(name, GSID, value, columns)) is not None:
            return list(entity.rows)
        answer = lookup.fresh(name, field, value)
        if answer is None or (field == GSID and answer.rows):
            return None
        found: list[Row] = []
        for row in answer.rows:  # the Gsid of everybody who has the email
            entity = lookup.fresh(name, GSID, text_of(row, GSID), columns)
            if entity is None:
                return None
            found += entity.rows
        return found

    def _is_exhausted(self, name: str) -> bool:
        """Whether the scan that brings persons, or users, has reached the end: all who have an email are cached."""
        return self.scans[MEMBER if name == PERSON and self.link is not None else name].is_exhausted()

    def _fresh(self, key: EntityKey, columns: tuple[str, ...], progress: ScanProgress | None) -> Entity | None:
        """An answer about a scanned object; without a limit of age, as in a replay, none from before the scan."""
        since = self.lookup.since
        entity = self.lookup.cache.fresh(key, columns, since)
        overtaken = since is None and entity is not None and progress is not None and entity.fetched_at < progress.begun
        return None if overtaken else entity

    def is_confirmed(self, name: str) -> bool:
        """Whether a person or user that is not cached is known to be absent."""
        if name == PERSON and self.link is not None and not self.scans[MEMBER].is_confirmed():
            return False
        return self.scans[name].is_confirmed()

    def absent_by_scan_only(self, gsid: str) -> bool:
        """Whether the absence of a Gsid is inferred from full scans, and not from a look-up of it."""
        keys = (self.lookup.key(name, GSID, gsid) for name in (PERSON, GSUSER))
        confirmed = self.is_confirmed(PERSON) or self.is_confirmed(GSUSER)
        return confirmed and not any(key in self.lookup.cache for key in keys)

    # Full scans

    def _user_scan(self) -> ScanSpec | None:
        if GSUSER not in self.lookup.described:
            return None
        select = self.lookup.columns(GSUSER, EMAIL, GSID)
        return ScanSpec(GSID, self.user_columns(), select, GSUSER, lambda rows: self.keep_users(rows, select))

    def _person_scan(self) -> ScanSpec | None:
        if PERSON not in self.lookup.described:
            return None
        select = self.lookup.columns(PERSON, EMAIL, GSID)
        return ScanSpec(GSID, self.person_columns(), select, PERSON, lambda rows: self.keep_persons(rows, select))

    def _member_scan(self) -> ScanSpec | None:
        if MEMBER not in self.lookup.described:
            return None
        columns, joined, link = self.person_columns(), self.person_join(), self.link
        if joined is None or link is None:
            return None
        return ScanSpec(link, columns, joined[1], PERSON, self.keep_members)

    def person_join(self) -> tuple[str, tuple[str, ...]] | None:
        """The look-up from `company_person` to its person, and the columns of both; None: the tenant joins none."""
        lookup, link = self.lookup, self.link
        described = lookup.described.get(MEMBER)
        field = described.field(link) if described and link else None
        if field is None or not field.lookup_objects or lookup.capabilities.joins_person is False:
            return None
        own = lookup.columns(PERSON, EMAIL)
        if any(c.count(".") >= MAX_LOOKUP_LEVELS for c in own):
            return None
        person = field.lookup or f"{field.name}{LOOKUP_SUFFIX}"
        return person, tuple(dict.fromkeys([*lookup.columns(MEMBER, link or ""), *(f"{person}.{c}" for c in own)]))

    # Caching

    def kept(self, name: str, gsid: str) -> Entity | None:
        """The answer about a person or user who exists, however old."""
        entity = self.lookup.cache.get(self.lookup.key(name, GSID, gsid))
        return entity if entity is not None and entity.rows else None

    def memberships(self, gsid: str) -> list[Row]:
        """A person's cached memberships."""
        entity = self.kept(PERSON, gsid)
        return memberships_of(entity.rows[0]) if entity is not None else []

    def keep_members(self, rows: Sequence[Row], *, add: bool = False) -> None:
        """Caches persons out of `company_person` rows. `add`: the rows are added to the memberships that are cached."""
        joined, link = self.person_join(), self.link
        if joined is None or link is None:
            return
        prefix = joined[0]
        own = self.lookup.columns(PERSON, EMAIL)
        columns = self.lookup.columns(MEMBER, link)
        people: dict[str, Row] = {}
        memberships: defaultdict[str, list[Row]] = defaultdict(list)
        for row in rows:
            if gsid := text_of(row, link):
                people[gsid] = {c: v for c in own if (v := value_of(row, f"{prefix}.{c}")) is not None and v != ""}
                people[gsid][GSID] = gsid
                memberships[gsid].append({c: v for c in columns if (v := value_of(row, c)) is not None and v != ""})
        for gsid, person in people.items():
            before = self.kept(PERSON, gsid) if add else None
            if before is not None and not self._has_all(before):
                self.lookup.drop(before.key)  # its other memberships lack what is mapped by now
                continue
            held = memberships_of(before.rows[0]) if before is not None else []
            self.keep_person(gsid, person, _merged(held, memberships[gsid]), own)

    def _has_all(self, person: Entity) -> bool:
        return set(self.person_columns()) <= set(person.columns)

    def change_members(self, rows: Sequence[Row]) -> None:
        """Takes over changed `company_person` rows: of cached persons, and of new ones within what was scanned."""
        if (link := self.link) is None:
            return
        prefix = (self.person_join() or ("",))[0]
        at = required.first_described(self.lookup.described.get(MEMBER), required.COMPANY_OF) or ""
        known = []
        for row in rows:
            gsid = text_of(row, link)
            self._forget_email(PERSON, gsid, text_of(row, f"{prefix}.{EMAIL}"))
            if self.kept(PERSON, gsid) or self.scans[MEMBER].reaches(gsid):
                known.append(row)
        self._forget_member_names({text_of(row, at) for row in rows}, {text_of(row, link) for row in rows})
        self.keep_members(known, add=True)

    def change(self, name: str, rows: Sequence[Row]) -> None:
        """Takes over changed persons or users: those who are cached, and new ones within what was scanned."""
        for row in rows:
            gsid = text_of(row, GSID)
            self._forget_email(name, gsid, text_of(row, EMAIL))
            before = self.kept(name, gsid)
            if before is None and not self._is_new_within_scan(name, gsid):
                continue
            if name == GSUSER:
                self.keep_users([row], self.user_columns())
            elif before is not None and not self._has_all(before):
                self.lookup.drop(before.key)
            else:
                held = memberships_of(before.rows[0]) if before is not None else []
                self.keep_person(gsid, row, held, self.lookup.columns(PERSON, EMAIL))
        if name == GSUSER and rows:
            self._forget_user_names()
        elif rows:
            self._forget_member_names((), {text_of(row, GSID) for row in rows})

    def _forget_email(self, name: str, gsid: str, email: str) -> None:
        """Drops the look-ups of the emails that somebody has got or lost."""
        before, email = self.kept(name, gsid), email.strip().lower()
        had = text_of(before.rows[0], EMAIL).strip().lower() if before is not None else None
        if had != email:
            for one in filter(None, (had, email)):
                self.lookup.drop(self.lookup.key(name, EMAIL, one))

    def _forget_member_names(self, companies: Collection[str], gsids: Collection[str]) -> None:
        """Drops the look-ups of the names at these companies, and of those that have one of these persons."""
        for key in self.lookup.cache.keys(self.lookup.definition.id, MEMBER):
            entity = self.lookup.cache.get(key)
            if key.value in companies or (entity and any(text_of(row, GSID) in gsids for row in entity.rows)):
                self.lookup.drop(key)

    def _forget_user_names(self) -> None:
        for key in self.lookup.cache.keys(self.lookup.definition.id, GSUSER):
            if key.field == NAME:
                self.lookup.drop(key)

    def _is_new_within_scan(self, name: str, gsid: str) -> bool:
        """Whether somebody who is not cached came after their part of the object was scanned."""
        if name == PERSON and self.link is not None and not self.scans[MEMBER].reaches(gsid):
            return False
        return self.scans[name].reaches(gsid)

    def remove(self, name: str, gsids: Collection[str]) -> None:
        """Takes deleted persons, users or memberships out of the answers."""
        lookup = self.lookup
        if name in (PERSON, GSUSER):
            for gsid in gsids:
                if self.kept(name, gsid) is not None:
                    lookup.keep(name, GSID, gsid, (), [])
            self._forget_user_names() if name == GSUSER else self._forget_member_names((), gsids)
            return
        for key in lookup.cache.keys(lookup.definition.id, MEMBER):
            lookup.drop(key)
        for key in lookup.cache.keys(lookup.definition.id, PERSON):
            entity = lookup.cache.get(key) if key.field == GSID else None
            row = entity.rows[0] if entity is not None and entity.rows else {}
            held = memberships_of(row)
            left = [m for m in held if text_of(m, GSID) not in gsids]
            if entity is not None and len(left) < len(held):
                lookup.keep(PERSON, GSID, key.value, entity.columns, [{**row, MEMBERSHIPS: left}])

    def clear_memberships(self, before: int) -> None:
        """Empties the memberships that are older than that moment (milliseconds): a full scan since then lacks them."""
        lookup = self.lookup
        for key in lookup.cache.keys(lookup.definition.id, PERSON):
            entity = lookup.cache.get(key) if key.field == GSID else None
            if entity is not None and entity.fetched_at < before and entity.rows and memberships_of(entity.rows[0]):
                row = {**entity.rows[0], MEMBERSHIPS: []}
                lookup.keep(PERSON, GSID, key.value, entity.columns, [row], entity.fetched_at)

    def keep_person(self, gsid: str, row: Row, memberships: Sequence[Row], own: tuple[str, ...]) -> None:
        columns = (*own, *(f"{MEMBERSHIPS}.{c}" for c in self.member_columns()))
        person = {k: v for k, v in filled(row).items() if k != MEMBERSHIPS}
        ordered = sorted(memberships, key=lambda m: str(m.get(GSID) or ""))
        self.lookup.keep(PERSON, GSID, gsid, columns, [{**person, MEMBERSHIPS: ordered}])

    def keep_persons(self, rows: Sequence[Row], columns: tuple[str, ...]) -> None:
        """Caches persons out of their own rows, with the memberships that are cached."""
        for row in rows:
            if gsid := text_of(row, GSID):
                self.keep_person(gsid, row, self.memberships(gsid), columns)

    def keep_users(self, rows: Sequence[Row], columns: tuple[str, ...]) -> None:
        for row in rows:
            if gsid := text_of(row, GSID):
                self.lookup.keep(GSUSER, GSID, gsid, columns, [filled(row)])

    def keep_looked_up(self, name: str, by: str, values: Sequence[str], rows: Sequence[Row]) -> None:
        """Caches which rows a look-up of these emails, or Gsids, has found."""
        if by == EMAIL:
            self.keep_emails(name, values, [(text_of(row, EMAIL), text_of(row, GSID)) for row in rows])
            return
        found = {text_of(row, GSID) for row in rows}
        for value in values:
            if value not in found:
                self.lookup.keep(name, GSID, value, (), [])

    def keep_emails(self, name: str, emails: Iterable[str], pairs: Iterable[tuple[str, str]]) -> None:
        """Caches who has each of these (lower-case) emails, by pairs of email and Gsid; absence is an answer too."""
        having: defaultdict[str, set[str]] = defaultdict(set)
        for email, gsid in pairs:
            having[email.strip().lower()].add(gsid)
        for email in emails:
            self.lookup.keep(name, EMAIL, email, (), [{GSID: gsid} for gsid in sorted(having[email]) if gsid])


def memberships_of(row: Row) -> list[Row]:
    held = row.get(MEMBERSHIPS)
    return [row for row in held if isinstance(row, dict)] if isinstance(held, list) else []


def _merged(before: Sequence[Row], changed: Sequence[Row]) -> list[Row]:
    new = {str(m.get(GSID)) for m in changed}
    return [*(m for m in before if str(m.get(GSID)) not in new), *changed]


def filled(row: Row) -> Row:
    return {k: v for k, v in row.items() if v is not None and v != ""}


def text_of(row: Row, column: str) -> str:
    value = value_of(row, column)
    return value if isinstance(value, str) else ""
