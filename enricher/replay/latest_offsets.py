"""Offsets of the latest version of every key of a raw partition, in a private file, so that memory stays flat."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from enum import Enum

import xxhash

CACHE_KIB = 16_384


class VersionStatus(Enum):
    """A record's place among those of its key."""

    LATEST = "latest"
    OUTDATED = "outdated"  # the latest before the end, but there is a later one behind it
    OLD = "old"


class LatestOffsets:
    """Key → the offset of its latest record, and of the latest before an offset `end` (None: before any).

    The keys are kept as hashes of 128 bits: a million of them take about 50 MB of the temporary directory, and no more
    than 16 MB of memory. Any thread may use the object, one at a time.
    """

    def __init__(self, end: int | None = None) -> None:
        self._end = end
        self._db = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        self._db.execute(
            "CREATE TABLE latest (key BLOB PRIMARY KEY, before INTEGER NOT NULL, offset INTEGER NOT NULL) WITHOUT ROWID"
        )

    def put(self, records: Iterable[tuple[bytes, int]]) -> None:
        """Takes (key, offset) pairs, in any order."""
        self._db.execute("BEGIN")
        self._db.executemany(
            "INSERT INTO latest VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET "
            "before = max(before, excluded.before), offset = max(offset, excluded.offset)",
            (
                (xxhash.xxh3_128_digest(key), offset if self._is_before(offset) else -1, offset)
                for key, offset in records
            ),
        )
        self._db.execute("COMMIT")

    def status(self, key: bytes, offset: int) -> VersionStatus:
        """The place of a record before the end among the records of its key."""
        found = self._db.execute(
            "SELECT before, offset FROM latest WHERE key = ?", (xxhash.xxh3_128_digest(key),)
        ).fetchone()
        if found is None or found[0] != offset:
            return VersionStatus.OLD
        return VersionStatus.LATEST if found[1] == offset else VersionStatus.OUTDATED

    def close(self) -> None:
        """Deletes the file."""
        self._db.close()

    def _is_before(self, offset: int) -> bool:
        return self._end is None or offset < self._end
