"""Reading records whose headers' names are not UTF-8.

Kafka takes any bytes for a header's name. aiokafka decodes names strictly, and what it raises ends the whole fetch, at
each start again. Here such a name is read with its foreign bytes escaped (``\\xff``); the rest of the record is as it
was written.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record import default_records
from aiokafka.record.memory_records import MemoryRecords

# Of a batch's head, in bytes (Kafka protocol, "Record Batch")
_LENGTH, _HEAD, _MAGIC = 8, 12, 16
_MAGIC_WITH_HEADERS = 2


class _Escaping(bytearray):
    """Bytes whose slices decode whatever is in them."""

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        return _Escaping(found) if isinstance(index, slice) else found

    def decode(self, encoding: str = "utf-8", errors: str = "backslashreplace") -> str:
        return super().decode(encoding, errors)


class _Batch:
    """aiokafka's batch, whose records are read once more, in Python, from the first that it cannot read."""

    def __init__(self, batch: Any, data: memoryview) -> None:
        self._batch = batch
        self._data = data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        number = 0
        try:
            for record in self._batch:
                yield record
                number += 1
        except UnicodeDecodeError:
            batch: Any = default_records._DefaultRecordBatchPy(self._data)
            batch._maybe_uncompress()
            batch._buffer = _Escaping(batch._buffer)
            yield from islice(batch, number, None)


class EscapingRecords:
    """aiokafka's `MemoryRecords`, of which any header's name can be read."""

    def __init__(self, data: bytes) -> None:
        self._records: Any = MemoryRecords(data)
        self._data = memoryview(data)
        self._begin = 0

    def size_in_bytes(self) -> int:
        return int(self._records.size_in_bytes())

    def has_next(self) -> bool:
        return bool(self._records.has_next())

    def next_batch(self) -> Any:
        batch, begin = self._records.next_batch(), self._begin
        if batch is None:
            return None
        length = int.from_bytes(self._data[begin + _LENGTH : begin + _HEAD], "big")
        self._begin = begin + _HEAD + length
        if self._data[begin + _MAGIC] < _MAGIC_WITH_HEADERS:
            return batch
        return _Batch(batch, self._data[begin : self._begin])


def escape_header_names() -> None:
    """Makes every aiokafka consumer of this process read records by `EscapingRecords`."""
    fetcher.MemoryRecords = EscapingRecords
