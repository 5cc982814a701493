"""Windows: from the overlap before the cursor to a margin before the tenant's clock, in whole seconds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.timeline.window import Window, next_window

SECOND, MINUTE = 1000, 60_000
NOON = 1_772_452_800_000


def test_a_window_ends_a_margin_before_the_tenants_clock() -> None:
    assert next_window(NOON, 0, 0, NOON + 10 * MINUTE, 2 * SECOND) == Window(NOON, NOON + 10 * MINUTE - 2 * SECOND)


def test_a_window_begins_the_overlap_before_the_cursor() -> None:
    window = next_window(NOON, 5 * MINUTE, 0, NOON + MINUTE, 0)
    assert window is not None
    assert window.start == NOON - 5 * MINUTE


def test_a_window_does_not_begin_before_the_beginning_of_processing() -> None:
    window = next_window(NOON, 5 * MINUTE, NOON - MINUTE, NOON + MINUTE, 0)
    assert window is not None
    assert window.start == NOON - MINUTE


def test_a_beginning_inside_a_second_takes_the_whole_second_rather_than_lose_its_rows() -> None:
    window = next_window(NOON + 500, 0, NOON + 500, NOON + MINUTE, 0)
    assert window is not None
    assert window.start == NOON


@pytest.mark.parametrize(
    ("now", "margin"),
    [(NOON, 0), (NOON - MINUTE, 0), (NOON + 2 * SECOND, 2 * SECOND), (NOON + 999, 0), (NOON + 2999, 2 * SECOND)],
    ids=["at the cursor", "clock behind", "within the margin", "same second", "same second after the margin"],
)
def test_there_is_no_window_before_a_whole_second_has_passed(now: int, margin: int) -> None:
    assert next_window(NOON, 10 * MINUTE, 0, now, margin) is None


def test_a_clock_far_ahead_gives_one_long_window() -> None:
    window = next_window(NOON, 0, 0, NOON + 86_400_000, 0)
    assert window == Window(NOON, NOON + 86_400_000)


def test_a_window_shows_as_an_interval() -> None:
    assert str(Window(NOON, NOON + MINUTE)) == "[2026-03-02T12:00:00Z, 2026-03-02T12:01:00Z)"


moments = st.integers(min_value=NOON - 10 * MINUTE, max_value=NOON + 10 * MINUTE)


@given(moments, st.integers(0, 10 * MINUTE), moments, moments, st.integers(0, MINUTE))
def test_a_window_covers_everything_from_the_cursor_to_the_margin(
    cursor: int, overlap: int, beginning: int, now: int, margin: int
) -> None:
    beginning = min(beginning, cursor)
    window = next_window(cursor, overlap, beginning, now, margin)
    if window is None:
        assert now - margin < cursor + SECOND
        return
    assert window.start % SECOND == window.end % SECOND == 0
    assert window.start <= cursor < window.end, "nothing between the cursor and the window is left out"
    assert window.end <= now - margin
    assert window.start > beginning - SECOND
    assert window.start <= max(beginning, cursor - overlap)
