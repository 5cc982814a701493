"""Slots that bound how many large replies are in a process's memory at one time, over all tenants, and for how long."""

from __future__ import annotations

import asyncio
import ctypes
import functools
import sys
from collections import Counter
from collections.abc import Callable, Sized
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Self

from frame_gainsight.gainsight.errors import RefusedQueryError, ReplyTooLargeError, TransientError

LARGE_REPLY_BYTES = 1024 * 1024  # of a decoded body; a smaller one needs no slot
HEAVY_REPLY_BYTES = 8 * 1024 * 1024  # from which on its slot must be the heavy one
SLOTS = 3
PACE_BYTES, PACE_SECONDS = 64 * 1024, 10.0  # a second, over so many seconds
HEAVY_PACE_BYTES = 1024 * 1024  # a second, of a heavy reply for whose place another one waits
SLOW_SECONDS = 30.0  # after which a reply that has a slot counts as slow, though it comes at the pace


WORKER = ThreadPoolExecutor(1, "replies")
"""The thread that reads the JSON of all but quick replies: one at a time, from memory of one arena."""


def _malloc_trim() -> Callable[[int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, musl has not
    return trim


_TRIM = _malloc_trim()


def give_back_memory() -> None:
    """Has the C library give freed memory back to the system, soon and in a thread.

    It keeps freed pieces for itself, in an arena for each thread: after heavy replies hundreds of megabytes.
    """
    if _TRIM is not None:
        WORKER.submit(_TRIM, 0)


class Slot:
    """The place of one large reply; `release` gives it back, once.

    Attributes:
        heavy: it is the one slot in which a reply may have more than HEAVY_REPLY_BYTES.
    """

    __slots__ = ("_loop", "_release", "heavy")

    def __init__(self, release: Callable[[Slot], None]) -> None:
        self._release: Callable[[Slot], None] | None = release
        self._loop = asyncio.get_running_loop()
        self.heavy = False

    def release(self) -> None:
        release, self._release = self._release, None
        if release is not None:
            release(self)

    def __del__(self) -> None:
        # A reply that was never taken, its task having failed or been cancelled beside another one. The collector may
        # run in any thread.
        release, self._release = self._release, None
        if release is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(release, self)


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


class SlowHeavyReplyError(ReplyTooLargeError):
    """A heavy reply came too slowly for another one that waited for its place: a smaller one keeps nobody waiting."""

    def __init__(self, tenant: str) -> None:
        self.size_limit = HEAVY_REPLY_BYTES
        text = (
            f"{tenant} sends a reply of more than {HEAVY_REPLY_BYTES:,} bytes too slowly, and another one waits for "
            "its place in memory. Ask for fewer rows at once."
        )
        RefusedQueryError.__init__(self, text, status=200)


class ReplySlots:
    """Slots for replies of more than LARGE_REPLY_BYTES; one object for all clients of a process, of one event loop.

    One slot at a time is heavy: of what a reply of tens of megabytes takes with its values and records, several times
    its bytes, a process has room for one.

    A tenant holds no more than its share of them, and those whose replies came slowly lately hold one in all: the
    others wait neither for a tenant that asks for much nor for slow ones.

    The holder of a reply must be able to release it without getting another one: holders that wait for each other wait
    for ever.

    Attributes:
        pace: bytes a second which a reply that has a slot must bring over each `pace_seconds`.
        heavy_pace: the same of a heavy one while another waits for its place.
        heavy_bytes: of a decoded body, from which on it is heavy.
    """

    def __init__(
        self,
        slots: int = SLOTS,
        *,
        pace: int = PACE_BYTES,
        pace_seconds: float = PACE_SECONDS,
        heavy_pace: int = HEAVY_PACE_BYTES,
        heavy_bytes: int = HEAVY_REPLY_BYTES,
    ) -> None:
        self.pace = pace
        self.pace_seconds = pace_seconds
        self.heavy_pace = heavy_pace
        self.heavy_bytes = heavy_bytes
        self._heavy = asyncio.Lock()
        self._heavy_waiting = 0
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
                self._give_back(tenant)
            raise
        return Slot(functools.partial(self._release, tenant))

    async def widen(self, slot: Slot) -> None:
        """Makes a slot the heavy one, when it is its turn: first come, first served."""
        self._heavy_waiting += 1
        try:
            await self._heavy.acquire()
        finally:
            self._heavy_waiting -= 1
        slot.heavy = True

    @property
    def heavy_awaited(self) -> bool:
        """Whether a reply waits for the heavy slot."""
        return self._heavy_waiting > 0

    def full(self) -> bool:
        """Whether the next large reply has to wait."""
        return self._free == 0

    def note_pace(self, tenant: str, *, slow: bool) -> None:
        """Notes whether a tenant's last large reply came slowly."""
        self._slow.add(tenant) if slow else self._slow.discard(tenant)
        self._dispatch()

    def _release(self, tenant: str, slot: Slot) -> None:
        if slot.heavy:
            self._heavy.release()
            give_back_memory()
        self._give_back(tenant)

    def _give_back(self, tenant: str) -> None:
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
        slot: the reply's.
    """

    def __init__(self, slots: ReplySlots, tenant: str, content: Sized, deadline: asyncio.Timeout, slot: Slot) -> None:
        self.fault: SlowReplyError | SlowHeavyReplyError | None = None
        self.slot = slot
        self._slots, self._tenant, self._content, self._deadline = slots, tenant, content, deadline
        self._loop = asyncio.get_running_loop()
        self._began = self._since = self._loop.time()
        self._bytes = len(content)
        self._timer = self._loop.call_later(slots.pace_seconds, self._judge)

    def end(self, *, whole: bool) -> None:
        """Ends the watch; `whole`: all of the reply came. One that took long is slow, whatever became of it."""
        self._timer.cancel()
        self._content = ()  # an error's traceback may keep the watch
        slow = self._loop.time() - self._began > SLOW_SECONDS
        if whole or slow:
            self._slots.note_pace(self._tenant, slow=slow)

    async def widen(self) -> None:
        """Makes the reply's slot the heavy one; the time until then does not count."""
        waits = self._loop.time()
        self._timer.cancel()
        await self._slots.widen(self.slot)
        self._bytes, self._since = len(self._content), self._loop.time()
        self._began += self._since - waits
        self._timer = self._loop.call_later(self._slots.pace_seconds, self._judge)

    def _judge(self) -> None:
        if self._deadline.expired():
            return
        now, size = self._loop.time(), len(self._content)
        came, took = size - self._bytes, now - self._since
        awaited = self.slot.heavy and self._slots.heavy_awaited
        if awaited and self._slots.pace * took <= came < self._slots.heavy_pace * took:
            self.fault = SlowHeavyReplyError(self._tenant)
            self._deadline.reschedule(now)
            return
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
