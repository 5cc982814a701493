"""Tenant capabilities: which forms of a query a tenant takes, and how large, learnt by trying and kept in the cache."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from enricher.resolution.entity_cache import EntityCache, EntityKey
from frame_gainsight.gainsight import Chunking, PageCap, Row

CAPABILITIES = "!facts"
"""The cache's note that holds a tenant's capabilities: no Gainsight object has such a name."""
SPENT = "spent"
"""The part of that note which holds the calls of a day."""

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
        """The capabilities out of their persisted form, which may lack some."""
        found = TenantCapabilities(PageCap(int(row.get("page") or 0)))
        for key, name in _KEYS.items():
            setattr(found, name, row.get(key))
        for object_name, size in (row.get("in") or {}).items():
            found.chunking[object_name].size = max(1, int(size))
        return found


def spent_before(cache: EntityCache, connector: str, host: str) -> tuple[int, int] | None:
    """The calls of a day (its number since 1970, UTC; how many), as an earlier owner of the lane left them."""
    note = cache.get(EntityKey(connector, CAPABILITIES, "tenant", host))
    spent = note.rows[0].get(SPENT) if note is not None and note.rows else None
    return (int(spent[0]), int(spent[1])) if spent else None
