"""Tenant capabilities: which forms of a query a tenant takes, and how large, learnt by trying and kept in the cache."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from enricher.resolution.entity_cache import EntityCache, EntityKey
from frame_gainsight.gainsight import Chunking, PageCap, Row
from frame_gainsight.gainsight.query import MAX_ROWS

CAPABILITIES = "!facts"
"""The cache's note that holds a tenant's capabilities: no Gainsight object has such a name."""
SPENT = "spent"
"""The part of that note which holds the calls of a day."""

MOST_CALLS = 100_000_000  # of a day; also more than any day's number
_KEYS = {
    "dotted": "joins_person",
    "dotted_in": "filters_by_person",
    "either": "allows_or",
    "named": "filters_users_by_name",
}
"""Persisted key → attribute."""


@dataclass
class TenantCapabilities:
    """The forms of a query that a tenant takes. None: not tried yet.

    Attributes:
        page_cap: the most rows that the tenant has given at once.
        chunking: object → size of `IN` list.
        joins_person: whether `company_person` gives the columns of its person.
        filters_by_person: whether `company_person` takes a condition on such a column.
        allows_or: whether two conditions may be joined by OR, one of them on a column of the person.
        filters_users_by_name: whether `gsuser` takes a condition on its name.
    """

    page_cap: PageCap = field(default_factory=PageCap)
    chunking: defaultdict[str, Chunking] = field(default_factory=lambda: defaultdict(Chunking))
    joins_person: bool | None = None
    filters_by_person: bool | None = None
    allows_or: bool | None = None
    filters_users_by_name: bool | None = None

    def row(self) -> Row:
        """The persisted form."""
        sizes = {name: c.size for name, c in sorted(self.chunking.items())}
        forms = {key: getattr(self, name) for key, name in _KEYS.items()}
        return {"page": self.page_cap.rows, "in": sizes, **forms}

    @staticmethod
    def of(row: Row) -> TenantCapabilities:
        """The capabilities out of their persisted form; what that lacks, or what cannot be, is learnt anew."""
        page, sizes = row.get("page"), row.get("in")
        found = TenantCapabilities(PageCap(page if _is_number(page, MAX_ROWS) else 0))
        for key, name in _KEYS.items():
            setattr(found, name, known if isinstance(known := row.get(key), bool) else None)
        for object_name, size in sizes.items() if isinstance(sizes, dict) else ():
            if _is_number(size, Chunking().size) and size:
                found.chunking[object_name].size = size
        return found


def spent_before(cache: EntityCache, connector: str, host: str) -> tuple[int, int] | None:
    """The calls of a day (its number since 1970, UTC; how many), as an earlier owner of the lane left them."""
    note = cache.get(EntityKey(connector, CAPABILITIES, "tenant", host))
    return spent_of(note.rows[0]) if note is not None and note.rows else None


def spent_of(row: Row) -> tuple[int, int] | None:
    """The calls of a day in a tenant's capabilities; None where they are not there, or cannot be."""
    spent = row.get(SPENT)
    if not isinstance(spent, list) or len(spent) != 2 or not all(_is_number(n, MOST_CALLS) for n in spent):
        return None
    return spent[0], spent[1]


def _is_number(value: Any, most: int) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most
