"""The producer's figures."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from frame_gainsight.gainsight import ConfigError, RefusedQueryError, ThrottledError, TransientError
from frame_gainsight.runtime.metrics import Metrics
from producer.metrics import ProducerMetrics
from producer.polling.poller import PollResult
from producer.state.backfill import Backfill, Mark
from producer.state.poll_failure import failure_of
from producer.timeline.keyset_reader import StuckError

T0 = 1_772_438_400_000
RUNNING = Backfill("acme", "b", T0, T0, T0 + 1000, "RUNNING", marks=(Mark(100, T0 + 1000),), started_at=T0)


class Shown(Metrics):
    """Metrics that can be read."""

    def of(self, name: str, **labels: str) -> float | None:
        for line in self.text().splitlines():
            full, _, value = line.rpartition(" ")
            found, _, inside = full.partition("{")
            given = dict(part.replace('"', "").split("=") for part in inside.rstrip("}").split(",") if part)
            if found == f"frame_gainsight_{name}" and given == labels:
                return float(value)
        return None

    def failing(self, connector: str = "acme") -> set[str]:
        names = ("transient", "config", "throttled", "data")
        return {n for n in names if self.of("failing", connector=connector, failure=n)}


@pytest.fixture
def metrics() -> Shown:
    return Shown()


@pytest.fixture
def producer_metrics(metrics: Shown) -> ProducerMetrics:
    return ProducerMetrics(metrics, 6)


def feed_with(calls: dict[str, int], left: int = 900) -> Any:
    client = SimpleNamespace(calls=Counter(calls), left_today=left, calls_per_day=1000)
    return SimpleNamespace(
        client=client,
        overlap=600_000,
        definition=SimpleNamespace(id="acme", period=300),
        write_order=SimpleNamespace(checkpoint=SimpleNamespace(cursor=T0)),
    )


def calls_of(metrics: Shown, call: str) -> float | None:
    return metrics.of("api_calls_total", connector="acme", service="producer", call=call)


def test_a_poll_is_counted_with_its_rows_tombstones_and_lateness(
    metrics: Shown, producer_metrics: ProducerMetrics
) -> None:
    feed = feed_with({"describe": 1, "activity_timeline": 2})
    result = PollResult("acme", rows=12, written=5, unchanged=7, dead=2, tombstones=3, late=[4.0, 40.0])
    producer_metrics.polled(result, feed, 1.5)
    producer_metrics.lanes(2)
    acme = {"connector": "acme"}
    assert metrics.of("polls_total", **acme, outcome="ok") == 1
    assert metrics.of("activities_read_total", **acme) == 12
    assert metrics.of("activities_written_total", **acme, kind="live") == 5
    assert metrics.of("activities_unchanged_total", **acme) == 7
    assert metrics.of("tombstones_written_total", **acme) == 3
    assert metrics.of("dead_letters_total", **acme, service="producer") == 2
    assert metrics.of("lateness_seconds_count", **acme) == 2
    assert metrics.of("lateness_seconds_sum", **acme) == 44
    assert metrics.of("overlap_seconds", **acme) == 600
    assert metrics.of("period_seconds", **acme) == 300
    assert metrics.of("cursor_timestamp_seconds", **acme) == T0 / 1000
    assert metrics.of("api_calls_left_today", **acme, service="producer") == 900
    assert metrics.of("api_calls_daily_limit", **acme, service="producer") == 1000
    assert metrics.of("lanes", service="producer") == 6
    assert metrics.of("lanes_owned", service="producer") == 2


def test_calls_are_counted_once_whoever_made_them(metrics: Shown, producer_metrics: ProducerMetrics) -> None:
    feed = feed_with({"describe": 1, "activity_timeline": 2})
    producer_metrics.polled(PollResult("acme"), feed, 0.1)
    producer_metrics.polled(PollResult("acme"), feed, 0.1)
    assert (calls_of(metrics, "describe"), calls_of(metrics, "activity_timeline")) == (1, 2)
    feed.client.calls["activity_timeline"] += 5
    producer_metrics.backfilled(RUNNING, feed)
    producer_metrics.polled(PollResult("acme"), feed, 0.1)
    assert calls_of(metrics, "activity_timeline") == 7


def test_a_new_client_counts_from_nothing(metrics: Shown, producer_metrics: ProducerMetrics) -> None:
    producer_metrics.polled(PollResult("acme"), feed_with({"describe": 1, "activity_timeline": 9}), 0.1)
    producer_metrics.polled(PollResult("acme"), feed_with({"describe": 1, "activity_timeline": 2}), 0.1)
    assert calls_of(metrics, "activity_timeline") == 11
    assert calls_of(metrics, "describe") == 2


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (TransientError("x"), "transient"),
        (ThrottledError("x"), "throttled"),
        (ConfigError("x"), "config"),
        (RefusedQueryError("x"), "config"),
        (StuckError("x"), "data"),
        (ValueError("a connector's fault"), "config"),
    ],
)
def test_a_failure_shows_its_class_until_a_poll_goes_well(
    metrics: Shown, producer_metrics: ProducerMetrics, error: Exception, failure: str
) -> None:
    assert failure_of(error) == failure
    producer_metrics.failed("acme", error)
    assert metrics.failing() == {failure}
    assert metrics.of("polls_total", connector="acme", outcome=failure) == 1
    producer_metrics.polled(PollResult("acme"), feed_with({}), 0.1)
    assert metrics.failing() == set()


def test_the_class_of_the_last_failure_is_the_only_one(metrics: Shown, producer_metrics: ProducerMetrics) -> None:
    producer_metrics.failed("acme", TransientError("x"))
    producer_metrics.failed("acme", ConfigError("x"))
    assert metrics.failing() == {"config"}


def test_a_missing_column_is_a_config_failure_though_the_poll_went_well(
    metrics: Shown, producer_metrics: ProducerMetrics
) -> None:
    producer_metrics.polled(PollResult("acme", missing={"Ant__Sentiment__c": "what to do"}), feed_with({}), 0.1)
    assert metrics.failing() == {"config"}
    assert metrics.of("polls_total", connector="acme", outcome="ok") == 1


def test_rows_of_a_backfill_are_counted_once(metrics: Shown, producer_metrics: ProducerMetrics) -> None:
    feed = feed_with({})
    for rows in (10, 10, 25):
        producer_metrics.backfilled(replace(RUNNING, rows=rows, written=rows - 5), feed)
    assert metrics.of("backfill_rows_total", connector="acme") == 25
    assert metrics.of("activities_written_total", connector="acme", kind="backfill") == 20
    assert metrics.of("backfill_progress_ratio", connector="acme") == 0.25
    producer_metrics.backfilled(replace(RUNNING, rows=30, written=25, state="DONE"), feed)
    assert metrics.of("backfill_progress_ratio", connector="acme") == 1
    producer_metrics.backfilled(replace(RUNNING, id="next", rows=7, written=7), feed)
    assert metrics.of("backfill_rows_total", connector="acme") == 37
    assert metrics.of("activities_written_total", connector="acme", kind="backfill") == 32


def test_forget_drops_every_figure_of_a_connector(metrics: Shown, producer_metrics: ProducerMetrics) -> None:
    producer_metrics.polled(PollResult("acme"), feed_with({"describe": 4}), 0.1)
    producer_metrics.failed("acme", ConfigError("x"))
    producer_metrics.forget("acme")
    assert 'connector="acme"' not in metrics.text()
    producer_metrics.polled(PollResult("acme"), feed_with({"describe": 1}), 0.1)
    assert calls_of(metrics, "describe") == 1
