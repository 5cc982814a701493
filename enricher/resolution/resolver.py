"""Resolution in batches: everything that the activities of a batch refer to, less what is known, in as few queries as
the tenant takes."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence

from enricher.activity.mentions import Side
from enricher.resolution.entity_cache import EMAIL, GSID, MEMBERSHIPS, EntityCache
from enricher.resolution.incremental_refresh import IncrementalRefresh
from enricher.resolution.joined_columns import JoinedColumns
from enricher.resolution.model import Reference, Resolved, distinct_mentions
from enricher.resolution.name_lookup import NameLookup
from enricher.resolution.object_lookup import ObjectLookup
from enricher.resolution.participants import only_named
from enricher.resolution.people_cache import PeopleCache, memberships_of, text_of
from enricher.resolution.people_lookup import PeopleLookup
from enricher.resolution.tenant_lookup import TenantLookup
from frame_gainsight.connectors import Definition
from frame_gainsight.connectors.columns import required
from frame_gainsight.gainsight import GainsightClient, Row, value_of
from frame_gainsight.runtime import Clock
from frame_gainsight.runtime.aio import gather_or_cancel
from frame_gainsight.runtime.pauses import with_pauses

MAX_SCAN_ROWS = 50_000
REFRESH_INTERVAL = 3_600_000


class Resolver:
    """Resolves the batches of one connector. The cache is its lane's; new answers are put there and in `Resolved.new`.

    Args:
        max_scan_rows: the most rows of an object that is scanned in full.
        refresh_interval: milliseconds between two polls for changed and deleted entities.
    """

    def __init__(
        self,
        definition: Definition,
        client: GainsightClient,
        cache: EntityCache,
        clock: Clock,
        *,
        max_scan_rows: int = MAX_SCAN_ROWS,
        refresh_interval: int = REFRESH_INTERVAL,
    ) -> None:
        self._definition = definition
        self._lookup = TenantLookup(definition, client, cache, clock)
        self._people = PeopleCache(self._lookup, max_scan_rows)
        self._people_lookup = PeopleLookup(self._people)
        self._names = NameLookup(self._people, self._people_lookup)
        fields = dict.fromkeys(required.JOINED_OBJECTS, GSID) | {
            n: custom.join_field for n, custom in definition.objects.items()
        }
        self._objects = {n: ObjectLookup(self._lookup, n, field, max_scan_rows) for n, field in fields.items()}
        self._refresh = IncrementalRefresh(self._lookup, self._people, self._objects, refresh_interval)
        self._resolving = asyncio.Lock()  # two batches beside each other would query the same twice

    async def resolve(self, references: Sequence[Reference], *, renew: bool = True) -> Resolved:
        """Looks up everything that is referred to. Raises GainsightError when a query fails for good or for now.

        Answers received before a failure are kept, and are among the new answers of the next success.

        Args:
            renew: False: a known answer counts, however old it is, as for a replay.
        """
        async with self._resolving:
            self._lookup.renew = renew
            with self._lookup.cache.pinned(self._definition.id):
                return await self._resolve(references)

    async def _resolve(self, references: Sequence[Reference]) -> Resolved:
        await self._lookup.describe()
        custom = {name: self._joined_gsids(name, references) for name in self._definition.objects}
        await self._refresh.if_due(
            [name for name, gsids in custom.items() if self._objects[name].absent_by_scan_only(gsids)]
        )
        described = self._lookup.described
        found = Resolved(described, JoinedColumns(self._definition, described))
        await self._find_people(found, references)  # first: its large pages prove that smaller ones are the last
        await gather_or_cancel(
            *(self._find_related(found, name, references) for name in required.JOINED_OBJECTS),
            *(self._find_custom(found, name, gsids) for name, gsids in custom.items()),
        )
        found.new = self._lookup.take_new()
        return found

    # People

    async def _find_people(self, found: Resolved, references: Sequence[Reference]) -> None:
        mentions = distinct_mentions(references)
        emails = list(dict.fromkeys(m.email for m in mentions if m.email))
        gsids = list(dict.fromkeys(m.gsid for m in mentions if m.gsid and not m.email))
        await self._people_lookup.find(emails, gsids)
        self._take(found, emails, gsids)
        beside = list(dict.fromkeys(m.gsid for m in mentions if m.email and m.gsid))
        self._take(found, (), beside)  # mostly the Gsid of the one who has the address, who is known by now
        others = [g for g in beside if g not in found.users_by_gsid and g not in found.persons_by_gsid]
        await self._find_by_gsid(found, others)
        requested = set(emails)
        await self._find_users_among(found, requested)
        await self._find_named(found, references)
        await self._find_users_among(found, requested)

    def _take(self, found: Resolved, emails: Sequence[str], gsids: Sequence[str]) -> None:
        """Puts those who are known by these emails and Gsids into the result."""
        found.users |= self._users(EMAIL, emails)
        for email, rows in self._people.persons(EMAIL, emails).items():
            if rows:
                found.persons[email] = [self._person(found, row) for row in rows]
        found.users_by_gsid |= self._users(GSID, gsids)
        for gsid, rows in self._people.persons(GSID, gsids).items():
            if rows:
                found.persons_by_gsid[gsid] = self._person(found, rows[0])

    def _users(self, field: str, values: Sequence[str]) -> dict[str, Row]:
        return {value: rows[0] for value, rows in self._people.users(field, values).items() if rows}

    @staticmethod
    def _person(found: Resolved, row: Row) -> Row:
        found.memberships[str(value_of(row, GSID))] = memberships_of(row)
        return {k: v for k, v in row.items() if k != MEMBERSHIPS}

    async def _find_named(self, found: Resolved, references: Sequence[Reference]) -> None:
        """Finds those who are mentioned by a bare name: users, and the people of an activity's company."""
        inside: set[str] = set()
        outside: defaultdict[str, set[str]] = defaultdict(set)
        async for reference in with_pauses(references):
            found.bare_names[reference] = only_named(reference.mentions, reference.company, found)
            for mention in found.bare_names[reference]:
                if mention.side is not Side.EXTERNAL:
                    inside.add(mention.name or "")
                if mention.side is not Side.INTERNAL and reference.company:
                    outside[reference.company].add(mention.name or "")
        if inside:
            found.named_users = await self._names.users_named(inside)
            await self._find_by_gsid(found, found.named_users.values())
        if outside:
            found.named_people = await self._names.members_named(outside)
            await self._find_by_gsid(found, (gsid for of in found.named_people.values() for gsid in of.values()))

    async def _find_by_gsid(self, found: Resolved, gsids: Iterable[str]) -> None:
        distinct = list(dict.fromkeys(gsids))
        await self._people_lookup.find((), distinct)
        self._take(found, (), distinct)

    async def _find_users_among(self, found: Resolved, requested: set[str]) -> None:
        """Finds users who have the address of a person known by Gsid. Adds those addresses to the requested ones."""
        addresses = (text_of(row, EMAIL).strip().lower() for row in found.persons_by_gsid.values())
        emails = list(dict.fromkeys(email for email in addresses if email and email not in requested))
        requested |= set(emails)
        await self._people_lookup.find_users(EMAIL, emails)
        found.users |= self._users(EMAIL, emails)

    # Other objects

    async def _find_related(self, found: Resolved, name: str, references: Sequence[Reference]) -> None:
        """Finds the companies, or the relationships, that were not joined to every activity which refers to them."""
        gsids = [gsid for r in references if (gsid := r.gsid_of(name)) and found.joined_row(name, r) is None]
        rows = await self._objects[name].find(list(dict.fromkeys(gsids)))
        found.related[name] = {gsid: same[0] for gsid, same in rows.items()}

    def _joined_gsids(self, name: str, references: Sequence[Reference]) -> list[str]:
        """The Gsids of the companies or relationships that a custom object is joined to."""
        gsids = [r.gsid_of(self._definition.objects[name].joined_to) for r in references]
        return list(dict.fromkeys(gsid for gsid in gsids if gsid))

    async def _find_custom(self, found: Resolved, name: str, gsids: Sequence[str]) -> None:
        found.custom[name] = await self._objects[name].find(gsids)
