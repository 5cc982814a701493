"""A purge where no service runs: nothing of the connector is left, and nothing of its neighbours is touched."""

from __future__ import annotations

import pytest

from frame_gainsight.cli.operations.purge import Purge, Purged, RegisteredAgainError
from frame_gainsight.connectors import Registry
from frame_gainsight.kafka import ProducerRecord, put
from frame_gainsight.runtime import SystemClock
from frame_gainsight.sandbox import Morning
from tests.fixtures.cluster import Cluster, Record, unlimited


def alive(cluster: Cluster, connector: str) -> dict[str, list[str]]:
    """Topic → the connector's keys that have a value."""
    settings, found = cluster.settings, {}
    for topic in (
        settings.raw_topic,
        settings.checkpoints_topic,
        settings.entities_topic,
        settings.conversations_topic,
        settings.parked_topic,
    ):
        newest: dict[tuple[int, str], Record] = {(r.source.partition, r.key): r for r in cluster.records(topic)}
        keys = [key for (_, key), record in newest.items() if record.source.value is not None]
        found[topic] = sorted(k for k in keys if k == connector or k.startswith(f"{connector}/"))
    return found


def test_a_purge_leaves_nothing_of_its_connector_and_touches_no_other(cluster: Cluster) -> None:
    settings = cluster.settings
    for seed, connector in enumerate(("acme", "acme-2", "acm")):
        cluster.add(connector, unlimited(seed=20 + seed, scenario=Morning(emails=6, periods=1)))
    cluster.poll()
    enricher = cluster.enricher()
    cluster.settled()
    assert enricher.stop() == 0
    lane = cluster.lane("acme")
    put(settings, ProducerRecord(settings.parked_topic, lane, b"acme/waits", b"not even readable"))
    put(settings, ProducerRecord(settings.checkpoints_topic, 1 - lane, b"acme/backfill/in-another-lane", b"x"))
    neighbours = {c: alive(cluster, c) for c in ("acme-2", "acm")}
    before = alive(cluster, "acme")
    assert all(before.values())
    assert Registry(settings, cluster.codec).remove("acme")

    steps: list[Purged] = []
    told = Purge(settings, "acme", SystemClock().now(), steps.append).run(seconds=1, enricher_seconds=1)
    assert told.found == {topic: len(keys) for topic, keys in before.items()}
    assert told.left == {} and len(steps) > 1
    assert not any(alive(cluster, "acme").values())
    assert {c: alive(cluster, c) for c in neighbours} == neighbours
    gone = [r for r in cluster.conversations() if r.connector == "acme" and r.source.value is None]
    assert {r.header("ce_type") for r in gone} == {"ai.frame.gainsight.conversation.deleted"}

    enricher = cluster.enricher()  # it repeats them, harmlessly
    cluster.settled()
    assert enricher.stop() == 0
    assert not any(alive(cluster, "acme").values())
    again = Purge(settings, "acme", SystemClock().now(), steps.append).run(seconds=0, enricher_seconds=0)
    assert again.found == {}  # keys that have no value any more are not counted
    cluster.right("acme-2", "acm")


def test_a_purge_stops_when_the_connector_is_registered_again(cluster: Cluster) -> None:
    settings, registry = cluster.settings, Registry(cluster.settings, cluster.codec)
    cluster.add("acme", unlimited(seed=23, scenario=Morning(emails=6, periods=1)))
    cluster.poll()
    connector = registry.get("acme")
    before = alive(cluster, "acme")
    with pytest.raises(RegisteredAgainError, match=r"registered again.*remove it with --purge once more"):
        Purge(settings, "acme", SystemClock().now(), lambda _: None).run(seconds=1, enricher_seconds=1)
    assert alive(cluster, "acme") == before

    registry.remove("acme")
    steps: list[Purged] = []

    def show(state: Purged) -> None:
        if not steps:
            registry.put(connector)
        steps.append(state)

    with pytest.raises(RegisteredAgainError):
        Purge(settings, "acme", SystemClock().now(), show).run(seconds=30, enricher_seconds=1)
