"""Lanes are Java's partitions: its default partitioner over the connector's id."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frame_gainsight.kafka import lane_of

# org.apache.kafka.common.utils.UtilsTest, testMurmur2
JAVA = {
    "21": -973932308,
    "foobar": -790332482,
    "a-little-bit-long-string": -985981536,
    "a-little-bit-longer-string": -1486304829,
    "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    "abc": 479470107,
}


@pytest.mark.parametrize("partitions", [1, 2, 4, 12, 1000, 2**31 - 1])
@pytest.mark.parametrize("key", JAVA)
def test_the_lane_is_the_partition_that_java_s_client_would_choose(key: str, partitions: int) -> None:
    assert lane_of(key, partitions) == (JAVA[key] & 0x7FFFFFFF) % partitions


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(1, 1000))
def test_a_lane_is_one_of_the_partitions_and_always_the_same(connector: str, partitions: int) -> None:
    lane = lane_of(connector, partitions)
    assert 0 <= lane < partitions
    assert lane == lane_of(connector, partitions)


def test_connectors_spread_over_the_lanes() -> None:
    counts = [0] * 12
    for number in range(1200):
        counts[lane_of(f"customer-{number}", 12)] += 1
    assert min(counts) > 50
