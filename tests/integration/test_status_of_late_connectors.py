"""`status` of connectors that are not read: by our own clock, whatever the tenant's says."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from frame_gainsight.cli.operations.connector_status import ConnectorStatus, connector_statuses
from frame_gainsight.kafka import ProducerRecord, put
from frame_gainsight.runtime import SystemClock
from frame_gainsight.sandbox import Morning
from producer.state.checkpoint import OpenPeriod
from producer.timeline.keyset_reader import Position
from producer.timeline.window import Window
from tests.fixtures.cluster import Cluster, unlimited
from tests.fixtures.commands import run, words

MINUTE = 60_000


def told(cluster: Cluster, connector: str, later: int = 0) -> ConnectorStatus:
    """What is said of a connector, so many milliseconds from now."""
    found, _ = connector_statuses(cluster.settings, cluster.codec, SystemClock().now() + later)
    (one,) = (one for one in found if one.id == connector)
    return one


def test_a_connector_that_is_not_read_is_late(cluster: Cluster) -> None:
    """The tenant's clock is months behind, as the demo's is."""
    cluster.add("acme", unlimited(seed=24, scenario=Morning(emails=6, periods=1)), period=300)
    cluster.add("bolt", unlimited(seed=25, scenario=Morning(emails=6, periods=1)), period=300)
    cluster.poll("acme")
    read, never = told(cluster, "acme"), told(cluster, "bolt")
    assert read.state == never.state == "waiting" and "No producer runs" in read.last_error
    assert read.polled_seconds is not None and read.polled_seconds < 60 and never.polled_seconds is None
    assert (read.fresh_seconds or 0) > 86_400

    assert told(cluster, "acme", 14 * MINUTE).state == "waiting"
    late, never = told(cluster, "acme", 16 * MINUTE), told(cluster, "bolt", 16 * MINUTE)
    assert late.state == never.state == "late"
    assert "Nothing has been read of it for 16 min; it is polled every 5m. No producer runs" in late.last_error
    assert "It has never been read, though it is registered since 16 min. No producer runs" in never.last_error

    cluster.set_state("acme", "PAUSED")
    assert told(cluster, "acme", 16 * MINUTE).state == "paused"
    resumed = SystemClock().now() + 60 * MINUTE
    cluster.set_state("acme", "ACTIVE", updated_at=resumed)
    assert told(cluster, "acme", 70 * MINUTE).state == "waiting", "it has its three periods from when it was resumed"
    assert told(cluster, "acme", 76 * MINUTE).state == "late"


def test_a_connector_that_starts_progresses_or_begins_later_is_not_late(cluster: Cluster) -> None:
    service = cluster.producer()
    ahead = datetime.now(UTC) + timedelta(days=300)
    tenant = unlimited(seed=26)
    tenant.advance(3600)
    cluster.add("acme", tenant, period=300, activity_types=())
    service.says("polled")
    assert told(cluster, "acme").state == "active"
    late = told(cluster, "acme", 16 * MINUTE)
    assert late.state == "late" and "connector check acme" in late.last_error

    checkpoint = cluster.checkpoint("acme")
    assert checkpoint is not None
    window = Window(checkpoint.cursor, checkpoint.cursor + MINUTE)
    open_ = replace(checkpoint, period=OpenPeriod("a", window, Position(window.start), page=3))
    for period, state in ((open_, "active"), (replace(open_, begun=open_.cursor), "starting")):
        value = period.encode(cluster.codec)
        put(cluster.settings, ProducerRecord(cluster.settings.checkpoints_topic, cluster.lane("acme"), b"acme", value))
        assert told(cluster, "acme").state == state

    host = cluster.definitions["acme"].host
    file = cluster.folder / "late.yaml"
    file.write_text(f"id: later\nhost: {host}\nstart: {ahead.isoformat()}\n")
    added = run(cluster, "connector", "add", str(file), "--no-check", given="00000000-key")
    assert f"starts in the future: nothing modified before {ahead.year}-" in words(added.stderr), added.stderr
    later = told(cluster, "later", 600 * MINUTE)
    assert later.state in ("starting", "broken") and later.state != "late"
