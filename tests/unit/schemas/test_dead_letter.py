"""Dead letters: the source record is in them verbatim, and their headers say whose it is and why."""

from __future__ import annotations

from dataclasses import replace

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
