"""The record of API calls: totals by endpoint, and the latest calls one by one."""

from collections import Counter, deque
from dataclasses import asdict, dataclass
from typing import Any

_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Recorded:
    """One API call.  It has no key, no filter value and no row in it."""

    at_ms: int
    endpoint: str
    in_values: int
    rows: int
    status: int
    throttled: bool


class CallLog:
    """Counts every API call, also the refused ones; control calls are no API calls."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._counts: Counter[str] = Counter()
        self._throttled = 0
        self._rejected = 0
        self._recent: deque[Recorded] = deque(maxlen=_KEPT)

    def add(self, call: Recorded) -> None:
        """Count one call; it is throttled when the allowance was spent, rejected when its key was wrong."""
        self._counts[call.endpoint] += 1
        self._throttled += call.throttled
        self._rejected += call.status == 401
        self._recent.append(call)

    def summary(self) -> dict[str, Any]:
        """`{"total", "by_endpoint", "throttled", "rejected"}`."""
        return {
            "total": self._counts.total(),
            "by_endpoint": dict(sorted(self._counts.items())),
            "throttled": self._throttled,
            "rejected": self._rejected,
        }

    def recent(self) -> list[dict[str, Any]]:
        """The latest 10,000 calls, oldest first."""
        return [asdict(call) for call in self._recent]
