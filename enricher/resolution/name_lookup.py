"""Who stands behind a bare name: exactly one user, or exactly one of a company's people."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import structlog

from enricher.activity.mentions import visible
from enricher.resolution.entity_cache import GSID, EntityKey
from enricher.resolution.people_cache import GSUSER, MEMBER, NAME, PERSON, PeopleCache, filled, memberships_of, text_of
from enricher.resolution.people_lookup import PeopleLookup
from frame_gainsight.connectors.columns import required
from frame_gainsight.gainsight import RefusedQueryError, Row, UnknownFieldError, parse_flag, value_of

log = structlog.get_logger(__name__)


class NameLookup:
    """The names of one connector's users and people."""

    def __init__(self, roster: PeopleCache, finder: PeopleLookup) -> None:
        self._roster = roster
        self._finder = finder
        self._desk = roster.desk

    async def users_named(self, names: Iterable[str]) -> dict[str, str]:
        """Folded name → Gsid of the users of that name, where only one has it."""
        desk = self._desk
        columns = self._roster.user_columns()
        if not columns:
            return {}
        await self._finder.read_whole(GSUSER)
        if self._roster.covers(GSUSER):
            pairs = [
                (row, key.value) for key in desk.cache.keys(desk.definition.id, GSUSER) for row in self._rows_of(key)
            ]
            return _unique(pairs, names)
        described = desk.described.get(GSUSER)
        if described is None or described.field(NAME) is None or desk.facts.named is False:
            return {}
        missing = [n for n in names if desk.fresh(GSUSER, NAME, fold(n)) is None]
        if missing:
            try:
                rows, _ = await desk.rows_in(GSUSER, NAME, missing, desk.columns(GSUSER, NAME, GSID))
            except (RefusedQueryError, UnknownFieldError) as error:  # a name alone then says nothing
                desk.facts.named = False
                log.info("not_asked_by_name", connector=desk.definition.id, cause=str(error))
                return {}
            for name in missing:
                same = [{GSID: text_of(r, GSID), NAME: name} for r in rows if folded_name(r) == fold(name)]
                desk.keep(GSUSER, NAME, fold(name), (), same)
        answers = [desk.fresh(GSUSER, NAME, fold(n)) for n in names]
        return _unique([(row, text_of(row, GSID)) for e in answers if e is not None for row in e.rows], names)

    async def members_named(self, names: Mapping[str, Iterable[str]]) -> dict[str, dict[str, str]]:
        """Company → folded name → Gsid of its person of that name, where only one has it.

        Those who left count only where nobody who is there has the name.
        """
        at = required.first_described(self._desk.described.get(MEMBER), required.COMPANY_OF)
        if at is None or self._roster.link is None:
            return {}
        if self._roster.whole(MEMBER) is None:
            await self._finder.read_whole(MEMBER)
        whole = self._roster.whole(MEMBER)
        read = whole is not None and whole.ended and not whole.too_large
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
                for membership in memberships_of(row):
                    if (company := text_of(membership, at)) in companies:
                        found[company].append((row, key.value, parse_flag(value_of(membership, "Active")) is not False))
        return found

    async def _ask_members(self, names: Mapping[str, Iterable[str]], at: str) -> dict[str, list[tuple[Row, str, bool]]]:
        """The people of companies, by name only; where the tenant gives no names with them, nobody."""
        desk, dotted = self._desk, self._roster.dotted()
        found: dict[str, list[tuple[Row, str, bool]]] = {company: [] for company in names}
        if dotted is None or self._roster.link is None:
            return found
        missing = [c for c in names if desk.fresh(MEMBER, at, c) is None]
        if missing:
            parts = [c for c in desk.columns(PERSON) if c in (NAME, "FirstName", "LastName")]
            select = (*desk.columns(MEMBER, self._roster.link, at), *(f"{dotted[0]}.{c}" for c in parts))
            try:
                rows, _ = await desk.rows_in(MEMBER, at, missing, select)
            except (RefusedQueryError, UnknownFieldError) as error:
                desk.facts.dotted = False
                log.info("not_asked_by_name", connector=desk.definition.id, cause=str(error))
                return found
            by_company: defaultdict[str, list[Row]] = defaultdict(list)
            for row in rows:
                told = {c: value_of(row, f"{dotted[0]}.{c}") for c in parts}
                active = parse_flag(value_of(row, "Active")) is not False
                by_company[text_of(row, at)].append(
                    {**filled(told), GSID: text_of(row, self._roster.link), "Active": active}
                )
            for company in missing:
                desk.keep(MEMBER, at, company, (), by_company[company])
        for company in names:
            answer = desk.fresh(MEMBER, at, company)
            found[company] = [(r, text_of(r, GSID), bool(r["Active"])) for r in (answer.rows if answer else ())]
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
    """For comparison: without case, with single blanks, and without the characters that nobody sees."""
    return " ".join(visible(name).casefold().split())


def full_name(row: Row) -> str | None:
    """Name, or first and last name; None where there is neither."""
    name = value_of(row, NAME)
    if isinstance(name, str) and name.strip():
        return name.strip()
    parts = [p.strip() for f in ("FirstName", "LastName") if isinstance(p := value_of(row, f), str) and p.strip()]
    return " ".join(parts) or None
