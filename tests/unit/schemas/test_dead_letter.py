"""Dead letters: the source record is in them verbatim, and their headers say whose it is and why."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from schemas import Codec
from schemas.dead_letter import DeadLetter

LETTER = DeadLetter(
    connector="acme",
    topic="gainsight.timeline.raw",
    partition=2,
    offset=41,
    key=b"acme/1I00",
    value=b"\xc3\x01damaged",
    headers=(("connector", b"acme"), ("connector", b"again"), ("empty", b"")),
    failure="data",
    cause="The raw_activity is damaged.",
    failed_at=1_772_445_600_000,
)


@pytest.mark.parametrize(
    "letter",
    [
        LETTER,
        replace(LETTER, value=None, headers=()),  # a tombstone
        replace(LETTER, connector="", key=None),
        replace(LETTER, topic="tenant:activity_timeline", partition=-1, offset=-1),
    ],
    ids=["record", "tombstone", "no key", "row"],
)
def test_the_source_record_is_verbatim_in_it(letter: DeadLetter) -> None:
    value = Codec().decode_as("dead_letter", letter.encode(Codec()))
    headers = tuple((header["key"], header["value"]) for header in value.pop("headers"))
    assert DeadLetter(connector=letter.connector, headers=headers, **value) == letter


@pytest.mark.parametrize("connector", ["acme", ""])
def test_its_own_headers_name_the_connector_and_the_failure(connector: str) -> None:
    letter = replace(LETTER, connector=connector)
    assert letter.record_headers == (("connector", connector.encode()), ("failure", b"data"))


@pytest.mark.parametrize("room", [2_000, 65_536, 1_048_576])
@pytest.mark.parametrize(
    "huge",
    [
        {"value": bytes(2_000_000)},
        {"key": b"acme/" + b"k" * 2_000_000},
        {"cause": "ü" * 2_000_000},
        {"headers": (("h", bytes(2_000_000)), ("k" * 100_000, b""))},
        {"connector": "c" * 2_000_000, "topic": "t" * 2_000_000},
        {"cause": "\ud800" * 1000, "value": bytes(2_000_000), "headers": (("h", bytes(9000)),) * 300},
    ],
    ids=["value", "key", "cause", "headers", "names", "all"],
)
def test_a_letter_is_cut_until_it_fits(huge: dict[str, Any], room: int) -> None:
    letter = replace(LETTER, **huge).fitting(room)
    headers = sum(len(name) + len(value) for name, value in letter.record_headers)
    assert len(letter.encode(Codec())) + len(letter.key or b"") + headers <= room
    assert (letter.partition, letter.offset, letter.failure) == (2, 41, "data")


def test_a_letter_whose_value_is_cut_names_its_size_and_its_hash_and_keeps_its_beginning() -> None:
    value = b"\xc3\x01" + bytes(100_000)
    letter = replace(LETTER, value=value).fitting(20_000)
    assert letter.cause.startswith(LETTER.cause)
    assert "100002 bytes" in letter.cause
    assert hashlib.sha256(value).hexdigest() in letter.cause
    assert value.startswith(letter.value or b"?")
    assert len(letter.value or b"") > 15_000
    assert (letter.key, letter.headers) == (LETTER.key, LETTER.headers)


def test_a_letter_that_fits_stays_as_it_is() -> None:
    assert LETTER.fitting(1_048_576) == LETTER
