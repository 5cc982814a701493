"""Finding people: by email or by Gsid, in as few calls as the tenant takes.

A tenant's users are few, and many a tenant's persons are too: an object of moderate size is read as a whole, once, and
from then on nobody in it costs a call, nor does anybody who is not in it. Of larger ones, those who are met are looked
up.
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
    """Makes the people of one connector known."""

    def __init__(self, roster: PeopleCache) -> None:
        self._roster = roster
        self._desk = roster.desk
        self._wholes = roster.wholes

    async def find(self, emails: Sequence[str], gsids: Sequence[str]) -> None:
        """Makes known whoever has one of these (lower-case) emails or Gsids, or that nobody has."""
        if self._unknown(EMAIL, emails) or self._unknown(GSID, gsids):
            # First: the larger page tells that a smaller one is no capped one.
            await self.read_whole(MEMBER, lambda: self._price(emails, gsids))
        await self.find_users(EMAIL, emails)
        await self.find_users(GSID, gsids)
        for field, values in ((EMAIL, emails), (GSID, gsids)):
            if unknown := self._unknown(field, values):
                await self._find_persons(field, unknown)
        # An activity names a Gsid: then there is or was somebody, though younger than what was read as a whole.
        if younger := [g for g in gsids if self._roster.is_unheard_of(g)]:
            await self._ask_persons(GSID, younger, younger=True)
            await self._ask_users(GSID, [g for g in younger if self._roster.kept(PERSON, g) is None])

    def _unknown(self, field: str, values: Iterable[str]) -> list[str]:
        """Those of whom it is not known whether they are a person; users are not asked about."""
        users = self._roster.users(field, values)
        others = [v for v in values if not users.get(v)]
        return self._no_persons(field, others)

    def _no_persons(self, field: str, values: Sequence[str]) -> list[str]:
        """Those of whom it is not known whether they are a person."""
        persons = self._roster.persons(field, values)
        return [v for v in values if v not in persons]

    def _price(self, emails: Sequence[str], gsids: Sequence[str]) -> int:
        """The calls that it takes to ask for those who are not known: as members, and strangers as persons."""
        unknown = (self._unknown(EMAIL, emails), self._unknown(GSID, gsids))
        return 2 * sum(self._wholes.calls(MEMBER, values) for values in unknown)

    def _expected(self, name: str) -> int:
        """Rows of an object that are worth reading: only both together spare questions for persons."""
        members = self._roster.whole(MEMBER)
        return 2 * members.rows if name == PERSON and members is not None and members.rows > MAX_ROWS else 0

    async def find_users(self, field: str, values: Sequence[str]) -> None:
        """Makes known which users have one of these (lower-case) emails, or Gsids."""
        if self._no_users(field, values):
            await self.read_whole(GSUSER, lambda: self._wholes.calls(GSUSER, self._no_users(field, values)))
        await self._ask_users(field, self._no_users(field, values))

    def _no_users(self, field: str, values: Sequence[str]) -> list[str]:
        """Those of whom it is not known whether they are a user."""
        users = self._roster.users(field, values)
        return [v for v in values if v not in users]

    async def _ask_users(self, field: str, values: Sequence[str]) -> None:
        desk = self._desk
        if not values or GSUSER not in desk.described:
            return
        self._wholes.pay(GSUSER, values)
        rows, columns = await desk.rows_in(GSUSER, field, values, desk.columns(GSUSER, field))
        self._roster.keep_users(rows, columns)
        self._roster.keep_asked(GSUSER, field, values, rows)

    async def _find_persons(self, field: str, values: Sequence[str]) -> None:
        members = self._roster.whole(MEMBER)
        if self._roster.link is None or self._roster.is_sure(MEMBER):
            await self.read_whole(PERSON, lambda: self._wholes.calls(PERSON, self._unknown(field, values)))
        elif members is None or members.too_large or not members.ended:
            await self._find_members(field, values)
        await self._ask_persons(field, self._no_persons(field, values))

    async def _ask_persons(self, field: str, values: Sequence[str], *, younger: bool = False) -> None:
        """Persons by their own rows, and then their memberships. `younger`: than what was read as a whole."""
        desk = self._desk
        if not values or PERSON not in desk.described:
            return
        self._pay(values)
        rows, columns = await desk.rows_in(PERSON, field, values, desk.columns(PERSON, field))
        ids = list(dict.fromkeys(g for row in rows if (g := text_of(row, GSID))))
        memberships = await self._memberships(ids, younger)
        for row in rows:
            if gsid := text_of(row, GSID):
                self._roster.keep_person(gsid, row, memberships.get(gsid, []), columns)
        self._roster.keep_asked(PERSON, field, values, rows)

    def _pay(self, values: Sequence[str]) -> None:
        for name in (MEMBER, PERSON):  # only both together spare a question for persons
            self._wholes.pay(name, values)

    async def _memberships(self, persons: Sequence[str], younger: bool) -> Mapping[str, list[Row]]:
        found: defaultdict[str, list[Row]] = defaultdict(list)
        link = self._roster.link
        if not persons or link is None:
            return found
        if self._roster.is_sure(MEMBER) and not younger:  # those who have any are known
            return {gsid: self._roster.memberships(gsid) for gsid in persons}
        rows, _ = await self._desk.rows_in(MEMBER, link, persons, self._desk.columns(MEMBER, link))
        for row in rows:
            found[text_of(row, link)].append(filled(row))
        return found

    async def _find_members(self, field: str, values: Sequence[str]) -> None:
        """Persons by way of their company_person rows, where the tenant takes such a query."""
        desk, facts = self._desk, self._desk.facts
        dotted = self._roster.dotted()
        if dotted is None or facts.dotted_in is False:
            return
        lookup, select = dotted
        self._pay(values)
        link = self._roster.link or ""
        by = f"{lookup}.{EMAIL}" if field == EMAIL else link
        # Refused for its form or for its size: the first such query does not tell, and there is another way.
        chunking = facts.chunking[MEMBER] if facts.dotted_in else Chunking(len(values))
        try:
            if not facts.dotted_in:
                first = values[: facts.chunking[MEMBER].size]
                rows = await fetch_where_in(desk.client, MEMBER, select, by, first, chunking, page_cap=facts.proven)
                values = values[len(first) :]
                facts.dotted = facts.dotted_in = True
                chunking = facts.chunking[MEMBER]
            else:
                rows = []
            rows += await fetch_where_in(desk.client, MEMBER, select, by, values, chunking, page_cap=facts.proven)
        except (RefusedQueryError, UnknownFieldError) as error:
            if facts.dotted_in:
                raise
            facts.dotted_in = False
            log.info("asked_in_two_steps", connector=desk.definition.id, cause=str(error))
            return
        self._roster.keep_members(rows)
        if field == EMAIL:
            pairs = [(text_of(row, by).strip().lower(), text_of(row, link)) for row in rows]
            self._roster.keep_emails(PERSON, {email for email, _ in pairs if email}, pairs)

    # Reading an object as a whole

    async def read_whole(self, name: str, price: Callable[[], int] = lambda: 1) -> None:
        """Reads an object that is not too large, or what may follow of it, as far as that is worth it.

        Args:
            price: the calls that it takes to ask by value instead.
        """
        if (reading := self._roster.reading(name)) is None:
            return
        desk, members, before = self._desk, self._roster.member_columns(), self._wholes.state(reading)
        try:
            await self._wholes.read_on(reading, price, expected=self._expected(name))
        except UnknownFieldError as error:
            if name == MEMBER and (error.field or "").lower() not in {c.lower() for c in members}:
                desk.facts.dotted = False
                return
            desk.without(error, name, members if name == MEMBER else reading.select, self._roster.link or "")
            await self.read_whole(name, price)
        except RefusedQueryError as error:
            log.info("not_read_as_a_whole", connector=desk.definition.id, object=name, cause=str(error))
            if name == MEMBER and desk.facts.dotted is None and not isinstance(error, ReplyTooLargeError):
                desk.facts.dotted = False
            else:
                self._wholes.give_up(reading)
        else:
            state = self._wholes.state(reading)
            if name == MEMBER and state is not None:
                desk.facts.dotted = True
                if state.ended and not (before is not None and before.ended):
                    self._roster.end_memberships(state.begun)
