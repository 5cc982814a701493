"""Reading a window completely, whatever happens to its rows meanwhile; and proof that these tests would notice.

A tenant in memory serves pages and changes between any two requests. The invariant: of every row, each version that
stayed unchanged while it could be read is written exactly once, and the newest is written last.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frame_gainsight.gainsight import (
    Condition,
    Row,
    TransientError,
    UnreadableRow,
    format_date,
    parse_date,
    whole_second,
)
from producer.polling.page_size import PageEnd, PageSize
from producer.state.seen_versions import Seen, SeenVersions, Verdict, fingerprint_of
from producer.timeline.keyset_reader import Activity, Page, PageReply, Position, StuckError, read_pages
from producer.timeline.window import Window, next_window

T0 = 1_772_438_400_000
SECOND = 1000
BY_DATE = {"LastModifiedDate": "asc", "Gsid": "asc"}

Reader = Callable[[Any, Window, Position, int], AsyncIterator[Page]]


@dataclass
class Memory:
    """Rows by Gsid, as (LastModifiedDate in milliseconds, visible from); answers as the query endpoint does."""

    rows: dict[str, int] = field(default_factory=dict)
    visible: dict[str, int] = field(default_factory=dict)
    now: int = T0
    between: Callable[[], None] = lambda: None
    requests: list[tuple[dict[str, str], int]] = field(default_factory=list)
    extra: list[Row] = field(default_factory=list)

    async def fetch(
        self, conditions: Sequence[Condition], order: Mapping[str, str], limit: int, offset: int = 0
    ) -> list[Row]:
        self.requests.append((dict(order), limit))
        found = [
            {"Gsid": gsid, "LastModifiedDate": format_date(at)}
            for gsid, at in self.rows.items()
            if self.visible.get(gsid, 0) <= self.now and all(_fits(c, gsid, at) for c in conditions)
        ]
        for name in reversed(order):
            found.sort(key=lambda row: parse_date(row[name]) if name != "Gsid" else row[name])
        found = found[offset : offset + limit]
        self.between()
        return found


def _fits(condition: Condition, gsid: str, at: int) -> bool:
    (value,) = condition.values
    if condition.name == "Gsid":
        assert condition.operator == "GT"
        return gsid > value
    bound = parse_date(value)
    assert bound is not None
    assert bound % SECOND == 0, "filters carry whole seconds"
    return at >= bound if condition.operator == "GTE" else at < bound


class Paged:
    """A source that always asks for the same number of rows."""

    def __init__(self, fetch: Any, limit: int) -> None:
        self._fetch = fetch
        self._limit = limit
        self._size = PageSize(limit)

    async def fetch(self, conditions: Sequence[Condition], order: Mapping[str, str], offset: int = 0) -> PageReply:
        given = (conditions, order, self._limit, offset) if offset else (conditions, order, self._limit)
        rows = await self._fetch(*given)
        end = self._size.end_of(len(rows), self._limit)
        return PageReply(rows, end is not PageEnd.LAST, end is not PageEnd.FULL)


def reading(fetch: Any, window: Window, position: Position, limit: int) -> AsyncIterator[Page]:
    return read_pages(Paged(fetch, limit), window, position)


def numbered(count: int, at: Callable[[int], int]) -> Memory:
    return Memory({f"G{n:03d}": at(n) for n in range(count)})


async def pages(
    memory: Memory, limit: int, until: int = T0 + 60 * SECOND, position: Position | None = None
) -> list[Page]:
    window = Window(T0, until)
    return [p async for p in reading(memory.fetch, window, position or Position(T0), limit)]


def gsids(read: Sequence[Page]) -> list[str]:
    return [a.gsid for page in read for a in page.activities]


SHAPES = {
    "one a second": lambda n: T0 + n * SECOND,
    "all in one second": lambda n: T0 + 5 * SECOND,
    "one second, milliseconds against Gsid order": lambda n: T0 + 5 * SECOND + 900 - n * 7,
    "in heaps": lambda n: T0 + n // 5 * SECOND,
    "in heaps of milliseconds": lambda n: T0 + n // 4 * SECOND + n * 37 % 1000,
    "first second": lambda n: T0,
    "last second": lambda n: T0 + 59 * SECOND + 999,
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("limit", [1, 2, 3, 5, 7, 19, 20, 21, 40, 100])
@pytest.mark.parametrize("count", [0, 1, 20])
async def test_read_pages_gives_every_row_once_in_the_order_of_seconds(shape: str, limit: int, count: int) -> None:
    memory = numbered(count, SHAPES[shape])
    read = await pages(memory, limit)
    assert sorted(gsids(read)) == sorted(memory.rows)
    seconds = [whole_second(a.modified_at) for page in read for a in page.activities]
    assert seconds == sorted(seconds)
    assert [p.next is None for p in read] == [False] * (len(read) - 1) + [True]


async def test_a_quiet_window_costs_one_call_and_a_short_page_ends_it() -> None:
    for count in (0, 1, 6):
        memory = numbered(count, SHAPES["one a second"])
        await pages(memory, 7)
        assert memory.requests == [(BY_DATE, 7)]


async def test_paging_costs_about_a_call_a_page() -> None:
    memory = numbered(200, lambda n: T0 + n * 250)
    await pages(memory, 50)
    assert len(memory.requests) <= 200 / 50 + 1


async def test_a_tenant_that_gives_the_same_page_of_a_second_again_and_again_ends_the_reading() -> None:
    memory = numbered(10, SHAPES["all in one second"])

    async def deaf(conditions: Sequence[Condition], order: Mapping[str, str], limit: int, offset: int = 0) -> list[Row]:
        return await memory.fetch([c for c in conditions if c.name != "Gsid"], order, limit, offset)

    with pytest.raises(TransientError, match="does not heed `Gsid GT`"):
        [p async for p in reading(deaf, Window(T0, T0 + 60 * SECOND), Position(T0), 4)]
    assert len(memory.requests) < 5


async def test_the_window_is_half_open() -> None:
    memory = Memory({"before": T0 - 1, "first": T0, "last": T0 + 59_999, "after": T0 + 60_000})
    assert gsids(await pages(memory, 10)) == ["first", "last"]
    assert gsids(await pages(memory, 1)) == ["first", "last"]


async def test_a_crowded_second_is_drained_by_gsid() -> None:
    memory = numbered(10, SHAPES["all in one second"])
    await pages(memory, 4)
    assert {"Gsid": "asc"} in [order for order, _ in memory.requests]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("limit", [1, 2, 3, 5, 20])
async def test_a_reading_can_be_taken_up_after_any_page(shape: str, limit: int) -> None:
    memory = numbered(20, SHAPES[shape])
    read = await pages(memory, limit)
    for index, page in enumerate(read):
        if page.next is None:
            continue
        before = gsids(read[: index + 1])
        after = gsids(await pages(memory, limit, position=page.next))
        assert set(before) | set(after) == set(memory.rows), f"a row is lost after page {index}"
        assert len(set(after)) == len(after)
        known = SeenVersions()
        fresh = [a for p in read[: index + 1] for a in p.activities]
        for activity in fresh:
            known.note(activity.gsid, Seen(activity.modified_at, fingerprint_of(activity), 0))
        again = [p async for p in reading(memory.fetch, Window(T0, T0 + 60 * SECOND), page.next, limit)]
        new = [
            a.gsid for p in again for a in p.activities if known.verdict(a, fingerprint_of(a)) is not Verdict.UNCHANGED
        ]
        assert sorted(before + new) == sorted(memory.rows), "with de-duplication it is exactly once"


async def test_a_row_edited_between_pages_leaves_the_window_and_nothing_shifts() -> None:
    memory = numbered(20, SHAPES["one a second"])

    def edit() -> None:
        memory.rows["G000"] = memory.rows["G010"] = T0 + 90 * SECOND

    memory.between = edit
    read = gsids(await pages(memory, 5))
    assert sorted(read) == sorted(set(memory.rows) - {"G010"})
    assert set(gsids(await pages(memory, 5, until=T0 + 120 * SECOND))) == set(memory.rows)


async def test_a_row_that_shows_late_in_a_second_being_read_repeats_no_other() -> None:
    memory = Memory({f"B{n}": T0 for n in range(3)} | {"C0": T0 + SECOND, "C1": T0 + SECOND, "C2": T0 + SECOND})

    def late() -> None:
        memory.rows |= {f"A{n}": T0 + SECOND for n in range(4)}

    memory.between = late
    read = gsids(await pages(memory, 4))
    assert sorted(read) == sorted(memory.rows), "those before the late ones were given once"


async def test_unreadable_rows_are_given_with_their_cause_beside_the_others() -> None:
    bad: list[Row] = [
        {"LastModifiedDate": format_date(T0)},
        {"Gsid": "", "LastModifiedDate": format_date(T0)},
        {"Gsid": 7, "LastModifiedDate": format_date(T0)},
        {"Gsid": "X1", "LastModifiedDate": "yesterday"},
        {"Gsid": "X2", "LastModifiedDate": None},
        {"Gsid": "X3"},
        {"Gsid": "X4", "LastModifiedDate": True},
    ]
    good = [{"gsid": "G1", "LASTMODIFIEDDATE": T0}, {"Gsid": "G2", "LastModifiedDate": "2026-03-02T08:00:01+0000"}]

    async def fetch(conditions: Sequence[Condition], order: Mapping[str, str], limit: int) -> list[Row]:
        return [*bad[:4], *good, *bad[4:]]

    (page,) = [p async for p in reading(fetch, Window(T0, T0 + SECOND * 9), Position(T0), 100)]
    assert [(a.gsid, a.modified_at) for a in page.activities] == [("G1", T0), ("G2", T0 + SECOND)]
    assert [u.row for u in page.unreadable] == bad
    causes = [u.cause for u in page.unreadable]
    assert all("no Gsid" in c for c in causes[:3])
    assert "X1" in causes[3]
    assert "yesterday" in causes[3]
    assert "X2 has no LastModifiedDate" in causes[4]


async def test_a_full_page_of_unreadable_rows_is_a_stuck_error() -> None:
    async def fetch(conditions: Sequence[Condition], order: Mapping[str, str], limit: int) -> list[Row]:
        return [{"Subject": "?"}] * limit

    for position in (Position(T0), Position(T0, "")):
        with pytest.raises(
            StuckError, match=r"3 rows.*The first of them: The row has no Gsid: it cannot be keyed\. Ask"
        ):
            _ = [p async for p in reading(fetch, Window(T0, T0 + SECOND * 9), position, 3)]


async def test_unreadable_rows_at_the_end_of_a_full_page_do_not_hide_what_follows() -> None:
    memory = numbered(6, SHAPES["one a second"])

    async def fetch(conditions: Sequence[Condition], order: Mapping[str, str], limit: int) -> list[Row]:
        rows = await memory.fetch(conditions, order, limit)
        return [row | {"LastModifiedDate": "?"} if row["Gsid"] == "G002" else row for row in rows]

    read = [p async for p in reading(fetch, Window(T0, T0 + 60 * SECOND), Position(T0), 3)]
    assert sorted(gsids(read)) == ["G000", "G001", "G003", "G004", "G005"]
    assert "G002" in {u.row["Gsid"] for p in read for u in p.unreadable}


@pytest.mark.parametrize("cap", [50, 100, 1000])
async def test_a_tenant_that_caps_its_pages_below_our_limit_loses_nothing(cap: int) -> None:
    """Caps are round numbers: a round page is not believed to be the last (gainsight-api 2.6, 11)."""
    memory = numbered(2 * cap + 3, lambda n: T0 + n * SECOND * 50 // cap)
    crowded = numbered(2 * cap + 3, lambda n: T0 + 5 * SECOND)

    for rows in (memory, crowded):

        async def fetch(
            conditions: Sequence[Condition], order: Mapping[str, str], limit: int, rows: Memory = rows
        ) -> list[Row]:
            return await rows.fetch(conditions, order, min(limit, cap))

        window = Window(T0, T0 + 200 * SECOND)
        read = [p async for p in reading(fetch, window, Position(T0), 5000)]
        assert sorted(gsids(read)) == sorted(rows.rows)


# The property, and the broken readers that must violate it.


async def cursor_plus_one_second(fetch: Any, window: Window, position: Position, limit: int) -> AsyncIterator[Page]:
    """What one peer does: the next page begins a second after the last row."""
    at = position.at
    while True:
        rows = await fetch(_between(at, window.end), BY_DATE, limit)
        page = _activities(rows)
        if len(rows) < limit:
            yield Page(page)
            return
        at = whole_second(page[-1].modified_at) + SECOND
        yield Page(page, (), Position(at))


async def offset_paging(fetch: Any, window: Window, position: Position, limit: int) -> AsyncIterator[Page]:
    """What most peers do: the n-th page of a result that changes meanwhile."""
    offset = 0
    while True:
        rows = await fetch(_between(window.start, window.end), BY_DATE, limit, offset)
        offset += len(rows)
        if len(rows) < limit:
            yield Page(_activities(rows))
            return
        yield Page(_activities(rows), (), Position(window.start))


async def drain_from_the_last_gsid(fetch: Any, window: Window, position: Position, limit: int) -> AsyncIterator[Page]:
    """A public tap's bound: right at a resolution of seconds only."""
    async for page in reading(fetch, window, position, limit):
        yield page
        if page.next is not None and page.next.drained_after == "" and page.activities:
            skipped = Position(page.next.at, page.activities[-1].gsid)
            async for further in reading(fetch, window, skipped, limit):
                yield further
            return


def _between(start: int, end: int) -> list[Condition]:
    return [
        Condition("LastModifiedDate", "GTE", [format_date(start)]),
        Condition("LastModifiedDate", "LT", [format_date(end)]),
    ]


def _activities(rows: Sequence[Row]) -> list[Activity]:
    return [Activity(r["Gsid"], parse_date(r["LastModifiedDate"]) or 0, r) for r in rows]


LOST = "was not written|is not the last one written"
MARGIN = 2 * SECOND
OVERLAP = 20 * SECOND


async def simulate(random: Random, reader: Reader = reading, overlap_ms: int = OVERLAP) -> None:
    """Polls a tenant in which anything happens, dies now and then, and checks the invariant at every period's end."""
    memory = Memory(now=T0 + 30 * SECOND)
    resolution = random.choice([1, SECOND])
    limit = random.randint(1, 7)
    names = iter(range(10_000))
    written: list[tuple[str, int]] = []
    overlap, cursor = SeenVersions(), T0

    def stamp() -> int:
        return memory.now - memory.now % resolution

    def create(at: int, visible: int = 0) -> None:
        gsid = f"{random.choice('ABCXYZ')}{next(names):04d}"
        memory.rows[gsid] = at
        memory.visible[gsid] = visible

    def anything() -> None:
        for _ in range(random.choice([0, 0, 1, 2])):
            memory.now += random.choice([0, 0, 1, 300, SECOND])
            action = random.choice(["edit", "create", "late", "delete"])
            if action == "create":
                create(stamp())
            elif action == "late":
                create(stamp(), memory.now + random.randint(0, OVERLAP))
            elif known := [g for g in memory.rows if memory.visible[g] <= memory.now]:
                gsid = random.choice(known)
                if action == "edit":
                    memory.rows[gsid] = max(stamp(), memory.rows[gsid])
                else:
                    del memory.rows[gsid], memory.visible[gsid]

    async def poll(changes: Callable[[], None] = anything) -> None:
        nonlocal overlap, cursor
        window = next_window(cursor, overlap_ms, T0, memory.now, MARGIN)
        if window is None:
            return
        stable = {(g, at) for g, at in memory.rows.items() if memory.visible[g] <= memory.now and at < window.end}
        memory.between = changes
        position: Position | None = Position(window.start)
        while position is not None:
            async for page in reader(memory.fetch, window, position, limit):
                if random.random() < 0.1:  # dies before the page is written: the next owner asks from the same place
                    break
                for activity in page.activities:
                    fingerprint = fingerprint_of(activity)
                    if overlap.verdict(activity, fingerprint) is Verdict.WRITE:
                        written.append((activity.gsid, activity.modified_at))
                        overlap.note(activity.gsid, Seen(activity.modified_at, fingerprint, len(written)))
                position = page.next
                if random.random() < 0.1:  # dies after it
                    break
        memory.between = lambda: None
        cursor = window.end
        overlap.forget(window.end - overlap_ms, 0)
        known = set(memory.rows.items())
        missing = {version for version in stable & known if version[1] >= T0} - set(written)
        assert not missing, "a version that stayed unchanged was not written"

    for _ in range(random.randint(1, 12)):
        create(T0 + random.randint(0, 8) * SECOND + random.randrange(0, SECOND, resolution))
    for _ in range(4):
        await poll()
        memory.now += random.choice([3, 10, 25]) * SECOND
    memory.now += OVERLAP + MARGIN + SECOND  # everything has shown; nothing happens any more
    await poll(lambda: None)
    assert len(written) == len(set(written)), "a version was written twice"
    last: dict[str, int] = {}
    for gsid, at in written:
        assert at >= last.get(gsid, 0), "an older version was written behind a newer one"
        last[gsid] = at
    assert {g: last.get(g) for g in memory.rows} == memory.rows, "the newest version is not the last one written"


@settings(max_examples=400, deadline=None)
@given(st.integers(min_value=0, max_value=2**64))
async def test_polls_of_a_changing_tenant_write_each_version_once_and_the_latest_last(seed: int) -> None:
    await simulate(Random(seed))


async def test_the_real_reader_withstands_what_breaks_the_others() -> None:
    for seed in range(300):
        await simulate(Random(seed))


@pytest.mark.parametrize(
    ("reader", "overlap_ms", "why"),
    [
        (cursor_plus_one_second, OVERLAP, LOST),
        (offset_paging, OVERLAP, LOST),
        (drain_from_the_last_gsid, OVERLAP, LOST),
        (reading, 0, LOST),
    ],
    ids=["cursor = max + 1 s", "offset paging", "drain from the last Gsid", "no overlap, late rows"],
)
async def test_broken_readers_are_caught(reader: Reader, overlap_ms: int, why: str) -> None:
    with pytest.raises(AssertionError, match=why):
        for seed in range(300):
            await simulate(Random(seed), reader, overlap_ms)


async def test_a_row_that_is_no_json_is_unreadable_with_its_cause_and_the_rows_around_it_are_read() -> None:
    tenant = Memory({f"A{n}": T0 + n * SECOND for n in range(3)})
    tenant.extra = [UnreadableRow('{"Gsid": nope}', "The row cannot be read: Expecting value.")]
    reply = PageReply([*await tenant.fetch([], BY_DATE, 9), *tenant.extra], full=False)

    class One:
        async def fetch(self, *_: Any, **__: Any) -> PageReply:
            return reply

    pages = [page async for page in read_pages(One(), Window(T0, T0 + 60 * SECOND), Position(T0))]
    assert [a.gsid for page in pages for a in page.activities] == ["A0", "A1", "A2"]
    assert [(row.row, row.cause) for page in pages for row in page.unreadable] == [
        ({"unreadable": '{"Gsid": nope}'}, "The row cannot be read: Expecting value.")
    ]
