"""The tenant's clock, and changes that show later than they are dated."""

from typing import Any

import pytest

from frame_gainsight.sandbox import Clock
from frame_gainsight.sandbox.query.dates import iso

ACTIVITY = "activity_timeline"


def test_a_clock_stands_runs_and_jumps(wall: Any) -> None:
    clock = Clock.stopped("2026-03-02T08:00:00Z", wall)
    start = clock.now()
    wall.now += 5000
    assert clock.now() == start
    assert clock.advance(1.5) == start + 1500
    clock.run(60)
    wall.now += 1000
    assert clock.now() == start + 61_500
    clock.stop()
    wall.now += 1000
    assert clock.now() == start + 61_500
    assert clock.set("2026-03-02T07:00:00Z") == start - 3_600_000
    assert Clock.real(wall).now() == wall.now
    running = Clock.running(0, 2.0, wall)
    wall.now += 10
    assert running.now() == 20
    with pytest.raises(ValueError):
        clock.run(-1)


def row(client: Any, gsid: str, *fields: str) -> Any:
    return next(iter(client.rows(ACTIVITY, list(fields), ("Gsid", "EQ", [gsid]))), None)


def test_changes_can_show_late(client: Any) -> None:
    made = client.tenant.create(visible_in=60)
    assert row(client, made["id"], "Gsid") is None
    client.tenant.advance(60)
    assert row(client, made["id"], "LastModifiedDate")["LastModifiedDate"] == iso(made["version_ms"])
    edited = client.tenant.edit(made["id"], visible_in=30)
    assert row(client, made["id"], "LastModifiedDate")["LastModifiedDate"] == iso(made["version_ms"])
    client.tenant.advance(30)
    assert row(client, made["id"], "LastModifiedDate")["LastModifiedDate"] == iso(edited["version_ms"])
