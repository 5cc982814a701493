"""Admission: which connectors a batch may call, and for what reason the activities of the others are parked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from enricher.activity.raw_record import RawActivity
from enricher.processing import parked as parking
from enricher.processing.dead_letters import DeadLetters
from enricher.processing.enrich import Enriched
from enricher.processing.parked import ParkedActivities
from enricher.processing.retry import PAUSED, SLOW, Rejection, RetryScheduler
from enricher.processing.services import EnricherServices
from enricher.processing.tenants import FixedConnectors
from frame_gainsight.connectors import Connector
from frame_gainsight.kafka import ConsumedRecord
from frame_gainsight.kafka import read as kafka_read
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


def version(settings: Settings, offset: int, key: str = "G1") -> RawActivity:
    source = ConsumedRecord(settings.raw_topic, 0, offset, f"{ACME}/{key}".encode(), f"v{offset}".encode())
    return RawActivity(source, ACME, key, offset, "f", {})


@pytest.mark.parametrize("meanwhile", ["nothing", "a newer version is parked", "a newer version is published"])
async def test_refused_late_activities_wait_again_unless_a_batch_has_replaced_them(
    meanwhile: str, settings: Settings, codec: Codec
) -> None:
    retries = scheduler(settings, codec, CONNECTOR)
    retries._dead_letters = DeadLetters(retries._services, 0)
    old, new, other = version(settings, 10), version(settings, 20), version(settings, 11, "G2")
    answered = asyncio.Event()

    async def answers() -> Enriched:
        await answered.wait()
        return Enriched([], {}, [old, other], "The mapping is wrong.")

    retries.finish_in_background(CONNECTOR, [old, other], asyncio.create_task(answers()))
    answered.set()
    assert await retries.wait_for_one()
    # The answers are there; a batch comes before what follows from them is published.
    if meanwhile == "a newer version is parked":
        retries.park([new], Rejection(Failure.TRANSIENT, SLOW))
    elif meanwhile == "a newer version is published":
        retries.unpark(new.source)
    finish = await retries.retry_parked()
    assert finish is not None
    published = [
        (p.source.offset, p.failure, "The mapping is wrong." in p.cause)
        for out in finish()
        for p in [parking.decode(codec, out.value or b"")]
    ]
    waits = [(10, "config", True), (11, "config", True)]
    assert published == (waits if meanwhile == "nothing" else waits[1:])
    left = retries.parked.get(old.source.key or b"")
    kept = {"nothing": 10, "a newer version is parked": 20, "a newer version is published": None}
    assert (left.source.offset if left is not None else None) == kept[meanwhile]
    circuit = retries.breaker.circuit(ACME)
    assert circuit is not None
    assert circuit.failure is Failure.CONFIG


async def test_a_newer_version_that_came_while_answers_were_late_is_kept(settings: Settings, codec: Codec) -> None:
    retries = scheduler(settings, codec, CONNECTOR)
    retries._dead_letters = DeadLetters(retries._services, 0)
    old, new = version(settings, 10), version(settings, 20)
    answered = asyncio.Event()

    async def answers() -> Enriched:
        await answered.wait()
        return Enriched([], {}, [old], "The mapping is wrong.")

    retries.finish_in_background(CONNECTOR, [old], asyncio.create_task(answers()))
    retries.park([new], Rejection(Failure.TRANSIENT, SLOW))
    answered.set()
    assert await retries.wait_for_one()
    finish = await retries.retry_parked()
    assert finish is not None
    assert finish() == []
    left = retries.parked.get(new.source.key or b"")
    assert left is not None
    assert left.source == new.source


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize(("megabyte_parts", "at_once"), [(1, 7), (4, 1), (9, 1)])
async def test_a_retry_has_a_bounded_number_of_bytes(
    in_memory: bool,
    megabyte_parts: int,
    at_once: int,
    settings: Settings,
    codec: Codec,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    size = megabyte_parts * 1024 * 1024
    tried: list[int] = []
    was_read: list[int] = []
    log = []
    for offset in range(20):
        fields = {"connector": ACME, "activity_id": f"G{offset}", "modified_at": 1, "fingerprint": "f"}
        row = '{"Notes":"' + "x" * size + '"}'
        value = codec.encode("raw_activity", fields | {"row": row})
        log.append(ConsumedRecord(settings.raw_topic, 0, offset, f"{ACME}/G{offset}".encode(), value))

    class Tried:
        async def enrich(self, _: Connector, activities: Sequence[RawActivity]) -> Enriched:
            tried.extend(a.source.offset for a in activities)
            return Enriched([], {a.source.offset: parking.tombstone(settings, a.source) for a in activities})

    def read_log(*_: object) -> Iterator[ConsumedRecord]:
        for record in log:
            was_read.append(record.offset)
            yield record

    retries = scheduler(settings, codec, CONNECTOR)
    tried_by: Any = Tried()
    retries._enricher = tried_by
    retries.parked = ParkedActivities(1024**3 if in_memory else 0)
    monkeypatch.setattr(kafka_read, "read_to_end", read_log)
    for record in log:
        retries.parked.put(parking.Parked(ACME, record, "transient", "away", 0, 1))
    finish = await retries._retry_slice(ACME, CONNECTOR)
    assert tried == list(range(at_once))
    assert len(was_read) <= (0 if in_memory else at_once + 1)
    assert len(finish()) == 2 * at_once
    finish = await retries._retry_slice(ACME, CONNECTOR)
    assert tried == list(range(2 * at_once)), "the next ones come next"


async def test_the_decoding_for_a_retry_leaves_others_their_turn(settings: Settings, codec: Codec) -> None:
    retries = scheduler(settings, codec, CONNECTOR)
    fields = {"connector": ACME, "activity_id": "G", "modified_at": 1, "fingerprint": "f"}
    value = codec.encode("raw_activity", fields | {"row": '{"Notes":"' + "x" * 1024 * 1024 + '"}'})
    source = ConsumedRecord(settings.raw_topic, 0, 1, b"acme/G", value)
    items = [parking.Parked(ACME, source, "transient", "away", 0, 1)] * 5
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    watching = asyncio.create_task(others())
    activities, _ = await retries._readable(items)
    watching.cancel()
    assert len(activities) == 5
    assert turns >= 5
