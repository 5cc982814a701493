"""The morning scenario: a fixed number of emails over a few polling periods, with edits, deletions and late rows."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from frame_gainsight.sandbox.query.dates import SECOND, moment
from frame_gainsight.sandbox.tenant.activity import Activity
from frame_gainsight.sandbox.tenant.clock import Clock
from frame_gainsight.sandbox.tenant.email_generator import EmailGenerator
from frame_gainsight.sandbox.tenant.scenario import Change
from frame_gainsight.sandbox.tenant.world import World

MOST_LATE_MS = 120 * SECOND


@dataclass(frozen=True, slots=True)
class Morning:
    """`emails` emails in `periods` equal parts, one part a period of `period` seconds from `start` on.

    Calls, meetings and updates come on top: one for every nine emails.  A tenth of the emails share their second with
    others.  `edits` and `deletes` are shares of the emails.  Half of the edits happen in the period of the creation,
    the others in a later one.  Deletions hit emails of the first period that were to be seen before its end, and happen
    in a later period (so there are none with `periods=1`); a third of the deleted were edited before.  `late` is the
    share of changes that show up to two minutes (at most a fifth of a period) after their LastModifiedDate.  Everything
    has shown 30 seconds before the last period's end (a twentieth of a shorter period, but 3 seconds at least).

    `burst` emails of the first period share one second; `long_bodies` emails have bodies of 131,000 characters;
    `resolution` is what dates are stored in: `"s"` or `"ms"`.
    """

    start: str = "2026-03-02T08:00:00Z"
    period: int = 600
    periods: int = 2
    emails: int = 1000
    edits: float = 0.03
    deletes: float = 0.01
    late: float = 0.03
    burst: int = 0
    long_bodies: int = 0
    resolution: str = "s"

    def __post_init__(self) -> None:
        if self.period < 10 or self.periods < 1 or self.emails < 0:
            raise ValueError("a morning has at least one period of at least 10 seconds, and no negative emails")
        if self.burst > self.emails // self.periods:
            raise ValueError("`burst` is larger than the first period's share of the emails")
        if self.resolution not in ("s", "ms"):
            raise ValueError("`resolution` is 's' or 'ms'")

    @property
    def start_ms(self) -> int:
        """The first period's beginning."""
        return moment(self.start)

    @property
    def end_ms(self) -> int:
        """The last period's end."""
        return self.start_ms + self.periods * self.period * SECOND

    def clock(self) -> Clock:
        """Stopped at the end: everything has happened."""
        return Clock.stopped(self.end_ms)

    def populate(self, world: World) -> None:
        """The seed's world has everybody a morning needs."""

    def changes(self, world: World, began_ms: int) -> Iterator[Change]:
        return iter(_Plan(self, world).changes())


class _Plan:
    def __init__(self, morning: Morning, world: World) -> None:
        self._m = morning
        self._rng = Random(f"morning:{world.seed}")
        self._writer = EmailGenerator(world, self._rng, "morning")
        self._period_ms = morning.period * SECOND
        self._margin = max(3 * SECOND, min(30 * SECOND, self._period_ms // 20))
        self._last = morning.end_ms - self._margin
        self._changes: list[Change] = []

    def changes(self) -> list[Change]:
        emails = self._emails()
        self._others(round(self._m.emails / 9))
        doomed = self._doomed(emails)
        self._edit(emails, doomed)
        self._changes.sort(key=lambda c: (c.visible_ms, c.at_ms, c.activity.gsid))
        return self._changes

    def _period_of(self, at_ms: int) -> int:
        return (at_ms - self._m.start_ms) // self._period_ms

    def _moments(self, period: int, count: int) -> list[int]:
        """`count` moments of a period, a tenth of them in shared seconds, in order."""
        rng = self._rng
        first = self._m.start_ms + period * self._period_ms
        last = min(first + self._period_ms - SECOND, self._last - self._margin)
        found: list[int] = []
        if period == 0 and self._m.burst:
            found = [self._whole(first + self._period_ms // 3)] * self._m.burst
        crowded = count // 10
        while len(found) < count:
            at = self._whole(rng.randrange(first, last))
            many = rng.randrange(5, 40) if crowded > 0 else 1
            crowded -= many
            found += [at] * min(many, count - len(found))
        return sorted(found)

    def _whole(self, at_ms: int) -> int:
        return at_ms // SECOND * SECOND

    def _exact(self, at_ms: int) -> int:
        return at_ms + self._rng.randrange(SECOND) if self._m.resolution == "ms" else at_ms

    def _visible(self, at_ms: int, not_before: int = 0) -> int:
        seen = at_ms
        if self._rng.random() < self._m.late:
            most = min(MOST_LATE_MS, self._period_ms // 5, self._last - at_ms)
            if most > SECOND:
                seen = at_ms + self._rng.randrange(SECOND, most + 1)
        return max(seen, not_before)

    def _emails(self) -> list[Change]:
        m = self._m
        long_every = m.emails // m.long_bodies if m.long_bodies else 0
        written: list[Change] = []
        for period in range(m.periods):
            count = m.emails // m.periods + (period < m.emails % m.periods)
            for at in self._moments(period, count):
                long_body = bool(long_every) and len(written) % long_every == 0
                long_body = long_body and len(written) // long_every < m.long_bodies
                written.append(self._create(self._writer.email(self._exact(at), long_body=long_body)))
        self._changes += written
        return written

    def _others(self, count: int) -> None:
        first, last = self._m.start_ms, self._last - self._margin
        for at in sorted(self._whole(self._rng.randrange(first, last)) for _ in range(count)):
            self._changes.append(self._create(self._writer.other(self._exact(at))))

    def _create(self, activity: Activity) -> Change:
        return Change(self._visible(activity.modified_ms), activity.modified_ms, "create", activity)

    def _doomed(self, emails: list[Change]) -> set[str]:
        m, rng = self._m, self._rng
        if m.periods < 2:
            return set()
        seen_by = m.start_ms + self._period_ms - 2 * self._margin
        early = [c for c in emails if c.visible_ms <= seen_by]
        chosen = rng.sample(early, min(len(early), round(m.emails * m.deletes)))
        for number, change in enumerate(chosen):
            first = m.start_ms + self._period_ms
            at = self._exact(self._whole(rng.randrange(first + self._margin, self._last - self._margin)))
            last, visible = change.activity, change.visible_ms
            if number % 3 == 0:  # edited first
                edit_at = self._exact(self._whole(rng.randrange(visible + SECOND, at - 2 * SECOND)))
                edited = self._writer.edited(last, edit_at)
                last, visible = edited, self._visible(edit_at)
                self._changes.append(Change(visible, edit_at, "edit", edited))
            self._changes.append(Change(self._visible(at, visible), at, "delete", last))
        return {c.activity.gsid for c in chosen}

    def _edit(self, emails: list[Change], doomed: set[str]) -> None:
        m, rng = self._m, self._rng
        done = sum(c.op == "edit" for c in self._changes)
        lasting = [c for c in emails if c.activity.gsid not in doomed]
        wanted = min(len(lasting), max(0, round(m.emails * m.edits) - done))
        for number, change in enumerate(rng.sample(lasting, wanted)):
            first = change.visible_ms + 2 * SECOND
            period_end = m.start_ms + (self._period_of(change.at_ms) + 1) * self._period_ms
            last = self._last - SECOND
            if number % 2 == 0:
                last = min(last, max(first + SECOND, period_end - SECOND))
            elif period_end < last - SECOND:
                first = max(first, period_end)
            at = self._exact(self._whole(rng.randrange(min(first, last - 1), last)))
            edited = self._writer.edited(change.activity, at)
            self._changes.append(Change(self._visible(at, change.visible_ms), at, "edit", edited))
