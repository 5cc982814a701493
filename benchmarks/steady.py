"""A scenario as large as wanted and cheap to hold and to serve: emails at an even pace whose bodies are shared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random

from sandbox import Clock
from sandbox.activity import Activity, Written
from sandbox.gsid import gsid
from sandbox.scenario import Change
from sandbox.world import World
from sandbox.writer import Writer

DIFFERENT = 2000  # emails that are written; the others repeat them under ids and dates of their own
SECOND = 1000


@dataclass(frozen=True, slots=True)
class Steady:
    """`rows` emails, evenly between `start_ms` and `start_ms + seconds`; nothing is edited, deleted or late."""

    rows: int
    start_ms: int
    seconds: int

    def clock(self) -> Clock:
        """Real time."""
        return Clock.real()

    def populate(self, world: World) -> None:
        """The seed's world has everybody."""

    def changes(self, world: World, began_ms: int) -> Iterator[Change]:
        patterns = self._patterns(world)
        for number in range(self.rows):
            at = self.start_ms + number * self.seconds // self.rows * SECOND
            pattern = patterns[number % len(patterns)]
            key = gsid("1I00", world.seed, "steady", number)
            activity = replace(pattern, gsid=key, occurred_ms=at, created_ms=at, modified_ms=at)
            yield Change(at, at, "create", activity)

    def _patterns(self, world: World) -> list[Activity]:
        writer = Writer(world, Random(f"steady:{world.seed}"), "steady")
        written = (writer.email(self.start_ms) for _ in range(min(self.rows, DIFFERENT)))
        return [replace(a, body=Written(a.body.text, a.body.html)) for a in written]
