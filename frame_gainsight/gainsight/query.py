"""Queries: conditions, order and page, as the query endpoint takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MAX_ROWS = 5000  # of one reply, documented

# A tenant may cap its pages below our limit without saying so, and a capped page looks like the last one. No tenant is
# taken to cap lower than this: a shorter page is the last one.
LEAST_CAP = 50
# Caps are round numbers: where a row may be read twice but not be missed, a page of such a length is not taken to be
# the last one, which costs one more call for one page in fifty.
ROUND = 50


def is_full(rows: Sequence[Any], limit: int) -> bool:
    """Whether more rows may follow a page requested with that limit."""
    return len(rows) >= limit or (len(rows) > 0 and len(rows) % ROUND == 0)


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison. `values` is always a list on the wire, also for one value; booleans must be booleans."""

    name: str
    operator: str
    values: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Query:
    """A query of one object's rows.

    Attributes:
        where: conditions that all hold (AND), or one of which does (OR) with `either`.
        order_by: field → asc | desc, first key first.
        expression: in place of AND or OR, of the conditions' aliases A, B, C… in their order.
    """

    object_name: str
    select: Sequence[str]
    where: Sequence[Condition] = ()
    order_by: Mapping[str, str] = field(default_factory=dict)
    limit: int = MAX_ROWS
    offset: int = 0
    either: bool = False
    expression: str | None = None

    def body(self) -> dict[str, Any]:
        """The request's JSON."""
        body: dict[str, Any] = {"select": list(self.select), "limit": self.limit, "offset": self.offset}
        if self.where:
            aliases = [_alias(i) for i in range(len(self.where))]
            body["where"] = {
                "conditions": [
                    {"name": c.name, "alias": a, "operator": c.operator, "value": list(c.values)}
                    for a, c in zip(aliases, self.where, strict=True)
                ],
                "expression": self.expression or (" OR " if self.either else " AND ").join(aliases),
            }
        if self.order_by:
            body["orderBy"] = dict(self.order_by)
        return body


def _alias(index: int) -> str:
    return chr(ord("A") + index) if index < 26 else f"A{index}"
