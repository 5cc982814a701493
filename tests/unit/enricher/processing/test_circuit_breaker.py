"""Circuit breaker: which connectors may be called, and when one that failed is tried again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from enricher.processing.circuit_breaker import PAUSES, RECENT_SECONDS, CircuitBreaker
from frame_gainsight.runtime import Failure
from tests.fixtures.clock import ManualClock
from tests.fixtures.samples import CONNECTOR

ACME = CONNECTOR.id


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def breaker(clock: ManualClock) -> CircuitBreaker:
    return CircuitBreaker(clock)


def test_pauses_grow_with_failures_in_a_row_and_a_success_closes_the_circuit(
    breaker: CircuitBreaker, clock: ManualClock
) -> None:
    pauses = []
    for _ in range(12):
        breaker.failed(ACME, Failure.TRANSIENT, "away", CONNECTOR)
        circuit = breaker.circuit(ACME)
        assert circuit is not None
        pauses.append(circuit.until - clock.seconds)
        clock.seconds = circuit.until - 0.001
        assert breaker.due([ACME]) == []
        clock.seconds = circuit.until
        assert breaker.due([ACME]) == [ACME]
    assert pauses[0] == pytest.approx(PAUSES.first, rel=0.2)
    assert pauses[3] == pytest.approx(8 * PAUSES.first, rel=0.2)
    assert pauses[-1] == pytest.approx(PAUSES.longest, rel=0.2)
    breaker.recovered(ACME)
    assert breaker.circuit(ACME) is None
    clock.seconds += 1
    assert breaker.recently_failed(ACME)
    clock.seconds += RECENT_SECONDS
    assert not breaker.recently_failed(ACME)


def test_the_circuit_half_open_the_longest_is_tried_first(breaker: CircuitBreaker, clock: ManualClock) -> None:
    clock.seconds = 50.0
    breaker.failed("bolt", Failure.CONFIG, "key", None)
    clock.seconds = 90.0
    breaker.failed("acme", Failure.CONFIG, "key", None)
    clock.seconds = 1000.0
    assert breaker.due(["acme", "bolt", "crux"]) == ["crux", "bolt", "acme"]


def test_a_stopped_connector_is_tried_when_it_has_changed_and_not_before(
    breaker: CircuitBreaker, clock: ManualClock
) -> None:
    breaker.stop(CONNECTOR, "every activity fails")
    breaker.failed(ACME, Failure.TRANSIENT, "a call that was under way", CONNECTOR)
    clock.seconds = 1e9
    assert breaker.due([ACME]) == []
    assert breaker.close_changed({ACME: CONNECTOR}.get) == []
    assert breaker.open_circuits()[ACME].seen is CONNECTOR
    changed = replace(CONNECTOR, updated_at=CONNECTOR.updated_at + 1)
    assert breaker.close_changed({ACME: changed}.get) == [ACME]
    assert breaker.due([ACME]) == [ACME]
    assert not breaker.recently_failed(ACME)
