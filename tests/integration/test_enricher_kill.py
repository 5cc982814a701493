"""An enricher that is killed, at whatever point, misses no conversation and publishes none twice."""

from __future__ import annotations

from collections import Counter

from frame_gainsight.sandbox import Morning, Tenant
from tests.fixtures.cluster import Cluster, calls, unlimited, until

LOOKUP = "query company_person"


def morning(seed: int, emails: int) -> Tenant:
    return unlimited(seed=seed, scenario=Morning(emails=emails, periods=1, edits=0.05))


def once_each(cluster: Cluster) -> None:
    """Each version that went in came out, once; the newest is the tenant's own."""
    cluster.right()
    wanted = Counter(
        f"{r.name}/{r.value['modified_at']}/{r.value['fingerprint']}" for r in cluster.raw() if r.value is not None
    )
    published = Counter(r.header("ce_id") for r in cluster.conversations() if r.value is not None)
    assert published == wanted
    assert set(published.values()) == {1}
    assert not cluster.dead_letters()
    assert not cluster.waiting()


def test_an_enricher_killed_while_it_resolves_or_publishes_misses_and_doubles_nothing(cluster: Cluster) -> None:
    tenant = morning(5, 1000)
    cluster.add("acme", tenant)
    cluster.poll()
    tenant.reset_calls()
    tenant.set_variant("slow", 3.0, object="company_person", endpoint="query")
    enricher = cluster.enricher()
    until("a window is being resolved", lambda: calls(tenant, LOOKUP))
    enricher.kill()
    tenant.clear_variants("slow")
    assert not cluster.conversations()
    cluster.bury("enricher")

    # Small windows: a transaction each few records, so that the next kills fall among transactions.
    arriving = cluster.arriving(cluster.settings.conversations_topic)
    for published in (1, 60):
        enricher = cluster.enricher(FRAME_GAINSIGHT_WINDOW_MAX="3")
        arriving.until(max(published, arriving.count + 1))
        enricher.kill()
        cluster.bury("enricher")
    assert len(cluster.conversations()) < len(cluster.raw()), "it was to be killed before the end"

    enricher = cluster.enricher()
    cluster.settled()
    once_each(cluster)
    assert enricher.stop() == 0, enricher.text


def test_when_one_of_two_enrichers_is_killed_the_other_takes_over_its_lanes(cluster: Cluster) -> None:
    names = {cluster.lane(name): name for name in ("acme", "bolt", "crux", "dune", "echo")}
    assert len(names) == cluster.settings.partitions, "a connector in each lane"
    for number, name in names.items():
        cluster.add(name, morning(20 + number, 60))
    first, second = cluster.enricher(), cluster.enricher()
    for service in (first, second):
        until("both share the lanes", lambda: "lane_opened" in service.text or None)  # noqa: B023
    cluster.poll()
    until("something is published", cluster.conversations)
    first.kill()
    for tenant in cluster.tenants.values():
        tenant.create()
        tenant.advance(600)
    cluster.poll()
    cluster.settled()
    once_each(cluster)
    assert second.running
    assert second.stop() == 0, second.text
