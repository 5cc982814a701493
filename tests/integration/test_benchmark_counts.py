"""What the benchmarks count and our pages claim, in their smallest useful sizes: calls, ids lost, duplicates."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from benchmarks import calls, edge, producer, stage

PERIODS = 2  # of an hour, instead of six
NEVER_LOST = {"lost": 0, "outdated": 0, "extra": 0}


class _Running:
    """The tests' broker in the place of a benchmark's own."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap

    def stop(self) -> None:
        """It is the tests'."""


@pytest.fixture(autouse=True)
def one_broker(kafka: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(stage, "start_kafka", lambda: _Running(kafka))
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages so small that rows edited while a few of them are read fill several more, at the end of the window."""
    own = stage.Stage.topics
    monkeypatch.setattr(stage.Stage, "topics", lambda self, **more: own(self, **(more | {"page_rows": 50})))


def test_the_producer_loses_no_id_and_writes_none_twice(small_pages: None) -> None:
    data = producer.run(1000, 1, 1000, ["ours"], hours=2).data
    (quiet,), (edited,) = data["runs"], data["edited"]
    assert {name: quiet["landed"][name] for name in NEVER_LOST} == NEVER_LOST
    assert {name: edited[name] for name in NEVER_LOST} == NEVER_LOST
    assert quiet["landed"]["ids"] == edited["ids"] == 1000
    assert quiet["calls"] <= 20 + 4, "20 full pages, a describe, and the looks for deletions and for the end"


def test_a_thousand_emails_a_period_take_four_calls_at_first_and_no_more_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calls, "HOUR", PERIODS)
    monkeypatch.setattr(calls, "LAST", PERIODS + 2)
    monkeypatch.setattr(calls, "cases", lambda _: [calls.Case(1000, 60)])
    (case,) = calls.run([1000]).data["cases"]
    assert case["cold"] == 4.0
    assert case["warm_by_purpose"] == {"timeline": 1.0, "deletions": 0.0, "people": 1.0, "changes": 3 / PERIODS}
    assert case["calls_replay"] == {}, "a replay asks for nothing that is known"


def test_the_edge_loses_no_record_and_publishes_none_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "KINDS", (edge.OURS,))
    (run,) = edge.run(8000, 1).data["runs"][edge.OURS]
    assert (run["records"], run["lost"], run["duplicates"]) == (8000, 0, 0)
