"""The entity cache of a lane: what look-ups at the tenants have answered, absence included."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import orjson

from bus import Outgoing, Settings
from gainsight import Row
from schemas import Codec


@dataclass(frozen=True, slots=True)
class EntityKey:
    """One look-up: the rows of an object whose field has a value."""

    connector: str
    object_name: str
    field: str
    value: str

    def __str__(self) -> str:
        return f"{self.connector}/{self.object_name}/{self.field}={self.value}"


@dataclass(frozen=True, slots=True)
class Entity:
    """An answer: the rows (none: known to be absent), the columns asked for, and when (milliseconds)."""

    key: EntityKey
    columns: tuple[str, ...]
    rows: Sequence[Row]
    fetched_at: int


class EntityCache:
    """The newest answer to every look-up.

    Args:
        ttl: milliseconds for which rows count as fresh.
        absent_ttl: milliseconds for which absence does.
    """

    def __init__(self, ttl: int, absent_ttl: int) -> None:
        self._ttl = ttl
        self._absent_ttl = absent_ttl
        self._entities: dict[EntityKey, Entity] = {}

    def __len__(self) -> int:
        return len(self._entities)

    def put(self, entity: Entity) -> None:
        self._entities[entity.key] = entity

    def drop(self, key: EntityKey) -> None:
        self._entities.pop(key, None)

    def fresh(self, key: EntityKey, columns: Iterable[str], now: int) -> Entity | None:
        """The answer, if it is young enough and was asked for all these columns."""
        entity = self._entities.get(key)
        if entity is None:
            return None
        age = now - entity.fetched_at
        if age > (self._ttl if entity.rows else self._absent_ttl):
            return None
        return entity if entity.columns == columns or set(columns) <= set(entity.columns) else None


def encode(codec: Codec, settings: Settings, lane: int, entity: Entity) -> Outgoing:
    """The entity's record."""
    key = entity.key
    value = {
        "connector": key.connector,
        "object": key.object_name,
        "field": key.field,
        "value": key.value,
        "columns": list(entity.columns),
        "rows": orjson.dumps(list(entity.rows)).decode(),
        "fetched_at": entity.fetched_at,
    }
    return Outgoing(settings.entities_topic, lane, str(key).encode(), codec.encode("entity", value))


def decode(codec: Codec, data: bytes) -> Entity:
    """Raises schemas.DecodeError, and orjson.JSONDecodeError for rows that are not JSON."""
    value = codec.decode_as("entity", data)
    key = EntityKey(value["connector"], value["object"], value["field"], value["value"])
    return Entity(key, tuple(value["columns"]), orjson.loads(value["rows"]), value["fetched_at"])
