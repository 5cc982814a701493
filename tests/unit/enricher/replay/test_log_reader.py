"""Reading a raw partition in pieces: each of a bounded number of bytes, and decoded while others go on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from enricher.replay import log_reader
from enricher.replay.latest_offsets import LatestOffsets
from enricher.replay.log_reader import PartitionReader, decode_batch, index, select
from enricher.replay.model import Scope
from frame_gainsight.kafka import ConsumedRecord
from frame_gainsight.runtime import Settings
from schemas import Codec

MEGABYTE = 1024 * 1024


def large(offset: int, megabytes: int = 1, key: str = "") -> ConsumedRecord:
    key = key or f"acme/{offset}"
    return ConsumedRecord("raw", 0, offset, key.encode(), bytes(megabytes * MEGABYTE))


def reader(monkeypatch: pytest.MonkeyPatch, log: list[ConsumedRecord], end: int | None) -> PartitionReader:
    def read_to_end(*_: object) -> Iterator[ConsumedRecord]:
        yield from log

    monkeypatch.setattr(log_reader, "read_to_end", read_to_end)
    return PartitionReader(Settings(_env_file=None), 0, 0, end)


@pytest.mark.parametrize("end", [None, 30])
@pytest.mark.parametrize("size", [1, 3, 8, 9])
def test_slices_have_a_bounded_number_of_bytes_and_leave_nothing_out(
    size: int, end: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {4: "acme/6", 5: "bolt/x", 7: "acme/!period"}
    log = [large(n, size, keys.get(n, "")) for n in range(30)]
    latest = LatestOffsets()
    latest.put((r.key or b"", r.offset) for r in log)
    raw = reader(monkeypatch, log, end)
    slices, rows = [], 0
    while not raw.done:
        found = select(raw, latest, Scope("acme"), 200, 20_000)
        slices.append([r.offset for r in found.records])
        rows += found.rows
    assert [n for one in slices for n in one] == [n for n in range(30) if n not in keys]
    assert rows == 30
    assert max(map(len, slices)) == max(1, 8 // size)
    latest.close()


def test_the_log_is_read_in_pieces_of_a_bounded_number_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    log, latest = [large(n) for n in range(40)], LatestOffsets()
    raw = reader(monkeypatch, log, 40)
    pieces = []
    while not raw.done:
        pieces.append(index(raw, latest, 20_000))
    assert pieces == [16, 16, 8]
    latest.close()


async def test_the_decoding_of_large_records_leaves_others_their_turn(codec: Codec) -> None:
    fields = {"connector": "acme", "activity_id": "G", "modified_at": 1, "fingerprint": "f"}
    value = codec.encode("raw_activity", fields | {"row": '{"Notes":"' + "x" * MEGABYTE + '"}'})
    records = [ConsumedRecord("raw", 0, n, b"acme/G", value) for n in range(5)]
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    watching = asyncio.create_task(others())
    arrived = await decode_batch(codec, records, Scope())
    watching.cancel()
    assert [a.source.offset for a in arrived.activities["acme"]] == list(range(5))
    assert turns >= 5
