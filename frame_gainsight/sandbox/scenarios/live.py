"""The live scenario: an endless stream of activities that follows the clock."""

import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from random import Random

from frame_gainsight.sandbox.query.dates import MINUTE, SECOND, moment
from frame_gainsight.sandbox.tenant.clock import Clock
from frame_gainsight.sandbox.tenant.email_generator import EmailGenerator
from frame_gainsight.sandbox.tenant.scenario import Change
from frame_gainsight.sandbox.tenant.world import World

_MOST_LATE_MS = 120 * SECOND
_REMEMBERED = 2000


@dataclass(frozen=True, slots=True)
class Live:
    """About `per_minute` emails a minute from `start` on, without end.

    Calls and meetings come on top (one for nine emails); `edits` and `deletes` are shares of the emails and hit those
    of the last hours, `late` is the share of changes that show up to two minutes after their LastModifiedDate.  The
    stream depends on the seed and on `start` alone, not on when it is read.  `start` None: an hour before the clock's
    time when the tenant was made, so that a fresh tenant is not empty.
    """

    per_minute: float = 6.0
    start: str | int | None = None
    edits: float = 0.03
    deletes: float = 0.01
    late: float = 0.03

    def __post_init__(self) -> None:
        if self.per_minute < 0:
            raise ValueError("a rate is not negative")

    def clock(self) -> Clock:
        """Real time."""
        return Clock.real()

    def populate(self, world: World) -> None:
        """The seed's world has everybody the stream needs."""

    def changes(self, world: World, began_ms: int) -> Iterator[Change]:
        start_ms = began_ms - 60 * MINUTE if self.start is None else moment(self.start)
        start_ms = start_ms // MINUTE * MINUTE
        rng = Random(f"live:{world.seed}:{start_ms}")
        writer = EmailGenerator(world, rng, f"live:{start_ms}")
        alive: deque[Change] = deque(maxlen=_REMEMBERED)
        waiting: list[tuple[int, int, Change]] = []
        number = count()
        for minute in count(start_ms, MINUTE):
            for change in self._minute(minute, writer, alive, rng):
                heapq.heappush(waiting, (change.visible_ms, next(number), change))
            while waiting and waiting[0][0] < minute + MINUTE:  # later minutes bring nothing that shows earlier
                yield heapq.heappop(waiting)[2]

    def _minute(self, minute: int, writer: EmailGenerator, alive: deque[Change], rng: Random) -> list[Change]:
        """The changes that happen in one minute, oldest first; `alive` holds the latest visible version of each."""
        events: list[tuple[int, str]] = []
        shares = (("email", 1.0), ("other", 1 / 9), ("edit", self.edits), ("delete", self.deletes))
        for kind, share in shares:
            rate = self.per_minute * share
            events += [(minute + rng.randrange(60) * SECOND, kind) for _ in range(_whole(rate, rng))]
        found = []
        for at, kind in sorted(events):
            change = self._happen(at, kind, writer, alive, rng)
            if change is not None:
                found.append(change)
        return found

    def _happen(self, at: int, kind: str, writer: EmailGenerator, alive: deque[Change], rng: Random) -> Change | None:
        visible = at + (rng.randrange(SECOND, _MOST_LATE_MS) if rng.random() < self.late else 0)
        if kind == "email":
            change = Change(visible, at, "create", writer.email(at))
        elif kind == "other":
            return Change(visible, at, "create", writer.other(at))
        else:
            index = rng.randrange(len(alive)) if alive else 0
            if not alive or alive[index].visible_ms >= at or alive[index].at_ms >= at:
                return None
            last = alive[index]
            del alive[index]
            if kind == "delete":
                return Change(visible, at, "delete", last.activity)
            change = Change(visible, at, "edit", writer.edited(last.activity, at))
        alive.append(change)
        return change


def _whole(rate: float, rng: Random) -> int:
    """`rate` as a whole number that is right on average."""
    floor = int(rate)
    return floor + (rng.random() < rate - floor)
