"""The main job: everything that a tenant has becomes conversations, exact in every field, in whatever form it comes."""

from __future__ import annotations

import re
from typing import Any

import pytest

from frame_gainsight.gainsight import format_date
from frame_gainsight.sandbox import Morning
from tests.fixtures.cluster import Cluster, Record, unlimited, versions

# name: seed, emails, variants. All of them are tenants of one installation.
TENANTS: dict[str, tuple[int, int, dict[str, Any]]] = {
    "plain": (7, 80, {}),
    "one-email": (8, 1, {}),
    "json-attendees": (9, 30, {"attendees": "json_objects", "nulls": "empty"}),
    "bare-names": (10, 30, {"attendees": "mixed", "attendee_delimiter": ";"}),
    "records": (11, 30, {"data": "records", "empty": "no_data", "extra_keys": 3}),
    "list": (12, 30, {"data": "list", "empty": "null", "keys": "lower"}),
    "epoch": (13, 30, {"dates": "ms", "picklists": "label"}),
    "offsets": (14, 30, {"dates": "iso_offset", "keys": "upper", "multi_select": "joined"}),
    "absent": (15, 30, {"nulls": "absent", "empty": "gsobj_1011"}),
    "capped": (16, 120, {"page_cap": 50, "in_limit": {"max": 20, "status": 400}}),
    "moving": (17, 60, {"edit_while_paging": 2, "late_rows": {"rows": 1, "seconds": 5}}),
}
PERIOD = 600


@pytest.fixture(scope="module")
def done(module_cluster: Cluster) -> Cluster:
    """Every tenant's morning, polled period by period and enriched."""
    cluster = module_cluster
    for name, (seed, emails, variants) in TENANTS.items():
        morning = Morning(emails=emails, periods=2, edits=0.1, deletes=0.05)
        tenant = unlimited(seed=seed, scenario=morning)
        tenant.set_clock(morning.start_ms)
        cluster.add(name, tenant)
        for variant, value in variants.items():
            tenant.set_variant(variant, value)
    enricher = cluster.enricher()
    for period in range(3):
        for tenant in cluster.tenants.values():
            if period == 2:
                tenant.clear_variants("edit_while_paging")
                tenant.clear_variants("late_rows")
            tenant.advance(PERIOD)
        cluster.poll()
    cluster.settled()
    assert enricher.stop() == 0, enricher.text
    return cluster


@pytest.mark.parametrize("name", TENANTS)
def test_every_activity_is_a_conversation_once_and_exact(done: Cluster, name: str) -> None:
    done.right(name)


def test_no_activity_is_a_dead_letter_or_parked(done: Cluster) -> None:
    assert not done.dead_letters()
    assert not done.waiting()


def test_every_raw_version_is_published_once(done: Cluster) -> None:
    wanted = {f"{r.key}/{r.value['modified_at']}/{r.value['fingerprint']}" for r in done.raw() if r.value}
    published = [f"{r.connector}/{r.header('ce_id')}" for r in done.conversations() if r.value]
    assert len(published) == len(set(published))
    assert set(published) == wanted
    assert set(versions(done.raw()).values()) == {1}


def test_every_conversation_says_what_it_is_as_a_cloud_event(done: Cluster) -> None:
    records = done.conversations()
    assert {r.value is None for r in records} == {True, False}, "both kinds are to be looked at"
    for record in records:
        connector = record.connector
        found = {name: value.decode() for name, value in record.source.headers}
        assert found["ce_specversion"] == "1.0"
        assert found["ce_source"] == f"/gainsight/{connector}"
        assert found["content-type"] == "application/avro"
        if record.value is None:
            assert found["ce_type"] == "ai.frame.gainsight.conversation.deleted"
            assert re.fullmatch(rf"{record.name}/deleted/\d+", found["ce_id"])
        else:
            assert found["ce_type"] == "ai.frame.gainsight.conversation"
            assert re.fullmatch(rf"{record.name}/{record.value['version']}/[0-9a-f]+", found["ce_id"])
            assert found["ce_time"] == format_date(record.value["version"])


def test_everything_of_a_connector_lies_in_its_lane_in_every_topic(done: Cluster) -> None:
    settings = done.settings
    topics = [
        settings.connectors_topic,
        settings.raw_topic,
        settings.checkpoints_topic,
        settings.entities_topic,
        settings.conversations_topic,
    ]
    lanes = set()
    for topic in topics:
        records: list[Record] = done.records(topic)
        assert {r.connector for r in records} == set(TENANTS), topic
        for record in records:
            assert record.source.partition == done.lane(record.connector), (topic, record.key)
            lanes.add(record.source.partition)
    assert len(lanes) == settings.partitions, "the connectors were to fill all lanes"


def test_a_worker_leaves_nothing_where_it_was_started(done: Cluster) -> None:
    assert done.conversations()
    assert {path.suffix for path in done.folder.iterdir()} == {".log"}
