"""Memory: how many large replies all tenants of a process may have in it at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

LARGE = 1024 * 1024  # bytes of a decoded body; what is below is not counted
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
        # A reply that nobody took, its task having failed or been cancelled beside another one. The collector may
        # run in any thread.
        release, self._release = self._release, None
        if release is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(release)


class LargeReplies:
    """Slots for replies of more than LARGE bytes; one object for all clients of a process, of one event loop.

    Whoever holds a reply must be able to release it without getting another one: holders that wait for each other wait
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
