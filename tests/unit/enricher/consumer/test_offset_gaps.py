"""What is taken down of a partition's readings: where one did not go on from where the last had come to."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition

from enricher.consumer import lane
from enricher.consumer.lane import FetchedRange, Lane
from tests.fixtures.settings import isolated


def fetched(*offsets: int) -> list[Any]:
    return [SimpleNamespace(offset=offset) for offset in offsets]


def read(*readings: tuple[int | None, tuple[int, ...], int | None]) -> FetchedRange:
    stretch = FetchedRange()
    for begin, offsets, end in readings:
        stretch.add(begin, fetched(*offsets), end)
    return stretch


@pytest.mark.parametrize(
    ("readings", "leaps", "came_to"),
    [
        ([(3, (3, 4), 6)], [], 6),
        ([(3, (3, 4), 6), (6, (9,), 10)], [], 10),
        ([(3, (3, 4), 6), (7, (9,), 10)], [(6, 9)], 10),
        ([(3, (3, 4), None), (6, (9,), 10)], [(5, 9)], 10),
        ([(3, (3, 4), 6), (None, (6,), 7)], [(6, 6)], 7),
        ([(None, (3,), 4), (5, (5,), 6), (8, (8,), None)], [(4, 5), (6, 8)], 9),
    ],
    ids=[
        "one reading",
        "markers and what was compacted within a reading",
        "begun further on",
        "not known where it came to",
        "not known where it began",
        "several",
    ],
)
def test_only_the_log_tells_what_was_between_two_readings_that_do_not_join(
    readings: list[tuple[int | None, tuple[int, ...], int | None]], leaps: list[tuple[int, int]], came_to: int
) -> None:
    stretch = read(*readings)
    assert stretch.leaps == leaps
    assert stretch.came_to == came_to
    assert [r.offset for r in stretch.records] == [offset for _, offsets, _ in readings for offset in offsets]


def test_what_is_read_a_second_time_is_taken_once() -> None:
    stretch = read((3, (3, 4, 5), 6), (4, (4, 5, 6), 7), (3, (3, 4), 5), (5, (5, 6, 7), 8))
    assert [r.offset for r in stretch.records] == [3, 4, 5, 6, 7]
    assert stretch.leaps == []


class Idle:
    """A lane's work that has none to do besides."""

    async def spare(self) -> Any:
        await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("position", "readings", "asked"),
    [
        (110, [(105, (105, 106, 107), 108), (110, (111, 112), 113)], [(110, 111)]),
        (111, [(105, (105, 106, 107), 108), (110, (111, 112), 113)], []),
        (100, [(105, (105,), 106), (106, (106,), 107), (109, (110,), 111)], [(100, 105), (107, 110)]),
    ],
    ids=["an earlier owner has settled some of it", "and all of it", "two holes"],
)
async def test_the_log_is_asked_only_of_what_the_lane_has_not_settled(
    position: int,
    readings: list[tuple[int | None, tuple[int, ...], int | None]],
    asked: list[tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spans: list[tuple[int, int]] = []
    monkeypatch.setattr(lane, "first_between", lambda _, __, ___, start, end: spans.append((start, end)))
    publisher: Any = None
    work: Any = Idle()
    opened = Lane(isolated("localhost:1"), publisher, work, TopicPartition("raw", 0), position)
    await opened._check(read(*readings))
    assert spans == asked
    opened._sparing.cancel()
