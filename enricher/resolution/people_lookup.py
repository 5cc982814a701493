"""Look-ups of people by email or by Gsid, in as few calls as the tenant takes.

A tenant's users are few, and many a tenant's persons are too: an object of moderate size is scanned in full, once.
The people of larger objects are looked up by value as activities mention them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import structlog

from enricher.resolution.entity_cache import EMAIL, GSID
from enricher.resolution.people_cache import GSUSER, MEMBER, PERSON, PeopleCache, filled, text_of
from frame_gainsight.gainsight import (
    Chunking,
    RefusedQueryError,
    ReplyTooLargeError,
    Row,
    UnknownFieldError,
    fetch_where_in,
)
from frame_gainsight.gainsight.query import MAX_ROWS

log = structlog.get_logger(__name__)


class PeopleLookup:
    """Looks up the people of one connector and caches them."""

    def __init__(self, people: PeopleCache) -> None:
        self._people = people
        self._lookup = people.lookup
        self._scans = people.scans

    async def find(self, emails: Sequence[str], gsids: Sequence[str]) -> None:
        """Caches the users and persons who have one of these (lower-case) emails or Gsids, or that there is none."""
        if self._unknown(EMAIL, emails) or self._unknown(GSID, gsids):
            # First: a large page proves that smaller ones are not capped.
            await self.scan(MEMBER, lambda: self._lookup_calls(emails, gsids))
        await self.find_users(EMAIL, emails)
        await self.find_users(GSID, gsids)
        for field, values in ((EMAIL, emails), (GSID, gsids)):
            if unknown := self._unknown(field, values):
                await self._find_persons(field, unknown)
        # An activity names a Gsid: then it exists or has existed, though it may be newer than the full scan.
        if newer := [g for g in gsids if self._people.absent_by_scan_only(g)]:
            await self._look_up_persons(GSID, newer, newer=True)
            await self._look_up_users(GSID, [g for g in newer if self._people.kept(PERSON, g) is None])

    def _unknown(self, field: str, values: Iterable[str]) -> list[str]:
        """The values that are no user's and of which it is not known whether they are a person's."""
        users = self._people.users(field, values)
        others = [v for v in values if not users.get(v)]
        return self._unknown_persons(field, others)

    def _unknown_persons(self, field: str, values: Sequence[str]) -> list[str]:
        """The values of which it is not known whether they are a person's."""
        persons = self._people.persons(field, values)
        return [v for v in values if v not in persons]

    def _lookup_calls(self, emails: Sequence[str], gsids: Sequence[str]) -> int:
        """The number of calls that a look-up of the unknown values takes: as members, and the rest as persons."""
        unknown = (self._unknown(EMAIL, emails), self._unknown(GSID, gsids))
        return 2 * sum(self._scans[MEMBER].lookup_calls(values) for values in unknown)

    def _expected(self, name: str) -> int:
        """Rows that are worth a scan at any cost: only the scans of members and persons together save look-ups."""
        members = self._scans[MEMBER].progress()
        return 2 * members.rows if name == PERSON and members is not None and members.rows > MAX_ROWS else 0

    async def find_users(self, field: str, values: Sequence[str]) -> None:
        """Caches the users who have one of these (lower-case) emails, or Gsids, or that there is none."""
        if self._unknown_users(field, values):
            await self.scan(GSUSER, lambda: self._scans[GSUSER].lookup_calls(self._unknown_users(field, values)))
        await self._look_up_users(field, self._unknown_users(field, values))

    def _unknown_users(self, field: str, values: Sequence[str]) -> list[str]:
        """The values of which it is not known whether they are a user's."""
        users = self._people.users(field, values)
        return [v for v in values if v not in users]

    async def _look_up_users(self, field: str, values: Sequence[str]) -> None:
        lookup = self._lookup
        if not values or GSUSER not in lookup.described:
            return
        self._scans[GSUSER].add_lookup(values)
        rows, columns = await lookup.rows_in(GSUSER, field, values, lookup.columns(GSUSER, field))
        self._people.keep_users(rows, columns)
        self._people.keep_looked_up(GSUSER, field, values, rows)

    async def _find_persons(self, field: str, values: Sequence[str]) -> None:
        if self._people.link is None or self._scans[MEMBER].is_confirmed():
            await self.scan(PERSON, lambda: self._scans[PERSON].lookup_calls(self._unknown(field, values)))
        elif not self._scans[MEMBER].is_exhausted():
            await self._look_up_members(field, values)
        await self._look_up_persons(field, self._unknown_persons(field, values))

    async def _look_up_persons(self, field: str, values: Sequence[str], *, newer: bool = False) -> None:
        """Caches persons by their own rows, with their memberships. `newer`: they may be newer than the full scans."""
        lookup = self._lookup
        if not values or PERSON not in lookup.described:
            return
        self._add_lookup(values)
        rows, columns = await lookup.rows_in(PERSON, field, values, lookup.columns(PERSON, field))
        ids = list(dict.fromkeys(g for row in rows if (g := text_of(row, GSID))))
        memberships = await self._memberships(ids, newer)
        for row in rows:
            if gsid := text_of(row, GSID):
                self._people.keep_person(gsid, row, memberships.get(gsid, []), columns)
        self._people.keep_looked_up(PERSON, field, values, rows)

    def _add_lookup(self, values: Sequence[str]) -> None:
        for name in (MEMBER, PERSON):  # only the scans of both save a look-up of persons
            self._scans[name].add_lookup(values)

    async def _memberships(self, persons: Sequence[str], newer: bool) -> Mapping[str, list[Row]]:
        found: defaultdict[str, list[Row]] = defaultdict(list)
        link = self._people.link
        if not persons or link is None:
            return found
        if self._scans[MEMBER].is_confirmed() and not newer:
            return {gsid: self._people.memberships(gsid) for gsid in persons}
        rows, _ = await self._lookup.rows_in(MEMBER, link, persons, self._lookup.columns(MEMBER, link))
        for row in rows:
            found[text_of(row, link)].append(filled(row))
        return found

    async def _look_up_members(self, field: str, values: Sequence[str]) -> None:
        """Caches persons by their `company_person` rows, where the tenant takes such a query."""
        lookup, capabilities = self._lookup, self._lookup.capabilities
        joined = self._people.person_join()
        if joined is None or capabilities.filters_by_person is False:
            return
        person, select = joined
        self._add_lookup(values)
        link = self._people.link or ""
        by = f"{person}.{EMAIL}" if field == EMAIL else link
        # A refusal of the first such query may be for its form or for its size: the sizes that it tries are not kept.
        chunking = capabilities.chunking[MEMBER] if capabilities.filters_by_person else Chunking(len(values))
        rows: list[Row] = []
        page_cap = capabilities.page_cap
        try:
            if not capabilities.filters_by_person:
                first = values[: capabilities.chunking[MEMBER].size]
                page = await fetch_where_in(lookup.client, MEMBER, select, by, first, chunking, page_cap=page_cap)
                rows += lookup.usable(MEMBER, page)
                values = values[len(first) :]
                capabilities.joins_person = capabilities.filters_by_person = True
                chunking = capabilities.chunking[MEMBER]
            page = await fetch_where_in(lookup.client, MEMBER, select, by, values, chunking, page_cap=page_cap)
            rows += lookup.usable(MEMBER, page)
        except (RefusedQueryError, UnknownFieldError) as error:
            if capabilities.filters_by_person:
                raise
            capabilities.filters_by_person = False
            log.info("people_lookup_in_two_steps", connector=lookup.definition.id, cause=str(error))
            return
        self._people.keep_members(rows)
        if field == EMAIL:
            pairs = [(text_of(row, by).strip().lower(), text_of(row, link)) for row in rows]
            self._people.keep_emails(PERSON, {email for email, _ in pairs if email}, pairs)

    # Full scans

    async def scan(self, name: str, lookup_calls: Callable[[], int] = lambda: 1) -> None:
        """Scans an object, or the rest of it, as far as that is worth it and the tenant allows it.

        Args:
            lookup_calls: the number of calls that a look-up by value takes instead.
        """
        scan = self._scans[name]
        if (spec := scan.spec()) is None:
            return
        lookup, members, before = self._lookup, self._people.member_columns(), scan.progress()
        capabilities = lookup.capabilities
        try:
            await scan.run(spec, lookup_calls, expected=self._expected(name))
        except UnknownFieldError as error:
            if name == MEMBER and (error.field or "").lower() not in {c.lower() for c in members}:
                capabilities.joins_person = False
                return
            lookup.without(error, name, members if name == MEMBER else spec.select, self._people.link or "")
            await self.scan(name, lookup_calls)
        except RefusedQueryError as error:
            log.info("full_scan_refused", connector=lookup.definition.id, object=name, cause=str(error))
            if name == MEMBER and capabilities.joins_person is None and not isinstance(error, ReplyTooLargeError):
                capabilities.joins_person = False
            else:
                scan.give_up(spec)
        else:
            progress = scan.progress()
            if name == MEMBER and progress is not None:
                capabilities.joins_person = True
                if progress.exhausted and not (before is not None and before.exhausted):
                    self._people.clear_memberships(progress.begun)
