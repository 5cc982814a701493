"""What was written decides what is written: by the order of the questions, never by that of the answers."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from producer.state.checkpoint import Checkpoint
from producer.state.seen_versions import Seen, SeenVersions
from producer.state.write_order import WriteOrder

T0 = 1_772_438_400_000


def ledger(**fields: int | None) -> WriteOrder:
    return WriteOrder(replace(Checkpoint("acme", T0, 0, T0), **fields), SeenVersions())


def test_the_answer_to_an_earlier_question_is_stale_once_a_later_one_was_written() -> None:
    book = ledger()
    earlier, later = book.ask(), book.ask()
    book.note("A", Seen(T0, "new", 0), later)
    assert book.is_stale("A", earlier)
    assert not book.is_stale("A", later)
    assert not book.is_stale("B", earlier), "only of the same activity"


def test_whatever_was_written_to_an_earlier_question_makes_a_later_answer_not_stale() -> None:
    book = ledger()
    earlier, later = book.ask(), book.ask()
    book.note("A", Seen(T0 + 9000, "seems newer", 0), earlier)
    assert not book.is_stale("A", later)


def test_a_backfill_s_rows_and_tombstones_count_as_well() -> None:
    book = ledger()
    earlier, later = book.ask(), book.ask()
    book.note_past("A", later)
    book.note("B", Seen(T0, None, 0), later)
    assert book.is_stale("A", earlier)
    assert book.is_stale("B", earlier)
    assert len(book.overlap) == 1, "a backfill's row is nothing that a window meets"


def test_it_is_remembered_as_long_as_any_answer_is_under_way() -> None:
    book = ledger()
    first, second, third = book.ask(), book.ask(), book.ask()
    book.note_past("A", third)
    book.settle(third)
    book.settle(first)
    assert book.is_stale("A", second)
    book.settle(second)
    assert not book.is_stale("A", second), "nobody is left to ask: it is forgotten"
    assert not book.is_stale("A", book.ask())


def test_settling_twice_or_what_was_never_asked_does_no_harm() -> None:
    book = ledger()
    stamp, open_ = book.ask(), book.ask()
    book.note_past("A", open_)
    for _ in range(2):
        book.settle(stamp)
    book.settle(99)
    assert book.is_stale("A", stamp)


@given(st.lists(st.tuples(st.sampled_from("AB"), st.booleans()), max_size=20), st.data())
def test_of_any_answers_in_any_order_none_is_written_behind_a_later_question_s(
    questions: list[tuple[str, bool]], data: st.DataObject
) -> None:
    book = ledger()
    asked = [(book.ask(), gsid, past) for gsid, past in questions]
    written: dict[str, int] = {}
    for stamp, gsid, past in data.draw(st.permutations(asked)):
        stale = book.is_stale(gsid, stamp)
        assert stale == (written.get(gsid, 0) > stamp)
        if not stale:
            written[gsid] = stamp
            book.note_past(gsid, stamp) if past else book.note(gsid, Seen(T0, "x", 0), stamp)
        book.settle(stamp)


def test_live_polling_begins_where_it_began_or_where_its_memory_does() -> None:
    assert ledger(begun=T0 - 5000).live_from == T0 - 5000
    assert ledger(begun=T0 - 5000, remembered_from=T0 - 2000).live_from == T0 - 2000
    assert ledger(begun=T0, remembered_from=T0 - 2000).live_from == T0
    assert ledger().live_from == T0, "an old checkpoint: all before the cursor may have been read"
    assert ledger(remembered_from=T0 - 2000).live_from == T0
