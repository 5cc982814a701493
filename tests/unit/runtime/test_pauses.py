"""Long work on the event loop lets others have their turn; short work is done at once."""

from __future__ import annotations

import asyncio
import time

import pytest

from frame_gainsight.runtime.pauses import TURN_SECONDS, with_pauses


@pytest.mark.parametrize(("seconds", "turns"), [(TURN_SECONDS * 1.1, 9), (0.0, 0)])
async def test_others_have_their_turn_between_items_that_take_long(seconds: float, turns: int) -> None:
    had, ended = 0, False

    async def other() -> None:
        nonlocal had
        while not ended:
            had += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(other())
    taken = []
    async for item in with_pauses(range(10)):
        taken.append(item)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            pass
    before, ended = had, True
    await beside
    assert taken == list(range(10))
    assert before >= turns if turns else before == 0
