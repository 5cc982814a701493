"""Previews: the conversations of a tenant's latest activities as Frame would receive them; nothing is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import xxhash

from enricher.activity.raw_record import DataError, RawActivity
from enricher.conversation import build as conversation
from enricher.resolution.entity_cache import EntityCache
from enricher.resolution.model import Reference
from enricher.resolution.resolver import Resolver
from enricher.resolution.tenant_lookup import TenantLookup
from frame_gainsight.connectors import Definition, Selection
from frame_gainsight.connectors.columns import required
from frame_gainsight.gainsight import (
    Condition,
    ConfigError,
    GainsightClient,
    ObjectDescription,
    Query,
    RefusedQueryError,
    Row,
    UnknownFieldError,
    UnknownObjectError,
    parse_date,
    value_of,
)
from frame_gainsight.kafka import ConsumedRecord
from frame_gainsight.runtime import Clock

HOUR = 3_600_000
ORDER = {"LastModifiedDate": "desc", "Gsid": "desc"}


@dataclass(frozen=True, slots=True)
class Shown:
    """One activity: its conversation by each definition, in their order; `causes` of those that are missing."""

    gsid: str
    values: Sequence[dict[str, Any] | None]
    causes: Sequence[str]


@dataclass(slots=True)
class Preview:
    """The latest activities, latest first, and the API `calls` by object or call."""

    shown: list[Shown] = field(default_factory=list)
    calls: dict[str, int] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """API calls in all."""
        return sum(self.calls.values())


async def preview(
    client: GainsightClient,
    clock: Clock,
    definitions: Sequence[Definition],
    limit: int,
    known: Mapping[str, ObjectDescription] | None = None,
) -> Preview:
    """The conversations by each of the definitions (of one connector), resolved together: a further definition costs
    calls only for objects that it alone maps.

    Args:
        limit: the most activities that are shown.
        known: the tenant's objects by name, where they have just been described.

    Raises GainsightError; a DataError becomes a cause.
    """
    together = merged(definitions)
    cache = EntityCache(HOUR, HOUR)
    lookup = TenantLookup(together, client, cache, clock)
    if known is not None:
        lookup.know(known)
    await lookup.describe()
    if required.ACTIVITY not in lookup.described:
        raise UnknownObjectError(f"The tenant does not describe {required.ACTIVITY} to this key.")
    rows, columns = await _latest(client, together, lookup, limit)
    activities = [a for number, row in enumerate(rows) if (a := _activity(together.id, number, row, columns))]
    result, references = Preview(), []
    for activity in activities:
        try:
            references.append(Reference.of(activity))
        except DataError as error:
            none, causes = [None] * len(definitions), [str(error)] * len(definitions)
            result.shown.append(Shown(activity.gsid, none, causes))
    found = await Resolver(together, client, cache, clock).resolve(references)
    for reference in references:
        values: list[dict[str, Any] | None] = []
        causes = []
        for definition in definitions:
            try:
                values.append(conversation.build(reference, definition, found))
            except DataError as error:
                values.append(None)
                causes.append(str(error))
        result.shown.append(Shown(reference.activity.gsid, values, causes))
    result.calls = dict(client.calls)
    return result


def merged(definitions: Sequence[Definition]) -> Definition:
    """One definition that maps everything that any of them maps."""
    first = definitions[0]
    parts: dict[str, dict[str, Any]] = {"objects": {}, "user_profile": {}, "org_profile": {}, "tags": {}}
    for number, definition in enumerate(definitions):
        for name, custom in definition.objects.items():
            known = parts["objects"].setdefault(name, custom.model_dump())
            if known["join"] != dict(custom.join):
                raise ConfigError(f"The mappings join '{name}' in different ways: they cannot be compared in one go.")
        for part in ("user_profile", "org_profile", "tags"):
            paths = getattr(definition, part)
            parts[part] |= {(name if number == 0 else f"{name[:50]}.{number}"): p for name, p in paths.items()}
    types = dict.fromkeys(t for d in definitions for t in d.activity_types)
    every = () if any(not d.activity_types for d in definitions) else tuple(types)
    return Definition.model_validate(first.model_dump() | parts | {"activity_types": every})


async def _latest(
    client: GainsightClient, definition: Definition, lookup: TenantLookup, limit: int
) -> tuple[list[Row], str]:
    """The latest activities, read as polls read them, and the version of the columns that they were read with."""
    types = list(definition.activity_types)
    where = [Condition("TypeName", "IN", types)] if types else []
    selection = Selection(definition)
    selection.take(lookup.described)
    while True:
        for column in selection.absent:
            if selection.is_mapped(column):
                raise UnknownFieldError(required.ACTIVITY, column, None)
        try:
            rows = await client.query(Query(required.ACTIVITY, selection.select, where, ORDER, limit))
        except (RefusedQueryError, UnknownFieldError) as error:
            if not selection.drop(error):
                raise
        else:
            if selection.accepts_lookups is False:  # people are not joined either
                lookup.capabilities.joins_person = False
                lookup.take_new()
            return rows, required.columns_version(selection.select)


def _activity(connector: str, number: int, row: Row, columns: str) -> RawActivity | None:
    """The activity as the raw topic would have it; None for a row that the producer makes a dead letter of."""
    gsid = value_of(row, "Gsid")
    try:
        modified_at = parse_date(value_of(row, "LastModifiedDate"))
    except ValueError:
        return None
    if not isinstance(gsid, str) or modified_at is None:
        return None
    source = ConsumedRecord("", 0, number, f"{connector}/{gsid}".encode(), None, (("columns", columns.encode()),))
    fingerprint = xxhash.xxh3_128_hexdigest(orjson.dumps(row, option=orjson.OPT_SORT_KEYS))
    return RawActivity(source, connector, gsid, modified_at, fingerprint, row)
