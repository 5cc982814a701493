"""Parked activities: the latest version of each waits, and memory is bounded."""

from __future__ import annotations

from enricher.activity.raw_record import RawActivity
from enricher.processing.parked import ParkedActivities
from frame_gainsight.kafka import ConsumedRecord
from frame_gainsight.runtime import Failure


def activity(key: str, offset: int, size: int = 10) -> RawActivity:
    source = ConsumedRecord("raw", 0, offset, key.encode(), b"x" * size)
    return RawActivity(source, key.partition("/")[0], key.partition("/")[2], offset, "f", {})


def park(parked: ParkedActivities, *activities: RawActivity, now: int = 0) -> None:
    parked.park(activities, Failure.TRANSIENT, "away", now)


def test_the_latest_version_waits_and_keeps_the_time_of_the_first() -> None:
    parked = ParkedActivities()
    park(parked, activity("acme/1", 1), activity("acme/1", 2), activity("acme/2", 3), now=100)
    park(parked, activity("acme/1", 9), now=200)
    assert len(parked) == 2
    latest = parked.get(b"acme/1")
    assert latest is not None
    assert (latest.source.offset, latest.parked_at, latest.attempts) == (9, 100, 3)
    assert [p.source.offset for p in parked.oldest("acme", 5)] == [3, 9]
    assert parked.take(b"acme/1") == latest
    assert parked.take(b"acme/1") is None
    assert parked.counts() == {"acme": 1}


def test_values_beyond_the_bound_are_not_kept() -> None:
    parked = ParkedActivities(max_bytes=25)
    park(parked, *(activity(f"acme/{n}", n) for n in range(4)))
    assert [p.loaded for p in parked.oldest("acme", 9)] == [True, True, False, False]
    parked.take(b"acme/0")
    park(parked, activity("acme/9", 9))
    assert [(p.source.offset, p.loaded) for p in parked.oldest("acme", 9)] == [
        (1, True),
        (2, False),
        (3, False),
        (9, True),
    ]
