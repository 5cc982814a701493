"""Slots that bound how many large replies are in a process's memory at one time, over all tenants, and for how long."""

from __future__ import annotations

import asyncio
import functools
from collections import Counter
from collections.abc import Callable, Sized
from dataclasses import dataclass, field
from typing import Self

from frame_gainsight.gainsight.errors import TransientError

LARGE_REPLY_BYTES = 1024 * 1024  # of a decoded body; a smaller one needs no slot
SLOTS = 3
PACE_BYTES, PACE_SECONDS = 64 * 1024, 10.0  # a second, over so many seconds
SLOW_SECONDS = 30.0  # after which a reply that has a slot counts as slow, though it comes at the pace


class Slot:
    """The place of one large reply; `release` gives it back, once."""

    __slots__ = ("_loop", "_release")

    def __init__(self, release: Callable[[], None]) -> None:
        self._release: Callable[[], None] | None = release
        self._loop = asyncio.get_running_loop()

    def release(self) -> None:
        release, self._release = self._release, None
        if release is not None:
            release()

    def __del__(self) -> None:
        # A reply that was never taken, its task having failed or been cancelled beside another one. The collector may
        # run in any thread.
        release, self._release = self._release, None
        if release is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(release)


@dataclass(slots=True)
class SlotHolder:
    """A reply, or part of one, with the slot that it keeps while it is in memory; None for a small one."""

    slot: Slot | None = field(default=None, repr=False, compare=False, kw_only=True)

    def release(self) -> None:
        """Gives the slot back; may be called again. The content stays readable."""
        if self.slot is not None:
            self.slot.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class SlowReplyError(TransientError):
    """A large reply came so slowly that others would have waited for its slot."""


class ReplySlots:
    """Slots for replies of more than LARGE_REPLY_BYTES; one object for all clients of a process, of one event loop.

    A tenant holds no more than its share of them, and those whose replies came slowly lately hold one in all: the
    others wait neither for a tenant that asks for much nor for slow ones.

    The holder of a reply must be able to release it without getting another one: holders that wait for each other wait
    for ever.

    Attributes:
        pace: bytes a second which a reply that has a slot must bring over each `pace_seconds`.
    """

    def __init__(self, slots: int = SLOTS, *, pace: int = PACE_BYTES, pace_seconds: float = PACE_SECONDS) -> None:
        self.pace = pace
        self.pace_seconds = pace_seconds
        self._free = slots
        self._share = max(1, slots - 1)
        self._held: Counter[str] = Counter()
        self._slow: set[str] = set()
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []

    async def acquire(self, tenant: str = "") -> Slot:
        """Waits for a free slot: first come, first served, within a tenant's share."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((tenant, turn))
        self._dispatch()
        try:
            await turn
        except asyncio.CancelledError:
            if (tenant, turn) in self._waiting:
                self._waiting.remove((tenant, turn))
            elif not turn.cancelled():
                self._release(tenant)
            raise
        return Slot(functools.partial(self._release, tenant))

    def full(self) -> bool:
        """Whether the next large reply has to wait."""
        return self._free == 0

    def note_pace(self, tenant: str, *, slow: bool) -> None:
        """Notes whether a tenant's last large reply came slowly."""
        self._slow.add(tenant) if slow else self._slow.discard(tenant)
        self._dispatch()

    def _release(self, tenant: str) -> None:
        self._free += 1
        self._held[tenant] -= 1
        if not self._held[tenant]:
            del self._held[tenant]
        self._dispatch()

    def _dispatch(self) -> None:
        for waiting in list(self._waiting):
            tenant, turn = waiting
            if self._free == 0:
                return
            if turn.done():  # cancelled
                self._waiting.remove(waiting)
            elif self._may_hold(tenant):
                self._waiting.remove(waiting)
                self._free -= 1
                self._held[tenant] += 1
                turn.set_result(None)

    def _may_hold(self, tenant: str) -> bool:
        if tenant in self._slow and any(other in self._slow for other in self._held):
            return False
        return self._held[tenant] < self._share


class Pace:
    """Watches one reply from when it has its slot: one that comes too slowly has its time-out brought about.

    Attributes:
        fault: why the reply was given up; None while it is not.
    """

    def __init__(self, slots: ReplySlots, tenant: str, content: Sized, deadline: asyncio.Timeout) -> None:
        self.fault: SlowReplyError | None = None
        self._slots, self._tenant, self._content, self._deadline = slots, tenant, content, deadline
        self._loop = asyncio.get_running_loop()
        self._began = self._since = self._loop.time()
        self._bytes = len(content)
        self._timer = self._loop.call_later(slots.pace_seconds, self._judge)

    def end(self, *, whole: bool) -> None:
        """Ends the watch; `whole`: all of the reply came."""
        self._timer.cancel()
        if whole:
            self._slots.note_pace(self._tenant, slow=self._loop.time() - self._began > SLOW_SECONDS)

    def _judge(self) -> None:
        if self._deadline.expired():
            return
        now, size = self._loop.time(), len(self._content)
        came, took = size - self._bytes, now - self._since
        if came >= self._slots.pace * took:
            self._bytes, self._since = size, now
            self._timer = self._loop.call_later(self._slots.pace_seconds, self._judge)
            return
        self._slots.note_pace(self._tenant, slow=True)
        self.fault = SlowReplyError(
            f"{self._tenant} sends its reply too slowly: {came:,} bytes in {took:.0f} s. It was given up, as other "
            "tenants' replies wait for its place in memory. Is there a slow proxy before the tenant?",
            status=200,
        )
        self._deadline.reschedule(now)
