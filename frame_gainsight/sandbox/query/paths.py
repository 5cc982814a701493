"""Field paths: `Name`, `GsCompanyId__gr.Name`, `Company_ID__gr.Csm__gr.Email`, resolved against the tables."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from frame_gainsight.sandbox.query.dialect import Dialect
from frame_gainsight.sandbox.query.errors import not_a_lookup, unknown_field
from frame_gainsight.sandbox.query.schema import Field, Value
from frame_gainsight.sandbox.query.tables import INDEXED, Narrowing, Reader, Table

MOST_LEVELS = 2
"""Dialect-ups in one path; deeper ones are documented nowhere."""


@dataclass(frozen=True, slots=True)
class Column:
    """A resolved path: as requested, in the object's own spelling, its last field, and how to read it.

    `hops` are the look-ups on the way: the field that points, and the table it points to.
    """

    path: str
    spelling: str
    field: Field
    read: Reader
    hops: tuple[tuple[Field, Table], ...] = ()

    @property
    def direct(self) -> bool:
        """Whether the path is a field of the object itself."""
        return not self.hops

    def among(self, values: Sequence[Value]) -> Narrowing | None:
        """The condition on the object's own field under which the path leads to one of `values`; None: not indexed."""
        own = Narrowing(self.field.name, values)
        if self.hops and self.field.type not in INDEXED:
            return None
        for pointing, target in reversed(self.hops):
            own = Narrowing(pointing.name, [row["Gsid"] for row in target.candidates([own]).records])
        return own


@dataclass(frozen=True, slots=True)
class Paths:
    """Resolves paths for one call: `tables` by lower-case object name, `dialect` of any object."""

    tables: Mapping[str, Table]
    dialect: Callable[[str], Dialect]

    def resolve(self, table: Table, path: str) -> Column:
        """The column that `path` names.  Raises P_5005 for a field that is not there, P_5068 for a wrong look-up."""
        *steps, last = path.split(".")
        if len(steps) > MOST_LEVELS:
            raise not_a_lookup(path)
        spelling: list[str] = []
        hops: list[tuple[Field, Table]] = []
        readers: list[tuple[Reader, Table]] = []
        for step in steps:
            base = step[:-4] if step.lower().endswith("__gr") else step
            field = self._field(table, base, path)
            if base == step or field.lookup is None:
                raise not_a_lookup(base)
            dialect, target = self.dialect(table.schema.name), self.tables[field.lookup]
            spelling.append(f"{dialect.spelt(field.name)}__gr")
            hops.append((field, target))
            readers.append((table.reader(field.name, dialect), target))
            table = target
        field = self._field(table, last, path)
        dialect = self.dialect(table.schema.name)
        spelling.append(dialect.spelt(field.name))
        read = table.reader(field.name, dialect)
        for reader, target in reversed(readers):
            read = _through(reader, target, read)
        return Column(path, ".".join(spelling), field, read, tuple(hops))

    def _field(self, table: Table, name: str, path: str) -> Field:
        dialect = self.dialect(table.schema.name)
        field = table.schema.find(dialect.meant(name) or "")
        if field is None or not {name.lower(), field.name.lower()}.isdisjoint(dialect.missing | dialect.gone):
            raise unknown_field(path)
        return field


def _through(reader: Reader, target: Table, read: Reader) -> Reader:
    def follow(record: object) -> object:
        found = target.get(reader(record))
        return None if found is None else read(found)

    return follow  # type: ignore[return-value]
