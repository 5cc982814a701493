"""The versions that the raw topic has, for a backfill of a span that was read before."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from producer.state.seen_versions import Version
from producer.timeline.keyset_reader import Activity


class KnownVersions:
    """The latest version of each activity of a connector.

    In a private SQLite database that spills to a temporary file, so that its memory does not grow with the topic.
    """

    def __init__(self, versions: Iterable[Version]) -> None:
        self._db = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._db.execute("CREATE TABLE known (gsid TEXT PRIMARY KEY, at INTEGER, fingerprint TEXT) WITHOUT ROWID")
        self._db.execute("BEGIN")
        rows = ((v.gsid, v.at, v.fingerprint) for v in versions)
        self._db.executemany("INSERT OR REPLACE INTO known VALUES (?, ?, ?)", rows)
        self._db.execute("COMMIT")

    def has(self, activity: Activity, fingerprint: str) -> bool:
        """Whether the topic has this version, or a newer one. A tombstone is neither: the activity came back."""
        found = self._db.execute("SELECT at, fingerprint FROM known WHERE gsid = ?", (activity.gsid,)).fetchone()
        if found is None or found[1] is None:
            return False
        return bool(found[1] == fingerprint or found[0] > activity.modified_at)

    def close(self) -> None:
        self._db.close()
