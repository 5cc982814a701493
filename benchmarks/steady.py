"""A scenario as large as wanted and cheap to hold and to serve: emails at an even pace whose bodies are shared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from random import Random

from frame_gainsight.sandbox import Clock
from frame_gainsight.sandbox.query.schema import Row
from frame_gainsight.sandbox.tenant.activity import Activity, Address, Written
from frame_gainsight.sandbox.tenant.email_generator import EmailGenerator
from frame_gainsight.sandbox.tenant.gsid import gsid
from frame_gainsight.sandbox.tenant.scenario import Change
from frame_gainsight.sandbox.tenant.world import World, address_of

DIFFERENT = 2000  # emails that are written; the others repeat them under ids and dates of their own
SECOND = 1000
_KNOWN = 3, 5  # the share of the companies whose people write from the first period on


@dataclass(frozen=True, slots=True)
class Steady:
    """`rows` emails, evenly between `start_ms` and `start_ms + seconds`; nothing is edited, deleted or late.

    They come in `periods` of equal length; where there are several, at random moments, and the same people write in
    each. From the second one on, `new_people` of the people met in a period (a share) were met in none before, though
    the tenant has always had them: people of companies that were not met either. And everybody whom the tenant does not
    know is somebody else than in the period before.
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
        a_period = self.rows // self.periods
        patterns = self._patterns(world, a_period)
        met = {p.email for a in patterns for p in (*a.external, *a.internal)}
        rest = self._others(world, patterns)
        new = min(round(self.new_people * len(met)), len(rest) // max(1, self.periods - 1))
        every = max(1, a_period // new) if new else 0
        for number, second in enumerate(self._moments(world.seed)):
            at = self.start_ms + second * SECOND
            activity = patterns[number % len(patterns)]
            period, within = divmod(number, a_period)
            if 0 < period < self.periods:
                activity = _by_other_strangers(activity, period, world)
                if every and within % every == 0 and within // every < new:
                    activity = _written_by(activity, *rest[(period - 1) * new + within // every])
            key = gsid("1I00", world.seed, "steady", number)
            yield Change(at, at, "create", replace(activity, gsid=key, occurred_ms=at, created_ms=at, modified_ms=at))

    def _moments(self, seed: int) -> Iterable[int]:
        """Seconds after the start, in order; a period has about its share."""
        if self.periods == 1:
            return (number * self.seconds // self.rows for number in range(self.rows))
        rng = Random(f"moments:{seed}")
        return sorted(rng.randrange(self.seconds) for _ in range(self.rows))

    def _companies(self, world: World) -> tuple[list[Row], list[Row]]:
        """Those whose people write from the beginning, and the others."""
        companies = world.rows("company")
        known = max(1, len(companies) * _KNOWN[0] // _KNOWN[1]) if self.new_people else len(companies)
        return companies[:known], companies[known:]

    def _patterns(self, world: World, count: int) -> list[Activity]:
        """The emails that are written."""
        writer = EmailGenerator(world, Random(f"steady:{world.seed}"), "steady", self._companies(world)[0])
        written = [writer.email(self.start_ms) for _ in range(min(count, DIFFERENT))]
        return [replace(a, body=Written(a.body.text, a.body.html)) for a in written]

    def _others(self, world: World, patterns: list[Activity]) -> list[tuple[Address, str]]:
        """The people who have no part in them, of companies that have none, each with the company."""
        taken = {p.email for a in patterns for p in a.addresses}
        found: dict[Address, str] = {}
        for company in self._companies(world)[1]:
            for person in world.members.get(str(company["Gsid"]), ()):
                if person["Email"] not in taken:
                    found.setdefault(address_of(person), str(company["Gsid"]))
        return list(found.items())


def _written_by(activity: Activity, who: Address, company: str) -> Activity:
    return replace(
        activity,
        sender=who,
        external=(who, *activity.external[1:]),
        company=company,
        relationship=None,
        context="Company",
        context_id=company,
    )


def _by_other_strangers(activity: Activity, period: int, world: World) -> Activity:
    """The same email, with addresses of this period in place of those that the tenant does not know."""

    def other(who: Address) -> Address:
        if who.email is None or world.known_id(who.email.lower()):
            return who
        return replace(who, email=f"{period}.{who.email}")

    if all(other(p) is p for p in activity.addresses):
        return activity
    return replace(
        activity,
        sender=other(activity.sender) if activity.sender else None,
        to=tuple(map(other, activity.to)),
        internal=tuple(map(other, activity.internal)),
        external=tuple(map(other, activity.external)),
    )
