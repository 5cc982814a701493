"""Cached look-ups at one connector's tenant."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import orjson
import structlog

from enricher.resolution.entity_cache import GSID, Change, Entity, EntityCache, EntityKey
from enricher.resolution.tenant_capabilities import CAPABILITIES, SPENT, TenantCapabilities
from frame_gainsight.connectors import Definition
from frame_gainsight.connectors.columns import required
from frame_gainsight.gainsight import (
    Field,
    GainsightClient,
    ObjectDescription,
    Row,
    UnknownFieldError,
    UnknownObjectError,
    fetch_where_in,
    value_of,
)
from frame_gainsight.runtime import Clock

log = structlog.get_logger(__name__)

LOGGED_FIELDS = 20
_PLAIN = frozenset((str, bool, float, type(None)))
DESCRIBE = "!describe"
"""The cache's notes that hold objects' descriptions: no Gainsight object has such a name."""


class TenantLookup:
    """Queries one tenant and caches the results.

    Attributes:
        renew: False: an answer counts however old it is, as for a replay.
        described: the tenant's objects by name, as of the last `describe`.
    """

    def __init__(self, definition: Definition, client: GainsightClient, cache: EntityCache, clock: Clock) -> None:
        self.definition = definition
        self.client = client
        self.cache = cache
        self.clock = clock
        self.renew = True
        self.described: Mapping[str, ObjectDescription] = {}
        self._new: dict[EntityKey, Change] = {}
        self._columns: dict[tuple[str, tuple[str, ...]], tuple[str, ...]] = {}
        self._refused: set[tuple[str, str]] = set()  # (object, column) described, but not to be queried
        note = cache.get(self.key(CAPABILITIES, "tenant", definition.host))
        self.capabilities = TenantCapabilities.of(note.rows[0]) if note and note.rows else TenantCapabilities()
        self._published = self._learnt()

    @property
    def since(self) -> int | None:
        """The moment that ages are counted to (milliseconds); None where they do not count."""
        return self.clock.now() if self.renew else None

    def key(self, object_name: str, field: str, value: str) -> EntityKey:
        return EntityKey(self.definition.id, object_name, field, value)

    def keep(
        self,
        object_name: str,
        field: str,
        value: str,
        columns: tuple[str, ...],
        rows: Sequence[Row],
        at: int | None = None,
    ) -> None:
        """Puts an answer, as of now or as of another moment (milliseconds), into the cache and among the new ones."""
        entity = Entity(self.key(object_name, field, value), columns, rows, self.clock.now() if at is None else at)
        self.cache.put(entity)
        self._new[entity.key] = entity

    def drop(self, key: EntityKey) -> None:
        """Takes an answer out of the cache for good: it does not come back with a restart either."""
        if key in self.cache:
            self.cache.drop(key)
            self._new[key] = key

    def remove_rows(self, object_name: str, gsids: Collection[str]) -> None:
        """Takes deleted rows out of the answers that hold them."""
        for key in self.cache.keys(self.definition.id, object_name):
            entity = self.cache.get(key)
            if entity is not None and any(_gsid(row) in gsids for row in entity.rows):
                left = [row for row in entity.rows if _gsid(row) not in gsids]
                self.keep(object_name, key.field, key.value, entity.columns, left)

    def drop_all(self, object_name: str) -> None:
        """Takes all answers about an object out of the cache for good."""
        for key in self.cache.keys(self.definition.id, object_name):
            self.drop(key)

    def take_new(self) -> list[Change]:
        """The answers that have changed since the last call of this, each in its latest state."""
        if (row := self._learnt()) != self._published:
            self._published = row
            self.keep(CAPABILITIES, "tenant", self.definition.host, (), [row])
        changes = list(self._new.values())
        self._new.clear()
        return changes

    def _learnt(self) -> Row:
        """The tenant's capabilities and the calls of today so far, in their persisted form."""
        return self.capabilities.row() | {SPENT: list(self.client.spent)}

    def fresh(self, object_name: str, field: str, value: str, columns: Iterable[str] = ()) -> Entity | None:
        return self.cache.fresh(self.key(object_name, field, value), columns, self.since)

    # Descriptions

    async def describe(self) -> None:
        """Learns the objects' fields, from the cache or in one call (two where mapped look-ups lead further)."""
        described = await self._described(required.objects_of(self.definition))
        if further := required.looked_up_objects(self.definition, described):
            described |= await self._described(further)
        self.described = described
        self._columns.clear()

    def know(self, described: Mapping[str, ObjectDescription]) -> None:
        """Takes over descriptions that somebody else has just fetched: an object that is not among them is absent."""
        for name in required.objects_of(self.definition):
            self.keep(DESCRIBE, "object", name, (), [_compact(described[name])] if name in described else [])

    async def _described(self, names: Sequence[str]) -> dict[str, ObjectDescription]:
        known: dict[str, ObjectDescription] = {}
        missing = []
        for name in names:
            entity = self.fresh(DESCRIBE, "object", name)
            if entity is None:
                missing.append(name)
            elif entity.rows:
                try:
                    known[name] = _description(entity.rows[0])
                except (TypeError, ValueError, LookupError, AttributeError):  # not of this form: it is fetched again
                    missing.append(name)
        if missing:
            fetched = await self.client.describe(missing)
            for name in missing:
                self.keep(DESCRIBE, "object", name, (), [_compact(fetched[name])] if name in fetched else [])
            known |= fetched
        return {name: known[name] for name in names if name in known}

    def columns(self, object_name: str, *besides: str) -> tuple[str, ...]:
        """The columns to select; () for an object that the tenant lacks and that is not mapped.

        Raises UnknownObjectError or UnknownFieldError when the tenant lacks a mapped object or column.
        """
        key = (object_name, besides)
        if key not in self._columns:
            self._columns[key] = self._columns_of(object_name, besides)
        return self._columns[key]

    def _columns_of(self, object_name: str, besides: tuple[str, ...]) -> tuple[str, ...]:
        description = self.described.get(object_name)
        mapped = required.mapped_columns(self.definition, object_name)
        if description is None:
            if mapped or object_name in self.definition.objects:
                self._describe_again(object_name)
                raise UnknownObjectError(
                    f"The tenant does not describe '{object_name}', which the mapping takes fields of. Ask the "
                    "Gainsight admin to let the key's owner read it, or change the mapping."
                )
            return ()
        for path in mapped:
            if "." not in path and description.field(path) is None:
                self._describe_again(object_name)
                raise UnknownFieldError(object_name, path, None)
        needed = {name.lower() for name in (*mapped, *besides)}
        found = [
            c
            for c in required.columns(self.definition, object_name, description)
            if c.lower() in needed or (object_name, c.lower()) not in self._refused
        ]
        return tuple(dict.fromkeys((*found, *besides)))

    def _describe_again(self, object_name: str) -> None:
        """Drops the description, so that the next batch fetches it: a missing object or column may be there by then."""
        self.drop(self.key(DESCRIBE, "object", object_name))

    # Queries

    async def rows_in(
        self, object_name: str, field: str, values: Sequence[str], columns: tuple[str, ...]
    ) -> tuple[list[Row], tuple[str, ...]]:
        """Every row whose field is one of the values, and the columns that the rows have.

        A described column that a query does not find is left out, unless it is mapped. Raises as `fetch_where_in` does.
        """
        while True:
            chunking = self.capabilities.chunking[object_name]
            try:
                rows = await fetch_where_in(
                    self.client, object_name, columns, field, values, chunking, page_cap=self.capabilities.page_cap
                )
            except UnknownFieldError as error:
                columns = self.without(error, object_name, columns, field)
                continue
            return self.usable(object_name, rows), columns

    def usable(self, object_name: str, rows: Sequence[Row]) -> list[Row]:
        """The rows of a reply, less the fields that cannot be kept as JSON, such as what is nested hundreds deep."""
        found = []
        for row in rows:
            unusable = [name for name, value in row.items() if type(value) not in _PLAIN and not _is_json(value)]
            if unusable:
                log.warning(
                    "fields_left_out", connector=self.definition.id, object=object_name, fields=unusable[:LOGGED_FIELDS]
                )
            found.append({name: row[name] for name in row if name not in unusable} if unusable else row)
        return found

    def without(
        self, error: UnknownFieldError, object_name: str, columns: tuple[str, ...], *needed: str
    ) -> tuple[str, ...]:
        """The columns less the one that was not found. Raises the error where that one is needed."""
        gone = (error.field or "").lower()
        self._describe_again(object_name)
        fixed = {n.lower() for n in (*required.mapped_columns(self.definition, object_name), *needed)}
        if not gone or gone in fixed or gone not in {c.lower() for c in columns}:
            raise error
        self._refused.add((object_name, gone))
        self._columns.clear()
        return tuple(c for c in columns if c.lower() != gone)


def _gsid(row: Row) -> str:
    value = value_of(row, GSID)
    return value if isinstance(value, str) else ""


def _compact(description: ObjectDescription) -> Row:
    fields = [
        [f.name, f.data_type, f.lookup, list(f.lookup_objects), dict(f.options)] for f in description.fields.values()
    ]
    return {"name": description.name, "fields": fields}


def _description(row: Row) -> ObjectDescription:
    """Raises TypeError, ValueError, LookupError or AttributeError for a row of another form."""
    fields = []
    for name, kind, lookup, objects, options in row["fields"]:
        texts = (name, kind, *objects, *options, *options.values(), *(() if lookup is None else (lookup,)))
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("a description has texts only")
        fields.append(Field(name, kind, lookup, tuple(objects), options))
    return ObjectDescription(str(row["name"]), {f.name.lower(): f for f in fields})


def _is_json(value: Any) -> bool:
    """Whether a value can be kept in a cached row, which is nested a little deeper still."""
    try:
        orjson.dumps([[[[value]]]])
    except TypeError:
        return False
    return True
