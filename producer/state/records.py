"""The records that a poll writes: raw activities, tombstones, period markers, checkpoints, dead letters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from frame_gainsight.kafka import Headers, ProducerRecord
from frame_gainsight.kafka.record_limits import BATCH_BYTES, RECORD_BYTES
from frame_gainsight.runtime import Failure
from frame_gainsight.runtime.pauses import with_pauses
from producer.context import ProducerContext
from producer.state.backfill import Backfill
from producer.state.checkpoint import Checkpoint, OpenPeriod
from producer.state.checkpoint_keys import POLL_FAILURE, format_key
from producer.state.poll_failure import PollFailure
from producer.state.seen_versions import row_bytes
from producer.timeline.keyset_reader import Activity, Unreadable
from schemas import RegistryError, SchemaError, raw_topic, words
from schemas.dead_letter import DeadLetter
from schemas.raw_topic import PERIOD_MARKER, RawKey

RESERVED = f"The Gsid is '{PERIOD_MARKER}', whose key is that of the marker that closes a period."
KEY_BYTES = 1024  # of a dead letter: an activity's Gsid may be of any length


@dataclass(frozen=True, slots=True)
class Fitting:
    """Activities that can be written, each with its fingerprint and record; and the rows that cannot be, with why."""

    activities: list[tuple[Activity, str]]
    records: list[ProducerRecord]
    refused: list[Unreadable]


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

    async def fitting(
        self, activities: Sequence[tuple[Activity, str]], columns: str, headers: Headers, fetched_at: int
    ) -> Fitting:
        """The records of the activities (with their fingerprints), without those of which none can be made, or whose
        is larger than the topic takes: each costs itself alone."""
        made: list[tuple[Activity, str]] = []
        records: list[ProducerRecord] = []
        refused: list[Unreadable] = []
        async for activity, fingerprint in with_pauses(activities):
            if activity.gsid == PERIOD_MARKER:
                refused.append(Unreadable(activity.row, RESERVED))
                continue
            try:
                record = self.activity(activity, fingerprint, columns, headers, fetched_at)
            except (ValueError, TypeError, RecursionError, SchemaError) as error:
                if isinstance(error, RegistryError):
                    raise
                refused.append(Unreadable(activity.row, f"The row cannot be written: {words(error)}"))
                continue
            made.append((activity, fingerprint))
            records.append(record)
        too_large = await self.context.limits.refusals(records)
        refused += [
            Unreadable(made[i][0].row, f"{cause} Then have the row read again: frame-gainsight backfill")
            for i, cause in too_large.items()
        ]
        fits = [i for i in range(len(records)) if i not in too_large]
        return Fitting([made[i] for i in fits], [records[i] for i in fits], refused)

    async def refused_tombstones(
        self, deleted: Mapping[str, int], headers: Headers, fetched_at: int
    ) -> dict[str, Unreadable]:
        """Those of the deletions (Gsid → milliseconds) that cannot be written, with why."""
        refused: dict[str, Unreadable] = {}
        records: dict[str, ProducerRecord] = {}
        async for gsid, at in with_pauses(deleted.items()):
            if gsid == PERIOD_MARKER:
                refused[gsid] = Unreadable({"Gsid": gsid}, RESERVED)
                continue
            try:
                records[gsid] = self.tombstone(gsid, at, headers, fetched_at)
            except UnicodeEncodeError as error:
                refused[gsid] = Unreadable({"Gsid": gsid}, f"The deletion cannot be written: {words(error)}")
        named = list(records)
        for i, cause in (await self.context.limits.refusals(list(records.values()))).items():
            refused[named[i]] = Unreadable({"Gsid": named[i]}, f"The deletion cannot be written: {cause}")
        return refused

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
        """The row itself is the source record; it has no offset in any topic. What does not fit is cut."""
        gsid = row.row.get("Gsid")
        key = f"{self.connector}/{gsid if isinstance(gsid, str) and gsid else '?'}"
        topic = self.context.settings.dead_letters_topic
        letter = DeadLetter(
            connector=self.connector,
            topic="tenant:activity_timeline",
            partition=self.lane,
            offset=-1,
            key=None,
            value=row_bytes(row.row),
            headers=headers,
            failure=Failure.DATA.value,
            cause=row.cause,
            failed_at=fetched_at,
        ).fitting(self.context.limits.of(topic) - BATCH_BYTES - RECORD_BYTES - KEY_BYTES)
        return ProducerRecord(
            topic,
            self.lane,
            key.encode("utf-8", "replace")[:KEY_BYTES],
            letter.encode(self.context.codec),
            letter.record_headers,
            fetched_at,
        )

    def _raw(self, gsid: str, value: bytes | None, headers: Headers, fetched_at: int) -> ProducerRecord:
        key = RawKey(self.connector, gsid).format()
        return ProducerRecord(self.context.settings.raw_topic, self.lane, key, value, headers, fetched_at)

    def _checkpoints(self, key: bytes, value: bytes | None) -> ProducerRecord:
        return ProducerRecord(self.context.settings.checkpoints_topic, self.lane, key, value)
