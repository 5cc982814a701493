"""De-duplication: the versions that the raw topic already has of the rows that the overlap reads again."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import orjson
import xxhash

from frame_gainsight.gainsight import Row, whole_second
from producer.timeline.keyset_reader import MODIFIED, Activity

MAX_UNREADABLE = 10_000  # rows that are remembered


def row_bytes(row: Row) -> bytes:
    """A row as JSON, its keys in their order; a column that cannot be written so, as text that says that."""
    try:
        return orjson.dumps(row, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:  # nested more deeply than orjson writes, or text that is none
        return orjson.dumps({_text(name): _column(value) for name, value in row.items()})


def row_hash(row: Row) -> str:
    """A hash of the row's content, whatever the order of its columns."""
    return xxhash.xxh3_128_hexdigest(row_bytes(dict(sorted(row.items(), key=lambda pair: str(pair[0])))))


def _text(value: object) -> str:
    return str(value).encode("utf-8", "replace").decode()


def _column(value: object) -> object:
    try:
        orjson.dumps(value)
    except TypeError:
        try:
            return _text(value)
        except RecursionError:
            return "(nested too deeply to be written)"
    return value


class Verdict(Enum):
    """The decision on a row that was read."""

    WRITE = "write"
    UNCHANGED = "unchanged"
    STALE = "stale"  # older than the version that was written, behind which it must not go


@dataclass(frozen=True, slots=True)
class Version:
    """A version in the raw topic: LastModifiedDate (or time of deletion) in milliseconds; fingerprint None: deleted."""

    gsid: str
    at: int
    fingerprint: str | None


@dataclass(frozen=True, slots=True)
class Seen:
    """A remembered version: as in `Version`, with its offset in the raw topic.

    `columns` is the version of the column list that it was read with; "" when that is not known.
    """

    at: int
    fingerprint: str | None
    offset: int
    columns: str = ""


def fingerprint_of(activity: Activity) -> str:
    """The fingerprint of a version: of its LastModifiedDate and the activity's own columns.

    The bytes under it are others than those of the row in the raw topic, which keeps every column as the tenant gave
    it, so each is serialised for itself; most rows that are read are only fingerprinted, being unchanged.

    Looked-up columns (dotted) are left out: a company's new ARR is not a new version of its emails. Null, "" and
    absent are the same, since the tenant gives any of them for a field without value.
    """
    own: Row = {
        key: value
        for key, value in activity.row.items()
        if "." not in key and key != MODIFIED and value is not None and value != ""
    }
    own[MODIFIED] = activity.modified_at
    try:
        return xxhash.xxh3_128_hexdigest(orjson.dumps(own, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS))
    except TypeError:  # such a row cannot be written either
        return row_hash(own)


class SeenVersions:
    """The latest version written of every activity modified in the overlap, and the deletions written recently."""

    def __init__(self) -> None:
        self._seen: dict[str, Seen] = {}
        self._unreadable: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def copy(self) -> dict[str, Seen]:
        """The remembered versions, for `replace`."""
        return dict(self._seen)

    def replace(self, seen: dict[str, Seen]) -> None:
        """Remembers these versions, and no others."""
        self._seen = seen

    def verdict(self, activity: Activity, fingerprint: str, columns: str = "") -> Verdict:
        """Whether a version, read with that version of the column list, is to be written.

        A row that differs only because other columns were selected is not a new version.
        """
        seen = self._seen.get(activity.gsid)
        if seen is None:
            return Verdict.WRITE
        if seen.fingerprint == fingerprint:
            return Verdict.UNCHANGED
        if seen.fingerprint is not None and seen.columns != columns and seen.at == activity.modified_at:
            return Verdict.UNCHANGED
        return Verdict.STALE if activity.modified_at < seen.at else Verdict.WRITE

    def note(self, gsid: str, seen: Seen) -> None:
        """Remembers a version that is written."""
        self._seen[gsid] = seen

    def restore(self, gsid: str, seen: Seen, remembered_from: int) -> None:
        """Remembers a version read back from the raw topic, in the topic's order.

        A version modified before `remembered_from` (milliseconds) is not kept, but it replaces what was remembered of
        the activity, such as a deletion.
        """
        if seen.fingerprint is None or seen.at >= remembered_from:
            self._seen[gsid] = seen
        else:
            self._seen.pop(gsid, None)

    def is_deleted(self, gsid: str) -> bool:
        """Whether a tombstone is the last record written of the activity."""
        seen = self._seen.get(gsid)
        return seen is not None and seen.fingerprint is None

    def outlives(self, gsid: str, deleted_at: int) -> bool:
        """Whether a version later than the deletion was written: the activity came back.

        Compared in whole seconds, since a delete log may cut its dates to them.
        """
        seen = self._seen.get(gsid)
        return seen is not None and seen.fingerprint is not None and whole_second(seen.at) > whole_second(deleted_at)

    def is_new_unreadable(self, unreadable: str) -> bool:
        """Whether an unreadable row (by the hash of its content) is met for the first time since the start."""
        if unreadable in self._unreadable:
            return False
        self._unreadable[unreadable] = None
        if len(self._unreadable) > MAX_UNREADABLE:
            del self._unreadable[next(iter(self._unreadable))]
        return True

    def forget(self, modified_before: int, deleted_before: int) -> None:
        """Drops versions and deletions from before these moments (milliseconds), which no window will read again."""
        self._seen = {
            gsid: seen
            for gsid, seen in self._seen.items()
            if seen.at >= (deleted_before if seen.fingerprint is None else modified_before)
        }

    def first_offset(self, default: int) -> int:
        """The offset from which every remembered version can be read back; `default` where there is none."""
        return min((seen.offset for seen in self._seen.values()), default=default)
