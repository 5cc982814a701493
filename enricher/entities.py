"""The entity cache of a lane: what look-ups at the tenants have answered, absence included."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import orjson

from bus import Incoming, Outgoing, Settings
from gainsight import Row, value_of
from schemas import Codec

GSID = "Gsid"
EMAIL = "Email"
MEMBERSHIPS = "company_person"
"""A person's row has its company_person rows under this name; no Gainsight column is a list of rows."""


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


@dataclass(frozen=True, slots=True)
class _Kept:
    """An answer as it is kept: rows as JSON take a fifth of the memory."""

    columns: tuple[str, ...]
    rows: bytes | None
    fetched_at: int


class EntityCache:
    """The newest answer to every look-up, the least recently used ones forgotten.

    Args:
        ttl: milliseconds for which rows count as fresh.
        absent_ttl: milliseconds for which absence does.
        most: answers that are kept at once.
    """

    def __init__(self, ttl: int, absent_ttl: int, most: int = 100_000) -> None:
        self.ttl = ttl
        self.absent_ttl = absent_ttl
        self._most = most
        self._kept: OrderedDict[EntityKey, _Kept] = OrderedDict()
        self._columns: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._by_email: dict[tuple[str, str, str], tuple[EntityKey, ...]] = {}
        self._emails: dict[EntityKey, tuple[str, ...]] = {}
        self._of_object: defaultdict[tuple[str, str], dict[EntityKey, None]] = defaultdict(dict)
        self._forgotten: defaultdict[tuple[str, str], int] = defaultdict(int)

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, key: EntityKey) -> bool:
        """Whether there is an answer, however old."""
        return key in self._kept

    def put(self, entity: Entity) -> None:
        key, columns = entity.key, self._columns.setdefault(entity.columns, entity.columns)
        self._unlist(key)
        self._kept[key] = _Kept(columns, orjson.dumps(list(entity.rows)) if entity.rows else None, entity.fetched_at)
        self._kept.move_to_end(key)
        self._of_object[key.connector, key.object_name][key] = None
        emails = tuple(
            {v.strip().lower() for row in entity.rows if isinstance(v := value_of(row, EMAIL), str) and v.strip()}
            if key.field == GSID
            else ()
        )
        if emails:
            self._emails[key] = emails
            for email in emails:
                at = (key.connector, key.object_name, email)
                self._by_email[at] = (*self._by_email.get(at, ()), key)
        while len(self._kept) > self._most:
            oldest = next(iter(self._kept))
            self.drop(oldest)
            self._forgotten[oldest.connector, oldest.object_name] += 1

    def drop(self, key: EntityKey) -> None:
        if self._kept.pop(key, None) is not None:
            self._unlist(key)
            del self._of_object[key.connector, key.object_name][key]

    def forget(self, connector: str) -> None:
        """Drops every answer of a connector."""
        for key in [key for (of, _), keys in self._of_object.items() if of == connector for key in keys]:
            self.drop(key)

    def get(self, key: EntityKey) -> Entity | None:
        """The answer, however old."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        self._kept.move_to_end(key)
        return Entity(key, kept.columns, orjson.loads(kept.rows) if kept.rows else [], kept.fetched_at)

    def fresh(self, key: EntityKey, columns: Iterable[str], now: int | None) -> Entity | None:
        """The answer, if it is young enough and was asked for all these columns. `now` None: however old."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        if now is not None and now - kept.fetched_at > (self.ttl if kept.rows else self.absent_ttl):
            return None
        if kept.columns != columns and not set(columns) <= set(kept.columns):
            return None
        return self.get(key)

    def with_email(self, connector: str, object_name: str, email: str) -> tuple[EntityKey, ...]:
        """The answers by Gsid whose row has this (lower-case) email, in the order of their Gsids."""
        return tuple(sorted(self._by_email.get((connector, object_name, email), ()), key=lambda key: key.value))

    def keys(self, connector: str, object_name: str) -> Iterator[EntityKey]:
        """Everything kept of an object."""
        return iter(tuple(self._of_object.get((connector, object_name), ())))

    def forgotten(self, connector: str, object_name: str) -> int:
        """How many answers about an object had to be forgotten for lack of room."""
        return self._forgotten[connector, object_name]

    def _unlist(self, key: EntityKey) -> None:
        for email in self._emails.pop(key, ()):
            at = (key.connector, key.object_name, email)
            left = tuple(k for k in self._by_email.get(at, ()) if k != key)
            if left:
                self._by_email[at] = left
            else:
                self._by_email.pop(at, None)


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


def restore(codec: Codec, cache: EntityCache, record: Incoming) -> None:
    """Takes a record of the entities topic into the cache. Raises as `decode` does."""
    if record.value is not None:
        cache.put(decode(codec, record.value))
        return
    parts = (record.key or b"").decode("utf-8", "replace").split("/", 2)
    if len(parts) == 3:
        field, _, value = parts[2].partition("=")
        cache.drop(EntityKey(parts[0], parts[1], field, value))


def decode(codec: Codec, data: bytes) -> Entity:
    """Raises schemas.DecodeError, and orjson.JSONDecodeError for rows that are not JSON."""
    value = codec.decode_as("entity", data)
    key = EntityKey(value["connector"], value["object"], value["field"], value["value"])
    return Entity(key, tuple(value["columns"]), orjson.loads(value["rows"]), value["fetched_at"])
