"""Moments: every form in which Gainsight writes or reads a date, to and from epoch milliseconds."""

import re
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache

SECOND = 1000
MINUTE = 60 * SECOND
DAY = 24 * 60 * MINUTE

_US_DATE = re.compile(r"^(\d{2})-(\d{2})-(\d{4})$")
_OFFSET = re.compile(r"([+-]\d{2}):?(\d{2})$")


def moment(value: str | int | float | datetime, zone_minutes: int = 0, *, offset_ignored: bool = False) -> int:
    """Epoch milliseconds of `value`.

    A number is epoch milliseconds already.  Text may be ISO 8601 with `T` or a space, with or without a fraction, with
    `Z`, `+00:00` or `+0000`, a date alone (`2024-01-31`), or the American `01-31-2024`.  Text without an offset is read
    in the zone `zone_minutes` east of UTC, and so is any with `offset_ignored`.  Raises ValueError for anything else.
    """
    if isinstance(value, bool):
        raise ValueError(f"not a date: {value!r}")
    if isinstance(value, int | float):
        return int(value)
    zone = timezone(timedelta(minutes=zone_minutes))
    if isinstance(value, str):
        text = value.strip()
        if american := _US_DATE.match(text):
            month, day, year = american.groups()
            text = f"{year}-{month}-{day}"
        if text.isdigit() and len(text) > 8:  # eight digits are an ISO date without dashes
            return int(text)
        text = _OFFSET.sub(r"\1:\2", text) if ":" in text else text
        value = datetime.fromisoformat(text)
    if value.tzinfo is None or offset_ignored:
        value = value.replace(tzinfo=zone)
    return round(value.timestamp() * 1000)


def _at(ms: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)


@lru_cache(maxsize=65_536)
def iso(ms: int) -> str:
    """`2026-03-02T08:00:00Z`: the second that `ms` lies in."""
    return _at(ms).strftime("%Y-%m-%dT%H:%M:%SZ")


def iso_fraction(ms: int) -> str:
    """`2026-03-02T08:00:00.000Z`."""
    return f"{iso(ms)[:-1]}.{ms % 1000:03d}Z"


def iso_offset(ms: int) -> str:
    """`2026-03-02T08:00:00.000+0000`."""
    return f"{iso(ms)[:-1]}.{ms % 1000:03d}+0000"


def iso_date(ms: int) -> str:
    """`2026-03-02`."""
    return iso(ms)[:10]


_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def http_date(ms: int) -> str:
    """The `Date` header's form (RFC 9110): `Mon, 02 Mar 2026 08:00:00 GMT`."""
    at = _at(ms)
    return f"{_DAYS[at.weekday()]}, {at.day:02d} {_MONTHS[at.month - 1]} {at.year} {at:%H:%M:%S} GMT"
