"""Raw records decoded: activities, deletions and period markers."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson

from frame_gainsight.gainsight import Row, parse_date, value_of
from frame_gainsight.kafka import ConsumedRecord
from schemas import Codec, DecodeError, RegistryError, words
from schemas.raw_topic import COLUMNS, DELETED_AT, RawKey, deleted_at, is_period_marker


class DataError(Exception):
    """A record, or a part of it, cannot be understood; the text names the part and the reason."""


@dataclass(frozen=True, slots=True)
class RawActivity:
    """A version of an activity. `modified_at` in milliseconds; `source` is the record that it came in."""

    source: ConsumedRecord
    connector: str
    gsid: str
    modified_at: int
    fingerprint: str
    row: Row

    @property
    def columns(self) -> str:
        """The version of the column list that the row was read with; "" where the record does not name it."""
        return self.source.header(COLUMNS) or ""

    def get(self, path: str) -> Any:
        """The row's value by path; "" counts as absent, since tenants give either."""
        value = value_of(self.row, path)
        return None if value == "" else value

    def text(self, path: str) -> str | None:
        """The row's value by path as text; None where it is absent. Raises DataError for one that is no text."""
        value = self.get(path)
        try:
            return None if value is None else str(value)
        except RecursionError:
            raise DataError(f"{path} of activity {self.gsid[:100]} is nested too deeply.") from None


@dataclass(frozen=True, slots=True)
class Deletion:
    """A tombstone."""

    source: ConsumedRecord
    connector: str
    gsid: str

    @property
    def moment(self) -> int:
        """When the activity was deleted, else when the tombstone was written (milliseconds); 0 where neither is a
        date of the years 1 to 9999."""
        written_at = self.source.timestamp
        for header in (self.source.header(DELETED_AT), None):
            with suppress(ValueError):
                return parse_date(deleted_at(header, written_at)) or 0
        return 0


@dataclass(frozen=True, slots=True)
class Marker:
    """The end of a polled period."""

    source: ConsumedRecord
    connector: str


Arrival = RawActivity | Deletion | Marker


def read(codec: Codec, record: ConsumedRecord) -> Arrival:
    """Decodes a raw record, whatever its bytes. Raises DataError; RegistryError when the schema registry does not
    answer."""
    try:
        return _read(codec, record)
    except (DataError, RegistryError):
        raise
    except DecodeError as error:
        raise DataError(str(error)) from error
    except Exception as error:
        raise DataError(f"The record cannot be read: {type(error).__name__}: {words(error)}") from error


def _read(codec: Codec, record: ConsumedRecord) -> Arrival:
    key = RawKey.parse(record.key)
    if key is None:
        raise DataError("The key is not <connector>/<activity Gsid>. Look at who writes to the raw topic.")
    if is_period_marker(record.key):
        if _is_activity(codec, record.value or b""):
            raise DataError("An activity has the key of a period's marker: no Gsid is like that. Look at its tenant.")
        return Marker(record, key.connector)
    if record.value is None:
        return Deletion(record, key.connector, key.gsid)
    value = codec.decode_as("raw_activity", record.value)
    try:
        row = orjson.loads(value["row"])
    except orjson.JSONDecodeError as error:
        raise DataError(f"The activity's row is not JSON: {error}.") from error
    if not isinstance(row, dict):
        raise DataError("The activity's row is not a JSON object.")
    try:
        modified_at = parse_date(value["modified_at"]) or 0
    except ValueError as error:
        raise DataError(f"The activity's modified_at cannot be read: {error}.") from error
    return RawActivity(record, key.connector, key.gsid, modified_at, value["fingerprint"], row)


def _is_activity(codec: Codec, value: bytes) -> bool:
    """Whether the value is an activity's; nothing else is needed of what a marker's key stands at."""
    try:
        return codec.decode(value).record == "raw_activity"
    except DecodeError:
        return False
