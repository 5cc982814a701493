"""Evaluates a query body on a table: filter, order, page, and rows in the forms of the tenant's dialect."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from random import Random
from typing import Any

from frame_gainsight.sandbox.query.dates import iso, iso_date, iso_fraction, iso_offset
from frame_gainsight.sandbox.query.dialect import Dialect
from frame_gainsight.sandbox.query.errors import bad_mapping, invalid, refused_path, unsupported
from frame_gainsight.sandbox.query.filter import Where, compile_where
from frame_gainsight.sandbox.query.paths import Column, Paths
from frame_gainsight.sandbox.query.schema import Field, Picklist
from frame_gainsight.sandbox.query.tables import Candidates, Table

Format = Callable[[Any], Any]

_FARTHEST = 1 << 40

_STAMPS: Mapping[str, Callable[[int], str | int]] = {
    "iso": iso,
    "iso_fraction": iso_fraction,
    "iso_offset": iso_offset,
    "ms": int,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A query's rows in wire form, the records behind them, and the length of the longest `IN` list."""

    rows: list[dict[str, Any]]
    records: list[Any]
    in_values: int


def evaluate(
    body: Mapping[str, Any],
    table: Table,
    paths: Paths,
    picklists: Mapping[str, Picklist],
    chance: Random,
) -> Answer:
    """Answer `body` (the parsed JSON of a request).

    Without `orderBy` the order is arbitrary: `chance` shuffles it, differently in every call.
    """
    dialect = paths.dialect(table.schema.name)
    columns = _columns(body.get("select"), table, paths)
    where = compile_where(body.get("where"), lambda path: paths.resolve(table, path), dialect, picklists)
    limit, offset = _page(body, dialect)
    order = _order(body.get("orderBy"), table, paths)
    records = _select(table.candidates(where.narrowings), where, order, chance, offset, limit)
    return Answer(_rows(records, columns, dialect, picklists), records, where.in_values)


def _columns(select: object, table: Table, paths: Paths) -> list[Column]:
    if not isinstance(select, list) or not select or not all(isinstance(name, str) for name in select):
        raise bad_mapping("select must be a non-empty list of field names")
    refused = paths.dialect(table.schema.name).dotted_select
    if refused and (dotted := next((name for name in select if "." in name), None)):
        raise refused_path(dotted, refused)
    # Of two spellings of one field only the last comes back, as in a vendor sample.
    return list({name.lower(): paths.resolve(table, name) for name in select}.values())


def _page(body: Mapping[str, Any], dialect: Dialect) -> tuple[int, int]:
    limit, offset = body.get("limit"), body.get("offset", 0)
    if limit is None:
        limit = dialect.page_cap
    if offset is None:
        offset = 0
    for name, number in (("limit", limit), ("offset", offset)):
        if not isinstance(number, int) or isinstance(number, bool) or number < 0:
            raise invalid(f"{name} must be a whole number")
    if limit > dialect.page_cap and dialect.over_limit == "error":
        raise invalid(f"limit must not exceed {dialect.page_cap}")
    return min(limit, dialect.page_cap), min(offset, _FARTHEST)


def _order(order: object, table: Table, paths: Paths) -> list[tuple[Column, bool]]:
    if order is None:
        return []
    if not isinstance(order, dict):
        raise bad_mapping("orderBy must be an object of field and direction")
    keys = []
    for path, direction in order.items():
        column = paths.resolve(table, path)
        if not column.field.filterable:
            raise unsupported(f"Field {path} cannot be sorted by")
        if str(direction).lower() not in ("asc", "desc"):
            raise invalid(f"the direction of {path} is asc or desc")
        keys.append((column, str(direction).lower() == "desc"))
    return keys


def _select(
    candidates: Candidates,
    where: Where,
    order: Sequence[tuple[Column, bool]],
    chance: Random,
    offset: int,
    limit: int,
) -> list[Any]:
    matches = where.matches
    found: Iterable[Any] = candidates.records
    if matches is not None:
        found = (record for record in found if matches(record))
    if order and _already(candidates.sorted_by, order):
        return list(islice(found, offset, offset + limit))
    records = list(found)
    if not order:
        chance.shuffle(records)
    for column, descending in reversed(order):
        records = _sorted(records, column, descending)
    return records[offset : offset + limit]


def _already(sorted_by: Sequence[str], order: Sequence[tuple[Column, bool]]) -> bool:
    wanted = tuple(column.spelling.lower() for column, _ in order)
    ascending = not any(descending for _, descending in order)
    return ascending and wanted == tuple(sorted_by[: len(wanted)])


def _sorted(records: list[Any], column: Column, descending: bool) -> list[Any]:
    """Stable; records without a value come last."""
    keyed = [(column.read(record), record) for record in records]
    present = [pair for pair in keyed if pair[0] is not None]
    absent = [record for value, record in keyed if value is None]
    present.sort(key=itemgetter(0), reverse=descending)
    return [record for _, record in present] + absent


def _rows(
    records: Iterable[Any], columns: Sequence[Column], dialect: Dialect, picklists: Mapping[str, Picklist]
) -> list[dict[str, Any]]:
    plan = [(_key(c, dialect.keys), c.read, _format(c.field, dialect, picklists)) for c in columns]
    blank = "" if dialect.nulls == "empty" else None
    rows = []
    for record in records:
        row: dict[str, Any] = {}
        for key, read, form in plan:
            value = read(record)
            if value is None:
                if dialect.nulls != "absent":
                    row[key] = blank
            else:
                row[key] = value if form is None else form(value)
        rows.append(row)
    return rows


def _key(column: Column, keys: str) -> str:
    if keys == "lower":
        return column.path.lower()
    if keys == "upper":
        return column.path.upper()
    return column.spelling if keys == "described" else column.path


def _format(field: Field, dialect: Dialect, picklists: Mapping[str, Picklist]) -> Format | None:
    if field.type == "DATETIME":
        return _STAMPS[dialect.dates]
    if field.type == "DATE":
        return int if dialect.dates == "ms" else iso_date
    if field.type == "MULTISELECTDROPDOWNLIST" and field.picklist:
        items = dict(picklists[field.picklist].items) if dialect.picklists == "label" else {}
        if dialect.multi_select == "joined":
            return lambda values: ";".join(items.get(v, v) for v in values)
        return lambda values: [items.get(v, v) for v in values]
    if field.picklist and dialect.picklists == "label":
        labels = dict(picklists[field.picklist].items)
        return lambda value: labels.get(value, value)
    return None
