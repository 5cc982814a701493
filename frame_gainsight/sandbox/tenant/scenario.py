"""A scenario: a stream of changes to a tenant's timeline, in the order in which they show."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from frame_gainsight.sandbox.tenant.activity import Activity
from frame_gainsight.sandbox.tenant.clock import Clock
from frame_gainsight.sandbox.tenant.world import World

Op = Literal["create", "edit", "delete"]


@dataclass(frozen=True, slots=True)
class Change:
    """One change.  `at_ms` is its LastModifiedDate (or DeletedOn); queries show it from `visible_ms` on."""

    visible_ms: int
    at_ms: int
    op: Op
    activity: Activity
    """The version that the change leads to; for a deletion the last one."""


class Scenario(Protocol):
    """A deterministic source of changes.  The same world gives the same stream every time."""

    def clock(self) -> Clock:
        """The clock that suits the scenario when none is given."""
        ...

    def populate(self, world: World) -> None:
        """Add the people and firms that the scenario needs and that the world lacks."""
        ...

    def changes(self, world: World, began_ms: int) -> Iterator[Change]:
        """All changes by ascending `visible_ms`; may be endless, and is then read no further than the clock.

        `began_ms` is the clock's time when the tenant was made, for scenarios without a start of their own.
        """
        ...


@dataclass(frozen=True, slots=True)
class Quiet:
    """Nothing happens but what the control API requests; the clock stands at `start`."""

    start: str = "2026-03-02T08:00:00Z"

    def clock(self) -> Clock:
        return Clock.stopped(self.start)

    def populate(self, world: World) -> None:
        """Nothing is added."""

    def changes(self, world: World, began_ms: int) -> Iterator[Change]:
        return iter(())
