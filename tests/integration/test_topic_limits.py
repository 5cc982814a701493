"""A record that its topic does not take costs itself: whatever the topics' max.message.bytes, the rest goes on."""

from __future__ import annotations

import hashlib
from random import Random
from typing import Any

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)
from typer.testing import CliRunner

from frame_gainsight.cli.main import app
from frame_gainsight.kafka.clients import admin
from frame_gainsight.sandbox import Morning
from tests.fixtures.cluster import Cluster, MakeCluster, unlimited, until

LIMIT = 40_000  # bytes
SOON = {"FRAME_GAINSIGHT_UNPARK_SECONDS": "0.2", "FRAME_GAINSIGHT_RETRY_SECONDS": "0.2"}


def limit(cluster: Cluster, topic: str, size: int) -> None:
    entry = ConfigEntry("max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET)
    client = admin(cluster.settings)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    (done,) = client.incremental_alter_configs([resource]).values()
    done.result(10)


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Cluster:
    """One lane, with topics that take little, and two large emails among many small ones."""
    made = make_cluster(partitions=1)
    tenant = unlimited(seed=91, scenario=Morning(emails=150, periods=1, edits=0))
    made.add("acme", tenant)
    rng = Random(5)
    for number in range(2):
        body = rng.randbytes(60_000).hex()  # also compressed it is larger than the limit
        tenant.create({"TypeName": "Email", "Subject": f"Large {number}", "NotesPlainText": body, "Notes": ""})
    tenant.advance(60)
    made.poll()
    given = made.settings
    for topic in (given.conversations_topic, given.entities_topic, given.parked_topic, given.dead_letters_topic):
        limit(made, topic, LIMIT)
    return made


def large(cluster: Cluster) -> dict[str, Any]:
    return {r.name: r.source.value for r in cluster.raw() if len(r.source.value or b"") > LIMIT}


def test_a_conversation_larger_than_its_topic_takes_is_a_dead_letter_until_the_limit_is_raised(
    cluster: Cluster,
) -> None:
    enricher, values = cluster.enricher(**SOON), large(cluster)
    cluster.settled()
    assert len(values) == 2
    names = {r.name for r in cluster.conversations()}
    assert names == {r.name for r in cluster.raw()} - set(values)
    letters = {letter["key"].decode().partition("/")[2]: letter for letter in cluster.dead_letters()}
    assert set(letters) == set(values)
    for name, letter in letters.items():
        assert "max.message.bytes" in letter["cause"]
        assert f"{len(values[name])} bytes" in letter["cause"]
        assert hashlib.sha256(values[name]).hexdigest() in letter["cause"]
        assert values[name].startswith(letter["value"])

    limit(cluster, cluster.settings.conversations_topic, 1_000_000)
    answer = CliRunner().invoke(app, ["dead-letters", "retry", "--all"], env=cluster.env)
    assert answer.exit_code == 0, answer.output
    until("the large ones have come out", lambda: set(values) <= {r.name for r in cluster.conversations()}, 20)
    cluster.right()
    assert enricher.stop() == 0, enricher.text


def test_an_activity_larger_than_the_parked_topic_takes_waits_all_the_same(cluster: Cluster) -> None:
    tenant, values = cluster.tenants["acme"], large(cluster)
    limit(cluster, cluster.settings.conversations_topic, 1_000_000)
    tenant.set_variant("server_error", 503, object="person")
    tenant.set_variant("server_error", 503, object="company_person")
    enricher = cluster.enricher(**SOON)
    cluster.settled()
    parked = {r.name: r.value or {} for r in cluster.waiting()}
    assert set(values) <= set(parked)
    assert {parked[name]["value"] for name in values} == {None}
    enricher.kill()
    cluster.bury("enricher")
    tenant.clear_variants()
    enricher = cluster.enricher(**SOON)
    until("nothing waits any more", lambda: not cluster.waiting())
    cluster.right()
    assert enricher.stop() == 0, enricher.text
