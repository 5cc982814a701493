"""Full scans: an object that was read to its end costs no further call, for rows that it has and for those it lacks.

The first page costs no more than a look-up by value. The rest is looked up by value until that has cost two calls, and
then scanned, unless the object has too many rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import structlog

from enricher.resolution.entity_cache import GSID, Entity
from enricher.resolution.tenant_lookup import TenantLookup
from frame_gainsight.gainsight import Query, Row, scan_from

log = structlog.get_logger(__name__)

SCAN_PROGRESS = "!whole"
"""The cache's notes that hold how far objects were scanned: no Gainsight object has such a name."""
SCAN_THRESHOLD_CALLS = 2  # calls by value, from which on the rest of an object is worth a scan
UNCOUNTED_PAGES = 2  # scanned before the object's size is asked for: that is a call too


@dataclass(frozen=True, slots=True)
class ScanProgress:
    """How far an object has been scanned.

    Attributes:
        columns: those that its rows were read with.
        begun: when the scan began (milliseconds).
        rows: number of rows read.
        last: the key's value of the last row read.
        exhausted: the last page was short: nothing seems to follow it.
        confirmed: nothing follows it, since a longer page has been seen, or since it was empty.
        too_large: the scan is not continued.
    """

    columns: tuple[str, ...]
    begun: int
    rows: int = 0
    last: str = ""
    exhausted: bool = False
    confirmed: bool = False
    too_large: bool = False

    def row(self) -> Row:
        """The persisted form."""
        return {
            "begun": self.begun,
            "rows": self.rows,
            "last": self.last,
            "ended": self.exhausted,
            "surely": self.confirmed,
            "too_large": self.too_large,
        }

    @staticmethod
    def of(columns: tuple[str, ...], row: Row) -> ScanProgress | None:
        """The progress out of its persisted form; the oldest form has no `rows`, `ended` and `too_large`.

        None for another form: the object is scanned anew.
        """
        begun, rows, last = row.get("begun"), row.get("rows", 0), row.get("last")
        flags = row.get("ended", True), row.get("surely"), row.get("too_large", False)
        if type(begun) is not int or type(rows) is not int or not isinstance(last, str) or rows < 0:
            return None
        if not all(isinstance(flag, bool) for flag in flags):
            return None
        return ScanProgress(columns, begun, rows, last, *map(bool, flags))


@dataclass(frozen=True, slots=True)
class ScanSpec:
    """How an object is scanned.

    Attributes:
        key: the column that orders the scan; rows with the same value of it are kept together.
        columns: those that a scan must have been made with to count.
        select: those of the query.
        kept_as: the object that the answers are cached under.
        keep: caches a page of rows.
    """

    key: str
    columns: tuple[str, ...]
    select: tuple[str, ...]
    kept_as: str
    keep: Callable[[Sequence[Row]], None]


class FullScan:
    """The full scan of one object at one tenant, and the decision when it is worth it.

    Args:
        max_rows: the most rows of an object that is scanned; 0: none is.
        spec: how the object is scanned, by the columns of today; None where the tenant does not allow it.
    """

    def __init__(self, lookup: TenantLookup, name: str, max_rows: int, spec: Callable[[], ScanSpec | None]) -> None:
        self.spec = spec
        self._lookup = lookup
        self._name = name
        self._max_rows = min(max_rows, lookup.cache.max_entries)
        self._cache_full_logged = False
        self._calls_by_value = 0  # made so far
        self._evictions = 0  # when the scan began
        self._decoded: tuple[Entity, ScanProgress | None] | None = None  # the note, and what it holds

    def progress(self) -> ScanProgress | None:
        """How far the object has been scanned; None where that does not count any more."""
        spec, lookup = self.spec(), self._lookup
        note = lookup.cache.get(lookup.key(SCAN_PROGRESS, "object", self._name))
        if spec is None or note is None or not note.rows:
            return None
        if self._decoded is None or self._decoded[0] is not note:
            self._decoded = note, ScanProgress.of(note.columns, note.rows[0])
        progress = self._decoded[1]
        if progress is None:
            return None
        old = lookup.since is not None and abs(lookup.since - progress.begun) > lookup.cache.ttl
        if old or not set(spec.columns) <= set(progress.columns):
            return None
        if lookup.cache.evictions(lookup.definition.id, spec.kept_as) > self._evictions:
            self._log_cache_full()
            return replace(progress, exhausted=False, confirmed=False, too_large=True)  # for the cache
        return progress

    def _log_cache_full(self) -> None:
        if not self._cache_full_logged:
            self._cache_full_logged = True
            log.warning(
                "entity_cache_full",
                connector=self._lookup.definition.id,
                object=self._name,
                hint="it is looked up by value, which costs more calls: raise FRAME_GAINSIGHT_ENTITIES_MAX",
            )

    def is_exhausted(self) -> bool:
        """Whether the scan has reached the end, as far as the length of its last page shows."""
        progress = self.progress()
        return progress is not None and progress.exhausted and not progress.too_large

    def is_confirmed(self) -> bool:
        """Whether a row of the object that is not in the cache is known to be absent."""
        progress = self.progress()
        return progress is not None and progress.confirmed and not progress.too_large

    def reaches(self, key: str) -> bool:
        """Whether all rows with that key were scanned, so that changes since then make them complete."""
        progress = self.progress()
        return progress is not None and not progress.too_large and (progress.confirmed or key <= progress.last)

    def reset(self) -> None:
        """Forgets the scan of an object that has changed too much to follow: the next unknown value begins it anew."""
        self._lookup.keep(SCAN_PROGRESS, "object", self._name, (), [])

    def give_up(self, spec: ScanSpec) -> None:
        """Notes that the object cannot be scanned."""
        self._keep(ScanProgress(spec.columns, self._lookup.clock.now(), too_large=True))

    def lookup_calls(self, values: Sequence[str]) -> int:
        """The number of calls that a look-up of these values takes."""
        return -(-len(values) // self._lookup.capabilities.chunking[self._name].size)

    def add_lookup(self, values: Sequence[str]) -> None:
        """Counts the calls of a look-up by value towards the threshold from which on a scan is worth it."""
        self._calls_by_value += self.lookup_calls(values)

    async def run(self, spec: ScanSpec, lookup_calls: Callable[[], int], *, expected: int = 0) -> None:
        """Scans the first page, or the page that may follow the last one, or the rest where that is worth it.

        Raises as `scan_from` does; pages read before an error are kept.

        Args:
            lookup_calls: the number of calls that it takes to look up by value what is not known by then.
            expected: rows that are worth a scan at any cost.
        """
        lookup, progress = self._lookup, self.progress()
        if not self._max_rows or (progress is not None and (progress.confirmed or progress.too_large)):
            return
        more_follows = progress is not None and not progress.exhausted
        if progress is None:
            progress = ScanProgress(spec.columns, lookup.clock.now())
            self._evictions = lookup.cache.evictions(lookup.definition.id, spec.kept_as)
        pages, counted, query = 0, False, Query(self._name, spec.select)
        while True:
            if more_follows and progress.rows >= expected:
                if self._calls_by_value + lookup_calls() < SCAN_THRESHOLD_CALLS:
                    break
                if pages >= UNCOUNTED_PAGES and not counted:
                    counted = True
                    if await self._is_too_large():
                        progress = replace(progress, too_large=True)
                        self._keep(progress)
                        break
            page_cap = lookup.capabilities.page_cap
            part = await scan_from(lookup.client, query, spec.key, page_cap, after=progress.last)
            spec.keep(lookup.usable(self._name, part.rows))
            rows = progress.rows + len(part.rows)
            progress = replace(
                progress,
                rows=rows,
                last=part.last,
                exhausted=part.exhausted,
                confirmed=part.confirmed,
                too_large=not part.exhausted and (rows >= self._max_rows or lookup.cache.is_full),
            )
            self._keep(progress)
            if progress.exhausted or progress.too_large:
                break
            pages += 1
            more_follows = part.full or pages > 1  # a page of round length may be the last one
        details = {name: value for name, value in asdict(progress).items() if name != "columns"}
        log.info("full_scan_done", connector=lookup.definition.id, object=self._name, **details)

    async def _is_too_large(self) -> bool:
        """Whether there is a row behind the most that are scanned: one call for one narrow row."""
        further = Query(self._name, [GSID], order_by={GSID: "asc"}, limit=1, offset=self._max_rows)
        return bool(await self._lookup.client.query(further))

    def _keep(self, progress: ScanProgress) -> None:
        self._lookup.keep(SCAN_PROGRESS, "object", self._name, progress.columns, [progress.row()])
