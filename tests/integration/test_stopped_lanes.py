"""A lane that must not go on stands still, and says why; the others of its process are at work. And a raw topic that is
created anew under a running enricher does not go unnoticed."""

from __future__ import annotations

from confluent_kafka import TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from frame_gainsight.cli.operations.connector_status import connector_statuses
from frame_gainsight.kafka import ProducerRecord, put, topics
from frame_gainsight.kafka.clients import admin
from frame_gainsight.runtime import SystemClock
from frame_gainsight.sandbox import Morning
from tests.fixtures.cluster import Cluster, unlimited, until

ACME, BOLT = "acme", "bolt"


def policy(cluster: Cluster, topic: str, value: str) -> None:
    client = admin(cluster.settings)
    entry = ConfigEntry("cleanup.policy", value, incremental_operation=AlterConfigOpType.SET)
    (done,) = client.incremental_alter_configs(
        [ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])]
    ).values()
    done.result(10)


def empty(cluster: Cluster, topic: str, partition: int) -> None:
    policy(cluster, topic, "delete")  # no record of a topic that is only compacted can be deleted
    client = admin(cluster.settings)
    (done,) = client.delete_records([TopicPartition(topic, partition, -1)]).values()
    done.result(10)
    policy(cluster, topic, "compact")


def test_a_lane_with_a_foreign_record_in_its_output_stops_alone_until_that_is_gone(cluster: Cluster) -> None:
    second = next(c for c in ("bolt", "cove", "dune", "echo", "fern") if cluster.lane(c) != cluster.lane(ACME))
    for number, connector in enumerate((ACME, second)):
        cluster.add(connector, unlimited(seed=80 + number, scenario=Morning(emails=10, periods=1, edits=0)))
    cluster.poll()
    lane, topic = cluster.lane(ACME), cluster.settings.conversations_topic
    put(cluster.settings, ProducerRecord(topic, lane, b"foreign", b"?"))
    enricher = cluster.enricher()

    until("the other lane is at work", lambda: any(r.connector == second for r in cluster.conversations()))
    enricher.says("lane_stopped")
    cluster.right(second)
    statuses = {s.id: s for s in connector_statuses(cluster.settings, cluster.codec, SystemClock().now())[0]}
    assert statuses[ACME].state == "broken"
    assert "no position in lane" in statuses[ACME].last_error
    assert statuses[ACME].lag == 10
    assert "no position in lane" not in statuses[second].last_error

    empty(cluster, topic, lane)
    cluster.settled()
    cluster.right()
    assert enricher.text.count("lane_stopped") == 1
    assert enricher.stop() == 0, enricher.text


def test_a_worker_whose_raw_topic_is_created_anew_ends_and_says_so(cluster: Cluster) -> None:
    cluster.add(ACME, unlimited(seed=83, scenario=Morning(emails=10, periods=1, edits=0)))
    cluster.poll()
    enricher = cluster.enricher()
    cluster.settled()
    client = admin(cluster.settings)
    until("it has seen the topic", lambda: "lane_opened" in enricher.text)
    (gone,) = client.delete_topics([cluster.settings.raw_topic]).values()
    gone.result(10)
    until("the topic is gone", lambda: cluster.settings.raw_topic not in client.list_topics(timeout=10).topics)
    topics.create(cluster.settings)
    assert enricher.wait() != 0
    assert "was deleted" in enricher.text
    assert "the worker again" in enricher.text
