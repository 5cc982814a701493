"""One connector's questions to its tenant: the client, what the tenant takes, and the lane's cache of its answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from enricher.resolution.entity_cache import Change, Entity, EntityCache, EntityKey
from frame_gainsight.connectors import Definition
from frame_gainsight.connectors.columns import required
from frame_gainsight.gainsight import (
    Chunking,
    Field,
    GainsightClient,
    ObjectDescription,
    PageCap,
    Row,
    UnknownFieldError,
    UnknownObjectError,
    fetch_where_in,
)
from frame_gainsight.runtime import Clock

DESCRIBE = "!describe"
FACTS = "!facts"
"""Objects of our own in the cache: no Gainsight object has such a name."""
SPENT = "spent"

_TAKEN = ("dotted", "dotted_in", "either", "named")


@dataclass
class TenantCapabilities:
    """What a tenant takes, learnt by asking; kept with its entities, so that it is learnt once.

    None: not tried yet. `dotted`: whether company_person gives the columns of its person. `dotted_in`: whether it can
    be asked for by them. `either`: whether one of two conditions is enough, and may be one of the person's. `named`:
    whether users can be asked for by name.
    """

    proven: PageCap = field(default_factory=PageCap)
    chunking: defaultdict[str, Chunking] = field(default_factory=lambda: defaultdict(Chunking))
    dotted: bool | None = None
    dotted_in: bool | None = None
    either: bool | None = None
    named: bool | None = None

    def row(self) -> Row:
        sizes = {name: c.size for name, c in sorted(self.chunking.items())}
        taken = {name: getattr(self, name) for name in _TAKEN}
        return {"page": self.proven.rows, "in": sizes, **taken}

    @staticmethod
    def of(row: Row) -> TenantCapabilities:
        facts = TenantCapabilities(PageCap(int(row.get("page") or 0)))
        for name in _TAKEN:
            setattr(facts, name, row.get(name))
        for name, size in (row.get("in") or {}).items():
            facts.chunking[name].size = max(1, int(size))
        return facts


class TenantLookup:
    """Asks, and keeps the answers.

    Attributes:
        renew: False: an answer counts however old it is, as for a replay.
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
        known = cache.get(self.key(FACTS, "tenant", definition.host))
        self.facts = TenantCapabilities.of(known.rows[0]) if known is not None and known.rows else TenantCapabilities()
        self._told = self._told_now()

    @property
    def since(self) -> int | None:
        """The time that ages count from: now, or None where they do not count."""
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
        """Puts an answer of this moment, or of another (milliseconds), into the cache, and among the new ones."""
        entity = Entity(self.key(object_name, field, value), columns, rows, self.clock.now() if at is None else at)
        self.cache.put(entity)
        self._new[entity.key] = entity

    def drop(self, key: EntityKey) -> None:
        """Takes an answer out of the cache for good: it does not come back with a restart either."""
        if key in self.cache:
            self.cache.drop(key)
            self._new[key] = key

    def take_new(self) -> list[Change]:
        """What has changed since this was last asked, each look-up's newest state."""
        if (row := self._told_now()) != self._told:
            self._told = row
            self.keep(FACTS, "tenant", self.definition.host, (), [row])
        changes = list(self._new.values())
        self._new.clear()
        return changes

    def _told_now(self) -> Row:
        """What is learnt of the tenant, with the calls of today so far."""
        return self.facts.row() | {SPENT: list(self.client.spent)}

    def fresh(self, object_name: str, field: str, value: str, columns: Iterable[str] = ()) -> Entity | None:
        return self.cache.fresh(self.key(object_name, field, value), columns, self.since)

    # What the tenant's objects are

    async def describe(self) -> None:
        """The objects' fields, from the cache or in one call (two where mapped look-ups lead further)."""
        described = await self._described(required.objects_of(self.definition))
        if further := required.looked_up_objects(self.definition, described):
            described |= await self._described(further)
        self.described = described
        self._columns.clear()

    def know(self, described: Mapping[str, ObjectDescription]) -> None:
        """Takes over what another look at the tenant has just described: what it did not find is not there."""
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
                known[name] = _description(entity.rows[0])
        if missing:
            fetched = await self.client.describe(missing)
            for name in missing:
                self.keep(DESCRIBE, "object", name, (), [_compact(fetched[name])] if name in fetched else [])
            known |= fetched
        return {name: known[name] for name in names if name in known}

    def columns(self, object_name: str, *besides: str) -> tuple[str, ...]:
        """The columns to ask for; () for an object that the tenant does not have and only we want.

        Raises UnknownObjectError or UnknownFieldError when the tenant lacks what the mapping takes.
        """
        asked = (object_name, besides)
        if asked not in self._columns:
            self._columns[asked] = self._columns_of(object_name, besides)
        return self._columns[asked]

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
        """Before the next question: what is missing may be there by then."""
        self.drop(self.key(DESCRIBE, "object", object_name))

    # Questions

    async def rows_in(
        self, object_name: str, field: str, values: Sequence[str], columns: tuple[str, ...]
    ) -> tuple[list[Row], tuple[str, ...]]:
        """Every row whose field is one of the values, and the columns that they have in the end.

        Without a described column that a query does not find, unless it is mapped. Raises as `fetch_where_in` does.
        """
        while True:
            chunking = self.facts.chunking[object_name]
            try:
                rows = await fetch_where_in(
                    self.client, object_name, columns, field, values, chunking, page_cap=self.facts.proven
                )
            except UnknownFieldError as error:
                columns = self.without(error, object_name, columns, field)
                continue
            return rows, columns

    def without(
        self, error: UnknownFieldError, object_name: str, columns: tuple[str, ...], *needed: str
    ) -> tuple[str, ...]:
        """The columns less the one that was not found. Raises the error where it cannot be done without."""
        gone = (error.field or "").lower()
        self._describe_again(object_name)
        fixed = {n.lower() for n in (*required.mapped_columns(self.definition, object_name), *needed)}
        if not gone or gone in fixed or gone not in {c.lower() for c in columns}:
            raise error
        self._refused.add((object_name, gone))
        self._columns.clear()
        return tuple(c for c in columns if c.lower() != gone)


def spent_before(cache: EntityCache, connector: str, host: str) -> tuple[int, int] | None:
    """The calls of a day (its number since 1970, UTC; how many), as an earlier owner of the lane left them."""
    known = cache.get(EntityKey(connector, FACTS, "tenant", host))
    spent = known.rows[0].get(SPENT) if known is not None and known.rows else None
    return (int(spent[0]), int(spent[1])) if spent else None


def _compact(description: ObjectDescription) -> Row:
    fields = [
        [f.name, f.data_type, f.lookup, list(f.lookup_objects), dict(f.options)] for f in description.fields.values()
    ]
    return {"name": description.name, "fields": fields}


def _description(row: Row) -> ObjectDescription:
    fields = [Field(n, t, lookup, tuple(objects), options) for n, t, lookup, objects, options in row["fields"]]
    return ObjectDescription(row["name"], {f.name.lower(): f for f in fields})
