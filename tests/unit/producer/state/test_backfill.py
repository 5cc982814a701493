"""A backfill's slices and progress, and its record."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.state.backfill import (
    BLIND_SLICES,
    MAX_SLICES,
    SLICE_PAGES,
    Backfill,
    Mark,
    Slice,
    cut,
    overlaps,
    with_slice,
)
from producer.state.checkpoint_keys import BACKFILL, format_key, parse_key
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
def test_slices_cover_the_span_without_gap_or_overlap(
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
    assert len(slices) <= MAX_SLICES + 1
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


def test_few_rows_are_one_slice_and_an_unknown_number_many() -> None:
    until = T0 + 100 * HOUR
    assert len(cut(T0, until, [Mark(17, until)], newest_first=False)) == 1
    assert len(cut(T0, until, [], newest_first=False)) == BLIND_SLICES
    assert len(cut(T0, until, [Mark(10**9, until)], newest_first=False)) == MAX_SLICES


@pytest.mark.parametrize("newest_first", [False, True])
def test_the_unsettled_end_of_a_span_is_a_slice_of_its_own_and_the_last(newest_first: bool) -> None:
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
def test_a_backfill_survives_its_bytes(backfill: Backfill) -> None:
    assert Backfill.decode(Codec(), backfill.encode(Codec())) == backfill


def test_a_record_of_another_schema_is_no_backfill() -> None:
    data = Codec().encode(
        "period_marker",
        {"connector": "acme", "poll_id": "p", "period_start": 0, "period_end": 1, "activities": 0},
    )
    with pytest.raises(DecodeError):
        Backfill.decode(Codec(), data)


def test_a_backfills_key_differs_from_a_checkpoints() -> None:
    key = Backfill("acme", "spring", T0, T0).key
    assert key == b"acme/backfill/spring"
    assert parse_key(key) == ("acme", f"{BACKFILL}spring")
    assert parse_key(format_key("acme")) == ("acme", "")


RUNNING = Backfill("acme", "b", T0, T0, T0 + 10 * HOUR, "RUNNING", started_at=T0)


def test_a_backfill_that_has_not_begun_has_done_nothing() -> None:
    assert Backfill("acme", "b", T0, T0).done_part() == 0
    assert Backfill("acme", "b", T0, T0, T0 + HOUR).done_part() == 0


def test_a_backfills_progress_is_by_rows_where_their_number_is_known() -> None:
    backfill = replace(RUNNING, marks=(Mark(400, T0 + 10 * HOUR),), rows=100)
    assert backfill.done_part() == 0.25
    assert replace(backfill, rows=500).done_part() == 0.99, "more than was thought: not done for all that"


def test_a_backfills_progress_is_by_time_where_the_number_of_rows_is_not_known() -> None:
    left = Slice(Window(T0, T0 + 5 * HOUR), Position(T0 + 3 * HOUR))
    assert replace(RUNNING, slices=(left,)).done_part() == pytest.approx(0.8)
    assert replace(RUNNING, since=T0, until=T0).done_part() == 1.0


def test_a_done_backfills_progress_is_whole_whatever_rows_were_expected() -> None:
    assert replace(RUNNING, state="DONE", marks=(Mark(400, T0),), rows=1).done_part() == 1.0


def test_with_slice_advances_or_removes_one_slice_and_keeps_the_others() -> None:
    first, second = cut(T0, T0 + 2 * HOUR, [Mark(1, T0 + 2 * HOUR)], False, T0 + HOUR)
    backfill = replace(RUNNING, slices=(first, second))
    further = replace(first, position=Position(T0 + 9000), page=1)
    assert with_slice(backfill, first.window, further).slices == (further, second)
    assert with_slice(backfill, first.window, None).slices == (second,)


def test_a_backfill_overlaps_only_the_spans_it_may_have_read() -> None:
    assert not overlaps(replace(RUNNING, started_at=None), T0, T0 + HOUR)
    assert overlaps(RUNNING, T0, T0 + HOUR)
    assert overlaps(RUNNING, T0 - HOUR, T0 + 1)
    assert not overlaps(RUNNING, T0 - HOUR, T0)
    assert not overlaps(RUNNING, T0 + 10 * HOUR, T0 + 11 * HOUR)
