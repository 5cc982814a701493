"""Names of people: as rows have them, and in the form in which they are compared."""

from __future__ import annotations

from enricher.activity.mentions import visible
from frame_gainsight.gainsight import Row, value_of


def fold(name: str) -> str:
    """A name for comparison: without case, with single blanks, and without invisible characters."""
    return " ".join(visible(name).casefold().split())


def full_name(row: Row) -> str | None:
    """A row's Name, else its first and last name; None where it has neither."""
    name = value_of(row, "Name")
    if isinstance(name, str) and name.strip():
        return name.strip()
    parts = [p.strip() for f in ("FirstName", "LastName") if isinstance(p := value_of(row, f), str) and p.strip()]
    return " ".join(parts) or None


def folded_name(row: Row) -> str:
    """A row's full name for comparison; "" where it has none."""
    return fold(full_name(row) or "")
