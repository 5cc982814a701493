"""Resolution in batches: what a window refers to, less what is known, in as few queries as the tenant takes."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from enricher.activity.mentions import Mention, Side
from enricher.activity.raw_record import RawActivity
from enricher.resolution.entity_cache import EMAIL, GSID, MEMBERSHIPS, Change, EntityCache
from enricher.resolution.full_scan import FullScans
from enricher.resolution.incremental_refresh import IncrementalRefresh
from enricher.resolution.joined_columns import JoinedColumns
from enricher.resolution.name_lookup import NameLookup
from enricher.resolution.object_lookup import ObjectLookup
from enricher.resolution.participants import only_named
from enricher.resolution.people_cache import PeopleCache, text_of
from enricher.resolution.people_lookup import PeopleLookup
from enricher.resolution.tenant_lookup import TenantLookup
from frame_gainsight.connectors import Definition
from frame_gainsight.connectors.columns import required
from frame_gainsight.gainsight import GainsightClient, ObjectDescription, Row, value_of
from frame_gainsight.runtime import Clock
from frame_gainsight.runtime.aio import gather_or_cancel

WHOLE_ROWS = 50_000
BEAT = 3_600_000


@dataclass(frozen=True, slots=True)
class Reference:
    """What one activity refers to."""

    mentions: Sequence[Mention]
    company: str | None = None
    relationship: str | None = None
    activity: RawActivity | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a window's activities refer to, one reference an activity."""

    references: Sequence[Reference]

    @property
    def mentions(self) -> list[Mention]:
        """Everyone mentioned, each once, in the order met."""
        return list(dict.fromkeys(m for r in self.references for m in r.mentions))


@dataclass(slots=True)
class Resolved:
    """Everything found, by what it was looked up with; what is absent is not in it."""

    described: Mapping[str, ObjectDescription]
    riding: JoinedColumns | None = None
    persons: dict[str, list[Row]] = field(default_factory=dict)  # by email; several may share one
    persons_by_gsid: dict[str, Row] = field(default_factory=dict)
    users: dict[str, Row] = field(default_factory=dict)  # gsuser by email
    users_by_gsid: dict[str, Row] = field(default_factory=dict)
    memberships: dict[str, list[Row]] = field(default_factory=dict)  # company_person rows by person's Gsid
    named_users: dict[str, str] = field(default_factory=dict)  # folded name → Gsid, of names that only one has
    named_people: dict[str, dict[str, str]] = field(default_factory=dict)  # company → the same of its people
    companies: dict[str, Row] = field(default_factory=dict)
    relationships: dict[str, Row] = field(default_factory=dict)
    custom: dict[str, dict[str, list[Row]]] = field(default_factory=dict)  # object → joined id → rows
    new: list[Change] = field(default_factory=list)
    company_link: str | None = field(init=False)
    """The column of company_person that holds the company's Gsid; None: the tenant has none."""

    def __post_init__(self) -> None:
        self.company_link = required.first_described(self.described.get(required.COMPANY_PERSON), required.COMPANY_OF)

    def ridden(self, object_name: str, activity: RawActivity) -> Row | None:
        """The activity's company or relationship, where it rode along."""
        return self.riding.row(object_name, activity) if self.riding is not None else None


class Resolver:
    """Resolves windows of one connector. The cache is its lane's; new answers are put there and in `Resolved.new`.

    Args:
        whole_rows: the most rows of an object that is read as a whole.
        beat: milliseconds between looks for changed and deleted entities.
    """

    def __init__(
        self,
        definition: Definition,
        client: GainsightClient,
        cache: EntityCache,
        clock: Clock,
        *,
        whole_rows: int = WHOLE_ROWS,
        beat: int = BEAT,
    ) -> None:
        self._definition = definition
        self._desk = TenantLookup(definition, client, cache, clock)
        wholes = FullScans(self._desk, whole_rows)
        self._roster = PeopleCache(self._desk, wholes)
        self._finder = PeopleLookup(self._roster)
        self._names = NameLookup(self._roster, self._finder)
        self._related = ObjectLookup(self._desk, wholes)
        self._refresh = IncrementalRefresh(self._desk, self._roster, self._related, beat)
        self._resolving = asyncio.Lock()  # two at once would ask the same twice

    async def resolve(self, wanted: Wanted, *, renew: bool = True) -> Resolved:
        """Looks up everything. Raises GainsightError when a query fails for good or for now.

        What was learnt before a failure is kept, and is among the new answers of the next success.

        Args:
            renew: False: whatever is known counts, however old it is, as for a replay.
        """
        async with self._resolving:
            self._desk.renew = renew
            with self._desk.cache.holding(self._definition.id):
                return await self._resolve(wanted)

    async def _resolve(self, wanted: Wanted) -> Resolved:
        await self._desk.describe()
        joined = {name: self._joined(name, wanted) for name in self._definition.objects}
        await self._refresh.if_due(
            [name for name, (field, ids) in joined.items() if self._related.unmet(name, field, ids)]
        )
        described = self._desk.described
        found = Resolved(described, JoinedColumns(self._definition, described))
        emails = list(dict.fromkeys(m.email for m in wanted.mentions if m.email))
        gsids = list(dict.fromkeys(m.gsid for m in wanted.mentions if m.gsid and not m.email))
        await self._find_people(
            found, wanted, emails, gsids
        )  # first: its large pages tell that others are no capped ones
        await gather_or_cancel(
            self._objects(found, required.COMPANY, _unridden(found, required.COMPANY, wanted)),
            self._objects(found, required.RELATIONSHIP, _unridden(found, required.RELATIONSHIP, wanted)),
            *(self._custom(found, name, field, ids) for name, (field, ids) in joined.items()),
        )
        found.new = self._desk.take_new()
        return found

    # People

    async def _find_people(self, found: Resolved, wanted: Wanted, emails: Sequence[str], gsids: Sequence[str]) -> None:
        await self._finder.find(emails, gsids)
        self._take(found, emails, gsids)
        beside = list(dict.fromkeys(m.gsid for m in wanted.mentions if m.email and m.gsid))
        self._take(found, (), beside)  # mostly that of whoever has the address: no question
        others = [g for g in beside if g not in found.users_by_gsid and g not in found.persons_by_gsid]
        await self._find_by_gsid(found, others)
        asked = set(emails)
        await self._find_users_among(found, asked)
        await self._find_named(found, wanted)
        await self._find_users_among(found, asked)

    def _take(self, found: Resolved, emails: Sequence[str], gsids: Sequence[str]) -> None:
        found.users |= self._users(EMAIL, emails)
        for email, rows in self._roster.persons(EMAIL, emails).items():
            if rows:
                found.persons[email] = [self._person(found, row) for row in rows]
        found.users_by_gsid |= self._users(GSID, gsids)
        for gsid, rows in self._roster.persons(GSID, gsids).items():
            if rows:
                found.persons_by_gsid[gsid] = self._person(found, rows[0])

    def _users(self, field: str, values: Sequence[str]) -> dict[str, Row]:
        return {value: rows[0] for value, rows in self._roster.users(field, values).items() if rows}

    @staticmethod
    def _person(found: Resolved, row: Row) -> Row:
        found.memberships[str(value_of(row, GSID))] = list(row.get(MEMBERSHIPS) or ())
        return {k: v for k, v in row.items() if k != MEMBERSHIPS}

    async def _find_named(self, found: Resolved, wanted: Wanted) -> None:
        """Who stands behind a bare name: a user, or one of the people of the activity's company."""
        inside: set[str] = set()
        outside: defaultdict[str, set[str]] = defaultdict(set)
        for reference in wanted.references:
            for mention in only_named(reference.mentions, reference.company, found):
                if mention.side is not Side.EXTERNAL:
                    inside.add(mention.name or "")
                if mention.side is not Side.INTERNAL and reference.company:
                    outside[reference.company].add(mention.name or "")
        if inside:
            await self._name_users(found, inside)
        if outside:
            await self._name_people(found, outside)

    async def _name_users(self, found: Resolved, names: Iterable[str]) -> None:
        found.named_users = await self._names.users_named(names)
        await self._find_by_gsid(found, found.named_users.values())

    async def _name_people(self, found: Resolved, names: Mapping[str, Iterable[str]]) -> None:
        found.named_people = await self._names.members_named(names)
        await self._find_by_gsid(found, (gsid for of in found.named_people.values() for gsid in of.values()))

    async def _find_by_gsid(self, found: Resolved, gsids: Iterable[str]) -> None:
        wanted = list(dict.fromkeys(gsids))
        await self._finder.find((), wanted)
        self._take(found, (), wanted)

    async def _find_users_among(self, found: Resolved, asked: set[str]) -> None:
        """Who of the persons known by Gsid is a user, too: has the address of one. Adds to the addresses asked for."""
        told = (text_of(row, EMAIL).strip().lower() for row in found.persons_by_gsid.values())
        emails = list(dict.fromkeys(email for email in told if email and email not in asked))
        asked |= set(emails)
        await self._finder.find_users(EMAIL, emails)
        found.users |= self._users(EMAIL, emails)

    # Other objects

    async def _objects(self, found: Resolved, name: str, gsids: Sequence[str]) -> None:
        rows = {g: r[0] for g, r in (await self._related.find(name, GSID, gsids)).items()}
        if name == required.COMPANY:
            found.companies = rows
        else:
            found.relationships = rows

    def _joined(self, name: str, wanted: Wanted) -> tuple[str, list[str]]:
        """The column by which a custom object is joined, and the ids of what it is joined to."""
        custom = self._definition.objects[name]
        ids = [r.company if custom.joined_to == "company" else r.relationship for r in wanted.references]
        return custom.join_field, list(dict.fromkeys(i for i in ids if i))

    async def _custom(self, found: Resolved, name: str, field: str, ids: Sequence[str]) -> None:
        found.custom[name] = await self._related.find(name, field, ids)


def _unridden(found: Resolved, name: str, wanted: Wanted) -> list[str]:
    """The ids of the objects that did not ride along with every activity that refers to them."""
    ids = []
    for reference in wanted.references:
        gsid = reference.company if name == required.COMPANY else reference.relationship
        rides = reference.activity is not None and found.ridden(name, reference.activity) is not None
        if gsid and not rides:
            ids.append(gsid)
    return list(dict.fromkeys(ids))
