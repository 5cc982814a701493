"""A producer that is killed, at whatever point, loses nothing and writes nothing twice."""

from __future__ import annotations

import pytest

from frame_gainsight.sandbox import Morning, Tenant
from schemas.raw_topic import is_period_marker
from tests.fixtures.cluster import Cluster, MakeCluster, Record, calls, unlimited, until, versions

PAGE = 10
TIMELINE = "query activity_timeline"


def morning(emails: int) -> Tenant:
    """A morning that is over; the tenant's clock runs on from its end."""
    tenant = unlimited(seed=11, scenario=Morning(emails=emails, periods=1, edits=0.1))
    tenant.clock.run(1.0)
    return tenant


def wanted(tenant: Tenant) -> set[tuple[str, int]]:
    return {(f"acme/{a['activity_id']}", a["version_ms"]) for a in tenant.truth()["activities"] if a["type"] == "Email"}


def pages(records: list[Record]) -> list[int]:
    return sorted({int(r.header("page") or -1) for r in records})


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Cluster:
    return make_cluster(partitions=2, page_rows=PAGE, overlap_margin_seconds=0)


def finished(cluster: Cluster) -> bool:
    checkpoint = cluster.checkpoint("acme")
    return checkpoint is not None and checkpoint.period is None


def test_a_producer_killed_between_pages_goes_on_behind_the_last_committed_page(cluster: Cluster) -> None:
    tenant = morning(150)
    cluster.add("acme", tenant)
    reading, end = 0, 0
    for page in (3, 8, 11):  # killed while the n-th page is being fetched
        tenant.set_variant("slow", 0.4, object="activity_timeline", endpoint="query")
        tenant.reset_calls()
        producer = cluster.producer()
        until("the page is asked for", lambda: calls(tenant, TIMELINE) >= page - reading)  # noqa: B023
        producer.kill()
        tenant.clear_variants("slow")
        cluster.bury("producer")
        checkpoint = cluster.checkpoint("acme")
        assert checkpoint is not None
        assert checkpoint.period is not None, "the poll was to be cut short"
        reading, end = checkpoint.period.page, checkpoint.period.window.end
        assert reading in (page - 2, page - 1), "the page before is being written while the next is fetched"
        assert pages(cluster.raw()) == list(range(reading))

    tenant.reset_calls()
    producer = cluster.producer("--once")
    assert producer.wait() == 0, producer.text
    found = versions(cluster.raw())
    assert set(found) == wanted(tenant)
    assert set(found.values()) == {1}
    after = cluster.checkpoint("acme")
    assert after is not None
    assert (after.cursor, after.period) == (end, None), "the window that was begun is the one that was ended"
    (marker,) = [r for r in cluster.records(cluster.settings.raw_topic) if is_period_marker(r.source.key)]
    assert calls(tenant, TIMELINE) == int(marker.header("page") or 0) + 1 - reading, (
        "committed pages are not read again"
    )


def test_a_producer_killed_at_any_moment_leaves_every_version_once_in_the_raw_topic(cluster: Cluster) -> None:
    tenant = morning(300)
    cluster.add("acme", tenant)
    tenant.set_variant("slow", 0.1, object="activity_timeline", endpoint="query")  # that a kill meets it at work
    for committed in (1, 90, 170):
        producer = cluster.producer()
        until("so many are committed", lambda: len(cluster.raw()) >= committed)  # noqa: B023
        producer.kill()
        cluster.bury("producer")
    killed_at = len(cluster.raw())
    assert killed_at < len(wanted(tenant)), "it was to be killed before the end"
    producer = cluster.producer()
    until("the window has been read", lambda: finished(cluster))
    assert producer.stop() == 0, producer.text
    found = versions(cluster.raw())
    assert set(found) == wanted(tenant)
    assert set(found.values()) == {1}
