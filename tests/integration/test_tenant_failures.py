"""A tenant in trouble: its activities wait and come out complete by themselves, and no other of its lane is held up."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from pathlib import Path

import orjson
import pytest

from frame_gainsight.connectors import Registry, Secret, register
from frame_gainsight.embedded_kafka.broker import EmbeddedKafka
from frame_gainsight.kafka import KafkaLaneWriter, ProducerRecord
from frame_gainsight.kafka.clients import admin
from frame_gainsight.runtime import SystemClock
from frame_gainsight.sandbox import Morning, Tenant
from frame_gainsight.sandbox.kms import KmsStandIn
from tests.fixtures.cluster import Cluster, MakeCluster, calls, unlimited, until
from tests.fixtures.processes import PATIENCE

SOON = {"FRAME_GAINSIGHT_RETRY_SECONDS": "0.2", "FRAME_GAINSIGHT_UNPARK_SECONDS": "0.3"}


def morning(seed: int, emails: int = 30) -> Tenant:
    return unlimited(seed=seed, scenario=Morning(emails=emails, periods=1, edits=0.1))


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Cluster:
    """A cluster in which all connectors share a lane."""
    return make_cluster(partitions=1)


def each_once(cluster: Cluster) -> None:
    cluster.right()
    published = Counter(r.header("ce_id") for r in cluster.conversations())
    assert set(published.values()) == {1}
    assert not cluster.dead_letters()
    assert not cluster.waiting()


def test_a_hanging_tenant_holds_up_no_other(cluster: Cluster) -> None:
    hanging, well = morning(41), morning(42)
    cluster.add("hang", hanging)
    cluster.add("well", well)
    cluster.poll()
    hanging.set_variant("slow", 600.0, endpoint="query")
    enricher = cluster.enricher(FRAME_GAINSIGHT_PATIENCE_SECONDS="1", FRAME_GAINSIGHT_UNPARK_SECONDS="0.3")
    until("the healthy one's conversations are there", lambda: len(cluster.conversations()) >= 30)
    assert {r.connector for r in cluster.conversations()} == {"well"}
    for number in range(2, 5):  # and so it goes on, while the other is tried again and again
        well.create()
        well.advance(600)
        cluster.poll("well")
        until("the next is there too", lambda: len(cluster.conversations()) >= 29 + number)  # noqa: B023
    assert calls(hanging, "query") > 0
    assert len(cluster.waiting()) >= 30
    hanging.clear_variants()
    hanging.set_variant("slow", None)
    until("all came out by itself", lambda: not cluster.waiting(), 90)
    each_once(cluster)
    assert enricher.running


def test_a_slow_tenant_is_not_waited_for_and_asked_once(cluster: Cluster) -> None:
    slow, well = morning(46), morning(47)
    cluster.add("slow", slow)
    cluster.add("well", well)
    cluster.poll()
    slow.set_variant("slow", 2.0, endpoint="query")
    enricher = cluster.enricher(FRAME_GAINSIGHT_PATIENCE_SECONDS="0.5", FRAME_GAINSIGHT_UNPARK_SECONDS="0.3")
    enricher.says('"tenant_slow"')
    until("the healthy one's conversations are there", lambda: len(cluster.conversations()) >= 30)
    assert {r.connector for r in cluster.conversations()} == {"well"}
    until(
        "the others came out when the answers did", lambda: not cluster.waiting() and len(cluster.conversations()) >= 60
    )
    slow.clear_variants()
    asked = calls(slow, "query")
    each_once(cluster)
    assert asked == calls(well, "query"), "no question was asked twice"
    assert enricher.stop() == 0, enricher.text


def test_parked_activities_come_out_after_the_connectors_key_was_replaced(cluster: Cluster) -> None:
    acme, bolt = morning(43), morning(44)
    cluster.add("acme", acme)
    cluster.add("bolt", bolt)
    cluster.poll()
    key = acme.reset_key()  # after the poll: the raw records are there, the enricher cannot resolve them
    enricher = cluster.enricher(**SOON)
    cluster.settled()
    cluster.right("bolt")
    parked = cluster.waiting()
    assert {r.value["failure"] for r in parked if r.value} == {"config"}
    assert "API key" in str(parked[0].value)
    registry = Registry(cluster.settings, cluster.codec)
    secret = Secret.access_key(key)
    replaced = asyncio.run(register(registry, cluster.vault, SystemClock(), cluster.definitions["acme"], secret))
    assert replaced.connector is not None
    until("nothing waits any more", lambda: not cluster.waiting())
    each_once(cluster)
    assert enricher.running


def test_a_mapped_field_that_is_gone_is_named_and_its_return_is_noticed(cluster: Cluster) -> None:
    acme = morning(45)
    cluster.add("acme", acme)
    cluster.poll()
    acme.set_variant("missing_fields", ["Title"], object="company_person")
    enricher = cluster.enricher(**SOON)
    cluster.settled()
    parked = cluster.waiting()
    assert len(parked) == len({r.key for r in cluster.raw()})
    assert all(r.value and r.value["failure"] == "config" and "Title" in r.value["cause"] for r in parked)
    acme.clear_variants()
    until("it came out by itself", lambda: not cluster.waiting(), 90)
    each_once(cluster)
    assert enricher.running


def test_a_connector_whose_every_activity_fails_is_stopped_and_loses_nothing(cluster: Cluster) -> None:
    acme, bolt = morning(46), morning(47)
    cluster.add("acme", acme)
    cluster.add("bolt", bolt)
    cluster.poll()
    good = next(r for r in cluster.raw() if r.connector == "acme")
    assert good.value is not None
    bad = []
    for number in range(30):
        gsid = f"1I00BAD{number:029d}"
        row = orjson.loads(good.value["row"]) | {"Gsid": gsid, "ActivityDate": "soon"}
        value = good.value | {"activity_id": gsid, "row": orjson.dumps(row).decode()}
        bad.append(
            ProducerRecord(
                cluster.settings.raw_topic, 0, f"acme/{gsid}".encode(), cluster.codec.encode("raw_activity", value)
            )
        )
    with KafkaLaneWriter(cluster.settings, "test", 0) as writer:
        writer.write(bad)
    enricher = cluster.enricher(**SOON, FRAME_GAINSIGHT_DEAD_LETTERS_IN_A_ROW="10")
    cluster.settled()
    assert len(cluster.dead_letters()) == 10
    waiting = cluster.waiting()
    assert len(waiting) == 20
    assert all(r.value and "ActivityDate" in r.value["cause"] for r in waiting)
    bolt.create()
    bolt.advance(60)
    cluster.poll("bolt")
    cluster.settled()
    cluster.right("bolt")
    assert enricher.running


def test_a_newer_version_takes_the_place_of_the_parked_one(cluster: Cluster) -> None:
    acme = morning(48, 10)
    cluster.add("acme", acme)
    cluster.poll()
    acme.set_variant("server_error", 503, endpoint="query")
    enricher = cluster.enricher(**SOON)
    cluster.settled()
    acme.clear_variants()
    gsid = next(a["activity_id"] for a in acme.truth()["activities"] if a["type"] == "Email")
    acme.edit(gsid, {"Subject": "the newer one"})
    acme.advance(600)
    acme.set_variant("server_error", 503, object="company_person", endpoint="query")
    cluster.poll()
    cluster.settled()
    assert len([r for r in cluster.waiting() if r.name == gsid]) == 1
    acme.clear_variants()
    until("nothing waits any more", lambda: not cluster.waiting(), 90)
    cluster.right()
    subjects = [r.value["subject"] for r in cluster.conversations() if r.name == gsid and r.value]
    assert subjects == ["the newer one"], "the older version never came out"
    assert enricher.stop() == 0, enricher.text


def test_a_position_that_kafka_forgot_is_reported_and_nothing_comes_twice(cluster: Cluster) -> None:
    cluster.add("acme", morning(44, emails=30))
    cluster.poll()
    first = cluster.enricher()
    cluster.settled()
    assert first.stop() == 0
    before = len(cluster.conversations())
    group = f"{cluster.settings.prefix}-enricher"
    asking = admin(cluster.settings)  # held: a client that is gone never answers
    asking.delete_consumer_groups([group])[group].result(PATIENCE)
    again = cluster.enricher()
    again.says("lane_stopped")
    assert "has no position in lane 0" in again.text
    assert "--reset-offsets" in again.text
    assert again.stop() == 0
    assert len(cluster.conversations()) == before


def test_an_enricher_stopped_while_kafka_is_gone_ends_in_a_bounded_time(
    kms_environment: KmsStandIn, tmp_path: Path
) -> None:
    with EmbeddedKafka() as broker, Cluster(broker.bootstrap, kms_environment, tmp_path, partitions=1) as cluster:
        cluster.add("acme", morning(45, emails=5))
        cluster.poll()
        worker = cluster.enricher(FRAME_GAINSIGHT_STOP_SECONDS="3")
        cluster.settled()
        broker.kill()
        worker.send(signal.SIGTERM)
        assert worker.wait() in (0, 1), worker.text
