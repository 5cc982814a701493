"""Mapping: described fields of resolved objects to typed profile values and tags."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any

from enricher.activity.raw_record import DataError
from frame_gainsight.connectors import Definition, Path
from frame_gainsight.connectors.columns import required
from frame_gainsight.gainsight import ObjectDescription, Row, format_date, parse_date, parse_flag, value_of
from frame_gainsight.gainsight.describe import DATES, PICKLISTS, Field

Scalar = bool | int | float | str
Rows = Mapping[str, Sequence[Row]]
"""Root of a path → the rows that it stands for in an activity; several only for a custom object with `pick: all`."""

_NUMBERS = frozenset({"NUMBER", "CURRENCY", "PERCENTAGE"})
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_LONG = 2**63


def profile(paths: Mapping[str, Path], rows: Rows, described: Mapping[str, ObjectDescription]) -> dict[str, Scalar]:
    """Frame's field name → value, in the mapping's order. A field without value is left out.

    Raises DataError naming the path when a value does not fit its field's type.
    """
    found: dict[str, Scalar] = {}
    for name, path in paths.items():
        if not (root_rows := rows.get(path.root)):
            continue
        object_name = required.ACTIVITY if path.root == "activity" else path.root
        field = required.field_at(path.field, object_name, described)
        values = [v for row in root_rows if (v := _typed(value_of(row, path.field), field, path)) is not None]
        if len(values) == 1:
            found[name] = values[0]
        elif values:
            found[name] = "; ".join(_text(v) for v in dict.fromkeys(values))
    return found


def picked(definition: Definition, object_name: str, rows: Sequence[Row]) -> Sequence[Row]:
    """The rows of a custom object that its `pick` selects, by Gsid."""
    pick = definition.objects[object_name].pick
    ordered = sorted(rows, key=lambda row: str(value_of(row, "Gsid") or ""))
    if pick == "all" or not ordered:
        return ordered
    return [ordered[0] if pick == "first" else max(ordered, key=_modified)]


def _modified(row: Row) -> int:
    try:
        return parse_date(value_of(row, "ModifiedDate")) or 0
    except ValueError as error:
        raise DataError(f"ModifiedDate of a custom object cannot be read: {error}.") from error


def _typed(value: Any, field: Field | None, path: Path) -> Scalar | None:
    """The value in the form of its field's type; None when there is none."""
    if value is None or value == "" or value == []:
        return None
    kind = field.data_type if field else ""
    if kind in PICKLISTS and field is not None:
        return _labels(value, field)
    if kind in DATES:
        try:
            at = parse_date(value)
        except ValueError as error:
            raise DataError(f"{path} cannot be read as a date: {error}.") from error
        return None if at is None else format_date(at)[:10] if kind == "DATE" else format_date(at)
    if kind in _NUMBERS and isinstance(value, str):
        value = _number(value, path)
    if kind == "BOOLEAN":
        flag = parse_flag(value)
        if flag is None and str(value).strip():
            raise DataError(f"{path} is neither true nor false: {str(value)[:40]!r}.")
        return flag
    if isinstance(value, bool | float | str):
        return value
    if isinstance(value, int):
        if -_LONG <= value < _LONG:
            return value
        try:
            return float(value)
        except OverflowError:
            raise DataError(f"{path} is a number too large to be passed on.") from None
    return _joined(map(_text, _filled(value))) if isinstance(value, list) else str(value)


def _labels(value: Any, field: Field) -> str | None:
    """The labels of picklist ids: of several (a list, or separated by ;) all, in their order."""
    names = _filled(value if isinstance(value, list) else str(value).split(";"))
    return _joined(field.options.get(name, name) for name in (str(n).strip() for n in names))


def _filled(values: list[Any]) -> list[Any]:
    """The values of a list without null and blanks, which tenants put in, too."""
    return [value for value in values if value is not None and str(value).strip()]


def _joined(texts: Iterable[str]) -> str | None:
    return "; ".join(texts) or None


def _number(text: str, path: Path) -> int | float:
    if _NUMBER.fullmatch(text.strip()):
        try:
            return int(text)
        except ValueError:
            value = float(text)
            if isfinite(value):
                return value
    raise DataError(f"{path} is not a number: {text[:40]!r}.")


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
