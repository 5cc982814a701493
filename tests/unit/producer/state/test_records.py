"""What a poll writes can be read by others: by the codec, and by the enricher's reader."""

from __future__ import annotations

import orjson
import pytest

from enricher.activity.raw_record import Deletion, Marker, RawActivity, read
from frame_gainsight.gainsight import Row
from frame_gainsight.kafka import ConsumedRecord, ProducerRecord
from frame_gainsight.kafka.record_limits import size_of
from frame_gainsight.runtime import Settings, SystemClock
from producer.context import ProducerContext
from producer.state.checkpoint import Checkpoint, OpenPeriod
from producer.state.records import Records
from producer.timeline.keyset_reader import Activity, Position, Unreadable
from producer.timeline.window import Window
from schemas import Codec
from tests.unit.producer.rig import NO_VAULT

PERIOD = OpenPeriod("acme@a/b", Window(1000, 5000), Position(1000), page=2, written=7)


@pytest.fixture
def records(settings: Settings, codec: Codec) -> Records:
    return Records(ProducerContext(settings, codec, NO_VAULT, SystemClock()), "acme", 3)


def arrived(record: ProducerRecord) -> ConsumedRecord:
    return ConsumedRecord(
        record.topic, record.partition, 0, record.key, record.value, record.headers, record.timestamp or 0
    )


def test_headers_name_the_poll_and_its_window(records: Records) -> None:
    assert records.headers(PERIOD, last=False) == (
        ("connector", b"acme"),
        ("period_start", b"1000"),
        ("period_end", b"5000"),
        ("poll_id", b"acme@a/b"),
        ("page", b"2"),
        ("last_page", b"false"),
    )
    assert records.headers(PERIOD, last=True)[-1] == ("last_page", b"true")


def test_an_activity_keeps_its_row_verbatim(records: Records, codec: Codec, settings: Settings) -> None:
    row = {"Gsid": "G1", "Notes": "“ü” 🔥 \u0000", "Ant__X__c": ["a"], "Empty": "", "None": None, "N": 1.50}
    record = records.activity(Activity("G1", 2000, row), "f1", "c1", records.headers(PERIOD, False), 9)
    assert (record.topic, record.partition, record.key, record.timestamp) == (settings.raw_topic, 3, b"acme/G1", 9)
    found = read(codec, arrived(record))
    assert isinstance(found, RawActivity)
    assert (found.connector, found.gsid, found.modified_at, found.fingerprint) == ("acme", "G1", 2000, "f1")
    assert found.row == row


def test_a_tombstones_header_has_the_time_of_deletion(records: Records, codec: Codec, settings: Settings) -> None:
    record = records.tombstone("G1", 4000, records.headers(PERIOD, True), 9)
    assert (record.topic, record.partition, record.key, record.value) == (settings.raw_topic, 3, b"acme/G1", None)
    found = read(codec, arrived(record))
    assert isinstance(found, Deletion)
    assert found.source.header("deleted_at") == "4000"
    assert found.source.header("poll_id") == "acme@a/b"


def test_a_marker_closes_its_period(records: Records, codec: Codec) -> None:
    record = records.marker(PERIOD, records.headers(PERIOD, True), 9)
    assert isinstance(read(codec, arrived(record)), Marker)
    assert codec.decode_as("period_marker", record.value or b"") == {
        "connector": "acme",
        "poll_id": "acme@a/b",
        "period_start": 1000,
        "period_end": 5000,
        "activities": 7,
    }


def test_a_checkpoint_is_keyed_by_its_connector(records: Records, codec: Codec, settings: Settings) -> None:
    checkpoint = Checkpoint("acme", 5000, 17, 0, PERIOD)
    record = records.checkpoint(checkpoint)
    assert (record.topic, record.partition, record.key) == (settings.checkpoints_topic, 3, b"acme")
    assert Checkpoint.decode(codec, record.value or b"") == checkpoint


@pytest.mark.parametrize(
    ("row", "key"),
    [({"Gsid": "G1", "LastModifiedDate": "soon"}, b"acme/G1"), ({"Subject": "x"}, b"acme/?"), ({"Gsid": 5}, b"acme/?")],
    ids=["bad date", "no Gsid", "odd Gsid"],
)
def test_a_dead_letter_holds_the_row_and_its_cause(
    records: Records, codec: Codec, settings: Settings, row: dict[str, object], key: bytes
) -> None:
    record = records.dead_letter(Unreadable(row, "why"), records.headers(PERIOD, False), 9)
    assert (record.topic, record.partition, record.key) == (settings.dead_letters_topic, 3, key)
    assert dict(record.headers) == {"connector": b"acme", "failure": b"data"}
    value = codec.decode_as("dead_letter", record.value or b"")
    assert orjson.loads(value["value"]) == row
    assert (value["failure"], value["cause"], value["failed_at"], value["offset"]) == ("data", "why", 9, -1)
    assert {"key": "page", "value": b"2"} in value["headers"]


# ---- what does not fit --------------------------------------------------------------------------------------------


def limited(records: Records, settings: Settings, **limits: int) -> None:
    """Takes these for the limits that were read from the cluster."""
    records.context.limits._limits = {getattr(settings, f"{name}_topic"): size for name, size in limits.items()}


async def test_a_row_that_does_not_fit_costs_itself_alone(records: Records, settings: Settings) -> None:
    limited(records, settings, raw=1000)
    rows: list[tuple[str, Row]] = [
        ("G1", {"Gsid": "G1"}),
        ("G2", {"Gsid": "G2", "Notes": "x" * 900}),
        ("G" * 990, {}),
        ("G4", {"Gsid": "G4"}),
    ]
    rows += [("!period", {"Gsid": "!period"}), ("G6", {"Gsid": "G6", "Notes": nested(300)})]
    given = [(Activity(gsid, 2000, row), f"f{gsid}") for gsid, row in rows]
    found = await records.fitting(given, "c", records.headers(PERIOD, False), 9)
    assert [a.gsid for a, _ in found.activities] == ["G1", "G4"]
    assert [r.key for r in found.records] == [b"acme/G1", b"acme/G4"]
    causes = [row.cause for row in found.refused]
    assert len(causes) == 4
    assert sum("too large" in cause and "takes 1,000" in cause for cause in causes) == 2
    assert sum("marker" in cause for cause in causes) == 1


def nested(depth: int) -> object:
    value: object = "x"
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("limit", [8000, 100_000, 8_388_608])
@pytest.mark.parametrize(
    "row",
    [
        {"Gsid": "G" * 9_000_000},
        {"Gsid": "G1", "Notes": "x" * 9_000_000},
        {"Gsid": "G1", "N" * 9_000_000: None},
        {"Gsid": ["G"] * 1_000_000},
        {"Gsid": "G1", "Notes": nested(300)},
        {"Gsid": "\N{FIRE}" * 2_000_000},
        {"Gsid": "\ud800"},
    ],
    ids=["Gsid", "value", "column", "list", "nested", "wide characters", "no UTF-8"],
)
def test_a_dead_letter_fits_whatever_is_in_it(
    records: Records, codec: Codec, settings: Settings, limit: int, row: dict[str, object]
) -> None:
    limited(records, settings, dead_letters=limit)
    letter = records.dead_letter(Unreadable(row, "c" * 9_000), records.headers(PERIOD, True), 9)
    assert size_of(letter) <= limit
    value = codec.decode_as("dead_letter", letter.value or b"")
    assert value["cause"].startswith("ccc")
    assert letter.key.startswith(b"acme/")


async def test_deletions_that_cannot_be_written_are_named(records: Records, settings: Settings) -> None:
    limited(records, settings, raw=1000)
    deleted = {"G1": 1, "G" * 2000: 2, "!period": 3, "\ud800": 4}
    found = await records.refused_tombstones(deleted, records.headers(PERIOD, True), 9)
    assert found.keys() == deleted.keys() - {"G1"}
    assert all(row.cause for row in found.values())
