"""Several producers share the connectors: joining, leaving, killed or frozen, they lose and double nothing."""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest

from tests.fixtures.cluster import Cluster, MakeCluster, Service, unlimited, until, versions

CONNECTORS = [f"c{n}" for n in range(8)]
SECONDS = 40.0  # generous: a session has eight, a start takes some on a busy machine


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Cluster:
    made = make_cluster(partitions=4, overlap_margin_seconds=0)
    for number, connector in enumerate(CONNECTORS):
        tenant = unlimited(seed=20 + number, size=3)
        tenant.clock.run(1.0)
        made.add(connector, tenant, period=1, deletions_every=2)
    return made


def everyone_is_polled(cluster: Cluster, event: str) -> float:
    """Logs an email with every tenant, edits one and deletes one; seconds until all of it is in the raw topic."""
    begun = time.monotonic()
    new: dict[str, str] = {}
    gone: list[str] = []
    for connector, tenant in cluster.tenants.items():
        new[connector] = tenant.create({"TypeName": "Email", "Subject": event})["id"]
        alive = [a["activity_id"] for a in tenant.truth()["activities"] if a["activity_id"] != new[connector]]
        if len(alive) > 1:
            tenant.edit(alive[0])
            tenant.delete(alive[1])
            gone.append(f"{connector}/{alive[1]}")

    def all_there() -> bool:
        records = cluster.raw()
        there = {(r.key, r.kind) for r in records}
        written = all((f"{c}/{g}", "raw_activity") in there for c, g in new.items())
        return written and all((key, "") in there for key in gone)

    until(f"every connector is polled after: {event}", all_there, 2 * SECONDS)
    return time.monotonic() - begun


def every_version_once(cluster: Cluster) -> None:
    found = versions(cluster.raw())
    assert [v for v, count in found.items() if count > 1] == []
    newest: dict[str, Any] = {}
    for record in cluster.raw():
        newest[record.key] = record.value
    for connector, tenant in cluster.tenants.items():
        for activity in tenant.truth()["activities"]:
            value = newest.get(f"{connector}/{activity['activity_id']}")
            assert value is not None, f"{connector} misses {activity['activity_id']}"
            assert value["modified_at"] == activity["version_ms"]


def lanes_of(service: Service) -> int:
    return service.text.count("lane_opened")


def test_lanes_go_from_one_producer_to_another_in_seconds(cluster: Cluster) -> None:
    took: dict[str, float] = {}
    first = cluster.producer()
    took["one process"] = everyone_is_polled(cluster, "one process")
    second = cluster.producer()
    until("the second has lanes", lambda: lanes_of(second) > 0, SECONDS)
    took["a second joined"] = everyone_is_polled(cluster, "a second joined")
    third = cluster.producer()
    until("the third has a lane", lambda: lanes_of(third) > 0, SECONDS)
    took["a third joined"] = everyone_is_polled(cluster, "a third joined")
    assert second.stop() == 0, second.text
    took["one left"] = everyone_is_polled(cluster, "one left")
    first.kill()
    took["one was killed"] = everyone_is_polled(cluster, "one was killed")
    every_version_once(cluster)
    assert third.running, third.text
    print({event: f"{seconds:.1f} s" for event, seconds in took.items()})


def test_a_producer_that_was_frozen_past_its_session_writes_nothing_twice(cluster: Cluster) -> None:
    frozen = cluster.producer()
    everyone_is_polled(cluster, "before")
    other = cluster.producer()
    until("the other has lanes", lambda: lanes_of(other) > 0, SECONDS)
    everyone_is_polled(cluster, "both")
    frozen.send(signal.SIGSTOP)
    seconds = everyone_is_polled(cluster, "one is frozen")
    frozen.send(signal.SIGCONT)
    everyone_is_polled(cluster, "it goes on")
    # It finds out that its lanes are others' now, and takes part again; or it ended, and said why.
    if frozen.running:
        before = lanes_of(frozen)
        other.kill()
        until("it has lanes again", lambda: lanes_of(frozen) > before or not frozen.running, 2 * SECONDS)
    assert frozen.running, frozen.text
    everyone_is_polled(cluster, "it is alone")
    every_version_once(cluster)
    print(f"{seconds:.1f} s after the freeze")
