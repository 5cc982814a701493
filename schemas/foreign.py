"""What a schema that somebody else registered under one of our names may look like, so that reading by it ends."""

from __future__ import annotations

from typing import Any, NamedTuple

from schemas.errors import SchemaError

MOST_VALUES = 2_000  # of one record, its unions' branches and one item of each array and map counted
MOST_VALUES_OF_ITEM = 200  # of one item of an array or map, which a few bytes may hold

# Reading one of these at the end of the data is an error. The others take no byte, or are passed over without a look
# at the end when today's schema does not have their field.
_ENDING = {"int", "long", "bytes", "string"}
_UNENDING = {"null", "boolean", "float", "double"}


class _Extent(NamedTuple):
    """How many values a type may have, and whether reading it at the end of the data is an error."""

    values: int
    ends: bool


def require_bounded(schema: Any) -> None:
    """Raises SchemaError for a schema, parsed by fastavro, by which a few bytes take for ever or end the process.

    That is a recursive one, one whose arrays have items that may take no byte, and one of very many values.
    """
    _extent(schema, {})


def _extent(node: Any, named: dict[str, _Extent]) -> _Extent:
    if isinstance(node, list):
        return _Extent(1 + sum(_extent(branch, named).values for branch in node), True)
    kind = node["type"] if isinstance(node, dict) else node
    if kind in ("record", "error", "enum", "fixed") and isinstance(node, dict):
        found = named[node["name"]] = _named(node, kind, named)
        return found
    if kind in ("array", "map") and isinstance(node, dict):
        item = _extent(node["items" if kind == "array" else "values"], named)
        if kind == "array" and not item.ends:  # a map's items have keys
            raise SchemaError("has an array whose items may take no byte")
        if item.values > MOST_VALUES_OF_ITEM:
            raise SchemaError(f"has more than {MOST_VALUES_OF_ITEM} values in an item of an array or map")
        return _Extent(1 + item.values, True)
    if not isinstance(kind, str):
        return _extent(kind, named)
    if kind in _ENDING or kind in _UNENDING:
        return _Extent(1, kind in _ENDING)
    if kind not in named:  # fastavro knows the name, so it is of a record around this one
        raise SchemaError(f"is recursive ('{kind}' has a '{kind}' in it)")
    return named[kind]


def _named(node: dict[str, Any], kind: str, named: dict[str, _Extent]) -> _Extent:
    if kind in ("enum", "fixed"):
        return _Extent(1, kind == "enum")
    fields = [_extent(field["type"], named) for field in node["fields"]]
    values = 1 + sum(field.values for field in fields)
    if values > MOST_VALUES:
        raise SchemaError(f"has more than {MOST_VALUES} values")
    return _Extent(values, any(field.ends for field in fields))
