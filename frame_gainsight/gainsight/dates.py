"""Dates as Gainsight writes them: epoch milliseconds or ISO 8601, empty or null; and as filters take them."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Any

_ISO = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}([.,]\d+)?)?\s*(Z|z|[+-]\d{2}(:?\d{2})?)?)?")
_EARLIEST = -62_135_596_800_000  # 0001-01-01
_LATEST = 253_402_300_799_999  # 9999-12-31
_LONGEST = 64  # characters


def parse_date(value: Any) -> int | None:
    """A reply's date as milliseconds since 1970, UTC; None for null and "".

    Replies are not uniform: epoch milliseconds in some objects, ISO with or without fraction and with `Z`, `+00:00`
    or `+0000` in others, and dates alone. A value without offset is read as UTC.

    Raises ValueError naming the value when it is none of these.
    """
    if value is None or value == "":
        return None
    if isinstance(value, bool) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"{value!r} is not a date")
    if isinstance(value, int | float):
        return _in_range(int(value), value)
    if not isinstance(value, str):
        raise ValueError(f"a {type(value).__name__} is not a date")
    text = value.strip() if len(value) <= _LONGEST else value
    if len(text) > _LONGEST or not _ISO.fullmatch(text):
        if len(text) <= _LONGEST and re.fullmatch(r"-?\d{10,15}", text):
            return _in_range(int(text), value)
        raise ValueError(f"{_short(text)!r} is not a date")
    try:
        moment = datetime.fromisoformat(text.upper().replace(",", ".").replace(" Z", "Z"))
    except ValueError:
        raise ValueError(f"{_short(text)!r} is not a date") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return _in_range(_milliseconds(moment), text)


def format_date(milliseconds: int) -> str:
    """A filter's date: ISO 8601 with `Z`, since the zone of a value without offset is unknown; seconds only when
    there is no fraction. Before year 1 and after 9999 there are no dates: the first or last one stands for all."""
    milliseconds = min(max(milliseconds, _EARLIEST), _LATEST)
    seconds, fraction = divmod(milliseconds, 1000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{fraction:03d}Z" if fraction else f"{text}Z"


def whole_second(milliseconds: int) -> int:
    """The start of the second, in milliseconds."""
    return milliseconds - milliseconds % 1000


def _milliseconds(moment: datetime) -> int:
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1000 + delta.microseconds // 1000


def _in_range(milliseconds: int, value: Any) -> int:
    if not _EARLIEST <= milliseconds <= _LATEST:
        raise ValueError(f"{_short(str(value))!r} is not a date between the years 1 and 9999")
    return milliseconds


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:40] + "…"
