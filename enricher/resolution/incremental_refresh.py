"""Incremental refresh: polls for entities that were modified or deleted since the last poll, once an interval.

It takes three calls an interval, whatever the mapping: one for persons and their memberships, one for deletions, and
one for the other objects in turn. One more for a custom object that was scanned in full, when a new activity refers to
it by an unknown value. No call is made while no activities come: the next ones make it due.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import structlog

from enricher.resolution.entity_cache import GSID
from enricher.resolution.object_lookup import MODIFIED_DATE, ObjectLookup
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
"""The cache's note that holds the cursors: no Gainsight object has such a name."""
OVERLAP = 120_000  # milliseconds that each poll reaches back behind the last one, for rows that become visible late
MAX_PAGES = 4  # of changes: more are not worth reading
DAY = 86_400_000
AHEAD = DAY // 24  # of the present, that a cursor may be: clocks are set back; one still later counts from now
REFUSED_FOR = DAY // 4  # before an object whose changes could not be read is polled again


RefreshCursors = Mapping[str, int]
"""Object or delete log → until when its changes are known (milliseconds of the tenant's clock); a missing one counts
from now."""


class IncrementalRefresh:
    """Follows the changes of one connector's entities.

    Args:
        interval: milliseconds between two polls of the same object.
    """

    def __init__(
        self, lookup: TenantLookup, people: PeopleCache, objects: Mapping[str, ObjectLookup], interval: int
    ) -> None:
        self._lookup = lookup
        self._people = people
        self._objects = objects
        self._scans = people.scans | {name: one.scan for name, one in objects.items()}
        self._interval = interval
        self._absent_log: dict[str, int] = {}  # delete log → when it was found missing
        self._no_dates: dict[str, int] = {}  # object → when its changes could not be read

    async def if_due(self, urgent: Sequence[str] = ()) -> None:
        """Polls whatever was last polled an interval ago. Raises GainsightError as a query does.

        Args:
            urgent: objects that do not wait for their turn.
        """
        if not self._lookup.renew:
            return
        now, cursors = self._now(), self._cursors()
        if any(name not in cursors for name in self._followed()):  # its answers will be as of now
            self._keep(cursors, [], now)
            cursors = self._cursors()
        jobs: list[Coroutine[Any, Any, str]] = []
        if now - cursors.get(MEMBER, now) >= self._interval:
            jobs.append(self._members(cursors))
        objects = [name for name in urgent if now - cursors.get(name, now) >= self._interval]
        others = [name for name in self._in_turn() if name not in objects]
        if others and now - max(cursors.get(name, now) for name in others) >= self._interval:  # one an interval
            objects.append(min(others, key=lambda name: cursors.get(name, now)))
        jobs += [self._object(name, cursors) for name in objects]
        if (due := self._log_due(cursors, now)) is not None:
            jobs.append(self._deleted(due, cursors, now))
        if jobs:
            self._keep(cursors, [name for name in await gather_or_cancel(*jobs) if name], now)

    def _keep(self, cursors: RefreshCursors, done: Sequence[str], now: int) -> None:
        at = min(now, self._now())  # the tenant's clock may have become known since
        until = dict.fromkeys(self._followed(), at) | dict(cursors) | dict.fromkeys(done, at)
        self._lookup.keep(REFRESH, "tenant", self._lookup.definition.host, (), [{"until": until}])

    def _followed(self) -> list[str]:
        return [*(name for name in self._lookup.described if name != required.ACTIVITY), MEMBER, *LOGS]

    def _cursors(self) -> RefreshCursors:
        note = self._lookup.cache.get(self._lookup.key(REFRESH, "tenant", self._lookup.definition.host))
        until = note.rows[0].get("until") if note is not None and note.rows else None
        if not isinstance(until, dict):
            return {}
        latest = self._now() + AHEAD
        return {name: at for name, at in until.items() if type(at) is int and 0 <= at <= latest}

    def _now(self) -> int:
        at = self._lookup.client.tenant_now()
        return at if at is not None else self._lookup.clock.now()

    def _in_turn(self) -> list[str]:
        """The objects besides members that are in the cache; users where there are none."""
        lookup = self._lookup
        names = [GSUSER, *([PERSON] if self._people.link else []), required.COMPANY, required.RELATIONSHIP]
        names = [n for n in (*names, *lookup.definition.objects) if n in lookup.described]
        names = [n for n in names if not self._reports_no_changes(n)]
        return [n for n in names if next(lookup.cache.keys(lookup.definition.id, n), None) is not None] or [GSUSER]

    # Modified entities

    async def _members(self, cursors: RefreshCursors) -> str:
        joined = self._people.person_join()
        if joined is None:
            if self._people.link is None:
                rows = await self._changed(PERSON, self._lookup.columns(PERSON, GSID), cursors, MEMBER)
                self._take(rows, PERSON, lambda changed: self._people.change(PERSON, changed))
            else:
                link = self._people.link
                rows = await self._changed(MEMBER, self._lookup.columns(MEMBER, link), cursors, MEMBER)
                if rows is None:
                    self._lookup.drop_all(PERSON)
                for row in rows or ():  # looked up again when an activity mentions their persons
                    self._lookup.drop(self._lookup.key(PERSON, GSID, str(value_of(row, link))))
            return MEMBER
        person, select = joined
        rows = await self._changed(MEMBER, select, cursors, MEMBER, f"{person}.{MODIFIED_DATE}")
        self._take(rows, MEMBER, self._people.change_members)
        return MEMBER

    async def _object(self, name: str, cursors: RefreshCursors) -> str:
        lookup = self._lookup
        if name in (GSUSER, PERSON):
            rows = await self._changed(name, lookup.columns(name, GSID), cursors, name)
            self._take(rows, name, lambda changed: self._people.change(name, changed))
            return name
        rows = await self._changed(name, self._objects[name].columns(), cursors, name)
        self._take(rows, name, self._objects[name].change)
        return name

    def _take(self, rows: list[Row] | None, name: str, change: Callable[[Sequence[Row]], None]) -> None:
        """Takes changed rows over. Where there are too many, all answers are dropped, to be looked up again."""
        if rows is not None:
            change(rows)
            return
        self._scans[name].reset()
        self._lookup.drop_all(PERSON if name == MEMBER else name)

    async def _changed(
        self, name: str, select: Sequence[str], cursors: RefreshCursors, since: str, *besides: str
    ) -> list[Row] | None:
        """Rows modified since the last poll; [] where the tenant cannot say; None: too many."""
        start = format_date(whole_second(max(0, cursors.get(since, self._now()) - OVERLAP)))
        described = self._lookup.described.get(name)
        if described is None or described.field(MODIFIED_DATE) is None:
            self._log_once(name, f"{name} has no {MODIFIED_DATE}")
            return []
        where = [Condition(field, "GTE", [start]) for field in (MODIFIED_DATE, *besides)]
        capabilities = self._lookup.capabilities
        if besides and capabilities.allows_or is False:
            where = where[:1]
        try:
            rows = await self._pages(Query(name, tuple(select), where, {GSID: "asc"}, either=len(where) > 1))
        except (RefusedQueryError, ConfigError) as error:
            if len(where) > 1 and capabilities.allows_or is None and not _is_for_key(error):
                capabilities.allows_or = False
                return await self._changed(name, select, cursors, since, *besides)
            if _is_for_key(error):
                raise
            self._log_once(name, str(error))
            return []
        if len(where) > 1:
            capabilities.allows_or = True
        return rows

    async def _pages(self, query: Query) -> list[Row] | None:
        rows: list[Row] = []
        read = 0
        for _ in range(MAX_PAGES):
            page = await self._lookup.client.query(
                Query(query.object_name, query.select, query.where, query.order_by, MAX_ROWS, read, query.either)
            )
            read += len(page)
            rows += self._lookup.usable(query.object_name, page)
            if not page or self._lookup.capabilities.page_cap.is_last(len(page)):
                return rows
        return None

    def _log_once(self, name: str, cause: str) -> None:
        if not self._reports_no_changes(name):
            self._no_dates[name] = self._now()
            log.info("changes_not_reported", connector=self._lookup.definition.id, object=name, cause=cause)

    def _reports_no_changes(self, name: str) -> bool:
        """Whether the object's changes could not be read when last tried, in the last six hours."""
        return self._now() - self._no_dates.get(name, -DAY) < REFUSED_FOR

    # Deleted entities

    def _log_due(self, cursors: RefreshCursors, now: int) -> str | None:
        """The delete log to poll: the first once an interval, the other once a day, neither where it is missing."""
        for name, every in zip(reversed(LOGS), (DAY, self._interval), strict=True):
            if now - cursors.get(name, now) >= every and now - self._absent_log.get(name, 0) >= DAY:
                return name
        return None

    async def _deleted(self, name: str, cursors: RefreshCursors, now: int) -> str:
        """The log's name; "" where the tenant does not have it."""
        lookup = self._lookup
        objects = [n for n in lookup.described if n != required.ACTIVITY]
        start = whole_second(max(0, cursors.get(name, now) - OVERLAP, now - LOG_DAYS * DAY))
        try:
            found = await deleted_records(lookup.client, name, start, now, objects)
        except (RefusedQueryError, ConfigError) as error:
            if _is_for_key(error):
                raise
            self._absent_log[name] = now
            log.info("deletions_not_reported", connector=lookup.definition.id, way=name, cause=str(error))
            return ""
        named = {n.lower(): n for n in objects}
        by_object: defaultdict[str, set[str]] = defaultdict(set)
        for object_name, gsid in found:
            by_object[named.get(object_name, object_name)].add(gsid)
        for name_of, gsids in by_object.items():  # each of them looks through all answers about its object
            await asyncio.sleep(0)
            remove = self._people.remove if name_of in self._people.scans else lookup.remove_rows
            remove(name_of, gsids)
        return name


def _is_for_key(error: Exception) -> bool:
    """Whether the key is refused, and not the query."""
    return isinstance(error, ConfigError) and (
        error.status in (401, 403) or (error.code or "").startswith(("GS_APIG_24", "GSOBJ_1024"))
    )
