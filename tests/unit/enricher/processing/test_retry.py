"""Admission: which connectors a batch may call, and for what reason the activities of the others are parked."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from enricher.processing.enrich import Enriched
from enricher.processing.retry import PAUSED, SLOW, Rejection, RetryScheduler
from enricher.processing.services import EnricherServices
from enricher.processing.tenants import FixedConnectors
from frame_gainsight.connectors import Connector
from frame_gainsight.runtime import Failure, Settings, SystemClock
from schemas import Codec
from tests.fixtures.samples import CONNECTOR

ACME = CONNECTOR.id


def scheduler(settings: Settings, codec: Codec, *connectors: Connector) -> RetryScheduler:
    unused: Any = None
    directory = FixedConnectors({c.id: c for c in connectors})
    services = EnricherServices(settings, codec, directory, unused, SystemClock())
    return RetryScheduler(services, 0, unused, unused)


def test_a_registered_connector_is_admitted(settings: Settings, codec: Codec) -> None:
    retries = scheduler(settings, codec, CONNECTOR)
    assert retries.admit(ACME) is CONNECTOR
    assert retries.breaker.circuit(ACME) is None


def test_an_unregistered_connector_is_rejected_and_counts_as_failing(settings: Settings, codec: Codec) -> None:
    retries = scheduler(settings, codec)
    rejection = retries.admit(ACME)
    assert isinstance(rejection, Rejection)
    assert rejection.failure is Failure.CONFIG
    assert "frame-gainsight connector add" in rejection.cause
    circuit = retries.breaker.circuit(ACME)
    assert circuit is not None
    assert (circuit.failures, circuit.seen) == (1, None)
    assert retries.admit(ACME) == rejection
    assert circuit.failures == 1, "only a retry counts again"


def test_a_paused_connector_is_rejected_until_it_has_changed(settings: Settings, codec: Codec) -> None:
    retries = scheduler(settings, codec, paused := replace(CONNECTOR, state="PAUSED"))
    assert retries.admit(ACME) == Rejection(Failure.CONFIG, PAUSED)
    assert retries.breaker.close_changed({ACME: paused}.get) == []
    assert retries.breaker.close_changed({ACME: CONNECTOR}.get) == [ACME]


def test_a_failing_connector_is_rejected_with_the_cause_of_its_failure(settings: Settings, codec: Codec) -> None:
    retries = scheduler(settings, codec, CONNECTOR)
    failed = retries.fail(ACME, CONNECTOR, Failure.TRANSIENT, "The tenant is away.")
    assert retries.admit(ACME) == failed == Rejection(Failure.TRANSIENT, "The tenant is away.")


async def test_a_connector_whose_answers_are_late_is_rejected_until_they_are_there(
    settings: Settings, codec: Codec
) -> None:
    retries = scheduler(settings, codec, CONNECTOR)
    answered = asyncio.Event()

    async def answers() -> Enriched:
        await answered.wait()
        return Enriched([])

    assert retries.finish_in_background(CONNECTOR, [], asyncio.create_task(answers())) == {}
    assert retries.admit(ACME) == Rejection(Failure.TRANSIENT, SLOW)
    answered.set()
    assert await retries.wait_for_one()
    assert retries.admit(ACME) is CONNECTOR
    await retries.close()


@pytest.mark.parametrize("failed", [False, True])
async def test_a_batch_waits_less_for_a_connector_that_failed_recently(
    failed: bool, settings: Settings, codec: Codec
) -> None:
    retries = scheduler(settings, codec, CONNECTOR)
    if failed:
        retries.fail(ACME, CONNECTOR, Failure.TRANSIENT, "away")
        retries.breaker.recovered(ACME)
    assert (retries.patience(ACME) < settings.patience_seconds) is failed
