"""Finding people: by email or by Gsid, in as few calls as the tenant takes.

A tenant's users are few, and many a tenant's persons are too: an object of moderate size is read as a whole, once, and
from then on nobody in it costs a call, nor does anybody who is not in it. Of larger ones, those who are met are looked
up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import structlog

from enricher.entities import EMAIL, GSID
from enricher.roster import GSUSER, MEMBER, PERSON, Roster, Whole, filled, memberships_of, text_of
from gainsight import (
    Chunking,
    Query,
    RefusedQueryError,
    ReplyTooLargeError,
    Row,
    UnknownFieldError,
    fetch_in,
    fetch_on,
)
from gainsight.query import MAX_ROWS

log = structlog.get_logger(__name__)


class Finder:
    """Makes the people of one connector known.

    Args:
        whole_rows: the most rows of an object that is read as a whole; 0: none is.
    """

    def __init__(self, roster: Roster, whole_rows: int) -> None:
        self._roster = roster
        self._desk = roster.desk
        self._whole_rows = whole_rows

    async def find(self, emails: Sequence[str], gsids: Sequence[str]) -> None:
        """Makes known whoever has one of these (lower-case) emails or Gsids, or that nobody has."""
        if self._unknown(EMAIL, emails) or self._unknown(GSID, gsids):
            await self.read_whole(MEMBER)  # first: the larger page tells that a smaller one is no capped one
        await self._find_users(EMAIL, emails)
        await self._find_users(GSID, gsids)
        for field, values in ((EMAIL, emails), (GSID, gsids)):
            if unknown := self._unknown(field, values):
                await self._find_persons(field, unknown)

    def _unknown(self, field: str, values: Iterable[str]) -> list[str]:
        """Those of whom it is not known whether they are a person; users are not asked about."""
        return [v for v in values if not self._roster.user(field, v) and self._roster.persons(field, v) is None]

    async def _find_users(self, field: str, values: Sequence[str]) -> None:
        unknown = [v for v in values if self._roster.user(field, v) is None]
        if unknown:
            await self.read_whole(GSUSER)
            unknown = [v for v in unknown if self._roster.user(field, v) is None]
        if not unknown:
            return
        desk = self._desk
        rows, columns = await desk.rows_in(GSUSER, field, unknown, desk.columns(GSUSER, field))
        self._roster.keep_users(rows, columns)
        self._roster.keep_absent(GSUSER, field, unknown, rows, field)

    async def _find_persons(self, field: str, values: Sequence[str]) -> None:
        members = self._roster.whole(MEMBER)
        if self._roster.link is None or self._roster.is_sure(MEMBER):
            await self.read_whole(PERSON)
        elif members is None or members.too_large:
            await self._find_members(field, values)
        values = [v for v in values if self._roster.persons(field, v) is None]
        if not values:
            return
        desk = self._desk
        rows, columns = await desk.rows_in(PERSON, field, values, desk.columns(PERSON, field))
        ids = list(dict.fromkeys(g for row in rows if (g := text_of(row, GSID))))
        memberships = await self._memberships(ids)
        for row in rows:
            if gsid := text_of(row, GSID):
                self._roster.keep_person(gsid, row, memberships.get(gsid, []), columns)
        self._roster.keep_absent(PERSON, field, values, rows, field)

    async def _memberships(self, persons: Sequence[str]) -> Mapping[str, list[Row]]:
        found: defaultdict[str, list[Row]] = defaultdict(list)
        link = self._roster.link
        if not persons or link is None:
            return found
        if self._roster.is_sure(MEMBER):  # those who have any are known
            return {g: memberships_of(rows[0]) for g in persons if (rows := self._roster.kept_person(g))}
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
        link = self._roster.link or ""
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
        self._roster.keep_members(rows)

    # Reading an object as a whole

    async def read_whole(self, name: str) -> None:
        """Reads an object that is not too large, or what may follow of it."""
        if not self._whole_rows or (name == MEMBER and self._roster.dotted() is None):
            return
        if name not in self._desk.described or (name == PERSON and PERSON not in self._desk.described):
            return
        state = self._roster.whole(name)
        if state is not None and (state.surely or state.too_large):
            return
        desk, now = self._desk, self._desk.clock.now()
        columns, select = self._select(name)
        after = state.last if state is not None else ""
        self._roster.room[name] = desk.cache.forgotten(desk.definition.id, PERSON if name == MEMBER else name)
        try:
            rows, last, surely, too_large = await self._stretch(name, select, after)
        except UnknownFieldError as error:
            if name == MEMBER and (error.field or "").lower() not in {c.lower() for c in self._roster.member_columns()}:
                desk.facts.dotted = False
            else:
                desk.without(
                    error, name, self._roster.member_columns() if name == MEMBER else select, self._roster.link or ""
                )
                await self.read_whole(name)
            return
        except RefusedQueryError as error:
            log.info("not_read_as_a_whole", connector=desk.definition.id, object=name, cause=str(error))
            if name == MEMBER and desk.facts.dotted is None and not isinstance(error, ReplyTooLargeError):
                desk.facts.dotted = False
            else:
                self._roster.keep_whole(name, Whole(columns, now, now, "", False, True))
            return
        if name == MEMBER:
            desk.facts.dotted = True
        if not too_large:
            self._keep_all(name, rows, select)
        begun, until = (state.begun, state.until) if state is not None else (now, now)
        self._roster.keep_whole(name, Whole(columns, begun, until, last, surely, too_large))
        log.info("read_as_a_whole", connector=desk.definition.id, object=name, rows=len(rows), too_large=too_large)

    def _select(self, name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The columns that the object counts as read with, and those to select."""
        if name == MEMBER:
            found = self._roster.dotted()
            assert found is not None
            return self._roster.person_columns(), found[1]
        if name == PERSON:
            return self._roster.person_columns(), self._desk.columns(PERSON, EMAIL, GSID)
        return self._roster.user_columns(), self._desk.columns(GSUSER, EMAIL, GSID)

    async def _stretch(self, name: str, select: tuple[str, ...], after: str) -> tuple[list[Row], str, bool, bool]:
        """(rows, last key, surely all, too large); whether it is too large is asked for after the first page."""
        desk = self._desk
        query = Query(name, select)
        key = (self._roster.link or GSID) if name == MEMBER else GSID  # a person's rows one after the other
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
            self._roster.keep_members(rows)
        elif name == GSUSER:
            self._roster.keep_users(rows, select)
        else:
            for row in rows:
                if gsid := text_of(row, GSID):
                    before = self._roster.kept_person(gsid)
                    self._roster.keep_person(gsid, row, memberships_of(before[0]) if before else [], select)
