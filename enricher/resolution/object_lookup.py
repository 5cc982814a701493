"""Look-ups of companies, relationships and custom objects: all rows of a value are one answer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import structlog

from enricher.resolution.entity_cache import GSID
from enricher.resolution.full_scan import FullScans, ScanSpec
from enricher.resolution.people_cache import text_of
from enricher.resolution.tenant_lookup import TenantLookup
from frame_gainsight.gainsight import RefusedQueryError, Row, UnknownFieldError, value_of

log = structlog.get_logger(__name__)

MODIFIED_DATE = "ModifiedDate"
"""The date of change of every object but the timeline, which has `LastModifiedDate`."""


class ObjectLookup:
    """Looks up the objects that one connector's activities refer to besides people, and caches them."""

    def __init__(self, lookup: TenantLookup, scans: FullScans) -> None:
        self._lookup = lookup
        self._scans = scans

    async def find(self, name: str, field: str, values: Sequence[str]) -> dict[str, list[Row]]:
        """Rows by value, from the cache and, for what it lacks, in as few queries as the tenant takes."""
        lookup = self._lookup
        columns = lookup.columns(name, field) if values else ()
        if not columns:
            return {}
        if self._unknown(name, field, columns, values):
            await self._scan(name, field, columns, values)
        if missing := self._unknown(name, field, columns, values):
            self._scans.add_lookup(name, missing)
            rows, columns = await lookup.rows_in(name, field, missing, columns)
            self._keep(name, field, columns, rows, missing)
        answers = {v: lookup.fresh(name, field, v, columns) for v in values}
        return {v: list(entity.rows) for v, entity in answers.items() if entity is not None and entity.rows}

    def absent_by_scan_only(self, name: str, field: str, values: Sequence[str]) -> bool:
        """Whether the absence of some values is inferred from a full scan, and not from a look-up of them."""
        columns = self._lookup.columns(name, field) if values else ()
        if not columns or not self._scans.is_exhausted(self._scan_spec(name, field, columns)):
            return False
        return any(self._lookup.key(name, field, v) not in self._lookup.cache for v in values)

    def _unknown(self, name: str, field: str, columns: tuple[str, ...], values: Sequence[str]) -> list[str]:
        # An activity names a Gsid: then it exists or has existed, though it may be newer than the full scan.
        if field != GSID and self._scans.is_confirmed(self._scan_spec(name, field, columns)):
            return []
        return [v for v in values if self._lookup.fresh(name, field, v, columns) is None]

    async def _scan(self, name: str, field: str, columns: tuple[str, ...], values: Sequence[str]) -> None:
        def lookup_calls() -> int:
            return self._scans.lookup_calls(name, self._unknown(name, field, columns, values))

        if (spec := self._scan_spec(name, field, columns)) is None:
            return
        try:
            await self._scans.scan(spec, lookup_calls)
        except (RefusedQueryError, UnknownFieldError) as error:  # a look-up by value shows the fault
            log.info("full_scan_refused", connector=self._lookup.definition.id, object=name, cause=str(error))
            self._scans.give_up(spec)

    def _scan_spec(self, name: str, field: str, columns: tuple[str, ...]) -> ScanSpec | None:
        """How an object is scanned; None for one without a date of change: it could not be refreshed."""
        described = self._lookup.described.get(name)
        if described is None or any(described.field(column) is None for column in (GSID, MODIFIED_DATE)):
            return None
        return ScanSpec(name, field, columns, columns, name, lambda rows: self._keep(name, field, columns, rows))

    def _keep(
        self, name: str, field: str, columns: tuple[str, ...], rows: Sequence[Row], values: Sequence[str] = ()
    ) -> None:
        """Caches one answer for each of the values, and for each other value that the rows have."""
        by_value: defaultdict[str, list[Row]] = defaultdict(list, {value: [] for value in values})
        for row in rows:
            if value := _value(row, field):
                by_value[value].append(row)
        for value, same in by_value.items():
            self._lookup.keep(name, field, value, columns, _in_order(same))

    # Refreshing

    def change(self, name: str, field: str, rows: Sequence[Row]) -> None:
        """Takes changed rows over into the answers that hold them; a row may have moved to another answer."""
        lookup, columns = self._lookup, self._lookup.columns(name, field)
        changed = {text_of(row, GSID): row for row in rows if text_of(row, GSID)}
        new: defaultdict[str, list[Row]] = defaultdict(list)
        for row in changed.values():
            new[_value(row, field)].append(row)
        for key in lookup.cache.keys(lookup.definition.id, name):
            entity = lookup.cache.get(key) if key.field == field else None
            if entity is None:
                continue
            left = [r for r in entity.rows if text_of(r, GSID) not in changed]
            mine = new.pop(key.value, [])
            if not mine and len(left) == len(entity.rows):
                continue
            if left and not set(columns) <= set(entity.columns):
                lookup.drop(key)  # the rows that were not changed lack what is mapped by now
            else:
                lookup.keep(name, field, key.value, columns, _in_order([*left, *mine]))
        spec = self._scan_spec(name, field, columns)
        for value, mine in new.items():
            if value and self._scans.reaches(spec, value):
                lookup.keep(name, field, value, columns, _in_order(mine))

    def remove(self, name: str, gsid: str) -> None:
        """Takes a deleted row out of the answers that hold it."""
        lookup = self._lookup
        for key in lookup.cache.keys(lookup.definition.id, name):
            entity = lookup.cache.get(key)
            if entity is not None and any(value_of(row, GSID) == gsid for row in entity.rows):
                left = [row for row in entity.rows if value_of(row, GSID) != gsid]
                lookup.keep(name, key.field, key.value, entity.columns, left)


def _value(row: Row, field: str) -> str:
    return str(value_of(row, field) or "")


def _in_order(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: text_of(row, GSID))
