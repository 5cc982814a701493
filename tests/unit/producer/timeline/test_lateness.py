"""How late rows become visible: counted, judged, warned of, and followed by the overlap."""

from __future__ import annotations

from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from producer.timeline import lateness as lateness_module
from producer.timeline.lateness import CLASSES, FIRST_AUTO, LEAST_AUTO, MAX_AUTO, Lateness, enough_for
from tests.unit.producer.rig import Rig

LATE = CLASSES.index


def counted(**of_class: int) -> Lateness:
    """`s60=3`: three rows in the class of 60 seconds."""
    counts = [0] * len(CLASSES)
    for name, count in of_class.items():
        counts[LATE(int(name[1:]))] = count
    return Lateness(counts)


@given(st.floats(-100, CLASSES[-1]))
def test_a_row_is_counted_in_the_first_class_that_is_not_below_it(needed: float) -> None:
    lateness = Lateness()
    lateness.observe(needed)
    place = lateness.counts.index(1)
    assert sum(lateness.counts) == 1
    assert CLASSES[place] >= needed
    assert place == 0 or CLASSES[place - 1] < needed


def test_a_row_later_than_the_last_class_is_counted_in_it() -> None:
    lateness = Lateness()
    lateness.observe(10 * CLASSES[-1])
    assert lateness.counts[-1] == 1


@pytest.mark.parametrize("kept", [(), (1, 2), tuple(range(len(CLASSES))), tuple(range(len(CLASSES) + 3))])
def test_lateness_takes_up_stored_counts_of_any_length(kept: tuple[int, ...]) -> None:
    counts = Lateness(kept).counts
    assert len(counts) == len(CLASSES)
    assert tuple(counts[: len(kept)]) == kept[: len(CLASSES)]


def test_quantile_is_none_for_few_rows() -> None:
    assert counted(s0=999).quantile() is None
    assert counted(s0=999).overlap() == FIRST_AUTO
    assert counted(s0=1000).quantile() == 0


def test_the_quantile_leaves_one_row_of_a_thousand_out() -> None:
    assert counted(s0=9990, s600=10).quantile() == 0
    assert counted(s0=9989, s600=11).quantile() == 600


@pytest.mark.parametrize(
    ("late", "overlap"),
    [
        ("s0", LEAST_AUTO),
        ("s120", LEAST_AUTO),
        ("s300", 600),
        ("s1800", 3600),
        ("s28800", 57_600),
        ("s86400", MAX_AUTO),
        ("s604800", MAX_AUTO),
    ],
)
def test_the_overlap_is_twice_the_quantile_within_bounds(late: str, overlap: int) -> None:
    assert counted(s0=5000).overlap() == LEAST_AUTO
    lateness = counted(**{late: 5000})
    assert lateness.overlap() == overlap


def test_old_rows_fade_from_the_lateness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lateness_module, "FADE_AT", 10_000)
    lateness = counted(s3600=10_000)
    for _ in range(60_000):
        lateness.observe(0)
    assert sum(lateness.counts) <= 10_000
    for _ in range(60_000):
        lateness.observe(0)
    assert lateness.quantile() == 0


@pytest.mark.parametrize(
    ("needed", "text"),
    [(0.5, "1m"), (40, "1m"), (41, "2m"), (500, "13m"), (4800, "120m"), (4801, "3h"), (28_800, "12h")],
)
def test_the_overlap_to_set_is_half_as_much_again(needed: float, text: str) -> None:
    assert enough_for(needed) == text


@given(st.floats(0.001, 500_000))
def test_the_overlap_to_set_covers_what_was_needed(needed: float) -> None:
    text = enough_for(needed)
    assert int(text[:-1]) * {"m": 60, "h": 3600}[text[-1]] >= needed


# In polls


async def needing(rig: Rig, seconds: int) -> tuple[Any, int, list[Any]]:
    """A row that needs about so much of the overlap: the poll that finds it, its version, and what was logged."""
    await rig.poll()
    made = rig.tenant.create({"Subject": "late"}, visible_in=seconds + 3)
    rig.tenant.advance(seconds + 2)
    await rig.poll()
    assert rig.lane.versions() == []
    rig.tenant.advance(5)
    with structlog.testing.capture_logs() as logs:
        result = await rig.poll()
    return result, made["version_ms"], [entry for entry in logs if entry["event"] == "rows_late"]


async def test_a_late_row_is_measured_by_the_cursor_before_it(rig: Rig) -> None:
    await rig.poll()
    rig.create()
    late = rig.tenant.create({"Subject": "late"}, visible_in=305)["version_ms"]
    rig.tenant.advance(300)
    assert (await rig.poll()).late == [], "a row of a second that was not read before is not late"
    cursor = rig.lane.checkpoint().cursor
    rig.tenant.advance(60)
    assert (await rig.poll()).late == [(cursor - late) / 1000]
    assert rig.feed.lateness.counts[0] == 1
    assert rig.feed.lateness.counts[LATE(300)] == 1
    rig.tenant.advance(60)
    assert (await rig.poll()).late == [], "it is late once"


@pytest.mark.parametrize(("seconds", "warned"), [(30, False), (470, False), (490, True), (580, True)])
async def test_lateness_of_four_fifths_of_the_overlap_is_warned_of(rig: Rig, seconds: int, warned: bool) -> None:
    rig.define(overlap=600, start="2026-03-02T08:00:00Z")
    result, _, warnings = await needing(rig, seconds)
    (needed,) = result.late
    assert (needed >= 480) is warned
    assert bool(warnings) is warned
    if warned:
        assert warnings[0]["seconds"] == round(needed)
        assert f"overlap: {enough_for(needed)}" in warnings[0]["hint"]
        assert warnings[0]["overlap"] == 600


async def test_the_measured_lateness_survives_a_restart(rig: Rig) -> None:
    result, _, _ = await needing(rig, 100)
    counts = rig.feed.lateness.counts
    assert counts[LATE(120)] == len(result.late) == 1
    rig.kill()
    rig.create()
    rig.tenant.advance(60)
    await rig.poll()
    expected = counts[:]
    expected[0] += 1
    assert rig.feed.lateness.counts == expected
    assert list(rig.lane.checkpoint().lateness) == expected


async def test_an_automatic_overlap_grows_from_poll_to_poll_and_reads_nothing_that_was_forgotten(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("producer.polling.poller.REMEMBERED_ROWS", -1)
    rig.define(overlap="auto")
    await rig.poll()
    rig.feed.lateness = counted(s0=5000)
    for _ in range(10):
        rig.create()
        rig.tenant.advance(120)
        await rig.poll()
    checkpoint = rig.lane.checkpoint()
    floor = checkpoint.remembered_from
    assert floor is not None and floor >= checkpoint.cursor - 300_000
    rig.feed.lateness = counted(s600=5000)
    starts, lengths = [], []
    for turn in range(14):
        rig.create()
        rig.tenant.advance(120)
        if turn == 5:
            rig.kill()
        cursor = rig.lane.checkpoint().cursor
        window = (await rig.poll()).window
        assert window is not None
        starts.append(window.start)
        lengths.append((cursor - window.start) // 1000)
    assert starts[0] == floor
    assert starts == sorted(starts)
    assert lengths == sorted(lengths)
    assert lengths[0] <= 300
    assert lengths[-1] == 1200
    versions = rig.lane.versions()
    assert len(versions) == len(set(versions)) == 24
