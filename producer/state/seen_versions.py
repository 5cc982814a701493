"""De-duplication: the versions that the raw topic already has of the rows that the overlap reads again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum

import orjson
import xxhash

from frame_gainsight.gainsight import Row, whole_second
from frame_gainsight.runtime.pauses import with_pauses
from producer.timeline.keyset_reader import MODIFIED, Activity, Unreadable

MAX_UNREADABLE = 100_000  # rows that are remembered: more than a poll meets, so that none is forgotten between two


def row_bytes(row: Row) -> bytes:
    """A row as JSON, its keys in their order; a column that cannot be written so, as text that says that."""
    try:
        return orjson.dumps(row, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:  # nested more deeply than orjson writes, or text that is none
        return orjson.dumps({_text(name): _column(value) for name, value in row.items()})


def row_hash(row: Row) -> str:
    """A hash of the row's content, whatever the order of its columns."""
    return xxhash.xxh3_128_hexdigest(row_bytes(dict(sorted(row.items(), key=lambda pair: str(pair[0])))))


def _content(row: Unreadable) -> int:
    return int(row_hash(row.row)[:16], 16)


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


async def versions_of(
    activities: Iterable[Activity], is_new: Callable[[Activity, str], bool]
) -> tuple[list[tuple[Activity, str]], list[Unreadable]]:
    """The versions of a page that are to be written, each with its fingerprint; and the rows that cannot be versions.

    A page may hold an activity more than once. Equal rows are one version; of different dates, the latest comes last.
    Of different rows of one date nobody can say which is the later one: that which is written already counts, else the
    last, and the others cannot be versions beside it.
    """
    found: dict[tuple[str, int], dict[str, Activity]] = {}
    async for activity in with_pauses(activities):
        rows = found.setdefault((activity.gsid, activity.modified_at), {})
        rows.setdefault(fingerprint_of(activity), activity)
    new: list[tuple[Activity, str]] = []
    beside: list[Unreadable] = []
    for (gsid, _), rows in sorted(found.items(), key=lambda version: version[0][1]):
        unwritten = {f: a for f, a in rows.items() if is_new(a, f)}
        if len(rows) > 1:
            written = len(unwritten) < len(rows)
            beside += [Unreadable(a.row, _beside(gsid)) for a in list(unwritten.values())[: None if written else -1]]
            unwritten = {} if written else dict(list(unwritten.items())[-1:])
        new += [(a, f) for f, a in unwritten.items()]
    return new, beside


def _beside(gsid: str) -> str:
    return (
        f"The tenant's answer has another row of {gsid[:64]} with the same LastModifiedDate and other content, which "
        "is the one that counts. Ask the Gainsight admin why it has two."
    )


class SeenVersions:
    """The latest version written of every activity modified in the overlap, and the deletions written recently."""

    def __init__(self) -> None:
        self._seen: dict[str, Seen] = {}
        self._unreadable: dict[int, None] = {}  # by the row's hash, the one met last at the end

    def __len__(self) -> int:
        return len(self._seen)

    def copy(self) -> tuple[dict[str, Seen], dict[int, None]]:
        """All that is remembered, for `replace`."""
        return dict(self._seen), dict(self._unreadable)

    def replace(self, remembered: tuple[dict[str, Seen], dict[int, None]]) -> None:
        """Remembers what it did when the copy was made, and nothing else."""
        self._seen, self._unreadable = remembered

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

    def new_unreadable(self, rows: Iterable[Unreadable]) -> list[Unreadable]:
        """Those of the rows that are met for the first time since the start, by their content: each once."""
        found: dict[int, Unreadable] = {}
        for row in rows:
            known = _content(row)
            if known in self._unreadable:  # what is met at every poll is not forgotten for others
                self._unreadable[known] = self._unreadable.pop(known)
            else:
                found.setdefault(known, row)
        return list(found.values())

    def note_unreadable(self, rows: Iterable[Unreadable]) -> None:
        """Remembers rows whose dead letters are written."""
        self._unreadable |= dict.fromkeys(map(_content, rows))
        while len(self._unreadable) > MAX_UNREADABLE:
            del self._unreadable[next(iter(self._unreadable))]

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
