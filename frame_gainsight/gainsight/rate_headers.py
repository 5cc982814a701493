"""Headers of a reply about time and the tenant's API allowance: `Date`, `X-RateLimit-*` and `Retry-After`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import NamedTuple

_LONGEST_WINDOW = 86_400.0
_LONGEST_DATE = 64  # characters
_EPOCH_SECONDS, _EPOCH_MILLISECONDS = 1e9, 1e12  # from here on a time is no span


class Allowance(NamedTuple):
    """The tenant's API allowance, as one reply's headers give it; None for what they do not give.

    Attributes:
        limit: calls of a window.
        remaining: how many of them are left.
        reset: seconds until there are as many again.
    """

    limit: int | None = None
    remaining: int | None = None
    reset: float | None = None


def allowance_of(headers: Mapping[str, str], now: float) -> Allowance:
    """The allowance by the `x-ratelimit-*` headers; nonsense counts as absent.

    Of several values ("100, 50000": the windows' forms are not documented) those of the window with the fewest calls
    left count.

    Args:
        now: the tenant's clock, seconds since 1970, for resets that are a time (in seconds or milliseconds).
    """
    limits, remains, resets = (_numbers(headers.get(f"x-ratelimit-{n}")) for n in ("limit", "remaining", "reset"))
    scarce = remains.index(min(remains)) if remains else 0

    def of_scarce(values: list[float]) -> float | None:
        return values[scarce] if len(values) > scarce else min(values, default=None)

    limit, remaining, reset = of_scarce(limits), of_scarce(remains), of_scarce(resets)
    if reset is not None and reset >= _EPOCH_SECONDS:
        reset = (reset / 1000 if reset >= _EPOCH_MILLISECONDS else reset) - now
    return Allowance(
        None if limit is None else int(limit),
        None if remaining is None else int(remaining),
        None if reset is None or reset < 0 else reset,
    )


def http_date(text: str | None) -> float | None:
    """Seconds since 1970 of a header's date, in each of HTTP's three forms; None for nonsense."""
    if not text or len(text) > _LONGEST_DATE:
        return None
    try:
        date = parsedate_to_datetime(text)
        return (date if date.tzinfo is not None else date.replace(tzinfo=UTC)).timestamp()
    except (ArithmeticError, LookupError, TypeError, ValueError):  # a zone, a year or a day that cannot be
        return None


def retry_after_of(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds from `Retry-After`, a number or a date; nonsense counts as absent. A day at the most.

    Args:
        now: the tenant's clock, seconds since 1970, for a date where the reply itself has none.
    """
    text = headers.get("retry-after")
    try:
        seconds = float(text or "")
    except ValueError:
        if (until := http_date(text)) is None:
            return None
        date = http_date(headers.get("date"))
        seconds = until - (now if date is None else date)
    return min(max(0.0, seconds), _LONGEST_WINDOW) if math.isfinite(seconds) else None


def _numbers(header: str | None) -> list[float]:
    """The numbers of a header; `100;w=60` is 100. Empty when one of them is not a number from 0 on."""
    try:
        numbers = [float(part.partition(";")[0]) for part in (header or "").split(",")]
    except ValueError:
        return []
    return numbers if all(math.isfinite(n) and n >= 0 for n in numbers) else []
