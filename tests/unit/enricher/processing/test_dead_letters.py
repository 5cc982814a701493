"""Dead letters: the record of one, and the limit of them in a row."""

from __future__ import annotations

import math
from typing import Any

from enricher.processing.circuit_breaker import CircuitBreaker
from enricher.processing.dead_letters import DeadLetters
from enricher.processing.services import EnricherServices
from frame_gainsight.kafka import ConsumedRecord
from frame_gainsight.runtime import Settings, SystemClock
from schemas import Codec
from tests.fixtures.samples import CONNECTOR

ACME = CONNECTOR.id
SOURCE = ConsumedRecord("raw", 3, 9, b"acme/1", b"value", (("poll_id", b"p"),))


def dead_letters(settings: Settings, codec: Codec) -> DeadLetters:
    unused: Any = None
    return DeadLetters(EnricherServices(settings, codec, unused, unused, SystemClock()), 3)


def test_a_dead_letter_has_the_source_verbatim_and_names_connector_and_failure(
    settings: Settings, codec: Codec
) -> None:
    letter = dead_letters(settings, codec).of_unreadable(SOURCE, "why")
    assert (letter.topic, letter.partition, letter.key) == (settings.dead_letters_topic, 3, b"acme/1")
    assert letter.headers == (("connector", b"acme"), ("failure", b"data"))
    value = codec.decode_as("dead_letter", letter.value or b"")
    assert value["failed_at"] > 0
    assert {**value, "failed_at": 0} == {
        "topic": "raw",
        "partition": 3,
        "offset": 9,
        "key": b"acme/1",
        "value": b"value",
        "headers": [{"key": "poll_id", "value": b"p"}],
        "failure": "data",
        "cause": "why",
        "failed_at": 0,
    }


def test_only_unconverted_activities_count_and_a_conversation_starts_the_count_anew(
    settings: Settings, codec: Codec
) -> None:
    letters = dead_letters(settings, codec)
    for _ in range(settings.dead_letters_in_a_row):
        letters.of_unreadable(SOURCE, "why")
    for _ in range(settings.dead_letters_in_a_row - 1):
        letters.of_unconverted(ACME, SOURCE, "why")
    assert not letters.limit_reached(ACME)
    letters.of_unconverted(ACME, SOURCE, "why")
    assert letters.limit_reached(ACME)
    assert not letters.limit_reached("bolt")
    letters.converted(ACME)
    assert not letters.limit_reached(ACME)


def test_at_the_limit_the_circuit_opens_until_the_connector_has_changed(settings: Settings, codec: Codec) -> None:
    breaker = CircuitBreaker(SystemClock())
    cause = dead_letters(settings, codec).stop(breaker, CONNECTOR, "No date.")
    circuit = breaker.circuit(ACME)
    assert circuit is not None
    assert (circuit.cause, circuit.until) == (cause, math.inf)
    assert cause.endswith("The last cause: No date.")
