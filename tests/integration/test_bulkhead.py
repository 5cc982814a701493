"""One producer, many tenants: a slow, broken or throttled one delays no other, and comes back by itself."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from frame_gainsight.connectors import Registry, Secret
from frame_gainsight.kafka import ProducerRecord, put
from frame_gainsight.runtime import SystemClock
from frame_gainsight.sandbox import Tenant
from tests.fixtures.cluster import Cluster, MakeCluster, calls, unlimited, until, versions

HEALTHY = ["well-1", "well-2", "well-3"]
SILENT, BROKEN, REVOKED, SPENT = "silent", "broken", "revoked", "spent"
TIMELINE = "query activity_timeline"
GAP = 10.0  # seconds, of a period of one


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Cluster:
    made = make_cluster(partitions=1, overlap_margin_seconds=0, retry_seconds=1)  # one lane: all side by side
    for number, connector in enumerate([*HEALTHY, SILENT, BROKEN, REVOKED, SPENT]):
        tenant = unlimited(seed=40 + number, size=3)
        tenant.clock.run(1.0)
        made.add(connector, tenant, period=1)
    return made


def log_an_email(tenant: Tenant) -> str:
    return str(tenant.create({"TypeName": "Email"})["id"])


def written(cluster: Cluster) -> set[str]:
    return {r.key for r in cluster.raw()}


def arrives(cluster: Cluster, connector: str, gsid: str, seconds: float = 30.0) -> None:
    until(f"{connector}'s email is written", lambda: f"{connector}/{gsid}" in written(cluster), seconds)


def test_a_bad_tenant_delays_no_other_and_misses_nothing_when_it_is_well_again(cluster: Cluster) -> None:
    producer = cluster.producer()
    for connector, tenant in cluster.tenants.items():
        arrives(cluster, connector, log_an_email(tenant))
    cluster.tenants[SILENT].set_variant("slow", 3600, object="activity_timeline")
    cluster.tenants[BROKEN].set_variant("server_error", 503)
    cluster.tenants[SPENT].set_variant("throttled", True)
    key = cluster.tenants[REVOKED].reset_key()
    missed = {c: log_an_email(cluster.tenants[c]) for c in (SILENT, BROKEN, REVOKED, SPENT)}
    for _ in range(4):
        for connector in HEALTHY:
            begun = time.monotonic()
            arrives(cluster, connector, log_an_email(cluster.tenants[connector]))
            assert time.monotonic() - begun < GAP
    assert producer.running
    until("its trouble is said", lambda: "does not accept the API key" in producer.text)
    said = [x for x in producer.text.splitlines() if "poll_failed" in x and "does not accept the API key" in x]
    assert len(said) == 1, "once, not at every try"
    assert f"{REVOKED}/{missed[REVOKED]}" not in written(cluster)

    cluster.tenants[BROKEN].clear_variants()
    arrives(cluster, BROKEN, missed[BROKEN])
    registry, known = Registry(cluster.settings, cluster.codec), cluster.registered(REVOKED)
    sealed = cluster.vault.seal(REVOKED, known.definition.host, Secret.access_key(key))
    begun = time.monotonic()
    registry.put(replace(known, sealed=sealed, updated_at=SystemClock().now()))
    arrives(cluster, REVOKED, missed[REVOKED])
    assert time.monotonic() - begun < GAP, "a new key is tried at once"
    assert set(versions(cluster.raw()).values()) == {1}


def test_changes_of_the_registry_are_followed_within_seconds(cluster: Cluster) -> None:
    producer = cluster.producer()
    first, second = HEALTHY[:2]
    for connector in HEALTHY:
        arrives(cluster, connector, log_an_email(cluster.tenants[connector]))
    registry = Registry(cluster.settings, cluster.codec)
    known = cluster.registered(first)
    registry.put(replace(known, state="PAUSED"))
    until("it is not polled any more", lambda: not _is_polled(cluster.tenants[first], cluster.tenants[second]))
    gsid = log_an_email(cluster.tenants[first])
    arrives(cluster, second, log_an_email(cluster.tenants[second]))
    assert f"{first}/{gsid}" not in written(cluster)
    begun = time.monotonic()
    registry.put(replace(known, state="ACTIVE"))
    arrives(cluster, first, gsid)
    assert time.monotonic() - begun < GAP
    late = unlimited(seed=60, size=3)
    late.clock.run(1.0)
    cluster.add("late", late, period=600)
    gsid = log_an_email(late)
    late.advance(60)
    arrives(cluster, "late", gsid, GAP)
    assert producer.running


def _is_polled(quiet: Tenant, other: Tenant) -> bool:
    """Whether the one tenant is called at all while the other one is polled twice."""
    before, polled = quiet.calls()["total"], calls(other, TIMELINE)
    until("the other one is polled twice", lambda: calls(other, TIMELINE) >= polled + 2)
    return bool(quiet.calls()["total"] != before)


def test_a_damaged_checkpoint_stops_one_connector_and_says_what_to_do(cluster: Cluster) -> None:
    damaged = HEALTHY[0]
    lane = cluster.lane(damaged)
    put(cluster.settings, ProducerRecord(cluster.settings.checkpoints_topic, lane, damaged.encode(), b"garbage"))
    producer = cluster.producer()
    for connector in HEALTHY[1:]:
        arrives(cluster, connector, log_an_email(cluster.tenants[connector]))
    until("it is said", lambda: f"checkpoint of '{damaged}'" in producer.text)
    assert "tombstone" in producer.text
    assert not any(k.startswith(f"{damaged}/") for k in written(cluster))
