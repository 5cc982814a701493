"""The records that a poll writes: raw activities, tombstones, period markers, checkpoints, dead letters."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from frame_gainsight.kafka import Headers, ProducerRecord
from frame_gainsight.runtime import Failure, Settings
from producer.state import backfill as backfills
from producer.state import checkpoint as checkpoints
from producer.state.backfill import Backfill
from producer.state.checkpoint import Checkpoint, OpenPeriod
from producer.timeline.keyset_reader import Activity, Unreadable
from schemas import Codec

COLUMNS = "columns"
MARKER = "!period"  # the key's part after the connector; no Gsid has such a character


@dataclass(frozen=True, slots=True)
class Records:
    """Makes the records of one connector; all go to its lane."""

    settings: Settings
    codec: Codec
    connector: str
    lane: int

    def headers(self, period: OpenPeriod, last: bool) -> Headers:
        """What every raw record says about the poll that wrote it; times in milliseconds."""
        return (
            ("connector", self.connector.encode()),
            ("period_start", b"%d" % period.window.start),
            ("period_end", b"%d" % period.window.end),
            ("poll_id", period.poll_id.encode()),
            ("page", b"%d" % period.page),
            ("last_page", b"true" if last else b"false"),
        )

    def activity(
        self, activity: Activity, print_: str, columns: str, headers: Headers, fetched_at: int
    ) -> ProducerRecord:
        """`columns`: the version of the column list that the row was read with."""
        value = {
            "connector": self.connector,
            "activity_id": activity.gsid,
            "modified_at": activity.modified_at,
            "fingerprint": print_,
            "row": orjson.dumps(activity.row).decode(),
        }
        return ProducerRecord(
            self.settings.raw_topic,
            self.lane,
            self._key(activity.gsid),
            self.codec.encode("raw_activity", value),
            (*headers, (COLUMNS, columns.encode())),
            fetched_at,
        )

    def tombstone(self, gsid: str, deleted_at: int, headers: Headers, fetched_at: int) -> ProducerRecord:
        headers = (*headers, ("deleted_at", b"%d" % deleted_at))
        return ProducerRecord(self.settings.raw_topic, self.lane, self._key(gsid), None, headers, fetched_at)

    def marker(self, period: OpenPeriod, headers: Headers, fetched_at: int) -> ProducerRecord:
        value = {
            "connector": self.connector,
            "poll_id": period.poll_id,
            "period_start": period.window.start,
            "period_end": period.window.end,
            "activities": period.written,
        }
        return ProducerRecord(
            self.settings.raw_topic,
            self.lane,
            self._key(MARKER),
            self.codec.encode("period_marker", value),
            headers,
            fetched_at,
        )

    def checkpoint(self, checkpoint: Checkpoint) -> ProducerRecord:
        value = checkpoints.encode(self.codec, checkpoint)
        return ProducerRecord(self.settings.checkpoints_topic, self.lane, self.connector.encode(), value)

    def backfill(self, backfill: Backfill) -> ProducerRecord:
        value = backfills.encode(self.codec, backfill)
        return ProducerRecord(self.settings.checkpoints_topic, self.lane, backfill.key, value)

    def dead_letter(self, row: Unreadable, headers: Headers, fetched_at: int) -> ProducerRecord:
        """The row itself is the source record; it has no offset in any topic."""
        gsid = row.row.get("Gsid")
        value = {
            "topic": "tenant:activity_timeline",
            "partition": self.lane,
            "offset": -1,
            "key": None,
            "value": orjson.dumps(row.row),
            "headers": [{"key": k, "value": v} for k, v in headers],
            "failure": Failure.DATA.value,
            "cause": row.cause,
            "failed_at": fetched_at,
        }
        return ProducerRecord(
            self.settings.dead_letters_topic,
            self.lane,
            self._key(gsid if isinstance(gsid, str) and gsid else "?"),
            self.codec.encode("dead_letter", value),
            (("connector", self.connector.encode()), ("failure", Failure.DATA.value.encode())),
            fetched_at,
        )

    def _key(self, name: str) -> bytes:
        return f"{self.connector}/{name}".encode()
