"""One producer, many tenants: a slow, broken or throttled one delays no other, and comes back by itself."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from frame_gainsight.connectors import Registry, Secret
from frame_gainsight.kafka import ProducerRecord, put
from frame_gainsight.runtime import SystemClock
from frame_gainsight.sandbox import Tenant
from tests.fixtures.cluster import World, unlimited, until, versions

HEALTHY = ["well-1", "well-2", "well-3"]
SILENT, BROKEN, REVOKED, SPENT = "silent", "broken", "revoked", "spent"
GAP = 10.0  # seconds, of a period of one


@pytest.fixture
def world(make_world: Any) -> World:
    made: World = make_world(partitions=1, overlap_margin_seconds=0, retry_seconds=1)  # one lane: all side by side
    for number, connector in enumerate([*HEALTHY, SILENT, BROKEN, REVOKED, SPENT]):
        tenant = unlimited(seed=40 + number, size=3)
        tenant.clock.run(1.0)
        made.add(connector, tenant, period=1)
    return made


def log_an_email(tenant: Tenant) -> str:
    return str(tenant.create({"TypeName": "Email"})["id"])


def written(world: World) -> set[str]:
    return {r.key for r in world.raw()}


def arrives(world: World, connector: str, gsid: str, seconds: float = 30.0) -> None:
    until(f"{connector}'s email is written", lambda: f"{connector}/{gsid}" in written(world), seconds)


def test_a_bad_tenant_delays_no_other_and_misses_nothing_when_it_is_well_again(world: World) -> None:
    producer = world.producer()
    for connector, tenant in world.tenants.items():
        arrives(world, connector, log_an_email(tenant))
    world.tenants[SILENT].set_variant("slow", 3600, object="activity_timeline")
    world.tenants[BROKEN].set_variant("server_error", 503)
    world.tenants[SPENT].set_variant("throttled", True)
    key = world.tenants[REVOKED].reset_key()
    missed = {c: log_an_email(world.tenants[c]) for c in (SILENT, BROKEN, REVOKED, SPENT)}
    for _ in range(4):
        for connector in HEALTHY:
            begun = time.monotonic()
            arrives(world, connector, log_an_email(world.tenants[connector]))
            assert time.monotonic() - begun < GAP
    assert producer.running
    until("its trouble is said", lambda: "does not accept the API key" in producer.text)
    said = [x for x in producer.text.splitlines() if "poll_failed" in x and "does not accept the API key" in x]
    assert len(said) == 1, "once, not at every try"
    assert f"{REVOKED}/{missed[REVOKED]}" not in written(world)

    world.tenants[BROKEN].clear_variants()
    arrives(world, BROKEN, missed[BROKEN])
    registry, known = Registry(world.settings, world.codec), world.registered(REVOKED)
    sealed = world.vault.seal(REVOKED, known.definition.host, Secret.access_key(key))
    begun = time.monotonic()
    registry.put(replace(known, sealed=sealed, updated_at=SystemClock().now()))
    arrives(world, REVOKED, missed[REVOKED])
    assert time.monotonic() - begun < GAP, "a new key is tried at once"
    assert set(versions(world.raw()).values()) == {1}


def test_changes_of_the_registry_are_followed_within_seconds(world: World) -> None:
    producer = world.producer()
    first, second = HEALTHY[:2]
    for connector in HEALTHY:
        arrives(world, connector, log_an_email(world.tenants[connector]))
    registry = Registry(world.settings, world.codec)
    known = world.registered(first)
    registry.put(replace(known, state="PAUSED"))
    until("it is not polled any more", lambda: _quiet(world.tenants[first]))
    gsid = log_an_email(world.tenants[first])
    arrives(world, second, log_an_email(world.tenants[second]))
    assert f"{first}/{gsid}" not in written(world)
    begun = time.monotonic()
    registry.put(replace(known, state="ACTIVE"))
    arrives(world, first, gsid)
    assert time.monotonic() - begun < GAP
    late = unlimited(seed=60, size=3)
    late.clock.run(1.0)
    world.add("late", late, period=600)
    gsid = log_an_email(late)
    late.advance(60)
    arrives(world, "late", gsid, GAP)
    assert producer.running


def _quiet(tenant: Tenant) -> bool:
    """Whether it is asked for nothing for two periods."""
    before = tenant.calls()["total"]
    deadline = time.monotonic() + 2.5
    while time.monotonic() < deadline:
        if tenant.calls()["total"] != before:
            return False
        time.sleep(0.1)
    return True


def test_a_damaged_checkpoint_stops_one_connector_and_says_what_to_do(world: World) -> None:
    damaged = HEALTHY[0]
    lane = world.lane(damaged)
    put(world.settings, ProducerRecord(world.settings.checkpoints_topic, lane, damaged.encode(), b"garbage"))
    producer = world.producer()
    for connector in HEALTHY[1:]:
        arrives(world, connector, log_an_email(world.tenants[connector]))
    until("it is said", lambda: f"checkpoint of '{damaged}'" in producer.text)
    assert "tombstone" in producer.text
    assert not any(k.startswith(f"{damaged}/") for k in written(world))
