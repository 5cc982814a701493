"""`status` of connectors that are not read: by our own clock, whatever the tenant's says."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from frame_gainsight.cli.operations.connector_status import ConnectorStatus, connector_statuses
from frame_gainsight.connectors import Registry
from frame_gainsight.kafka import ProducerRecord, put
from frame_gainsight.runtime import SystemClock
from frame_gainsight.sandbox import Morning
from producer.state.checkpoint import OpenPeriod
from producer.timeline.keyset_reader import Position
from producer.timeline.window import Window
from tests.fixtures.cluster import World, unlimited
from tests.integration.test_commands import run, words

MINUTE = 60_000


def told(world: World, connector: str, later: int = 0) -> ConnectorStatus:
    """What is said of a connector, so many milliseconds from now."""
    found, _ = connector_statuses(world.settings, world.codec, SystemClock().now() + later)
    (one,) = (one for one in found if one.id == connector)
    return one


def test_a_connector_that_is_not_read_is_late(world: World) -> None:
    """The tenant's clock is months behind, as the demo's is."""
    world.add("acme", unlimited(seed=24, scenario=Morning(emails=6, periods=1)), period=300)
    world.add("bolt", unlimited(seed=25, scenario=Morning(emails=6, periods=1)), period=300)
    world.poll("acme")
    read, never = told(world, "acme"), told(world, "bolt")
    assert read.state == never.state == "waiting" and "No producer runs" in read.last_error
    assert read.polled_seconds is not None and read.polled_seconds < 60 and never.polled_seconds is None
    assert (read.fresh_seconds or 0) > 86_400

    assert told(world, "acme", 14 * MINUTE).state == "waiting"
    late, never = told(world, "acme", 16 * MINUTE), told(world, "bolt", 16 * MINUTE)
    assert late.state == never.state == "late"
    assert "Nothing has been read of it for 16 min; it is polled every 5m. No producer runs" in late.last_error
    assert "It has never been read, though it is registered since 16 min. No producer runs" in never.last_error

    registry = Registry(world.settings, world.codec)
    registry.change("acme", lambda newest: replace(newest, state="PAUSED"))  # type: ignore[type-var]
    assert told(world, "acme", 16 * MINUTE).state == "paused"
    resumed = SystemClock().now() + 60 * MINUTE
    registry.change("acme", lambda newest: replace(newest, state="ACTIVE", updated_at=resumed))  # type: ignore[type-var]
    assert told(world, "acme", 70 * MINUTE).state == "waiting", "it has its three periods from when it was resumed"
    assert told(world, "acme", 76 * MINUTE).state == "late"


def test_with_services_what_starts_gets_on_or_lies_ahead_is_not_late(world: World) -> None:
    service = world.producer()
    ahead = datetime.now(UTC) + timedelta(days=300)
    tenant = unlimited(seed=26)
    tenant.advance(3600)
    world.add("acme", tenant, period=300)
    service.says("polled")
    assert told(world, "acme").state == "active"
    late = told(world, "acme", 16 * MINUTE)
    assert late.state == "late" and "connector check acme" in late.last_error

    checkpoint = world.checkpoint("acme")
    assert checkpoint is not None
    window = Window(checkpoint.cursor, checkpoint.cursor + MINUTE)
    open_ = replace(checkpoint, period=OpenPeriod("a", window, Position(window.start), page=3))
    for period, state in ((open_, "active"), (replace(open_, begun=open_.cursor), "starting")):
        value = period.encode(world.codec)
        put(world.settings, ProducerRecord(world.settings.checkpoints_topic, world.lane("acme"), b"acme", value))
        assert told(world, "acme").state == state

    host = world.definitions["acme"].host
    file = world.folder / "late.yaml"
    file.write_text(f"id: later\nhost: {host}\nstart: {ahead.isoformat()}\n")
    added = run(world, "connector", "add", str(file), "--no-check", given="00000000-key")
    assert f"starts in the future: nothing modified before {ahead.year}-" in words(added.stderr), added.stderr
    later = told(world, "later", 600 * MINUTE)
    assert later.state in ("starting", "broken") and later.state != "late"
