"""The ranges of the numbers on record: Avro's 64 bits hold more than any clock, or topic, has."""

from __future__ import annotations

from schemas import DecodeError
from schemas.raw_topic import LAST_MOMENT

FIRST_MOMENT = -62_135_596_800_000  # the year 1 in UTC, where dates begin: a `start` may be any of them


def require_time(value: int | None, name: str) -> None:
    """Raises DecodeError for milliseconds that are in no year from 1 to 9999; None is none at all."""
    if value is not None and not FIRST_MOMENT <= value <= LAST_MOMENT:
        raise DecodeError(f"{name} is {value}, which is no time in milliseconds of the years 1 to 9999.")


def require_count(value: int, name: str) -> None:
    """Raises DecodeError for a negative number."""
    if value < 0:
        raise DecodeError(f"{name} is {value}, and cannot be negative.")
