"""A tenant's dialect: every choice that real tenants are thought to make differently, in one value."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dialect:
    """The forms in which replies are given.  Variants change single fields of it."""

    # rows
    dates: str = "iso"
    nulls: str = "null"
    keys: str = "requested"
    attendees: str = "mixed"
    delimiter: str | None = None
    multi_select: str = "list"
    picklists: str = "gsid"
    undated_every: int = 0
    # envelope
    data: str = "records"
    empty: str = "data"
    localized: bool = False
    error_status: int = 400
    # reading of queries
    filter_zone: int = 0
    offset_ignored: bool = False
    between: str = "inclusive"
    page_cap: int = 5000
    dotted_select: str | None = None
    dotted_where: str | None = None
    no_or: bool = False
    over_limit: str = "cap"
    in_max: int | None = None
    in_status: int = 400
    # fields
    spellings: tuple[tuple[str, str], ...] = ()
    missing: frozenset[str] = frozenset()
    hidden: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()
    absent: bool = False
    readable: bool = True
    padding: int = 0
    delete_logs: frozenset[str] = frozenset({"record_delete_log"})
    high_volume: frozenset[str] = frozenset()
    # limits
    per_minute: int | None = None
    per_day: int | None = None
    others: int = 0
    throttle: str = "429"
    rate_headers: bool = False

    def spelt(self, name: str) -> str:
        """How the tenant spells the field that has this name of its own."""
        return next((theirs for own, theirs in self.spellings if own.lower() == name.lower()), name)

    def meant(self, name: str) -> str | None:
        """The field's own name, for the tenant's spelling of it; None for a name that the tenant spells otherwise."""
        for own, theirs in self.spellings:
            if theirs.lower() == name.lower():
                return own
        return None if self.spelt(name) != name else name


LIST_OF_MS = Dialect(data="list", dates="ms")

DEFAULTS = {"company": LIST_OF_MS, "contract__gc": LIST_OF_MS}
"""Dialects of a tenant without variants, as the vendor's samples mix them; other objects have a plain `Dialect()`."""


def default_dialect(object_name: str | None) -> Dialect:
    """The dialect of `object_name` in a tenant without variants."""
    return DEFAULTS.get((object_name or "").lower(), Dialect())
