"""Slots that bound how many large replies are in a process's memory at one time, over all tenants."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

LARGE_REPLY_BYTES = 1024 * 1024  # of a decoded body; a smaller one needs no slot
SLOTS = 3


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


class ReplySlots:
    """Slots for replies of more than LARGE_REPLY_BYTES; one object for all clients of a process, of one event loop.

    The holder of a reply must be able to release it without getting another one: holders that wait for each other wait
    for ever.
    """

    def __init__(self, slots: int = SLOTS) -> None:
        self._slots = asyncio.Semaphore(slots)

    async def acquire(self) -> Slot:
        """Waits for a free slot, first come, first served."""
        await self._slots.acquire()
        return Slot(self._slots.release)

    def full(self) -> bool:
        """Whether the next large reply has to wait."""
        return self._slots.locked()
