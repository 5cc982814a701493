"""Records of the checkpoints topic that somebody else wrote: each reads, or is refused in words, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.lane_restore import decode_backfill
from producer.state.backfill import Backfill, Mark, Slice
from producer.state.checkpoint import Checkpoint, OpenPeriod
from producer.state.poll_failure import PollFailure
from producer.state.ranges import FIRST_MOMENT
from producer.timeline.keyset_reader import Position
from producer.timeline.window import Window
from schemas import Codec, DecodeError
from schemas.raw_topic import LAST_MOMENT

CODEC = Codec()
SLICE = Slice(Window(0, 5000), Position(1000, "1I00"), frozenset(("1I01",)), 1, 2)
BACKFILL = Backfill("acme", "b", 0, 1, 5000, "RUNNING", marks=(Mark(3, 4),), slices=(SLICE,), started_at=2)
CHECKPOINT = Checkpoint("acme", 1, 2, 3, OpenPeriod("p", Window(0, 1), Position(0, "")), 1, 1, 1, 1, (1, 2), {"log": 1})
FAILURE = PollFailure("acme", "config", "it failed", 1, 2, (3, 4))
DECODED: dict[str, tuple[Callable[[Codec, bytes], Any], bytes]] = {
    "checkpoint": (Checkpoint.decode, CHECKPOINT.encode(CODEC)),
    "backfill": (Backfill.decode, BACKFILL.encode(CODEC)),
    "failure": (PollFailure.decode, FAILURE.encode(CODEC)),
}


@pytest.mark.parametrize("record", DECODED)
@given(data=st.data())
def test_any_bytes_read_or_are_refused_in_words(record: str, data: st.DataObject) -> None:
    decode, good = DECODED[record]
    place = data.draw(st.integers(10, len(good)))
    damaged = good[:place] + data.draw(st.binary(max_size=30)) + good[data.draw(st.integers(place, len(good))) :]
    for value in (damaged, good[:10] + data.draw(st.binary(max_size=300)), data.draw(st.binary())):
        try:
            decode(CODEC, value)
        except DecodeError as error:
            assert str(error)


@pytest.mark.parametrize(
    "damage",
    [
        {"since": FIRST_MOMENT - 1},
        {"until": 2**62},
        {"requested_at": LAST_MOMENT + 1},
        {"started_at": -(2**63)},
        {"rows": -1},
        {"slices": (Slice(Window(0, 2**60), Position(0)),)},
        {"slices": (Slice(Window(0, 1), Position(FIRST_MOMENT - 1)),)},
        {"slices": (Slice(Window(0, 1), Position(0), page=-1),)},
        {"marks": (Mark(-1, 0),)},
        {"marks": (Mark(1, 2**60),)},
    ],
    ids=str,
)
def test_a_backfill_with_values_that_none_has_does_not_read(damage: dict[str, Any]) -> None:
    fields: dict[str, Any] = {"connector": "acme", "id": "b", "since": 0, "requested_at": 0} | damage
    with pytest.raises(DecodeError, match="is"):
        Backfill.decode(CODEC, Backfill(**fields).encode(CODEC))


@pytest.mark.parametrize("times", [(FIRST_MOMENT - 1, 0), (0, 2**62)])
def test_a_failure_with_times_that_no_clock_has_does_not_read(times: tuple[int, int]) -> None:
    with pytest.raises(DecodeError, match="no time in milliseconds"):
        PollFailure.decode(CODEC, PollFailure("acme", "config", "x", *times).encode(CODEC))


@pytest.mark.parametrize(("connector", "part"), [("bolt", "backfill/b"), ("acme", "backfill/c"), ("", "backfill/b")])
def test_a_backfill_under_another_s_key_does_not_read(connector: str, part: str) -> None:
    data = BACKFILL.encode(CODEC)
    assert decode_backfill(CODEC, "acme", "backfill/b", data) == BACKFILL
    with pytest.raises(DecodeError, match="that of 'acme', backfill 'b'"):
        decode_backfill(CODEC, connector, part, data)
