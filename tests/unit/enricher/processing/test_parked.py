"""What waits in a lane, and whom it leaves alone."""

from __future__ import annotations

import pytest

from enricher.activity.raw_record import RawActivity
from enricher.processing.parked import FIRST_PAUSE, LONGEST_PAUSE, SHAKY_FOR, ParkedActivities
from frame_gainsight.kafka import ConsumedRecord
from frame_gainsight.runtime import Failure

SEEN = object()


def activity(key: str, offset: int, size: int = 10) -> RawActivity:
    source = ConsumedRecord("raw", 0, offset, key.encode(), b"x" * size)
    return RawActivity(source, key.partition("/")[0], key.partition("/")[2], offset, "f", {})


def park(lot: ParkedActivities, *activities: RawActivity, now: int = 0) -> None:
    lot.park(activities, Failure.TRANSIENT, "away", now)


def test_the_newest_version_waits_and_remembers_since_when() -> None:
    lot = ParkedActivities()
    park(lot, activity("acme/1", 1), activity("acme/1", 2), activity("acme/2", 3), now=100)
    park(lot, activity("acme/1", 9), now=200)
    assert len(lot) == 2
    newest = lot.get(b"acme/1")
    assert newest is not None
    assert (newest.source.offset, newest.parked_at, newest.attempts) == (9, 100, 3)
    assert [p.source.offset for p in lot.oldest("acme", 5)] == [3, 9]
    assert lot.take(b"acme/1") == newest
    assert lot.take(b"acme/1") is None
    assert lot.counts() == {"acme": 1}


def test_values_beyond_the_bound_are_not_kept() -> None:
    lot = ParkedActivities(most_bytes=25)
    park(lot, *(activity(f"acme/{n}", n) for n in range(4)))
    assert [p.loaded for p in lot.oldest("acme", 9)] == [True, True, False, False]
    lot.take(b"acme/0")
    park(lot, activity("acme/9", 9))
    assert [(p.source.offset, p.loaded) for p in lot.oldest("acme", 9)] == [
        (1, True),
        (2, False),
        (3, False),
        (9, True),
    ]


def test_who_fails_is_left_alone_longer_each_time() -> None:
    lot = ParkedActivities()
    park(lot, activity("acme/1", 1))
    now, pauses = 0.0, []
    for _ in range(12):
        lot.failed("acme", Failure.TRANSIENT, "away", SEEN, now)
        trouble = lot.trouble("acme")
        assert trouble is not None
        pauses.append(trouble.until - now)
        assert lot.due(trouble.until - 0.001) == []
        assert lot.due(trouble.until) == ["acme"]
        now = trouble.until
    assert pauses[0] == pytest.approx(FIRST_PAUSE, rel=0.2)
    assert pauses[3] == pytest.approx(8 * FIRST_PAUSE, rel=0.2)
    assert pauses[-1] == pytest.approx(LONGEST_PAUSE, rel=0.2)
    lot.recovered("acme", now)
    assert lot.trouble("acme") is None
    assert lot.shaky("acme", now + 1)
    assert not lot.shaky("acme", now + SHAKY_FOR + 1)


def test_those_left_alone_the_longest_come_first() -> None:
    lot = ParkedActivities()
    park(lot, activity("acme/1", 1), activity("bolt/1", 2), activity("crux/1", 3))
    lot.failed("bolt", Failure.CONFIG, "key", SEEN, 50.0)
    lot.failed("acme", Failure.CONFIG, "key", SEEN, 90.0)
    assert lot.due(1000.0) == ["crux", "bolt", "acme"]


def test_who_is_stopped_stays_so_until_it_has_changed() -> None:
    lot = ParkedActivities()
    park(lot, activity("acme/1", 1))
    lot.stop("acme", "every one fails", SEEN)
    assert lot.due(1e9) == []
    assert lot.in_trouble()["acme"].seen is SEEN
    lot.changed("acme")
    assert lot.due(0.0) == ["acme"]
    assert not lot.shaky("acme", 0.0)
