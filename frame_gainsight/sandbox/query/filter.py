"""The `where` of a query: conditions by data type, joined by an expression of their aliases."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from frame_gainsight.sandbox.query.dates import moment
from frame_gainsight.sandbox.query.dialect import Dialect
from frame_gainsight.sandbox.query.errors import (
    ApiError,
    Failure,
    bad_date,
    bad_mapping,
    invalid,
    refused_path,
    unsupported,
)
from frame_gainsight.sandbox.query.paths import Column
from frame_gainsight.sandbox.query.schema import DATES, Field, Picklist, Value
from frame_gainsight.sandbox.query.tables import Narrowing

Predicate = Callable[[Any], bool]

_COMPARE = ("EQ", "NE", "GT", "GTE", "LT", "LTE")
_NULL = ("IS_NULL", "IS_NOT_NULL")
_TEXT = (*_COMPARE, *_NULL, "IN", "STARTS_WITH", "ENDS_WITH", "CONTAINS", "DOES_NOT_CONTAINS")
OPERATORS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("STRING", "GSID", "EMAIL", "URL", "LOOKUP", "SFDCID"), _TEXT),
    "BOOLEAN": ("EQ", "NE"),
    **dict.fromkeys(("DATE", "DATETIME"), (*_COMPARE, *_NULL, "BTW")),
    "NUMBER": (*_COMPARE, *_NULL, "IN"),
    **dict.fromkeys(("CURRENCY", "PERCENTAGE"), (*_COMPARE, *_NULL)),
    "PICKLIST": ("EQ", "NE", "INCLUDES", "EXCLUDES", "STARTS_WITH", "CONTAINS", "IN"),
    "MULTISELECTDROPDOWNLIST": ("INCLUDES", "EXCLUDES", *_NULL),
    "RICHTEXTAREA": (),
}
"""Data type → operators (gainsight-api reference, section 2.2)."""

_ORDERED: Mapping[str, Callable[[Any, Any], bool]] = {
    "EQ": lambda a, b: bool(a == b),
    "NE": lambda a, b: bool(a != b),
    "GT": lambda a, b: bool(a > b),
    "GTE": lambda a, b: bool(a >= b),
    "LT": lambda a, b: bool(a < b),
    "LTE": lambda a, b: bool(a <= b),
    "STARTS_WITH": lambda a, b: a.startswith(b),
    "ENDS_WITH": lambda a, b: a.endswith(b),
    "CONTAINS": lambda a, b: b in a,
    "DOES_NOT_CONTAINS": lambda a, b: b not in a,
}


@dataclass(frozen=True, slots=True)
class Where:
    """A compiled filter: the predicate, what every match fulfils, and the longest `IN` list in it."""

    matches: Predicate | None = None
    narrowings: tuple[Narrowing, ...] = ()
    in_values: int = 0


@dataclass(frozen=True, slots=True)
class _Condition:
    predicate: Predicate
    narrowing: Narrowing | None
    in_values: int


def compile_where(
    where: object, column: Callable[[str], Column], dialect: Dialect, picklists: Mapping[str, Picklist]
) -> Where:
    """Compile the `where` of a request body.  An alias that the expression leaves out is silently not applied."""
    if where is None or where == {}:
        return Where()
    if not isinstance(where, dict) or not isinstance(where.get("conditions", []), list):
        raise bad_mapping("where needs a list of conditions")
    conditions: dict[str, _Condition] = {}
    for number, raw in enumerate(where.get("conditions") or []):
        if not isinstance(raw, dict) or not isinstance(raw.get("name"), str):
            raise bad_mapping("a condition needs a name")
        if "." in raw["name"] and dialect.dotted_where:
            raise refused_path(raw["name"], dialect.dotted_where)
        alias = str(raw.get("alias") or f"#{number}")
        conditions[alias] = _condition(raw, column(raw["name"]), dialect, picklists)
    longest = max((c.in_values for c in conditions.values()), default=0)
    if dialect.in_max is not None and longest > dialect.in_max:
        raise ApiError(
            Failure(dialect.in_status, "GSOBJ_1008", f"Too many values for IN: {longest} > {dialect.in_max}")
        )
    if not conditions:
        return Where()
    expression = str(where.get("expression") or " AND ".join(conditions))
    matches, needed = _Expression(expression, conditions, either=not dialect.no_or).parse()
    narrowings = tuple(n for alias in needed if (n := conditions[alias].narrowing) is not None)
    return Where(matches, narrowings, longest)


def _condition(
    raw: Mapping[str, Any], column: Column, dialect: Dialect, picklists: Mapping[str, Picklist]
) -> _Condition:
    field, operator, values = column.field, raw.get("operator"), raw.get("value", [])
    if operator not in OPERATORS.get(field.type, _TEXT):
        raise unsupported(f"Operator {operator} is not supported for {field.type} field {column.path}")
    if not isinstance(values, list):
        raise invalid(f"value of {column.path} must be a list")
    read = column.read
    if operator == "IS_NULL":
        return _Condition(lambda r: read(r) in (None, "", []), None, 0)
    if operator == "IS_NOT_NULL":
        return _Condition(lambda r: read(r) not in (None, "", []), None, 0)
    wanted = [_typed(v, field, dialect, picklists) for v in values]
    if not wanted and operator != "IN":
        raise invalid(f"value of {column.path} is empty")
    if field.type == "BOOLEAN" and not isinstance(wanted[0], bool):
        return _Condition(lambda r: True, None, 0)  # a string silently stops filtering
    narrowing = _narrowing(column, operator, wanted)
    in_values = len(wanted) if operator == "IN" else 0
    return _Condition(_predicate(read, field, operator, wanted, dialect), narrowing, in_values)


def _typed(value: Any, field: Field, dialect: Dialect, picklists: Mapping[str, Picklist]) -> Any:
    """`value` in the field's stored type."""
    if field.type in DATES:
        try:
            return moment(value, dialect.filter_zone, offset_ignored=dialect.offset_ignored)
        except (ValueError, TypeError, AttributeError, OverflowError):
            raise bad_date(str(value)[:40], field.type) from None
    if field.type in ("NUMBER", "CURRENCY", "PERCENTAGE"):
        try:
            return float(value)
        except (TypeError, ValueError):
            raise invalid(f"not a number: {str(value)[:40]}") from None
    if field.type == "BOOLEAN":
        return value
    text = str(value)
    if field.type == "EMAIL":
        return text.lower()
    if field.picklist:  # whether Gsids or labels are meant is unknown: both work
        labels = {label: gsid for gsid, label in picklists[field.picklist].items}
        return labels.get(text, text)
    return text


def _predicate(
    read: Callable[[Any], Value], field: Field, operator: str, wanted: list[Any], dialect: Dialect
) -> Predicate:
    if field.type == "EMAIL":
        plain = read

        def read(record: Any) -> Value:
            value = plain(record)
            return value.lower() if isinstance(value, str) else value

    if field.type == "MULTISELECTDROPDOWNLIST":
        chosen = set(wanted)
        if operator == "INCLUDES":
            return lambda r: not chosen.isdisjoint(_as_list(read(r)))
        return lambda r: read(r) is not None and chosen.isdisjoint(_as_list(read(r)))
    if operator in ("IN", "INCLUDES"):
        several = frozenset(wanted)
        return lambda r: read(r) in several
    if operator == "EXCLUDES":
        several = frozenset(wanted)
        return lambda r: (value := read(r)) is not None and value not in several
    if operator == "BTW":
        if len(wanted) != 2:
            raise invalid("BTW needs two values")
        low, high = wanted
        if dialect.between == "inclusive":
            return lambda r: (value := read(r)) is not None and low <= value <= high
        if dialect.between == "half_open":
            return lambda r: (value := read(r)) is not None and low <= value < high
        return lambda r: (value := read(r)) is not None and low < value < high
    compare, operand = _ORDERED[operator], wanted[0]
    return lambda r: (value := read(r)) is not None and compare(value, operand)


def _as_list(value: Value) -> Sequence[str]:
    return value if isinstance(value, list) else ()


def _narrowing(column: Column, operator: str, wanted: list[Any]) -> Narrowing | None:
    blank = Narrowing(column.field.name)
    if operator in ("EQ", "IN") and column.field.type not in DATES:
        return column.among(wanted)
    if column.field.type not in DATES or not column.direct:
        return None
    if operator == "EQ":
        return replace(blank, low=wanted[0], high=wanted[0])
    if operator in ("GT", "GTE"):
        return replace(blank, low=wanted[0])
    if operator in ("LT", "LTE"):
        return replace(blank, high=wanted[0])
    if operator == "BTW" and len(wanted) == 2:
        return replace(blank, low=wanted[0], high=wanted[1])
    return None


_WORD = re.compile(r"\s*(\(|\)|[^\s()]+)")


class _Expression:
    """`A AND (B OR C)`: AND binds tighter; gives the predicate and the aliases that every match fulfils."""

    def __init__(self, text: str, conditions: Mapping[str, _Condition], *, either: bool) -> None:
        self._words = _WORD.findall(text)
        self._conditions = conditions
        self._takes_or = either
        self._at = 0

    def parse(self) -> tuple[Predicate, list[str]]:
        parsed = self._either()
        if self._at != len(self._words):
            raise unsupported(f"cannot read expression at {self._words[self._at]!r}")
        return parsed

    def _word(self) -> str:
        return self._words[self._at].upper() if self._at < len(self._words) else ""

    def _either(self) -> tuple[Predicate, list[str]]:
        sides = [self._both()]
        while self._word() == "OR":
            if not self._takes_or:
                raise unsupported("OR is not supported in an expression")
            self._at += 1
            sides.append(self._both())
        if len(sides) == 1:
            return sides[0]
        predicates = [p for p, _ in sides]
        return lambda r: any(p(r) for p in predicates), []

    def _both(self) -> tuple[Predicate, list[str]]:
        sides = [self._one()]
        while self._word() == "AND":
            self._at += 1
            sides.append(self._one())
        if len(sides) == 1:
            return sides[0]
        predicates = [p for p, _ in sides]
        return lambda r: all(p(r) for p in predicates), [alias for _, needed in sides for alias in needed]

    def _one(self) -> tuple[Predicate, list[str]]:
        if self._at >= len(self._words):
            raise unsupported("the expression ends too early")
        word = self._words[self._at]
        self._at += 1
        if word == "(":
            inner = self._either()
            if self._word() != ")":
                raise unsupported("a parenthesis is not closed")
            self._at += 1
            return inner
        if word not in self._conditions:
            raise unsupported(f"the expression names {word!r}, which is no condition's alias")
        return self._conditions[word].predicate, [word]
