"""What arrives: raw records told apart into activities, deletions and period markers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from frame_gainsight.gainsight import Row, value_of
from frame_gainsight.kafka import ConsumedRecord
from schemas import Codec, DecodeError

MARKER_SUFFIX = b"/!period"


class DataError(Exception):
    """A record, or a part of it, cannot be understood; the text says what and why."""


@dataclass(frozen=True, slots=True)
class RawActivity:
    """A version of an activity. `modified_at` in milliseconds; `source` is the record that it came in.

    `columns` is the version of the column list that the row was read with, "" where it is not told.
    """

    source: ConsumedRecord
    connector: str
    gsid: str
    modified_at: int
    fingerprint: str
    row: Row

    @property
    def columns(self) -> str:
        return self.source.header("columns") or ""

    def get(self, path: str) -> Any:
        """The row's value by path; "" counts as absent, since the tenant gives any of the two."""
        value = value_of(self.row, path)
        return None if value == "" else value


@dataclass(frozen=True, slots=True)
class Deletion:
    """A tombstone."""

    source: ConsumedRecord
    connector: str
    gsid: str

    @property
    def moment(self) -> int:
        """When the activity was deleted, as far as it is told; else when the tombstone was written (milliseconds)."""
        at = self.source.header("deleted_at")
        return int(at) if at and at.isdigit() else self.source.timestamp


@dataclass(frozen=True, slots=True)
class Marker:
    """The end of a polled period."""

    source: ConsumedRecord
    connector: str


Arrival = RawActivity | Deletion | Marker


def is_marker(record: ConsumedRecord) -> bool:
    """Whether the record closes a period; decided by its key, without decoding it."""
    return (record.key or b"").endswith(MARKER_SUFFIX)


def read(codec: Codec, record: ConsumedRecord) -> Arrival:
    """A raw record, told apart. Raises DataError; RegistryError when the schema registry does not answer."""
    connector, slash, gsid = (record.key or b"").decode("utf-8", "replace").partition("/")
    if not (connector and slash and gsid):
        raise DataError("The key is not <connector>/<activity Gsid>. Look at who writes to the raw topic.")
    if is_marker(record):
        return Marker(record, connector)
    if record.value is None:
        return Deletion(record, connector, gsid)
    try:
        value = codec.decode_as("raw_activity", record.value)
    except DecodeError as error:
        raise DataError(str(error)) from error
    try:
        row = orjson.loads(value["row"])
    except orjson.JSONDecodeError as error:
        raise DataError(f"The activity's row is not JSON: {error}.") from error
    if not isinstance(row, dict):
        raise DataError("The activity's row is not a JSON object.")
    return RawActivity(record, connector, gsid, value["modified_at"], value["fingerprint"], row)
