"""When a batch closes: at the markers of all its periods, at its size, or when nothing came for a while."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enricher.consumer.windowing import MAX_LINGERS, WindowPolicy
from frame_gainsight.kafka import ConsumedRecord
from schemas.raw_topic import POLL_ID

LINGER = 2.0
LARGE = 100_000


def record(poll: str, *, marker: bool = False) -> ConsumedRecord:
    connector = poll.partition("-")[0]
    key = f"{connector}/!period" if marker else f"{connector}/1I00"
    return ConsumedRecord("raw", 0, 0, key.encode(), b"", (("poll_id", poll.encode()),))


def period(poll: str, activities: int) -> list[ConsumedRecord]:
    return [*(record(poll) for _ in range(activities)), record(poll, marker=True)]


def added(records: Sequence[ConsumedRecord], size: int = LARGE, now: float = 0.0) -> WindowPolicy:
    end = WindowPolicy(size, LINGER)
    for one in records:
        end.add(one, now)
    return end


@dataclass(frozen=True)
class Flow:
    """Several connectors' periods as they lie in a partition: each in its own order, interleaved."""

    records: list[ConsumedRecord]

    def whole(self, count: int) -> bool:
        """Whether the first `count` records are whole periods."""
        begun = {r.header("poll_id") for r in self.records[:count]}
        return begun.isdisjoint({r.header("poll_id") for r in self.records[count:]})


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    sizes = draw(st.lists(st.integers(0, 6), min_size=1, max_size=6))
    left = [period(f"c{n % 3}-{n}", size) for n, size in enumerate(sizes)]
    rng = Random(draw(st.integers(0, 10_000)))
    records = []
    while left:
        one = rng.choice(left)
        records.append(one.pop(0))
        left = [x for x in left if x]
    return Flow(records)


@given(flows())
def test_a_batch_is_complete_exactly_where_every_period_begun_is_whole(flow: Flow) -> None:
    end = WindowPolicy(LARGE, LINGER)
    for count, one in enumerate(flow.records, 1):
        end.add(one, 0.0)
        assert (end.wait(0.0) == 0.0) == flow.whole(count)


@given(flows(), st.integers(1, 12))
def test_no_batch_waits_beyond_its_size(flow: Flow, size: int) -> None:
    end = WindowPolicy(size, LINGER)
    for count, one in enumerate(flow.records, 1):
        end.add(one, 0.0)
        if count >= size:
            assert end.wait(0.0) == 0.0


@given(flows(), st.data())
def test_without_one_marker_it_closes_a_linger_after_the_last_record(flow: Flow, data: st.DataObject) -> None:
    markers = [n for n, r in enumerate(flow.records) if (r.key or b"").endswith(b"!period")]
    lost = data.draw(st.sampled_from(markers))
    records = [r for n, r in enumerate(flow.records) if n != lost]
    if not any(r.header("poll_id") == flow.records[lost].header("poll_id") for r in records):
        return  # a period without an activity leaves nothing open
    end = added(records, now=10.0)
    assert end.wait(10.0) == LINGER
    assert end.wait(10.0 + LINGER / 2) == LINGER / 2
    assert end.wait(10.0 + LINGER) == 0.0


def test_an_empty_batch_waits_for_its_first_record() -> None:
    assert WindowPolicy(10, LINGER).wait(5.0) is None


def test_a_page_after_its_marker_opens_the_period_again() -> None:
    end = added([record("a-1"), record("a-1", marker=True)])
    assert end.wait(0.0) == 0.0
    end.add(record("a-1"), 1.0)
    assert end.wait(1.0) == LINGER
    end.add(record("a-1", marker=True), 1.5)
    assert end.wait(1.5) == 0.0


def test_the_marker_of_a_period_whose_beginning_was_another_batch_closes_nothing_else() -> None:
    end = added([record("b-1"), record("a-1", marker=True)])
    assert end.wait(0.0) == LINGER
    end.add(record("b-1", marker=True), 0.5)
    assert end.wait(0.5) == 0.0


def test_a_period_that_trickles_in_for_ever_is_cut() -> None:
    end = WindowPolicy(LARGE, LINGER)
    now, last = 0.0, LINGER * MAX_LINGERS
    while now < last:
        end.add(record("a-1"), now)
        assert end.wait(now) == pytest.approx(min(LINGER, last - now))
        now += LINGER / 4
    assert end.wait(last) == 0.0


@pytest.mark.parametrize("activities", [1, 50_000])
def test_a_period_of_any_length_is_one_batch(activities: int) -> None:
    whole = period("a-1", activities)
    assert added(whole[:-1]).wait(0.0) == LINGER
    assert added(whole).wait(0.0) == 0.0


def test_a_batch_is_complete_at_so_many_bytes() -> None:
    policy = WindowPolicy(1000, 5.0, most_bytes=10_000)
    for offset in range(9):
        policy.add(ConsumedRecord("raw", 0, offset, b"acme/1", bytes(1000), ((POLL_ID, b"p"),)), 0.0)
        assert policy.wait(0.0)
    policy.add(ConsumedRecord("raw", 0, 9, b"acme/1", bytes(1000), ((POLL_ID, b"p"),)), 0.0)
    assert policy.wait(0.0) == 0.0
