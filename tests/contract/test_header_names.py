"""Whatever the bytes of a header's name, aiokafka's fetch reads its record, those around it and the batches behind."""

from __future__ import annotations

import gzip
import struct
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from hypothesis import given
from hypothesis import strategies as st

from enricher.consumer.header_names import EscapingRecords, escape_header_names

HEAD = 61  # bytes of a batch before its records
GZIP = 1


def zigzag(number: int) -> bytes:
    number, out = (number << 1) ^ (number >> 63), b""
    while number & ~0x7F:
        out += bytes([(number & 0x7F) | 0x80])
        number >>= 7
    return out + bytes([number])


def batch(base: int, headers: list[list[tuple[bytes, bytes | None]]], codec: int = 0) -> bytes:
    """A record batch of one record for each list of headers, by the Kafka protocol's "Record Batch"."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 100_000)
    for number in range(len(headers)):
        builder.append(number, 7, b"", b"", [])
    head, body = bytearray(builder.build()[:HEAD]), b""
    for number, pairs in enumerate(headers):
        key = b"k%d" % (base + number)
        record = b"\0\0" + zigzag(number) + zigzag(len(key)) + key + zigzag(1) + b"v" + zigzag(len(pairs))
        for name, value in pairs:
            record += zigzag(len(name)) + name + zigzag(-1 if value is None else len(value)) + (value or b"")
        body += zigzag(len(record)) + record
    if codec == GZIP:
        body = gzip.compress(body)
    struct.pack_into(">qi", head, 0, base, HEAD - 12 + len(body))
    struct.pack_into(">h", head, 21, codec)
    struct.pack_into(">I", head, 17, calc_crc32c(bytes(head[21:]) + body))
    return bytes(head) + body


def fetched(data: bytes, start: int = 0) -> list[Any]:
    escape_header_names()
    records = fetcher.MemoryRecords(data)
    return list(fetcher.PartitionRecords(TopicPartition("raw", 0), records, [], start, None, None, True, 1))


BAD = b"\xff\xfe\xfd"


@pytest.mark.parametrize("codec", [0, GZIP])
def test_a_name_that_is_not_utf_8_is_escaped_and_all_records_are_read(codec: int) -> None:
    first = batch(10, [[(b"ok", b"1")], [(b"a", None), (BAD, b"2"), ("ä".encode(), b"\xff")], [], [(BAD, b"")]], codec)
    assert [(r.offset, r.key, r.value, r.headers) for r in fetched(first + batch(14, [[(b"b", b"3")]]))] == [
        (10, b"k10", b"v", (("ok", b"1"),)),
        (11, b"k11", b"v", (("a", None), (r"\xff\xfe\xfd", b"2"), ("ä", b"\xff"))),
        (12, b"k12", b"v", ()),
        (13, b"k13", b"v", ((r"\xff\xfe\xfd", b""),)),
        (14, b"k14", b"v", (("b", b"3"),)),
    ]


def test_reading_may_begin_within_a_batch() -> None:
    assert [r.offset for r in fetched(batch(10, [[(BAD, b"")], [], [(BAD, b"")]]), 12)] == [12]


def test_a_batch_that_is_cut_off_is_left_for_the_next_fetch() -> None:
    whole = batch(10, [[(BAD, b"")]])
    assert [r.offset for r in fetched(whole + whole[:-1])] == [10]
    assert EscapingRecords(whole[:-1]).next_batch() is None


def test_a_batch_of_the_format_without_headers_is_aiokafka_s_own() -> None:
    builder = LegacyRecordBatchBuilder(1, 0, 100_000)
    builder.append(0, 7, b"k", b"v")
    records = fetched(bytes(builder.build()))
    assert [(r.offset, r.key, r.value, r.headers) for r in records] == [(0, b"k", b"v", ())]


@given(st.lists(st.lists(st.tuples(st.binary(max_size=8), st.none() | st.binary(max_size=8)), max_size=3), max_size=4))
def test_any_names_are_read_as_utf_8_or_escaped(headers: list[list[tuple[bytes, bytes | None]]]) -> None:
    expected = [tuple((name.decode("utf-8", "backslashreplace"), value) for name, value in pairs) for pairs in headers]
    assert [record.headers for record in fetched(batch(3, headers), 3)] == expected
