"""The records that a poll writes: raw activities, tombstones, period markers, checkpoints, dead letters."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from frame_gainsight.kafka import Headers, ProducerRecord
from frame_gainsight.runtime import Failure
from producer.context import ProducerContext
from producer.state.backfill import Backfill
from producer.state.checkpoint import Checkpoint, OpenPeriod
from producer.state.checkpoint_keys import POLL_FAILURE, format_key
from producer.state.poll_failure import PollFailure
from producer.timeline.keyset_reader import Activity, Unreadable
from schemas import raw_topic
from schemas.dead_letter import DeadLetter
from schemas.raw_topic import PERIOD_MARKER, RawKey


@dataclass(frozen=True, slots=True)
class Records:
    """Makes the records of one connector; all go to its lane."""

    context: ProducerContext
    connector: str
    lane: int

    def headers(self, period: OpenPeriod, last: bool) -> Headers:
        """The headers by which a raw record names the poll that wrote it; times in milliseconds."""
        return (
            (raw_topic.CONNECTOR, self.connector.encode()),
            (raw_topic.PERIOD_START, b"%d" % period.window.start),
            (raw_topic.PERIOD_END, b"%d" % period.window.end),
            (raw_topic.POLL_ID, period.poll_id.encode()),
            (raw_topic.PAGE, b"%d" % period.page),
            (raw_topic.LAST_PAGE, b"true" if last else b"false"),
        )

    def activity(
        self, activity: Activity, fingerprint: str, columns: str, headers: Headers, fetched_at: int
    ) -> ProducerRecord:
        """A version, with its row as the tenant gave it; `columns`: the version of the column list of its query."""
        value = {
            "connector": self.connector,
            "activity_id": activity.gsid,
            "modified_at": activity.modified_at,
            "fingerprint": fingerprint,
            "row": orjson.dumps(activity.row).decode(),
        }
        headers = (*headers, (raw_topic.COLUMNS, columns.encode()))
        return self._raw(activity.gsid, self.context.codec.encode("raw_activity", value), headers, fetched_at)

    def tombstone(self, gsid: str, deleted_at: int, headers: Headers, fetched_at: int) -> ProducerRecord:
        return self._raw(gsid, None, (*headers, (raw_topic.DELETED_AT, b"%d" % deleted_at)), fetched_at)

    def marker(self, period: OpenPeriod, headers: Headers, fetched_at: int) -> ProducerRecord:
        value = {
            "connector": self.connector,
            "poll_id": period.poll_id,
            "period_start": period.window.start,
            "period_end": period.window.end,
            "activities": period.written,
        }
        return self._raw(PERIOD_MARKER, self.context.codec.encode("period_marker", value), headers, fetched_at)

    def checkpoint(self, checkpoint: Checkpoint) -> ProducerRecord:
        return self._checkpoints(format_key(self.connector), checkpoint.encode(self.context.codec))

    def backfill(self, backfill: Backfill) -> ProducerRecord:
        return self._checkpoints(backfill.key, backfill.encode(self.context.codec))

    def poll_failure(self, failure: PollFailure) -> ProducerRecord:
        return self._checkpoints(failure.key, failure.encode(self.context.codec))

    def poll_failure_cleared(self) -> ProducerRecord:
        """The tombstone of the connector's failure: a poll went well."""
        return self._checkpoints(format_key(self.connector, POLL_FAILURE), None)

    def dead_letter(self, row: Unreadable, headers: Headers, fetched_at: int) -> ProducerRecord:
        """The row itself is the source record; it has no offset in any topic."""
        gsid = row.row.get("Gsid")
        letter = DeadLetter(
            connector=self.connector,
            topic="tenant:activity_timeline",
            partition=self.lane,
            offset=-1,
            key=None,
            value=orjson.dumps(row.row),
            headers=headers,
            failure=Failure.DATA.value,
            cause=row.cause,
            failed_at=fetched_at,
        )
        return ProducerRecord(
            self.context.settings.dead_letters_topic,
            self.lane,
            RawKey(self.connector, gsid if isinstance(gsid, str) and gsid else "?").format(),
            letter.encode(self.context.codec),
            letter.record_headers,
            fetched_at,
        )

    def _raw(self, gsid: str, value: bytes | None, headers: Headers, fetched_at: int) -> ProducerRecord:
        key = RawKey(self.connector, gsid).format()
        return ProducerRecord(self.context.settings.raw_topic, self.lane, key, value, headers, fetched_at)

    def _checkpoints(self, key: bytes, value: bytes | None) -> ProducerRecord:
        return ProducerRecord(self.context.settings.checkpoints_topic, self.lane, key, value)
