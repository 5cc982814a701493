"""Companies, relationships and custom objects: all rows of a value, kept as one answer."""

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

MODIFIED = "ModifiedDate"


class ObjectLookup:
    """What the activities of one connector refer to besides people."""

    def __init__(self, desk: TenantLookup, wholes: FullScans) -> None:
        self._desk = desk
        self._wholes = wholes

    async def find(self, name: str, field: str, values: Sequence[str]) -> dict[str, list[Row]]:
        """Rows by value, from the cache and, for what it lacks, in as few queries as the tenant takes."""
        desk = self._desk
        columns = desk.columns(name, field) if values else ()
        if not columns:
            return {}
        if self._unknown(name, field, columns, values):
            await self._read_whole(name, field, columns, values)
        if missing := self._unknown(name, field, columns, values):
            self._wholes.pay(name, missing)
            rows, columns = await desk.rows_in(name, field, missing, columns)
            self._keep(name, field, columns, rows, missing)
        answers = {v: desk.fresh(name, field, v, columns) for v in values}
        return {v: list(entity.rows) for v, entity in answers.items() if entity is not None and entity.rows}

    def unmet(self, name: str, field: str, values: Sequence[str]) -> bool:
        """Whether some values would be taken to have no rows, only since the object was read to its end without any."""
        columns = self._desk.columns(name, field) if values else ()
        state = self._wholes.state(self._reading(name, field, columns)) if columns else None
        if state is None or not state.ended or state.too_large:
            return False
        return any(self._desk.key(name, field, v) not in self._desk.cache for v in values)

    def _unknown(self, name: str, field: str, columns: tuple[str, ...], values: Sequence[str]) -> list[str]:
        # An activity names a Gsid: then there is or was such a record, though it be younger than what was read.
        if field != GSID and self._wholes.covers(self._reading(name, field, columns)):
            return []
        return [v for v in values if self._desk.fresh(name, field, v, columns) is None]

    async def _read_whole(self, name: str, field: str, columns: tuple[str, ...], values: Sequence[str]) -> None:
        def price() -> int:
            return self._wholes.calls(name, self._unknown(name, field, columns, values))

        if (reading := self._reading(name, field, columns)) is None:
            return
        try:
            await self._wholes.read_on(reading, price)
        except (RefusedQueryError, UnknownFieldError) as error:  # by value it is found out what is wrong
            log.info("not_read_as_a_whole", connector=self._desk.definition.id, object=name, cause=str(error))
            self._wholes.give_up(reading)

    def _reading(self, name: str, field: str, columns: tuple[str, ...]) -> ScanSpec | None:
        """None for an object that does not tell what was changed: it could not be followed."""
        described = self._desk.described.get(name)
        if described is None or any(described.field(column) is None for column in (GSID, MODIFIED)):
            return None
        return ScanSpec(name, field, columns, columns, name, lambda rows: self._keep(name, field, columns, rows))

    def _keep(
        self, name: str, field: str, columns: tuple[str, ...], rows: Sequence[Row], values: Sequence[str] = ()
    ) -> None:
        """One answer for each value that the rows have, or that was asked for."""
        by_value: defaultdict[str, list[Row]] = defaultdict(list, {value: [] for value in values})
        for row in rows:
            if value := _value(row, field):
                by_value[value].append(row)
        for value, same in by_value.items():
            self._desk.keep(name, field, value, columns, _in_order(same))

    # Following changes

    def change(self, name: str, field: str, rows: Sequence[Row]) -> None:
        """Takes changed rows over into the answers that hold them; a row may have moved to another answer."""
        desk, columns = self._desk, self._desk.columns(name, field)
        changed = {text_of(row, GSID): row for row in rows if text_of(row, GSID)}
        new: defaultdict[str, list[Row]] = defaultdict(list)
        for row in changed.values():
            new[_value(row, field)].append(row)
        for key in desk.cache.keys(desk.definition.id, name):
            entity = desk.cache.get(key) if key.field == field else None
            if entity is None:
                continue
            left = [r for r in entity.rows if text_of(r, GSID) not in changed]
            mine = new.pop(key.value, [])
            if not mine and len(left) == len(entity.rows):
                continue
            if left and not set(columns) <= set(entity.columns):
                desk.drop(key)  # the rows that were not changed lack what is mapped by now
            else:
                desk.keep(name, field, key.value, columns, _in_order([*left, *mine]))
        reading = self._reading(name, field, columns)
        for value, mine in new.items():
            if value and self._wholes.reaches(reading, value):
                desk.keep(name, field, value, columns, _in_order(mine))


def _value(row: Row, field: str) -> str:
    return str(value_of(row, field) or "")


def _in_order(rows: Sequence[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: text_of(row, GSID))
