"""What changes at the tenant arrives once; what does not change is not written again."""

from __future__ import annotations

import pytest

from frame_gainsight.sandbox import Morning, Tenant
from tests.fixtures.cluster import Cluster, MakeCluster, Record, calls, unlimited, until, versions

PERIOD = 600


@pytest.fixture
def tenant(cluster: Cluster) -> Tenant:
    """A tenant with a morning behind it, which has been polled once."""
    tenant = unlimited(seed=3, scenario=Morning(emails=40, periods=1, edits=0, late=0))
    cluster.add("acme", tenant)
    assert cluster.poll()["acme"].written == 40
    return tenant


def of(records: list[Record], gsid: str) -> list[Record]:
    return [r for r in records if r.name == gsid]


def test_a_poll_that_meets_nothing_new_moves_the_checkpoint_and_writes_nothing(
    cluster: Cluster, tenant: Tenant
) -> None:
    before, at = cluster.raw(), cluster.checkpoint("acme")
    tenant.advance(30)
    result = cluster.poll()["acme"]
    assert result.written == 0
    assert result.unchanged > 0, "the overlap was to be read again"
    assert cluster.raw() == before
    after = cluster.checkpoint("acme")
    assert at is not None
    assert after is not None
    assert after.cursor == at.cursor + 30_000


def test_a_late_row_inside_the_overlap_is_picked_up_once(cluster: Cluster, tenant: Tenant) -> None:
    late = tenant.create(visible_in=300)
    for _ in range(4):
        tenant.advance(100)
        cluster.poll()
    assert versions(cluster.raw())[f"acme/{late['id']}", late["version_ms"]] == 1
    checkpoint = cluster.checkpoint("acme")
    assert checkpoint is not None
    assert checkpoint.cursor > late["version_ms"] + 300_000, "it was to show behind the cursor"
    assert set(versions(cluster.raw()).values()) == {1}


def test_edits_and_deletions_become_conversations_once(cluster: Cluster, tenant: Tenant) -> None:
    edited, deleted = two(tenant)
    enricher = cluster.enricher()
    tenant.advance(5)
    edit = tenant.edit(edited, {"Subject": "What was agreed"})
    tenant.delete(deleted)
    for _ in range(3):  # each by a producer that starts anew, and looks into the delete log anew
        tenant.advance(2 * PERIOD)
        cluster.poll()
    raw = cluster.raw()
    assert [r.value and r.value["modified_at"] for r in of(raw, edited)][1:] == [edit["version_ms"]]
    assert [r.value is None for r in of(raw, deleted)] == [False, True]
    assert set(versions(raw).values()) == {1}

    cluster.settled()
    conversations = cluster.conversations()
    subjects = [r.value and (r.value["version"], r.value["subject"]) for r in of(conversations, edited)]
    assert subjects[1:] == [(edit["version_ms"], "What was agreed")]
    (_, gone) = of(conversations, deleted)
    assert gone.value is None
    assert gone.header("ce_type") == "ai.frame.gainsight.conversation.deleted"
    cluster.right()
    assert enricher.stop() == 0, enricher.text


def two(tenant: Tenant) -> tuple[str, str]:
    first, second, *_ = (a["activity_id"] for a in tenant.truth()["activities"] if a["type"] == "Email")
    return first, second


def test_the_services_follow_a_changing_tenant_and_end_cleanly_at_a_signal(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(partitions=2, overlap_margin_seconds=0)
    tenant = unlimited(seed=4, scenario=Morning(emails=20, periods=1))
    tenant.clock.run(1.0)
    cluster.add("acme", tenant, period=1, overlap=60, deletions_every=1)
    producer, enricher = cluster.producer(), cluster.enricher()
    until("the morning is enriched", lambda: len(cluster.conversations()) >= 20)
    deleted, edited = two(tenant)
    made = [tenant.create()["id"] for _ in range(3)]
    edit = tenant.edit(edited)
    tenant.delete(deleted)

    def arrived() -> bool:
        newest = {r.name: r.value for r in cluster.conversations()}
        return (
            all(gsid in newest for gsid in made)
            and newest.get(deleted, {}) is None
            and (newest[edited] or {}).get("version") == edit["version_ms"]
        )

    until("every change is enriched", arrived)
    polls = calls(tenant, "query activity_timeline")
    until("it was polled again", lambda: calls(tenant, "query activity_timeline") > polls + 1)
    assert producer.stop() == 0, producer.text
    assert enricher.stop() == 0, enricher.text
    assert "Traceback" not in producer.text + enricher.text
    cluster.right()
    assert set(versions(cluster.raw()).values()) == {1}
