"""Slices: the outputs of a slice, where connectors fail or no calls can be made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from enricher.activity.raw_record import RawActivity
from enricher.processing.dead_letters import DeadLetters
from enricher.processing.enrich import Enriched
from enricher.processing.services import EnricherServices
from enricher.processing.tenants import FixedConnectors
from enricher.replay import slices
from enricher.replay.log_reader import Arrived
from enricher.replay.slices import SliceConverter, counts_of
from enricher.resolution.entity_cache import EntityCache
from frame_gainsight.connectors import Connector
from frame_gainsight.gainsight import NoCallsError, TransientError
from frame_gainsight.kafka import ConsumedRecord, ProducerRecord
from frame_gainsight.runtime import Failure, Settings
from schemas import Codec
from tests.fixtures.clock import ManualClock
from tests.fixtures.samples import CONNECTOR

ACME = CONNECTOR.id


def activities(connector: str, *offsets: int) -> list[RawActivity]:
    return [
        RawActivity(ConsumedRecord("raw", 0, n, f"{connector}/{n}".encode(), b""), connector, str(n), n, "f", {})
        for n in offsets
    ]


class Enricher:
    """An enricher that fails with `error` while any of the offsets `unknown` is among the activities."""

    unknown: frozenset[int] = frozenset()
    error: Exception = NoCallsError("not known")
    refused_from: int = 1000

    def __init__(self, services: EnricherServices, lane: int, cache: EntityCache, dead_letters: DeadLetters) -> None:
        self._topic = services.settings.conversations_topic

    async def enrich(self, connector: Connector, activities: Sequence[RawActivity], *, renew: bool) -> Enriched:
        if self.unknown & {a.source.offset for a in activities}:
            raise self.error
        done = Enriched([], cause="the last cause")
        for activity in activities:
            if activity.source.offset >= self.refused_from:
                done.refused.append(activity)
            else:
                done.outputs[activity.source.offset] = ProducerRecord(self._topic, 0, b"k", b"c")
        return done


@pytest.fixture
def converter(settings: Settings, codec: Codec, monkeypatch: pytest.MonkeyPatch) -> SliceConverter:
    monkeypatch.setattr(slices, "Enricher", Enricher)
    unused: Any = None
    services = EnricherServices(settings, codec, FixedConnectors({ACME: CONNECTOR}), unused, ManualClock())
    return SliceConverter(services, 0, EntityCache(1, 1))


async def test_without_calls_all_activities_that_need_none_are_converted(
    converter: SliceConverter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Enricher, "unknown", frozenset({3, 6}))
    result = await converter.convert(Arrived({ACME: activities(ACME, *range(10))}))
    assert sorted(result.outputs) == [0, 1, 2, 4, 5, 7, 8, 9]
    assert result.unresolved == {3: "not known", 6: "not known"}
    assert result.failed == {}


async def test_a_failing_connector_has_no_outputs_and_holds_no_other_up(
    converter: SliceConverter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Enricher, "unknown", frozenset({3}))
    monkeypatch.setattr(Enricher, "error", TransientError("away"))
    result = await converter.convert(Arrived({ACME: activities(ACME, 2, 3), "gone": activities("gone", 1, 4)}))
    assert result.outputs == {}
    failure = result.failed[ACME]
    assert (failure.offset, failure.failure, failure.refused) == (2, Failure.TRANSIENT, False)
    assert result.unregistered == 2


async def test_refused_activities_are_a_failure_from_the_first_of_them_on(
    converter: SliceConverter, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Enricher, "refused_from", 5)
    source = ConsumedRecord("raw", 0, 9, b"acme/9", b"garbage")
    result = await converter.convert(Arrived({ACME: activities(ACME, 4, 5, 6)}, unreadable=[(source, "not Avro")]))
    failure = result.failed[ACME]
    assert (failure.offset, failure.cause, failure.refused) == (5, "the last cause", True)
    assert sorted(result.outputs) == [4, 9]
    assert not result.is_before_failure(source)
    counts = counts_of(settings, result.outputs.values())
    assert (counts.written, counts.deleted, counts.failed) == (1, 0, 1)
