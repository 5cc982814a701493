"""The enricher's metrics."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from enricher.metrics import EnricherMetrics
from frame_gainsight.kafka import ConsumedRecord, ProducerRecord
from frame_gainsight.runtime import Settings
from tests.unit.producer.test_metrics import Shown

NOW = 1_772_438_400_000


class Now:
    def now(self) -> int:
        return NOW


class Client:
    """What the meter reads of a client."""

    left_today = 900
    calls_per_day = 1000

    def __init__(self, **calls: int) -> None:
        self.calls = Counter(calls)


@pytest.fixture
def metrics() -> Shown:
    return Shown()


@pytest.fixture
def meter(metrics: Shown, settings: Settings) -> EnricherMetrics:
    made = EnricherMetrics(metrics, settings, Now())  # type: ignore[arg-type]
    made.opened(0)
    return made


def out(topic: str, key: str, value: bytes | None = b"v") -> ProducerRecord:
    return ProducerRecord(topic, 0, key.encode(), value)


def test_what_a_transaction_committed_is_counted_by_connector(
    meter: EnricherMetrics, metrics: Shown, settings: Settings
) -> None:
    outputs = [
        out(settings.conversations_topic, "acme/1"),
        out(settings.conversations_topic, "acme/2"),
        out(settings.conversations_topic, "acme/3", None),
        out(settings.dead_letters_topic, "acme/4"),
        out(settings.dead_letters_topic, "no such/4"),
        out(settings.entities_topic, "acme/person"),
    ]
    meter.committed(0, ["acme"], [ConsumedRecord("raw", 0, 0, b"acme/1", b"", (), NOW - 2500)], outputs, 0.02)
    assert metrics.of("conversations_written_total", connector="acme") == 2
    assert metrics.of("conversations_deleted_total", connector="acme") == 1
    assert metrics.of("dead_letters_total", connector="acme", service="enricher") == 1
    assert metrics.of("dead_letters_total", connector="?", service="enricher") == 1
    assert metrics.of("delay_seconds_sum", connector="acme") == 2.5
    assert metrics.of("transaction_duration_seconds_sum", service="enricher") == 0.02


def test_who_waits_and_why(meter: EnricherMetrics, metrics: Shown) -> None:
    meter.waiting(0, {"acme": 7}, {"acme": "config"}, 100)
    assert metrics.of("parked_activities", connector="acme") == 7
    assert metrics.of("circuit_open", connector="acme", failure="config") == 1
    assert metrics.of("circuit_open", connector="acme", failure="transient") == 0
    assert metrics.of("entities") == 100
    meter.waiting(0, {}, {}, 101)
    assert metrics.of("parked_activities", connector="acme") == 0
    assert metrics.of("circuit_open", connector="acme", failure="config") == 0
    assert metrics.of("entities") == 101


def test_calls_count_once_whoever_tells_of_them(meter: EnricherMetrics, metrics: Shown) -> None:
    live, aside = Client(person=3), Client(person=1)
    in_use: Any = [("acme", live), ("acme", aside)]
    for _ in range(2):
        meter.called(in_use)
    live.calls["person"] += 2
    meter.called(in_use)
    assert metrics.of("api_calls_total", connector="acme", service="enricher", call="person") == 6
    assert metrics.of("api_calls_left_today", connector="acme", service="enricher") == 900


def test_a_lane_that_goes_takes_its_connectors_along(meter: EnricherMetrics, metrics: Shown) -> None:
    meter.opened(1)
    assert metrics.of("lanes_owned", service="enricher") == 2
    meter.waiting(0, {"acme": 7}, {}, 10)
    meter.waiting(1, {"bolt": 1}, {}, 20)
    meter.closed(0)
    assert metrics.of("lanes_owned", service="enricher") == 1
    assert metrics.of("parked_activities", connector="acme") is None
    assert metrics.of("parked_activities", connector="bolt") == 1
