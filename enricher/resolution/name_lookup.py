"""Look-ups of people by bare name: a name stands for a user, or one of a company's people, where only one has it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import structlog

from enricher.activity.person_name import fold, folded_name
from enricher.resolution.entity_cache import GSID, EntityKey
from enricher.resolution.people_cache import GSUSER, MEMBER, NAME, PERSON, PeopleCache, filled, memberships_of, text_of
from enricher.resolution.people_lookup import PeopleLookup
from frame_gainsight.connectors.columns import required
from frame_gainsight.gainsight import RefusedQueryError, Row, UnknownFieldError, parse_flag, value_of

log = structlog.get_logger(__name__)


class NameLookup:
    """Looks up the names of one connector's users and people."""

    def __init__(self, people: PeopleCache, people_lookup: PeopleLookup) -> None:
        self._people = people
        self._people_lookup = people_lookup
        self._lookup = people.lookup

    async def users_named(self, names: Iterable[str]) -> dict[str, str]:
        """Folded name → Gsid of the only user who has it."""
        lookup = self._lookup
        columns = self._people.user_columns()
        if not columns:
            return {}
        await self._people_lookup.scan(GSUSER)
        if self._people.is_confirmed(GSUSER):
            keys = lookup.cache.keys(lookup.definition.id, GSUSER)
            return _unique([(row, key.value) for key in keys for row in self._rows_of(key)], names)
        described = lookup.described.get(GSUSER)
        if described is None or described.field(NAME) is None or lookup.capabilities.filters_users_by_name is False:
            return {}
        missing = [n for n in names if lookup.fresh(GSUSER, NAME, fold(n)) is None]
        if missing:
            try:
                rows, _ = await lookup.rows_in(GSUSER, NAME, missing, lookup.columns(GSUSER, NAME, GSID))
            except (RefusedQueryError, UnknownFieldError) as error:
                lookup.capabilities.filters_users_by_name = False
                log.info("name_lookup_unsupported", connector=lookup.definition.id, cause=str(error))
                return {}
            for name in missing:
                same = [{GSID: text_of(r, GSID), NAME: name} for r in rows if folded_name(r) == fold(name)]
                lookup.keep(GSUSER, NAME, fold(name), (), same)
        answers = [lookup.fresh(GSUSER, NAME, fold(n)) for n in names]
        return _unique([(row, text_of(row, GSID)) for e in answers if e is not None for row in e.rows], names)

    async def members_named(self, names: Mapping[str, Iterable[str]]) -> dict[str, dict[str, str]]:
        """Company → folded name → Gsid of the only one of its people who has it.

        Inactive members count only where no active one has the name.
        """
        at = required.first_described(self._lookup.described.get(MEMBER), required.COMPANY_OF)
        if at is None or self._people.link is None:
            return {}
        if self._people.scans[MEMBER].progress() is None:
            await self._people_lookup.scan(MEMBER)
        if self._people.scans[MEMBER].is_exhausted():
            people = self._scanned_members(set(names), at)
        else:
            people = await self._look_up_members(names, at)
        found: dict[str, dict[str, str]] = {}
        for company, wanted in names.items():
            former = [(row, gsid) for row, gsid, active in people[company] if not active]
            present = [(row, gsid) for row, gsid, active in people[company] if active]
            taken = {folded_name(row) for row, _ in present}
            former = [(row, gsid) for row, gsid in former if folded_name(row) not in taken]
            found[company] = _unique([*present, *former], wanted)
        return found

    def _scanned_members(self, companies: set[str], at: str) -> dict[str, list[tuple[Row, str, bool]]]:
        """Company → (row with a name, Gsid, whether active) of its people."""
        found: dict[str, list[tuple[Row, str, bool]]] = {company: [] for company in companies}
        for key in self._lookup.cache.keys(self._lookup.definition.id, PERSON):
            for row in self._rows_of(key):
                for membership in memberships_of(row):
                    if (company := text_of(membership, at)) in companies:
                        found[company].append((row, key.value, parse_flag(value_of(membership, "Active")) is not False))
        return found

    async def _look_up_members(
        self, names: Mapping[str, Iterable[str]], at: str
    ) -> dict[str, list[tuple[Row, str, bool]]]:
        """Company → the same; none where the tenant does not give the names with the memberships."""
        lookup, joined = self._lookup, self._people.person_join()
        found: dict[str, list[tuple[Row, str, bool]]] = {company: [] for company in names}
        if joined is None or self._people.link is None:
            return found
        missing = [c for c in names if lookup.fresh(MEMBER, at, c) is None]
        if missing:
            parts = [c for c in lookup.columns(PERSON) if c in (NAME, "FirstName", "LastName")]
            select = (*lookup.columns(MEMBER, self._people.link, at), *(f"{joined[0]}.{c}" for c in parts))
            try:
                rows, _ = await lookup.rows_in(MEMBER, at, missing, select)
            except (RefusedQueryError, UnknownFieldError) as error:
                lookup.capabilities.joins_person = False
                log.info("name_lookup_unsupported", connector=lookup.definition.id, cause=str(error))
                return found
            by_company: defaultdict[str, list[Row]] = defaultdict(list)
            for row in rows:
                names_of = {c: value_of(row, f"{joined[0]}.{c}") for c in parts}
                active = parse_flag(value_of(row, "Active")) is not False
                by_company[text_of(row, at)].append(
                    {**filled(names_of), GSID: text_of(row, self._people.link), "Active": active}
                )
            for company in missing:
                lookup.keep(MEMBER, at, company, (), by_company[company])
        for company in names:
            answer = lookup.fresh(MEMBER, at, company)
            found[company] = [
                (r, text_of(r, GSID), r.get("Active") is not False) for r in (answer.rows if answer else ())
            ]
        return found

    def _rows_of(self, key: EntityKey) -> Sequence[Row]:
        entity = self._lookup.cache.get(key) if key.field == GSID else None
        return entity.rows if entity is not None else ()


def _unique(pairs: Iterable[tuple[Row, str]], names: Iterable[str]) -> dict[str, str]:
    """Folded name → Gsid, of those of the names that only one Gsid has."""
    wanted = {fold(name) for name in names}
    found: defaultdict[str, set[str]] = defaultdict(set)
    for row, gsid in pairs:
        if (folded := folded_name(row)) in wanted:
            found[folded].add(gsid)
    return {folded: next(iter(gsids)) for folded, gsids in found.items() if len(gsids) == 1}
