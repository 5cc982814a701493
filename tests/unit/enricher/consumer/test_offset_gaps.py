"""Offset gaps: where a fetch of a partition does not begin where the one before had ended."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition

from enricher.consumer import lane
from enricher.consumer.lane import Lane
from enricher.consumer.offset_gaps import FetchedRange
from tests.fixtures.settings import isolated


def fetched(*offsets: int) -> list[Any]:
    return [SimpleNamespace(offset=offset) for offset in offsets]


Fetch = tuple[int | None, tuple[int, ...], int | None]  # (begin, the records' offsets, end)


def read(*fetches: Fetch) -> FetchedRange:
    found = FetchedRange()
    for begin, offsets, end in fetches:
        found.add(begin, fetched(*offsets), end)
    return found


@pytest.mark.parametrize(
    ("fetches", "gaps", "position"),
    [
        ([(3, (3, 4), 6)], [], 6),
        ([(3, (3, 4), 6), (6, (9,), 10)], [], 10),
        ([(3, (3, 4), 6), (7, (9,), 10)], [(6, 9)], 10),
        ([(3, (3, 4), None), (6, (9,), 10)], [(5, 9)], 10),
        ([(3, (3, 4), 6), (None, (6,), 7)], [(6, 6)], 7),
        ([(None, (3,), 4), (5, (5,), 6), (8, (8,), None)], [(4, 5), (6, 8)], 9),
    ],
    ids=[
        "one fetch",
        "markers and compacted records within a fetch",
        "begun further on",
        "end unknown",
        "begin unknown",
        "several",
    ],
)
def test_there_is_a_gap_between_two_fetches_that_do_not_join(
    fetches: list[Fetch], gaps: list[tuple[int, int]], position: int
) -> None:
    found = read(*fetches)
    assert found.gaps == gaps
    assert found.position == position
    assert [r.offset for r in found.records] == [offset for _, offsets, _ in fetches for offset in offsets]


def test_a_record_that_is_fetched_twice_is_taken_once() -> None:
    found = read((3, (3, 4, 5), 6), (4, (4, 5, 6), 7), (3, (3, 4), 5), (5, (5, 6, 7), 8))
    assert [r.offset for r in found.records] == [3, 4, 5, 6, 7]
    assert found.gaps == []


class Idle:
    """A lane's work without background work."""

    async def background_work(self) -> Any:
        await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("position", "fetches", "checked"),
    [
        (110, [(105, (105, 106, 107), 108), (110, (111, 112), 113)], [(110, 111)]),
        (111, [(105, (105, 106, 107), 108), (110, (111, 112), 113)], []),
        (100, [(105, (105,), 106), (106, (106,), 107), (109, (110,), 111)], [(100, 105), (107, 110)]),
    ],
    ids=["an earlier owner settled a part", "an earlier owner settled all", "two gaps"],
)
async def test_the_log_is_searched_only_for_records_that_the_lane_has_not_settled(
    position: int,
    fetches: list[Fetch],
    checked: list[tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spans: list[tuple[int, int]] = []
    monkeypatch.setattr(lane, "first_between", lambda _, __, ___, start, end: spans.append((start, end)))
    publisher: Any = None
    work: Any = Idle()
    opened = Lane(isolated("localhost:1"), publisher, work, TopicPartition("raw", 0), position)
    await opened._check_gaps(read(*fetches))
    assert spans == checked
    opened._background.cancel()
