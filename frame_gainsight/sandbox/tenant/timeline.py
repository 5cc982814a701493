"""The timeline's present state: changes applied up to the clock, sorted by LastModifiedDate and Gsid."""

import heapq
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from frame_gainsight.sandbox.tenant.activity import Activity
from frame_gainsight.sandbox.tenant.scenario import Change


@dataclass(frozen=True, slots=True)
class Deletion:
    """A deleted activity: what was known of it, when it went, and when that showed."""

    gsid: str
    last_version_ms: int
    deleted_ms: int
    seen_from_ms: int
    visible_ms: int


class Timeline:
    """Follows a stream of changes.  `stream` opens the stream anew, which is how time can be set back."""

    def __init__(self, stream: Callable[[], Iterator[Change]]) -> None:
        self._stream = stream
        self._manual: list[Change] = []
        self._reset()

    def _reset(self) -> None:
        self.current: dict[str, Activity] = {}
        self.order: list[tuple[int, str]] = []
        self.seen_from: dict[str, int] = {}
        self.deleted: dict[str, Deletion] = {}
        self._at = -1
        self._source = self._stream()
        self._next = next(self._source, None)
        self._waiting = [(c.visible_ms, n, c) for n, c in enumerate(self._manual)]
        heapq.heapify(self._waiting)

    def catch_up(self, now_ms: int) -> None:
        """Make the state that of `now_ms`."""
        if now_ms < self._at:
            self._reset()
        self._at = now_ms
        while True:
            scheduled = self._next is not None and self._next.visible_ms <= now_ms
            by_hand = bool(self._waiting) and self._waiting[0][0] <= now_ms
            if scheduled and self._next and (not by_hand or self._next.visible_ms <= self._waiting[0][0]):
                self._apply(self._next)
                self._next = next(self._source, None)
            elif by_hand:
                self._apply(heapq.heappop(self._waiting)[2])
            else:
                return

    def insert(self, change: Change) -> None:
        """Add a change by hand; it shows as soon as the clock has reached its `visible_ms`."""
        self._manual.append(change)
        heapq.heappush(self._waiting, (change.visible_ms, len(self._manual), change))
        self.catch_up(max(self._at, 0))

    def between(self, low_ms: int, high_ms: int) -> Iterator[Activity]:
        """Activities with `low_ms <= LastModifiedDate <= high_ms`, ascending by date and Gsid."""
        index = bisect_left(self.order, (low_ms, ""))
        end = bisect_left(self.order, (high_ms + 1, ""))
        for position in range(index, end):
            yield self.current[self.order[position][1]]

    def _apply(self, change: Change) -> None:
        activity = change.activity
        known = self.current.get(activity.gsid)
        if change.op == "create":
            self.current[activity.gsid] = activity
            self.seen_from.setdefault(activity.gsid, change.visible_ms)
            insort(self.order, (activity.modified_ms, activity.gsid))
        elif known is None:
            return  # deleted by hand before
        elif change.op == "edit":
            if activity.modified_ms < known.modified_ms:
                return  # overtaken by a newer edit by hand
            self._forget(known)
            self.current[activity.gsid] = activity
            insort(self.order, (activity.modified_ms, activity.gsid))
        else:
            self._forget(known)
            self.deleted[activity.gsid] = Deletion(
                activity.gsid,
                known.modified_ms,
                change.at_ms,
                self.seen_from[activity.gsid],
                change.visible_ms,
            )

    def _forget(self, activity: Activity) -> None:
        del self.current[activity.gsid]
        del self.order[bisect_left(self.order, (activity.modified_ms, activity.gsid))]
