"""A checkpoint's record."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.state.checkpoint import Checkpoint, OpenPeriod
from producer.timeline.keyset_reader import Position
from producer.timeline.window import Window
from schemas import Codec, DecodeError

longs = st.integers(-(2**63), 2**63 - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
positions = st.builds(Position, longs, st.none() | texts)
periods = st.builds(OpenPeriod, texts, st.builds(Window, longs, longs), positions, st.integers(0, 2**31 - 1), longs)
anything = st.builds(Checkpoint, texts, longs, longs, longs, st.none() | periods)


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
