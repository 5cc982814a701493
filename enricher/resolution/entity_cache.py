"""The entity cache of a lane: the answers of look-ups at the tenants, absence included."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import orjson

from frame_gainsight.gainsight import Row, value_of
from frame_gainsight.kafka import ConsumedRecord, ProducerRecord
from frame_gainsight.runtime import Settings
from schemas import Codec, taken_apart

GSID = "Gsid"
EMAIL = "Email"
NOTE = "!"
"""The first character of notes' object names. A note holds what is known of a tenant, not of its entities; no Gainsight
object has such a name."""
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
    """An answer: the rows (none: known to be absent), the columns selected, and when (milliseconds)."""

    key: EntityKey
    columns: tuple[str, ...]
    rows: Sequence[Row]
    fetched_at: int


@dataclass(frozen=True, slots=True)
class _Kept:
    """An answer in memory: rows as JSON take a fifth of the room."""

    columns: tuple[str, ...]
    rows: bytes | None
    fetched_at: int


class EntityCache:
    """The latest answer to every look-up. Where they are too many, those of the least recently used connector go.

    Notes are never evicted and do not count.

    Args:
        ttl: milliseconds for which rows count as fresh.
        absent_ttl: milliseconds for which absence does.
        max_entries: answers that are kept, besides those of pinned connectors.
        max_bytes: of the rows of these answers, as JSON.
    """

    def __init__(
        self, ttl: int, absent_ttl: int, max_entries: int = 100_000, max_bytes: int = 128 * 1024 * 1024
    ) -> None:
        self.ttl = ttl
        self.absent_ttl = absent_ttl
        self.max_entries = max_entries
        self.max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[str, OrderedDict[EntityKey, _Kept]] = OrderedDict()
        self._notes: dict[EntityKey, Entity] = {}
        self._count = 0
        self._pinned: Counter[str] = Counter()
        self._columns: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._by_email: dict[tuple[str, str, str], tuple[EntityKey, ...]] = {}
        self._emails: dict[EntityKey, tuple[str, ...]] = {}
        self._of_object: defaultdict[tuple[str, str], dict[EntityKey, None]] = defaultdict(dict)
        self._evictions: defaultdict[tuple[str, str], int] = defaultdict(int)

    def __len__(self) -> int:
        return self._count

    def __contains__(self, key: EntityKey) -> bool:
        """Whether there is an answer, however old."""
        return self._find(key) is not None

    def _find(self, key: EntityKey) -> _Kept | Entity | None:
        if key.object_name.startswith(NOTE):
            return self._notes.get(key)
        return self._answer(key)

    def _answer(self, key: EntityKey) -> _Kept | None:
        answers = self._kept.get(key.connector)
        return answers.get(key) if answers is not None else None

    @contextmanager
    def pinned(self, connector: str) -> Iterator[None]:
        """Meanwhile none of the connector's answers is evicted: those of a batch are all there when they are used."""
        self._pinned[connector] += 1
        try:
            yield
        finally:
            self._pinned[connector] -= 1
            if not self._pinned[connector]:
                del self._pinned[connector]
            self._make_room()

    @property
    def is_full(self) -> bool:
        """Whether there is more than may stay, all of it of pinned connectors: some goes when they are not any more."""
        return self._count > self.max_entries or self._bytes > self.max_bytes

    def put(self, entity: Entity) -> None:
        """Takes an answer, in the place of an earlier one. Raises TypeError for rows that are not to be had as JSON."""
        rows = orjson.dumps(list(entity.rows)) if entity.rows else None
        self.drop(entity.key)
        key, columns = entity.key, self._columns.setdefault(entity.columns, entity.columns)
        self._of_object[key.connector, key.object_name][key] = None
        if key.object_name.startswith(NOTE):
            self._notes[key] = entity
            return
        kept = _Kept(columns, rows, entity.fetched_at)
        self._bytes += len(rows or b"")
        self._kept.setdefault(key.connector, OrderedDict())[key] = kept
        self._kept.move_to_end(key.connector)
        self._count += 1
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
        self._make_room()

    def _make_room(self) -> None:
        while self.is_full:
            connector = next((c for c, answers in self._kept.items() if answers and c not in self._pinned), None)
            if connector is None:
                return
            oldest = next(iter(self._kept[connector]))
            self.drop(oldest)
            self._evictions[connector, oldest.object_name] += 1

    def drop(self, key: EntityKey) -> None:
        if self._find(key) is None:
            return
        if key.object_name.startswith(NOTE):
            del self._notes[key]
        else:
            self._bytes -= len(self._kept[key.connector].pop(key).rows or b"")
            self._count -= 1
        self._unlist(key)
        del self._of_object[key.connector, key.object_name][key]

    def forget(self, connector: str) -> None:
        """Drops every answer of a connector."""
        for key in [key for (of, _), keys in self._of_object.items() if of == connector for key in keys]:
            self.drop(key)

    def get(self, key: EntityKey) -> Entity | None:
        """The answer, however old; the same note is the same object each time."""
        if key.object_name.startswith(NOTE):
            return self._notes.get(key)
        kept = self._answer(key)
        if kept is None:
            return None
        self._kept[key.connector].move_to_end(key)
        self._kept.move_to_end(key.connector)
        return Entity(key, kept.columns, orjson.loads(kept.rows) if kept.rows else [], kept.fetched_at)

    def fresh(self, key: EntityKey, columns: Iterable[str], now: int | None) -> Entity | None:
        """The answer, if it is young enough and has all these columns. `now` None: however old."""
        kept = self._find(key)
        if kept is None:
            return None
        if now is not None and abs(now - kept.fetched_at) > (self.ttl if kept.rows else self.absent_ttl):
            return None
        if kept.columns != columns and not set(columns) <= set(kept.columns):
            return None
        return self.get(key)

    def with_email(self, connector: str, object_name: str, email: str) -> tuple[EntityKey, ...]:
        """The answers by Gsid whose row has this (lower-case) email, in the order of their Gsids."""
        return tuple(sorted(self._by_email.get((connector, object_name, email), ()), key=lambda key: key.value))

    def keys(self, connector: str, object_name: str) -> Iterator[EntityKey]:
        """The keys of all answers about an object."""
        return iter(tuple(self._of_object.get((connector, object_name), ())))

    def evictions(self, connector: str, object_name: str) -> int:
        """The number of answers about an object that were evicted for lack of room."""
        return self._evictions[connector, object_name]

    def _unlist(self, key: EntityKey) -> None:
        for email in self._emails.pop(key, ()):
            at = (key.connector, key.object_name, email)
            left = tuple(k for k in self._by_email.get(at, ()) if k != key)
            if left:
                self._by_email[at] = left
            else:
                self._by_email.pop(at, None)


Change = Entity | EntityKey
"""A new answer, or one that does not count any more."""


def encode(codec: Codec, settings: Settings, lane: int, change: Change) -> ProducerRecord:
    """The record of an answer, or its tombstone."""
    if isinstance(change, EntityKey):
        return ProducerRecord(settings.entities_topic, lane, str(change).encode(), None)
    entity, key = change, change.key
    value = {
        "connector": key.connector,
        "object": key.object_name,
        "field": key.field,
        "value": key.value,
        "columns": list(entity.columns),
        "rows": orjson.dumps(list(entity.rows)).decode(),
        "fetched_at": entity.fetched_at,
    }
    return ProducerRecord(settings.entities_topic, lane, str(key).encode(), codec.encode("entity", value))


def restore(codec: Codec, cache: EntityCache, record: ConsumedRecord) -> None:
    """Takes a record of the entities topic into the cache. Raises schemas.DecodeError."""
    if record.value is not None:
        entity = decode(codec, record.value)
        with taken_apart("entity"):
            cache.put(entity)
        return
    parts = (record.key or b"").decode("utf-8", "replace").split("/", 2)
    if len(parts) == 3:
        field, _, value = parts[2].partition("=")
        cache.drop(EntityKey(parts[0], parts[1], field, value))


def decode(codec: Codec, data: bytes) -> Entity:
    """The answer in a record's value. Raises schemas.DecodeError, also for rows that are no list of JSON objects."""
    value = codec.decode_as("entity", data)
    with taken_apart("entity"):
        key = EntityKey(value["connector"], value["object"], value["field"], value["value"])
        rows = orjson.loads(value["rows"])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ValueError("its rows are no list of objects")
        return Entity(key, tuple(value["columns"]), rows, value["fetched_at"])
