"""Concurrent work: jobs of which none outlives another's failure, and work in threads that a cancellation waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

_T = TypeVar("_T")


MAX_THREADS = 256  # begun only as they are needed


async def gather_or_cancel(*jobs: Coroutine[Any, Any, _T]) -> list[_T]:
    """The jobs' results, in their order. The first failure is raised, once the other jobs have been cancelled."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(job) for job in jobs]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


async def in_thread(work: Callable[[], _T]) -> _T:
    """Runs `work` in a thread; a cancellation waits for its end, so that its objects are not used meanwhile."""
    running = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


def use_many_threads() -> None:
    """Gives the running loop a pool of MAX_THREADS: of asyncio's few, the waits of some connectors would leave none to
    the others."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(MAX_THREADS))
