"""KMS away, in mid-run and at the start: who is known goes on, who is not comes as soon as it is back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from frame_gainsight.connectors import Registry
from frame_gainsight.embedded_kafka.node import LOOPBACK
from frame_gainsight.runtime import SystemClock
from frame_gainsight.sandbox import Tenant
from frame_gainsight.sandbox.kms import KmsStandIn
from tests.fixtures.cluster import Cluster, unlimited, until
from tests.fixtures.door import Door

QUICK = {"FRAME_GAINSIGHT_RETRY_SECONDS": "0.2", "FRAME_GAINSIGHT_UNPARK_SECONDS": "0.3"}


@pytest.fixture
def door(kms_environment: KmsStandIn) -> Iterator[Door]:
    port = urlsplit(kms_environment.endpoint_url).port
    assert port
    with Door(port) as opened:
        yield opened


def added(cluster: Cluster, connector: str, seed: int) -> Tenant:
    tenant = unlimited(seed=seed, size=3)
    tenant.clock.run(1.0)
    cluster.add(connector, tenant, period=1)
    return tenant


def arrives(cluster: Cluster, connector: str, tenant: Tenant) -> None:
    key = f"{connector}/{tenant.create({'TypeName': 'Email'})['id']}"
    until(f"{key} is a conversation", lambda: key in {r.key for r in cluster.conversations()})


def test_without_kms_open_connectors_go_on_also_when_they_change(cluster: Cluster, door: Door) -> None:
    through = {"AWS_ENDPOINT_URL_KMS": f"http://{LOOPBACK}:{door.port}"}
    acme = added(cluster, "acme", 61)
    producer, enricher = cluster.producer(**QUICK, **through), cluster.enricher(**QUICK, **through)
    arrives(cluster, "acme", acme)
    asked = door.connections
    assert asked > 0
    for _ in range(3):
        arrives(cluster, "acme", acme)
    assert door.connections == asked, "KMS is not asked for a poll"
    door.shut()
    arrives(cluster, "acme", acme)
    registry = Registry(cluster.settings, cluster.codec)
    changed = cluster.registered("acme").definition.model_copy(update={"deletions_every": 60})
    registry.put(replace(cluster.registered("acme"), definition=changed, updated_at=SystemClock().now()))
    arrives(cluster, "acme", acme)
    bolt = added(cluster, "bolt", 62)
    until("it is told", lambda: "KMS did not decrypt the API key of 'bolt'" in producer.text)
    assert "Check the AWS_* variables" in producer.text
    arrives(cluster, "acme", acme)
    door.open()
    arrives(cluster, "bolt", bolt)
    assert producer.running and enricher.running


def test_services_that_start_without_kms_wait_for_it(cluster: Cluster, door: Door) -> None:
    through = {"AWS_ENDPOINT_URL_KMS": f"http://{LOOPBACK}:{door.port}"}
    acme = added(cluster, "acme", 63)
    door.shut()
    producer, enricher = cluster.producer(**QUICK, **through), cluster.enricher(**QUICK, **through)
    until("it is told", lambda: "KMS did not decrypt" in producer.text)
    assert producer.running and enricher.running
    door.open()
    arrives(cluster, "acme", acme)
