"""Running coroutines beside each other, none of which outlives another's failure."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")


async def gather_or_cancel(*jobs: Coroutine[Any, Any, _T]) -> list[_T]:
    """The jobs' results, in their order. The first failure is raised, once the other jobs have been cancelled."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(job) for job in jobs]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]
