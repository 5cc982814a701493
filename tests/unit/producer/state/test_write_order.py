"""Whether a row is written follows the order of the requests, never that of their replies."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from producer.state.checkpoint import Checkpoint
from producer.state.seen_versions import Seen, SeenVersions
from producer.state.write_order import WriteOrder

T0 = 1_772_438_400_000


def write_order(**fields: int | None) -> WriteOrder:
    return WriteOrder(replace(Checkpoint("acme", T0, 0, T0), **fields), SeenVersions())


def test_a_reply_is_stale_once_the_reply_to_a_later_request_was_written() -> None:
    order = write_order()
    earlier, later = order.begin_request(), order.begin_request()
    order.note("A", Seen(T0, "new", 0), later)
    assert order.is_stale("A", earlier)
    assert not order.is_stale("A", later)
    assert not order.is_stale("B", earlier), "only of the same activity"


def test_a_reply_is_not_stale_after_one_to_an_earlier_request_was_written() -> None:
    order = write_order()
    earlier, later = order.begin_request(), order.begin_request()
    order.note("A", Seen(T0 + 9000, "seems newer", 0), earlier)
    assert not order.is_stale("A", later)


def test_rows_of_backfills_and_tombstones_make_earlier_replies_stale() -> None:
    order = write_order()
    earlier, later = order.begin_request(), order.begin_request()
    order.note_backfilled("A", later)
    order.note("B", Seen(T0, None, 0), later)
    assert order.is_stale("A", earlier)
    assert order.is_stale("B", earlier)
    assert len(order.seen) == 1, "a backfill's row is nothing that a window meets"


def test_a_written_request_is_remembered_while_any_other_is_open() -> None:
    order = write_order()
    first, second, third = order.begin_request(), order.begin_request(), order.begin_request()
    order.note_backfilled("A", third)
    order.end_request(third)
    order.end_request(first)
    assert order.is_stale("A", second)
    order.end_request(second)
    assert not order.is_stale("A", second), "no request is open: it is forgotten"
    assert not order.is_stale("A", order.begin_request())


def test_end_request_is_harmless_twice_or_for_an_unknown_request() -> None:
    order = write_order()
    request, open_ = order.begin_request(), order.begin_request()
    order.note_backfilled("A", open_)
    for _ in range(2):
        order.end_request(request)
    order.end_request(99)
    assert order.is_stale("A", request)


@given(st.lists(st.tuples(st.sampled_from("AB"), st.booleans()), max_size=20), st.data())
def test_replies_in_any_order_are_never_written_behind_those_to_later_requests(
    drawn: list[tuple[str, bool]], data: st.DataObject
) -> None:
    order = write_order()
    requests = [(order.begin_request(), gsid, past) for gsid, past in drawn]
    written: dict[str, int] = {}
    for request, gsid, past in data.draw(st.permutations(requests)):
        stale = order.is_stale(gsid, request)
        assert stale == (written.get(gsid, 0) > request)
        if not stale:
            written[gsid] = request
            order.note_backfilled(gsid, request) if past else order.note(gsid, Seen(T0, "x", 0), request)
        order.end_request(request)


def test_live_from_is_where_live_polling_began_or_where_its_memory_begins() -> None:
    assert write_order(begun=T0 - 5000).live_from == T0 - 5000
    assert write_order(begun=T0 - 5000, remembered_from=T0 - 2000).live_from == T0 - 2000
    assert write_order(begun=T0, remembered_from=T0 - 2000).live_from == T0
    assert write_order().live_from == T0, "an old checkpoint: all before the cursor may have been read"
    assert write_order(remembered_from=T0 - 2000).live_from == T0
