"""Look-ups of companies, relationships and custom objects: all rows of a value are one answer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import structlog

from enricher.resolution.entity_cache import GSID
from enricher.resolution.full_scan import FullScan, ScanSpec
from enricher.resolution.people_cache import text_of
from enricher.resolution.tenant_lookup import TenantLookup
from frame_gainsight.gainsight import RefusedQueryError, Row, UnknownFieldError, value_of

log = structlog.get_logger(__name__)

MODIFIED_DATE = "ModifiedDate"
"""The date of change of every object but the timeline, which has `LastModifiedDate`."""


class ObjectLookup:
    """Looks up and caches the rows of one object by the values of one column.

    Attributes:
        scan: the object's full scan.
    """

    def __init__(self, lookup: TenantLookup, name: str, field: str, max_scan_rows: int) -> None:
        self._lookup = lookup
        self._name = name
        self._field = field
        self.scan = FullScan(lookup, name, max_scan_rows, self._scan_spec)

    def columns(self) -> tuple[str, ...]:
        """The columns to select; () for an object that the tenant lacks and that is not mapped."""
        return self._lookup.columns(self._name, self._field)

    async def find(self, values: Sequence[str]) -> dict[str, list[Row]]:
        """Rows by value, from the cache and, for values that it lacks, in as few queries as the tenant takes."""
        columns = self.columns() if values else ()
        if not columns:
            return {}
        if self._unknown(columns, values):
            await self._scan(columns, values)
        if missing := self._unknown(columns, values):
            self.scan.add_lookup(missing)
            rows, columns = await self._lookup.rows_in(self._name, self._field, missing, columns)
            self._keep(columns, rows, missing)
        answers = {v: self._lookup.fresh(self._name, self._field, v, columns) for v in values}
        return {v: list(entity.rows) for v, entity in answers.items() if entity is not None and entity.rows}

    def absent_by_scan_only(self, values: Sequence[str]) -> bool:
        """Whether the absence of some values is inferred from a full scan, and not from a look-up of them."""
        if not values or not self.columns() or not self.scan.is_exhausted():
            return False
        return any(self._lookup.key(self._name, self._field, v) not in self._lookup.cache for v in values)

    def _unknown(self, columns: tuple[str, ...], values: Sequence[str]) -> list[str]:
        # An activity names a Gsid: then it exists or has existed, though it may be newer than the full scan.
        if self._field != GSID and self.scan.is_confirmed():
            return []
        return [v for v in values if self._lookup.fresh(self._name, self._field, v, columns) is None]

    async def _scan(self, columns: tuple[str, ...], values: Sequence[str]) -> None:
        if (spec := self.scan.spec()) is None:
            return
        try:
            await self.scan.run(spec, lambda: self.scan.lookup_calls(self._unknown(columns, values)))
        except (RefusedQueryError, UnknownFieldError) as error:  # a look-up by value shows the fault
            log.info("full_scan_refused", connector=self._lookup.definition.id, object=self._name, cause=str(error))
            self.scan.give_up(spec)

    def _scan_spec(self) -> ScanSpec | None:
        """How the object is scanned; None for one without a date of change: it could not be refreshed."""
        described = self._lookup.described.get(self._name)
        if described is None or any(described.field(column) is None for column in (GSID, MODIFIED_DATE)):
            return None
        columns = self.columns()
        return ScanSpec(self._field, columns, columns, self._name, lambda rows: self._keep(columns, rows))

    def _keep(self, columns: tuple[str, ...], rows: Sequence[Row], values: Sequence[str] = ()) -> None:
        """Caches one answer for each of the values, and for each other value that the rows have."""
        by_value: defaultdict[str, list[Row]] = defaultdict(list, {value: [] for value in values})
        for row in rows:
            if value := self._value(row):
                by_value[value].append(row)
        for value, same in by_value.items():
            self._lookup.keep(self._name, self._field, value, columns, _in_order(same))

    def change(self, rows: Sequence[Row]) -> None:
        """Takes changed rows over into the answers that hold them; a row may have moved to another answer."""
        lookup, name, columns = self._lookup, self._name, self.columns()
        changed = {text_of(row, GSID): row for row in rows if text_of(row, GSID)}
        new: defaultdict[str, list[Row]] = defaultdict(list)
        for row in changed.values():
            new[self._value(row)].append(row)
        for key in lookup.cache.keys(lookup.definition.id, name):
            entity = lookup.cache.get(key) if key.field == self._field else None
            if entity is None:
                continue
            left = [r for r in entity.rows if text_of(r, GSID) not in changed]
            mine = new.pop(key.value, [])
            if not mine and len(left) == len(entity.rows):
                continue
            if left and not set(columns) <= set(entity.columns):
                lookup.drop(key)  # the rows that were not changed lack what is mapped by now
            else:
                lookup.keep(name, self._field, key.value, columns, _in_order([*left, *mine]))
        for value, mine in new.items():
            if value and self.scan.reaches(value):
                lookup.keep(name, self._field, value, columns, _in_order(mine))

    def _value(self, row: Row) -> str:
        return str(value_of(row, self._field) or "")


def _in_order(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: text_of(row, GSID))
