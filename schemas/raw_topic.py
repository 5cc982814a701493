"""The raw topic's wire contract: its keys, its period marker, and its headers, as the producer writes them and others
read them. Values are `raw_activity.avsc` and `period_marker.avsc`; a null value is a tombstone."""

from __future__ import annotations

from dataclasses import dataclass

PERIOD_MARKER = "!period"
"""In a key, in the place of an activity's Gsid: the record closes a polled period. An activity of this very Gsid is not
written: it would have the marker's key. One that ends with it, behind a slash, is."""

LAST_MOMENT = 253_402_300_799_999
"""The last moment in milliseconds that dates can express: that of the year 9999."""

CONNECTOR = "connector"
PERIOD_START = "period_start"
PERIOD_END = "period_end"
POLL_ID = "poll_id"
PAGE = "page"
LAST_PAGE = "last_page"
COLUMNS = "columns"
"""Header: the version of the column list that the row was read with."""
DELETED_AT = "deleted_at"
"""Header of a tombstone: when the activity was deleted, in milliseconds."""

_MARKER = PERIOD_MARKER.encode()
_DIGITS = len(str(LAST_MOMENT))


@dataclass(frozen=True, slots=True)
class RawKey:
    """A raw record's key: `<connector>/<activity Gsid>`, or `<connector>/!period`."""

    connector: str
    gsid: str

    @staticmethod
    def parse(key: bytes | None) -> RawKey | None:
        """The key's two parts; None for a key of another form."""
        connector, slash, gsid = (key or b"").decode("utf-8", "replace").partition("/")
        return RawKey(connector, gsid) if connector and slash and gsid else None

    def format(self) -> bytes:
        return f"{self.connector}/{self.gsid}".encode()


def is_period_marker(key: bytes | None) -> bool:
    """Whether the record closes a polled period; decided without decoding it."""
    connector, _, name = (key or b"").partition(b"/")
    return name == _MARKER and connector != b""


def connector_of(key: bytes | None) -> str:
    """The connector in a key of this or another topic whose keys begin with it; "" for no key."""
    return (key or b"").decode("utf-8", "replace").partition("/")[0]


def gsid_of(key: bytes | None) -> str:
    """The activity's Gsid in a key; "" where there is none."""
    return (key or b"").decode("utf-8", "replace").partition("/")[2]


def deleted_at(header: str | None, written_at: int) -> int:
    """When an activity was deleted (milliseconds): as its tombstone's header has it, else when that was written.

    Whatever else a header says is no moment from 1970 to the year 9999.
    """
    at = moment(header)
    return written_at if at is None else at


def moment(header: str | None) -> int | None:
    """The milliseconds that a header has; None for whatever is no moment from 1970 to the year 9999."""
    if header is None or not (header.isascii() and header.isdigit() and len(header) <= _DIGITS):
        return None
    at = int(header)
    return at if at <= LAST_MOMENT else None
