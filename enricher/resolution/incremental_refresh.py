"""Keeping known entities up to date, on a beat of their own: what was modified, and what deleted, since the last look.

Three calls a beat, whatever the mapping: one for the persons and what they are at their companies, one for what was
deleted, and one for the other objects in turn. One more for a custom object that was read as a whole, when somebody new
asks for its rows. Nothing is asked while no activities come: the next ones make it due.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from enricher.resolution.entity_cache import GSID
from enricher.resolution.object_lookup import MODIFIED, ObjectLookup
from enricher.resolution.people_cache import GSUSER, MEMBER, PERSON, PeopleCache
from enricher.resolution.tenant_lookup import TenantLookup
from frame_gainsight.connectors.columns import required
from frame_gainsight.gainsight import (
    Condition,
    ConfigError,
    Query,
    RefusedQueryError,
    Row,
    format_date,
    value_of,
    whole_second,
)
from frame_gainsight.gainsight.delete_log import LOG_DAYS, LOGS, deleted_records
from frame_gainsight.gainsight.query import MAX_ROWS
from frame_gainsight.runtime.aio import gather_or_cancel

log = structlog.get_logger(__name__)

REFRESH = "!refresh"
AGAIN = 120_000  # milliseconds that each look reaches back behind the last one, for what becomes visible late
MOST_PAGES = 4  # of changes: more are not worth reading
DAY = 86_400_000
UNTOLD_FOR = DAY // 4  # so long an object that would not tell what was modified is not asked again


@dataclass(frozen=True, slots=True)
class RefreshCursors:
    """Until when each object's changes and each log's deletions are known (milliseconds of the tenant's clock)."""

    until: dict[str, int]

    def since(self, name: str, now: int) -> int:
        """Nothing is known of what was never looked at: it counts from now."""
        return self.until.get(name, now)

    def row(self) -> Row:
        return {"until": self.until}


class IncrementalRefresh:
    """Follows the changes of one connector's entities.

    Args:
        beat: milliseconds between two looks at the same thing.
    """

    def __init__(self, desk: TenantLookup, roster: PeopleCache, related: ObjectLookup, beat: int) -> None:
        self._desk = desk
        self._roster = roster
        self._related = related
        self._wholes = roster.wholes
        self._beat = beat
        self._absent_log: dict[str, int] = {}
        self._no_dates: dict[str, int] = {}

    async def if_due(self, pressing: Sequence[str] = ()) -> None:
        """Looks where the last look is a beat ago. Raises GainsightError as a query does.

        Args:
            pressing: objects that do not wait for their turn.
        """
        if not self._desk.renew:
            return
        now, looked = self._now(), self._looked()
        if any(name not in looked.until for name in self._followed()):  # what is known of it will be as of now
            self._keep(looked, [], now)
            looked = self._looked()
        jobs: list[Coroutine[Any, Any, str]] = []
        if now - looked.since(MEMBER, now) >= self._beat:
            jobs.append(self._members(looked))
        objects = [name for name in pressing if now - looked.since(name, now) >= self._beat]
        others = [name for name in self._in_turn() if name not in objects]
        if others and now - max(looked.since(name, now) for name in others) >= self._beat:  # one of them a beat
            objects.append(min(others, key=lambda name: looked.since(name, now)))
        jobs += [self._object(name, looked) for name in objects]
        if (due := self._log_due(looked, now)) is not None:
            jobs.append(self._deleted(due, looked, now))
        if jobs:
            self._keep(looked, [name for name in await gather_or_cancel(*jobs) if name], now)

    def _keep(self, looked: RefreshCursors, done: Sequence[str], now: int) -> None:
        at = min(now, self._now())  # the tenant's clock is known by now, if it was not
        until = dict.fromkeys(self._followed(), at) | looked.until | dict.fromkeys(done, at)
        self._desk.keep(REFRESH, "tenant", self._desk.definition.host, (), [RefreshCursors(until).row()])

    def _followed(self) -> list[str]:
        return [*(name for name in self._desk.described if name != required.ACTIVITY), MEMBER, *LOGS]

    def _looked(self) -> RefreshCursors:
        entity = self._desk.cache.get(self._desk.key(REFRESH, "tenant", self._desk.definition.host))
        return RefreshCursors(dict(entity.rows[0]["until"]) if entity is not None and entity.rows else {})

    def _now(self) -> int:
        at = self._desk.client.tenant_now()
        return at if at is not None else self._desk.clock.now()

    def _in_turn(self) -> list[str]:
        """The objects besides that are in the cache, or may be."""
        desk = self._desk
        names = [GSUSER, *([PERSON] if self._roster.link else []), required.COMPANY, required.RELATIONSHIP]
        found = [n for n in (*names, *desk.definition.objects) if n in desk.described and not self._tells_nothing(n)]
        return [n for n in found if next(desk.cache.keys(desk.definition.id, n), None) is not None] or [GSUSER]

    # What was modified

    async def _members(self, looked: RefreshCursors) -> str:
        dotted = self._roster.dotted()
        if dotted is None:
            own, select = PERSON, self._desk.columns(PERSON, GSID)
            if self._roster.link is None:
                rows = await self._changed(own, select, looked, MEMBER)
                self._take(rows, PERSON, lambda changed: self._roster.change(PERSON, changed))
            else:
                link = self._roster.link
                rows = await self._changed(MEMBER, self._desk.columns(MEMBER, link), looked, MEMBER)
                if rows is None:
                    self._drop_all(PERSON)
                for row in rows or ():  # asked again when they are met: with their persons
                    self._desk.drop(self._desk.key(PERSON, GSID, str(value_of(row, link))))
            return MEMBER
        lookup, select = dotted
        rows = await self._changed(MEMBER, select, looked, MEMBER, f"{lookup}.{MODIFIED}")
        self._take(rows, MEMBER, self._roster.change_members)
        return MEMBER

    async def _object(self, name: str, looked: RefreshCursors) -> str:
        desk = self._desk
        if name in (GSUSER, PERSON):
            rows = await self._changed(name, desk.columns(name, GSID), looked, name)
            self._take(rows, name, lambda changed: self._roster.change(name, changed))
            return name
        field = desk.definition.objects[name].join_field if name in desk.definition.objects else GSID
        rows = await self._changed(name, desk.columns(name, field), looked, name)
        if rows is None:
            self._wholes.forget(name)
            self._drop_all(name)
        else:
            self._related.change(name, field, rows)
        return name

    def _take(self, rows: list[Row] | None, name: str, change: Callable[[Sequence[Row]], None]) -> None:
        if rows is not None:
            change(rows)
            return
        self._wholes.forget(name)
        self._drop_all(PERSON if name == MEMBER else name)

    def _drop_all(self, name: str) -> None:
        """Too much has changed to be read: what is met is asked for anew."""
        for key in self._desk.cache.keys(self._desk.definition.id, name):
            self._desk.drop(key)

    async def _changed(
        self, name: str, select: Sequence[str], looked: RefreshCursors, since: str, *besides: str
    ) -> list[Row] | None:
        """Rows modified since the last look; None: too many, or nothing tells."""
        start = format_date(whole_second(max(0, looked.since(since, self._now()) - AGAIN)))
        described = self._desk.described.get(name)
        if described is None or described.field(MODIFIED) is None:
            self._tell(name, f"{name} has no {MODIFIED}")
            return []
        where = [Condition(field, "GTE", [start]) for field in (MODIFIED, *besides)]
        facts = self._desk.facts
        if besides and facts.either is False:
            where = where[:1]
        try:
            rows = await self._pages(Query(name, tuple(select), where, {GSID: "asc"}, either=len(where) > 1))
        except (RefusedQueryError, ConfigError) as error:
            if len(where) > 1 and facts.either is None and not _is_for_key(error):
                facts.either = False
                return await self._changed(name, select, looked, since, *besides)
            if _is_for_key(error):
                raise
            self._tell(name, str(error))
            return []
        if len(where) > 1:
            facts.either = True
        return rows

    async def _pages(self, query: Query) -> list[Row] | None:
        rows: list[Row] = []
        for _ in range(MOST_PAGES):
            page = await self._desk.client.query(
                Query(query.object_name, query.select, query.where, query.order_by, MAX_ROWS, len(rows), query.either)
            )
            rows += page
            if not page or self._desk.facts.proven.is_last(len(page)):
                return rows
        return None

    def _tell(self, name: str, cause: str) -> None:
        if not self._tells_nothing(name):
            self._no_dates[name] = self._now()
            log.info("changes_not_told", connector=self._desk.definition.id, object=name, cause=cause)

    def _tells_nothing(self, name: str) -> bool:
        """Whether it was found out of late that the object does not tell what was modified."""
        return self._now() - self._no_dates.get(name, -DAY) < UNTOLD_FOR

    # What was deleted

    def _log_due(self, looked: RefreshCursors, now: int) -> str | None:
        """The log to look into: the first one on the beat, the other once a day, neither where it is missing."""
        for name, every in zip(reversed(LOGS), (DAY, self._beat), strict=True):
            if now - looked.since(name, now) >= every and now - self._absent_log.get(name, 0) >= DAY:
                return name
        return None

    async def _deleted(self, name: str, looked: RefreshCursors, now: int) -> str:
        """The log's name; "" where the tenant does not have it."""
        desk = self._desk
        objects = [n for n in desk.described if n != required.ACTIVITY]
        start = whole_second(max(0, looked.since(name, now) - AGAIN, now - LOG_DAYS * DAY))
        try:
            found = await deleted_records(desk.client, name, start, now, objects)
        except (RefusedQueryError, ConfigError) as error:
            if _is_for_key(error):
                raise
            self._absent_log[name] = now
            log.info("deletions_not_told", connector=desk.definition.id, way=name, cause=str(error))
            return ""
        named = {n.lower(): n for n in objects}
        for object_name, gsid in found:
            self._gone(named.get(object_name, object_name), gsid)
        return name

    def _gone(self, name: str, gsid: str) -> None:
        if name in (PERSON, GSUSER, MEMBER):
            self._roster.gone(name, gsid)
            return
        desk = self._desk
        for key in desk.cache.keys(desk.definition.id, name):
            entity = desk.cache.get(key)
            if entity is not None and any(value_of(row, GSID) == gsid for row in entity.rows):
                left = [row for row in entity.rows if value_of(row, GSID) != gsid]
                desk.keep(name, key.field, key.value, entity.columns, left)


def _is_for_key(error: Exception) -> bool:
    """Whether it is the key that is refused, and not the query."""
    return isinstance(error, ConfigError) and (
        error.status in (401, 403) or (error.code or "").startswith(("GS_APIG_24", "GSOBJ_1024"))
    )
