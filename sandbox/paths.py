"""Field paths: `Name`, `GsCompanyId__gr.Name`, `Company_ID__gr.Csm__gr.Email`, resolved against the tables."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sandbox.errors import not_a_lookup, unknown_field
from sandbox.look import Look
from sandbox.schema import Field
from sandbox.tables import Reader, Table

MOST_LEVELS = 2
"""Look-ups in one path; deeper ones are documented nowhere."""


@dataclass(frozen=True, slots=True)
class Column:
    """A resolved path: as requested, in the object's own spelling, its last field, and how to read it."""

    path: str
    spelling: str
    field: Field
    read: Reader

    @property
    def direct(self) -> bool:
        """Whether the path is a field of the object itself."""
        return "." not in self.path


@dataclass(frozen=True, slots=True)
class Paths:
    """Resolves paths for one call: `tables` by lower-case object name, `look` of any object."""

    tables: Mapping[str, Table]
    look: Callable[[str], Look]

    def resolve(self, table: Table, path: str) -> Column:
        """The column that `path` names.  Raises P_5005 for a field that is not there, P_5068 for a wrong look-up."""
        *steps, last = path.split(".")
        if len(steps) > MOST_LEVELS:
            raise not_a_lookup(path)
        spelling: list[str] = []
        hops: list[tuple[Reader, Table]] = []
        for step in steps:
            base = step[:-4] if step.lower().endswith("__gr") else step
            field = self._field(table, base, path)
            if base == step or field.lookup is None:
                raise not_a_lookup(base)
            spelling.append(f"{field.name}__gr")
            target = self.tables[field.lookup]
            hops.append((table.reader(field.name, self.look(table.schema.name)), target))
            table = target
        field = self._field(table, last, path)
        read = table.reader(field.name, self.look(table.schema.name))
        for reader, target in reversed(hops):
            read = _through(reader, target, read)
        return Column(path, ".".join([*spelling, field.name]), field, read)

    def _field(self, table: Table, name: str, path: str) -> Field:
        look = self.look(table.schema.name)
        field = table.schema.find(name)
        if field is None or name.lower() in look.missing or name.lower() in look.gone:
            raise unknown_field(path)
        return field


def _through(reader: Reader, target: Table, read: Reader) -> Reader:
    def follow(record: object) -> object:
        found = target.get(reader(record))
        return None if found is None else read(found)

    return follow  # type: ignore[return-value]
