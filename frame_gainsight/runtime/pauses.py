"""Pauses in long work on the event loop, so that others have their turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

WORK_SECONDS = 0.05  # between two pauses

T = TypeVar("T")


async def with_pauses(items: Iterable[T]) -> AsyncIterator[T]:
    """The items. Before one, others have their turn when the work on those before took WORK_SECONDS; short work has no
    pause."""
    now = asyncio.get_running_loop().time
    since = now()
    for item in items:
        if now() - since > WORK_SECONDS:
            await asyncio.sleep(0)
            since = now()
        yield item
