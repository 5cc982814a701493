"""Tables that queries read: what a table is, and plain rows with indexes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from frame_gainsight.sandbox.query.dialect import Dialect
from frame_gainsight.sandbox.query.schema import ObjectSchema, Row, Value

Reader = Callable[[Any], Value]


@dataclass(frozen=True, slots=True)
class Narrowing:
    """A condition that every wanted record fulfils: the field is one of `values`, or lies in `[low, high]`."""

    field: str
    values: Sequence[Value] | None = None
    low: int | None = None
    high: int | None = None


@dataclass(frozen=True, slots=True)
class Candidates:
    """Records that may be wanted; `sorted_by`: their order where there is one."""

    records: Iterable[Any]
    sorted_by: tuple[str, ...] = ()


class Table(Protocol):
    """An object's records."""

    @property
    def schema(self) -> ObjectSchema:
        """The object."""
        ...

    def reader(self, field: str, dialect: Dialect) -> Reader:
        """A function from a record to the stored value of `field` (its exact name)."""
        ...

    def get(self, gsid: Value) -> Any | None:
        """The record with that Gsid."""
        ...

    def candidates(self, narrowings: Sequence[Narrowing]) -> Candidates:
        """A superset of the records that fulfil all `narrowings`, as small as the indexes allow."""
        ...


INDEXED = frozenset({"GSID", "LOOKUP", "EMAIL"})
"""Data types that a `RowTable` finds rows by without looking at all of them."""


class RowTable:
    """Rows as dicts.  Gsids, look-ups and emails are indexed when first looked up."""

    def __init__(self, schema: ObjectSchema, rows: Sequence[Row]) -> None:
        self._schema = schema
        self._rows = rows
        self._indexes: dict[str, dict[Value, list[Row]]] = {}

    @property
    def schema(self) -> ObjectSchema:
        return self._schema

    def reader(self, field: str, dialect: Dialect) -> Reader:
        return lambda row: row[field]

    def get(self, gsid: Value) -> Row | None:
        found = self._index("Gsid").get(gsid)
        return found[0] if found else None

    def candidates(self, narrowings: Sequence[Narrowing]) -> Candidates:
        for narrowing in narrowings:
            field = self._schema.find(narrowing.field)
            if narrowing.values is not None and field is not None and field.type in INDEXED:
                index = self._index(field.name)
                wanted = dict.fromkeys(_folded(v) if field.type == "EMAIL" else v for v in narrowing.values)
                return Candidates([row for value in wanted for row in index.get(value, ())])
        return Candidates(self._rows)

    def entered(self, row: Row) -> None:
        """Take notice of a row that was added, or that has changed since `leaving`."""
        for field, index in self._indexes.items():
            index.setdefault(self._key(field, row), []).append(row)

    def leaving(self, row: Row) -> None:
        """Take notice of a row that is about to change or to go."""
        for field, index in self._indexes.items():
            key = self._key(field, row)
            index[key] = [other for other in index[key] if other is not row]

    def _index(self, field: str) -> Mapping[Value, list[Row]]:
        index = self._indexes.get(field)
        if index is None:
            index = self._indexes[field] = {}
            for row in self._rows:
                index.setdefault(self._key(field, row), []).append(row)
        return index

    def _key(self, field: str, row: Row) -> Value:
        found = self._schema.find(field)
        value = row.get(field)
        return _folded(value) if found is not None and found.type == "EMAIL" else _hashable(value)


def _hashable(value: Value) -> Value:
    return None if isinstance(value, list) else value


def _folded(value: Value) -> Value:
    return value.lower() if isinstance(value, str) else None
