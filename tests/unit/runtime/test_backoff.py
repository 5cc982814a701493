"""Back-off: waits double from the first up to the longest; jitter spreads them and moves none out of its bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frame_gainsight.runtime.backoff import Backoff


@pytest.mark.parametrize(
    ("failures", "seconds"),
    [(1, 0.5), (2, 1.0), (3, 2.0), (6, 16.0), (7, 30.0), (8, 30.0), (10**6, 30.0), (0, 0.5), (-1, 0.5)],
)
def test_each_failure_doubles_the_wait_up_to_the_longest(failures: int, seconds: float) -> None:
    assert Backoff(0.5, 30.0).seconds(failures) == seconds


def test_the_first_wait_is_no_longer_than_the_longest() -> None:
    assert Backoff(60.0, 30.0).seconds(1) == 30.0


@given(st.floats(0.001, 600), st.floats(0.001, 86_400), st.floats(0, 1), st.integers(1, 200))
def test_jitter_stays_within_its_part_of_the_wait(first: float, longest: float, jitter: float, failures: int) -> None:
    plain = Backoff(first, longest).seconds(failures)
    spread = Backoff(first, longest, jitter).seconds(failures)
    assert plain <= longest
    assert plain * (1 - jitter) <= spread * (1 + 1e-9) and spread <= plain * (1 + jitter) * (1 + 1e-9)


def test_jitter_differs_from_wait_to_wait() -> None:
    assert len({Backoff(1.0, 8.0, jitter=0.2).seconds(2) for _ in range(20)}) > 1
