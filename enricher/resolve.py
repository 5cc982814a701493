"""Resolution in batches: what a window refers to, less what the cache has, in as few queries as the tenant takes."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from connectors import Definition, needs
from enricher.attendees import Mention
from enricher.entities import Entity, EntityCache, EntityKey
from gainsight import (
    Chunking,
    Clock,
    Field,
    GainsightClient,
    ObjectDescription,
    Row,
    UnknownFieldError,
    UnknownObjectError,
    fetch_in,
    value_of,
)

DESCRIBE = "!describe"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a window's activities refer to, each once, in the order met."""

    mentions: Sequence[Mention]
    companies: Sequence[str]
    relationships: Sequence[str]


@dataclass(slots=True)
class Resolved:
    """Everything found, by what it was looked up with; what is absent is not in it."""

    described: Mapping[str, ObjectDescription]
    persons: dict[str, Row] = field(default_factory=dict)  # by email
    persons_by_gsid: dict[str, Row] = field(default_factory=dict)
    users: dict[str, Row] = field(default_factory=dict)  # gsuser by email
    users_by_gsid: dict[str, Row] = field(default_factory=dict)
    memberships: dict[str, list[Row]] = field(default_factory=dict)  # company_person rows by person's Gsid
    companies: dict[str, Row] = field(default_factory=dict)
    relationships: dict[str, Row] = field(default_factory=dict)
    custom: dict[str, dict[str, list[Row]]] = field(default_factory=dict)  # object → joined id → rows
    new: list[Entity] = field(default_factory=list)


class Resolver:
    """Resolves windows of one connector. The cache is its lane's; new answers are put there and in `Resolved.new`."""

    def __init__(self, definition: Definition, client: GainsightClient, cache: EntityCache, clock: Clock) -> None:
        self._definition = definition
        self._client = client
        self._cache = cache
        self._clock = clock
        self._chunking: dict[str, Chunking] = defaultdict(Chunking)
        self._refused: set[tuple[str, str]] = set()  # (object, column) described, but not to be queried

    async def resolve(self, wanted: Wanted) -> Resolved:
        """Looks up everything. Raises GainsightError when a query fails for good or for now."""
        new: list[Entity] = []
        described = await self._describe(new)
        found = Resolved(described, new=new)
        emails = list(dict.fromkeys(m.email for m in wanted.mentions if m.email))
        gsids = list(dict.fromkeys(m.gsid for m in wanted.mentions if m.gsid and not m.email))
        persons, persons_by_gsid, users, users_by_gsid, companies, relationships, *custom = await asyncio.gather(
            self._lookup(found, needs.PERSON, "Email", emails),
            self._lookup(found, needs.PERSON, "Gsid", gsids),
            self._lookup(found, needs.GSUSER, "Email", emails),
            self._lookup(found, needs.GSUSER, "Gsid", gsids),
            self._lookup(found, needs.COMPANY, "Gsid", wanted.companies),
            self._lookup(found, needs.RELATIONSHIP, "Gsid", wanted.relationships),
            *(self._custom(found, name, wanted) for name in self._definition.objects),
        )
        found.persons, found.persons_by_gsid = _one_each(persons), _one_each(persons_by_gsid)
        found.users, found.users_by_gsid = _one_each(users), _one_each(users_by_gsid)
        found.companies, found.relationships = _one_each(companies), _one_each(relationships)
        found.custom = dict(zip(self._definition.objects, custom, strict=True))
        await self._members(found)
        return found

    async def _members(self, found: Resolved) -> None:
        """The companies of the persons found; a second step, since they are known by the persons' Gsids."""
        people = [*found.persons.values(), *found.persons_by_gsid.values()]
        gsids = list(dict.fromkeys(str(g) for row in people if (g := value_of(row, "Gsid"))))
        link = needs.first_described(found.described.get(needs.COMPANY_PERSON), needs.PERSON_OF)
        if link is not None:
            found.memberships = await self._lookup(found, needs.COMPANY_PERSON, link, gsids)

    async def _custom(self, found: Resolved, name: str, wanted: Wanted) -> dict[str, list[Row]]:
        custom = self._definition.objects[name]
        ids = wanted.companies if custom.joined_to == "company" else wanted.relationships
        return await self._lookup(found, name, custom.join_field, ids)

    async def _describe(self, new: list[Entity]) -> dict[str, ObjectDescription]:
        """The objects' fields, from the cache or in one call (two where mapped look-ups lead further)."""
        names = needs.objects_of(self._definition)
        described = await self._described(names, new)
        if further := needs.looked_up_objects(self._definition, described):
            described |= await self._described(further, new)
        return described

    async def _described(self, names: Sequence[str], new: list[Entity]) -> dict[str, ObjectDescription]:
        now = self._clock.now()
        known: dict[str, ObjectDescription] = {}
        missing = []
        for name in names:
            entity = self._cache.fresh(self._key(DESCRIBE, "object", name), (), now)
            if entity is None:
                missing.append(name)
            elif entity.rows:
                known[name] = _description(entity.rows[0])
        if missing:
            fetched = await self._client.describe(missing)
            for name in missing:
                rows = [_compact(fetched[name])] if name in fetched else []
                self._keep(Entity(self._key(DESCRIBE, "object", name), (), rows, now), new)
            known |= fetched
        return {name: known[name] for name in names if name in known}

    async def _lookup(
        self, found: Resolved, object_name: str, field: str, values: Iterable[str]
    ) -> dict[str, list[Row]]:
        """Rows by value, from the cache and, for what it lacks, in as few queries as the tenant takes.

        Raises UnknownObjectError or UnknownFieldError when the tenant lacks what the mapping takes; an object that
        only we want is treated as empty.
        """
        values = list(values)
        description = found.described.get(object_name)
        mapped = needs.mapped_columns(self._definition, object_name)
        if not values:
            return {}
        if description is None:
            if mapped or object_name in self._definition.objects:
                raise UnknownObjectError(
                    f"The tenant does not describe '{object_name}', which the mapping takes fields of. Ask the "
                    "Gainsight admin to let the key's owner read it, or change the mapping."
                )
            return {}
        for path in mapped:
            if "." not in path and description.field(path) is None:
                raise UnknownFieldError(object_name, path, None)
        needed = {name.lower() for name in (*mapped, field)}
        columns = tuple(
            c
            for c in needs.columns(self._definition, object_name, description)
            if c.lower() in needed or (object_name, c.lower()) not in self._refused
        )
        if field not in columns:
            columns = (*columns, field)
        now = self._clock.now()
        answers: dict[str, Entity] = {}
        missing = []
        for value in values:
            entity = self._cache.fresh(self._key(object_name, field, value), columns, now)
            if entity is None:
                missing.append(value)
            else:
                answers[value] = entity
        if missing:
            try:
                rows = await fetch_in(self._client, object_name, columns, field, missing, self._chunking[object_name])
            except UnknownFieldError as error:  # the field list has changed: describe again before the next try,
                self._cache.drop(self._key(DESCRIBE, "object", object_name))
                gone = (object_name, (error.field or "").lower())
                if gone[1] in needed or gone in self._refused or not gone[1]:
                    raise
                self._refused.add(gone)  # and do without a column that only the describe knows
                return await self._lookup(found, object_name, field, values)
            for value, entity in self._answers(object_name, field, columns, missing, rows, now).items():
                self._keep(entity, found.new)
                answers[value] = entity
        return {value: list(entity.rows) for value, entity in answers.items() if entity.rows}

    def _answers(
        self,
        object_name: str,
        field: str,
        columns: tuple[str, ...],
        values: Sequence[str],
        rows: Sequence[Row],
        now: int,
    ) -> dict[str, Entity]:
        """An answer per value asked for; emails are the same whatever their case."""
        by_value: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            by_value[str(value_of(row, field) or "").lower()].append(row)
        ordered = {v: sorted(by_value[v.lower()], key=lambda r: str(value_of(r, "Gsid") or "")) for v in values}
        return {v: Entity(self._key(object_name, field, v), columns, found, now) for v, found in ordered.items()}

    def _keep(self, entity: Entity, new: list[Entity]) -> None:
        self._cache.put(entity)
        new.append(entity)

    def _key(self, object_name: str, field: str, value: str) -> EntityKey:
        return EntityKey(self._definition.id, object_name, field, value)


def _one_each(found: Mapping[str, list[Row]]) -> dict[str, Row]:
    """The first row by Gsid: the same one every time."""
    return {value: rows[0] for value, rows in found.items()}


def _compact(description: ObjectDescription) -> Row:
    fields = [
        [f.name, f.data_type, f.lookup, list(f.lookup_objects), dict(f.options)] for f in description.fields.values()
    ]
    return {"name": description.name, "fields": fields}


def _description(row: Row) -> ObjectDescription:
    fields = [Field(n, t, lookup, tuple(objects), options) for n, t, lookup, objects, options in row["fields"]]
    return ObjectDescription(row["name"], {f.name.lower(): f for f in fields})
