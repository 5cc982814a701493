"""How far a connector was read, by what the raw topic has of it."""

from __future__ import annotations

from frame_gainsight.kafka import ConsumedRecord
from producer.lost_checkpoints import REMEMBERED_MS, Trace, traces
from schemas.raw_topic import RawKey

HOUR = 3_600_000


def record(
    offset: int, start: object, end: object, last: bool = True, connector: str = "acme", poll: str = "acme@a/b"
) -> tuple[RawKey, ConsumedRecord]:
    headers = (
        ("period_start", str(start).encode()),
        ("period_end", str(end).encode()),
        ("last_page", b"true" if last else b"false"),
        ("poll_id", poll.encode()),
    )
    return RawKey(connector, "g"), ConsumedRecord("raw", 0, offset, b"", b"", headers)


def test_a_connector_goes_on_behind_the_last_period_that_was_written_to_its_end() -> None:
    found = traces([record(3, 0, 1000), record(5, 900, 2000), record(7, 1900, 9000, last=False)], ())["acme"]
    assert (found.start, found.end, found.remembered_from, found.raw_offset) == (900, 2000, 0, 3)


def test_versions_are_read_back_from_two_hours_before_its_end() -> None:
    found = traces([record(h, h * HOUR, (h + 1) * HOUR) for h in range(10)], ())["acme"]
    assert found.remembered_from == 10 * HOUR - REMEMBERED_MS
    assert found.raw_offset == 7, "a row modified at its beginning was written by the period that ended then"


def test_a_backfill_and_headers_that_are_no_times_tell_nothing() -> None:
    assert traces([record(1, 0, 1000, poll="acme@backfill/x/y")], ()) == {}
    assert traces([record(1, start, end) for start, end in (("²", 1), (0, "9" * 30), (5, 4), (-1, 3))], ()) == {}
    assert traces([record(1, 0, 1000, last=False)], ()) == {}


def test_a_poll_for_deletions_which_begins_long_before_tells_nothing() -> None:
    polls = [record(h, h * HOUR, (h + 1) * HOUR) for h in range(24)]
    deletions = record(24, 0, 24 * HOUR, poll="acme@a/b!deletions")
    assert traces([*polls, deletions], ())["acme"] == traces(polls, ())["acme"]


def test_a_purged_connector_begins_anew() -> None:
    purged = ConsumedRecord("raw", 0, 5, b"", None, (("connector", b"acme"), ("deleted_at", b"7")))
    before, after = [record(1, 0, 1000), (RawKey("acme", "!period"), purged)], record(6, 0, 500)
    assert traces(before, ()) == {}
    assert traces([*before, after], ())["acme"].end == 500


def test_only_connectors_without_a_checkpoint_are_looked_for() -> None:
    found = traces([record(1, 0, 1000), record(2, 0, 3000, connector="bolt")], {"acme"})
    assert found.keys() == {"bolt"}
    assert isinstance(found["bolt"], Trace)
