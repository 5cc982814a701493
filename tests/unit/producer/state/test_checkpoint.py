"""A checkpoint's record."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.state.checkpoint import Checkpoint, OpenPeriod
from producer.state.ranges import FIRST_MOMENT
from producer.timeline.keyset_reader import Position
from producer.timeline.window import Window
from schemas import Codec, DecodeError
from schemas.raw_topic import LAST_MOMENT

moments = st.integers(FIRST_MOMENT, LAST_MOMENT)
counts = st.integers(0, 2**63 - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
positions = st.builds(Position, moments, st.none() | texts)
windows = st.builds(Window, moments, moments)
periods = st.builds(OpenPeriod, texts, windows, positions, st.integers(0, 2**31 - 1), counts)
anything = st.builds(Checkpoint, texts, moments, counts, moments, st.none() | periods)


@given(anything)
def test_a_checkpoint_survives_its_bytes(checkpoint: Checkpoint) -> None:
    codec = Codec()
    assert Checkpoint.decode(codec, checkpoint.encode(codec)) == checkpoint


def test_a_position_at_the_start_of_a_crowded_second_survives_its_bytes(codec: Codec) -> None:
    for after in (None, "", "1I00"):
        period = OpenPeriod("p", Window(0, 1000), Position(0, after))
        restored = Checkpoint.decode(codec, Checkpoint("acme", 0, 0, 0, period).encode(codec))
        assert restored.period is not None
        assert restored.period.position.drained_after == after


def test_a_record_of_another_schema_is_no_checkpoint(codec: Codec) -> None:
    marker = {"connector": "a", "poll_id": "p", "period_start": 0, "period_end": 1, "activities": 0}
    with pytest.raises(DecodeError, match="Expected a checkpoint"):
        Checkpoint.decode(codec, codec.encode("period_marker", marker))


@pytest.mark.parametrize(
    "damage",
    [
        {"cursor": 2**62},
        {"cursor": FIRST_MOMENT - 1},
        {"raw_offset": -5},
        {"deletions_cursor": LAST_MOMENT + 1},
        {"remembered_from": -(2**63)},
        {"begun": 2**60},
        {"unsure_from": FIRST_MOMENT - 1},
        {"proven_rows": -1},
        {"lateness": (0, -1)},
        {"deletion_cursors": {"log": 2**61}},
        {"calls": (-1, 0)},
        {"calls": (0, -1)},
        {"period": OpenPeriod("p", Window(0, 2**62), Position(0))},
        {"period": OpenPeriod("p", Window(FIRST_MOMENT - 1, 0), Position(0))},
        {"period": OpenPeriod("p", Window(0, 1), Position(FIRST_MOMENT - 1))},
        {"period": OpenPeriod("p", Window(0, 1), Position(0), page=-1)},
        {"period": OpenPeriod("p", Window(0, 1), Position(0), written=-1)},
    ],
    ids=str,
)
def test_a_checkpoint_with_numbers_that_no_clock_or_topic_has_does_not_read(
    codec: Codec, damage: dict[str, Any]
) -> None:
    data = replace(Checkpoint("acme", 1, 0, 1), **damage).encode(codec)
    with pytest.raises(DecodeError, match=r"no time in milliseconds|cannot be negative"):
        Checkpoint.decode(codec, data)
