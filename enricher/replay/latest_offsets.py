"""Where the newest version of every key of a raw partition is, in a private file, so that memory stays flat."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from enum import Enum

import xxhash

CACHE_KIB = 16_384


class VersionStatus(Enum):
    """What a record is among those of its key."""

    NEWEST = "newest"
    OUTDATED = "outdated"  # the newest before the end, but there is a newer one behind it
    OLD = "old"


class LatestOffsets:
    """Key → where its newest record is, and where the newest of those before an offset `end` (None: of all) is.

    The keys are kept as hashes of 128 bits: a million of them take about 50 MB of the temporary directory, and no more
    than 16 MB of memory. May be used by one thread at a time, whichever.
    """

    def __init__(self, end: int | None = None) -> None:
        self._end = end
        self._db = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        self._db.execute(
            "CREATE TABLE newest (key BLOB PRIMARY KEY, before INTEGER NOT NULL, offset INTEGER NOT NULL) WITHOUT ROWID"
        )

    def put(self, records: Iterable[tuple[bytes, int]]) -> None:
        """Takes (key, offset) pairs, in any order."""
        self._db.execute("BEGIN")
        self._db.executemany(
            "INSERT INTO newest VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET "
            "before = max(before, excluded.before), offset = max(offset, excluded.offset)",
            (
                (xxhash.xxh3_128_digest(key), offset if self._is_before(offset) else -1, offset)
                for key, offset in records
            ),
        )
        self._db.execute("COMMIT")

    def place(self, key: bytes, offset: int) -> VersionStatus:
        """What a record before the end is among the records of its key."""
        found = self._db.execute(
            "SELECT before, offset FROM newest WHERE key = ?", (xxhash.xxh3_128_digest(key),)
        ).fetchone()
        if found is None or found[0] != offset:
            return VersionStatus.OLD
        return VersionStatus.NEWEST if found[1] == offset else VersionStatus.OUTDATED

    def close(self) -> None:
        self._db.close()

    def _is_before(self, offset: int) -> bool:
        return self._end is None or offset < self._end
