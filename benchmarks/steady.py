"""A scenario as large as wanted and cheap to hold and to serve: emails at an even pace whose bodies are shared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from random import Random

from sandbox import Clock
from sandbox.activity import Activity, Address, Written
from sandbox.gsid import gsid
from sandbox.scenario import Change
from sandbox.world import World, address_of
from sandbox.writer import Writer

DIFFERENT = 2000  # emails that are written; the others repeat them under ids and dates of their own
SECOND = 1000


@dataclass(frozen=True, slots=True)
class Steady:
    """`rows` emails, evenly between `start_ms` and `start_ms + seconds`; nothing is edited, deleted or late.

    They come in `periods` of equal length; where there are several, at random moments. From the second one on,
    `new_people` of the people met in a period (a share) were met in none before, though the tenant has always had
    them: those of the companies that nobody else writes to.
    """

    rows: int
    start_ms: int
    seconds: int
    periods: int = 1
    new_people: float = 0.0

    def clock(self) -> Clock:
        """Real time."""
        return Clock.real()

    def populate(self, world: World) -> None:
        """The seed's world has everybody."""

    def changes(self, world: World, began_ms: int) -> Iterator[Change]:
        patterns, rest = self._patterns(world)
        a_period = self.rows // self.periods
        met = len({p.email for a in patterns[:a_period] for p in (*a.external, *a.internal)})
        new = min(round(self.new_people * met), len(rest) // max(1, self.periods - 1))
        every = max(1, a_period // new) if new else 0
        for number, second in enumerate(self._moments(world.seed)):
            at = self.start_ms + second * SECOND
            activity = patterns[number % len(patterns)]
            period, within = divmod(number, a_period)
            if every and 0 < period < self.periods and within % every == 0 and within // every < new:
                activity = _written_by(activity, rest[(period - 1) * new + within // every])
            key = gsid("1I00", world.seed, "steady", number)
            yield Change(at, at, "create", replace(activity, gsid=key, occurred_ms=at, created_ms=at, modified_ms=at))

    def _moments(self, seed: int) -> Iterable[int]:
        """Seconds after the start, in order."""
        if self.periods == 1:
            return (number * self.seconds // self.rows for number in range(self.rows))
        rng = Random(f"moments:{seed}")
        return sorted(rng.randrange(self.seconds) for _ in range(self.rows))

    def _patterns(self, world: World) -> tuple[list[Activity], list[Address]]:
        """The emails that are written, and the people who have no part in them."""
        companies = world.rows("company")
        usual = companies[: max(1, len(companies) * 3 // 5)] if self.new_people else companies
        writer = Writer(world, Random(f"steady:{world.seed}"), "steady", usual)
        written = [writer.email(self.start_ms) for _ in range(min(self.rows, DIFFERENT))]
        taken = {p.email for a in written for p in (*a.external, *a.to, *([a.sender] if a.sender else []))}
        others = [p for c in companies[len(usual) :] for p in world.members.get(str(c["Gsid"]), ())]
        rest = [address_of(p) for p in others if p["Email"] and p["Email"] not in taken]
        return [replace(a, body=Written(a.body.text, a.body.html)) for a in written], list(dict.fromkeys(rest))


def _written_by(activity: Activity, who: Address) -> Activity:
    return replace(activity, sender=who, external=(who, *activity.external[1:]))
