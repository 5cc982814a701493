"""Pauses in long work on the event loop, so that the others of its process have their turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from time import perf_counter
from typing import TypeVar

from frame_gainsight.runtime.aio import in_thread

TURN_SECONDS = 0.05  # of work without a pause
SLICE_BYTES = 8 * 1024 * 1024  # of values that background work decodes at once: decoded, they take 30 times as much
LARGE_BYTES = 128 * 1024  # a record of this size may take longer than a turn, whatever is in it

_T = TypeVar("_T")


class Pace:
    """Paces one piece of work: a loop over many records, some of which may be large."""

    def __init__(self) -> None:
        self._since = perf_counter()

    async def pause(self) -> None:
        """Lets others go on, where a turn is over."""
        if perf_counter() - self._since >= TURN_SECONDS:
            await asyncio.sleep(0)
            self._since = perf_counter()

    async def do(self, size: int, work: Callable[[], _T]) -> _T:
        """The result of `work` on a record of so many bytes: a large one in a thread."""
        await self.pause()
        if size < LARGE_BYTES:
            return work()
        done = await in_thread(work)
        self._since = perf_counter()
        return done


async def with_pauses(items: Iterable[_T]) -> AsyncIterator[_T]:
    """The items. Before one, others have their turn when the work on those before took one; short work has no pause."""
    pace = Pace()
    for item in items:
        await pace.pause()
        yield item
