"""A backfill's slices and progress, and its record."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.state.backfill import (
    BLIND_SLICES,
    MOST_SLICES,
    SLICE_PAGES,
    Backfill,
    Mark,
    Slice,
    cut,
    decode,
    encode,
    is_backfill_key,
    overlaps,
    with_slice,
)
from producer.timeline.keyset_reader import Position
from producer.timeline.window import Window
from schemas import Codec, DecodeError

SECOND = 1000
HOUR = 3_600_000
T0 = 1_700_000_000_000
SPAN = st.integers(0, 3_000_000).map(lambda n: n * SECOND)


@st.composite
def marked(draw: st.DrawFn) -> tuple[int, int, list[Mark]]:
    since, until = T0, T0 + draw(SPAN)
    dates = sorted(draw(st.lists(st.integers(since - 5000, until + 5000), max_size=12)))
    rows = sorted(draw(st.lists(st.integers(0, 2_000_000), min_size=len(dates), max_size=len(dates))))
    return since, until, [Mark(r, at) for r, at in zip(rows, dates, strict=True)]


@given(marked(), st.booleans(), st.none() | st.integers(-100, 3_000_100).map(lambda n: T0 + n * SECOND))
def test_the_slices_are_the_span_without_gap_or_overlap(
    case: tuple[int, int, list[Mark]], newest_first: bool, settled: int | None
) -> None:
    since, until, marks = case
    slices = cut(since, until, marks, newest_first, settled)
    windows = sorted((s.window for s in slices), key=lambda w: w.start)
    assert bool(windows) == (since < until)
    if not windows:
        return
    assert (windows[0].start, windows[-1].end) == (since, until)
    assert all(a.end == b.start for a, b in pairwise(windows))
    assert all(w.start < w.end and w.start % SECOND == w.end % SECOND == 0 for w in windows)
    assert all(s.position == Position(s.window.start) and not s.taken and s.page == s.written == 0 for s in slices)
    assert len(slices) <= MOST_SLICES + 1
    ready = slices
    if settled is not None and settled < until:
        assert slices[-1].window == Window(max(since, settled), until), "what must wait is read last"
        ready = slices[:-1]
    starts = [s.window.start for s in ready]
    assert starts == sorted(starts, reverse=newest_first)


def test_slices_have_about_as_many_rows_each() -> None:
    until = T0 + 100 * HOUR
    marks = [Mark(SLICE_PAGES * 5000 * 8, T0 + HOUR), Mark(SLICE_PAGES * 5000 * 10, until)]
    slices = cut(T0, until, marks, newest_first=False)
    assert len(slices) == 10
    assert slices[7].window.end == T0 + HOUR
    assert slices[0].window.end == T0 + HOUR // 8 // SECOND * SECOND


def test_few_rows_are_one_slice_and_unknown_ones_many() -> None:
    until = T0 + 100 * HOUR
    assert len(cut(T0, until, [Mark(17, until)], newest_first=False)) == 1
    assert len(cut(T0, until, [], newest_first=False)) == BLIND_SLICES
    assert len(cut(T0, until, [Mark(10**9, until)], newest_first=False)) == MOST_SLICES


@pytest.mark.parametrize("newest_first", [False, True])
def test_what_is_not_settled_waits_in_a_slice_of_its_own(newest_first: bool) -> None:
    until = T0 + 10 * HOUR
    assert [s.window for s in cut(T0, until, [Mark(1, until)], newest_first, until - HOUR)] == [
        Window(T0, until - HOUR),
        Window(until - HOUR, until),
    ]
    assert [s.window for s in cut(T0, until, [Mark(1, until)], newest_first, T0 - HOUR)] == [Window(T0, until)]
    assert [s.window for s in cut(T0, until, [Mark(1, until)], newest_first, until + HOUR)] == [Window(T0, until)]


GSID = st.text("01IAB", min_size=1, max_size=6)
MOMENT = st.integers(0, 253_402_300_799).map(lambda n: n * SECOND)
COUNT = st.integers(0, 2**31 - 1)
SLICES = st.builds(
    Slice,
    st.builds(Window, MOMENT, MOMENT),
    st.builds(Position, MOMENT, st.none() | st.just("") | GSID),
    st.frozensets(GSID, max_size=4),
    COUNT,
    COUNT,
)
BACKFILLS = st.builds(
    Backfill,
    GSID,
    GSID,
    MOMENT,
    MOMENT,
    st.none() | MOMENT,
    st.sampled_from(["REQUESTED", "RUNNING", "DONE", "CANCELLED", "FAILED"]),
    st.booleans(),
    st.lists(st.builds(Mark, COUNT, MOMENT), max_size=3).map(tuple),
    st.lists(SLICES, max_size=3).map(tuple),
    COUNT,
    COUNT,
    COUNT,
    st.none() | MOMENT,
    st.none() | MOMENT,
    st.none() | st.text(max_size=20),
)


@given(BACKFILLS)
def test_its_record_says_everything(backfill: Backfill) -> None:
    assert decode(Codec(), encode(Codec(), backfill)) == backfill


def test_another_record_is_refused() -> None:
    data = Codec().encode(
        "period_marker",
        {"connector": "acme", "poll_id": "p", "period_start": 0, "period_end": 1, "activities": 0},
    )
    with pytest.raises(DecodeError):
        decode(Codec(), data)


def test_its_key_tells_it_from_a_checkpoint() -> None:
    key = Backfill("acme", "spring", T0, T0).key.decode()
    assert key == "acme/backfill/spring"
    assert is_backfill_key(key)
    assert not is_backfill_key("acme")


RUNNING = Backfill("acme", "b", T0, T0, T0 + 10 * HOUR, "RUNNING", started_at=T0)


def test_before_it_has_begun_nothing_is_done() -> None:
    assert Backfill("acme", "b", T0, T0).done_part() == 0
    assert Backfill("acme", "b", T0, T0, T0 + HOUR).done_part() == 0


def test_its_part_is_told_by_rows_where_their_number_is_known() -> None:
    backfill = replace(RUNNING, marks=(Mark(400, T0 + 10 * HOUR),), rows=100)
    assert backfill.done_part() == 0.25
    assert replace(backfill, rows=500).done_part() == 0.99, "more than was thought: not done for all that"


def test_its_part_is_told_by_time_where_it_is_not() -> None:
    left = Slice(Window(T0, T0 + 5 * HOUR), Position(T0 + 3 * HOUR))
    assert replace(RUNNING, slices=(left,)).done_part() == pytest.approx(0.8)
    assert replace(RUNNING, since=T0, until=T0).done_part() == 1.0


def test_what_is_done_is_done_whatever_was_expected() -> None:
    assert replace(RUNNING, state="DONE", marks=(Mark(400, T0),), rows=1).done_part() == 1.0


def test_a_slice_goes_on_or_goes_and_the_others_stay() -> None:
    first, second = cut(T0, T0 + 2 * HOUR, [Mark(1, T0 + 2 * HOUR)], False, T0 + HOUR)
    backfill = replace(RUNNING, slices=(first, second))
    further = replace(first, position=Position(T0 + 9000), page=1)
    assert with_slice(backfill, first.window, further).slices == (further, second)
    assert with_slice(backfill, first.window, None).slices == (second,)


def test_only_what_it_may_have_read_overlaps() -> None:
    assert not overlaps(replace(RUNNING, started_at=None), T0, T0 + HOUR)
    assert overlaps(RUNNING, T0, T0 + HOUR)
    assert overlaps(RUNNING, T0 - HOUR, T0 + 1)
    assert not overlaps(RUNNING, T0 - HOUR, T0)
    assert not overlaps(RUNNING, T0 + 10 * HOUR, T0 + 11 * HOUR)
