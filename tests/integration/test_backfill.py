"""A connector's past, asked for by the command and read by the lane's owner beside its polls: on real processes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from frame_gainsight.sandbox import Morning, Tenant
from tests.fixtures.cluster import Cluster, MakeCluster, calls, unlimited, until, versions
from tests.fixtures.processes import COMMAND, PATIENCE

TIMELINE = "query activity_timeline"
SINCE = "2026-03-01"
OVERLAP = 600


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Cluster:
    return make_cluster(partitions=2, page_rows=20, overlap_margin_seconds=0)


def past(cluster: Cluster, emails: int = 300) -> Tenant:
    """A tenant with a morning before its connector begins; its clock runs on, past the time in which rows come late."""
    tenant = unlimited(seed=11, scenario=Morning(emails=emails, periods=1, edits=0.1))
    began = datetime.fromtimestamp(tenant.now() // 1000, UTC)
    tenant.advance(2 * OVERLAP)
    tenant.clock.run(1.0)
    cluster.add("acme", tenant, start=began, period=1)
    return tenant


def wanted(tenant: Tenant) -> set[tuple[str, int]]:
    return {(f"acme/{a['activity_id']}", a["version_ms"]) for a in tenant.truth()["activities"] if a["type"] == "Email"}


def live(cluster: Cluster) -> bool:
    checkpoint = cluster.checkpoint("acme")
    return checkpoint is not None and checkpoint.period is None


def near(cluster: Cluster, tenant: Tenant) -> bool:
    """Live polling has come within nine seconds of the tenant's clock."""
    checkpoint = cluster.checkpoint("acme")
    return checkpoint is not None and checkpoint.cursor >= tenant.now() - 9000


def command(cluster: Cluster, *arguments: str) -> dict[str, Any]:
    """Runs the command to its end; what it answers."""
    service = cluster.start(COMMAND, "backfill", "acme", *arguments, "--json")
    assert service.wait() == 0, service.text
    answer: dict[str, Any] = orjson.loads(next(x for x in service.text.splitlines() if x.startswith("{")))
    return answer


@pytest.mark.parametrize("order", ["oldest first", "newest first"])
def test_a_backfill_whose_producer_is_killed_goes_on_and_writes_every_version_once(
    cluster: Cluster, order: str
) -> None:
    tenant = past(cluster)
    tenant.set_variant("slow", 0.1, object="activity_timeline", endpoint="query")
    producer = cluster.producer()
    until("live polling has begun", lambda: live(cluster))
    assert versions(cluster.raw()) == {}
    flags = ["--newest-first"] if order == "newest first" else []
    asking = cluster.start(COMMAND, "backfill", "acme", "--since", SINCE, "--yes", "--json", *flags)
    for committed in (20, 120):
        until("so much is read", lambda: len(cluster.raw()) >= committed)  # noqa: B023
        gsid = next(a["activity_id"] for a in tenant.truth()["activities"] if a["type"] == "Email")
        tenant.edit(gsid)  # beside it, live polling writes what changes
        producer.kill()
        cluster.bury("producer")
        producer = cluster.producer()
    assert asking.wait() == 0, asking.text
    answer = orjson.loads(next(x for x in asking.text.splitlines() if x.startswith("{")))
    assert answer["state"] == "DONE"
    until("the edits are written", lambda: wanted(tenant) <= set(versions(cluster.raw())))
    found = versions(cluster.raw())
    assert set(found.values()) == {1}
    newest: dict[str, int] = {}
    for record in cluster.raw():
        assert record.value is None or record.value["modified_at"] > newest.get(record.key, 0)
        newest[record.key] = record.value["modified_at"] if record.value else 0


def test_a_second_backfill_writes_only_what_was_missed(cluster: Cluster) -> None:
    tenant = past(cluster, 60)
    producer = cluster.producer()
    until("live polling has begun", lambda: live(cluster))
    first = command(cluster, "--since", SINCE, "--yes")
    assert first["written"] == first["rows"] > 0
    late = tenant.create({"TypeName": "Email"}, visible_in=2 * OVERLAP)["id"]  # later than the overlap reaches
    tenant.advance(1.5 * OVERLAP)  # still unseen; the window after this one begins behind it
    until("its second is behind", lambda: near(cluster, tenant))
    tenant.advance(20 * OVERLAP)
    until("it is far behind", lambda: near(cluster, tenant))
    assert f"acme/{late}" not in {r.key for r in cluster.raw()}, "no poll can have seen it"
    again = command(cluster, "--since", SINCE, "--yes")
    assert (again["written"], again["rows"]) == (1, first["rows"] + 1)
    assert set(versions(cluster.raw()).values()) == {1}
    assert wanted(tenant) <= set(versions(cluster.raw()))
    assert producer.running


def test_an_estimate_costs_a_few_calls_and_requests_no_backfill(cluster: Cluster) -> None:
    tenant = past(cluster, 300)
    before = calls(tenant, TIMELINE)
    answer = command(cluster, "--since", SINCE, "--estimate")
    expected = len(tenant.truth()["activities"])
    assert 0.8 * expected <= answer["rows"] <= 1.2 * expected
    assert calls(tenant, TIMELINE) - before == answer["probing_calls"] <= 12
    assert cluster.records(cluster.settings.checkpoints_topic) == []


def test_a_cancelled_backfill_stops(cluster: Cluster) -> None:
    tenant = past(cluster)
    tenant.set_variant("slow", 1.0, object="activity_timeline", endpoint="query")
    producer = cluster.producer()
    until("live polling has begun", lambda: live(cluster))
    asking = cluster.start(COMMAND, "backfill", "acme", "--since", SINCE, "--yes")
    until("something is read", lambda: len(cluster.raw()) > 0)
    stopping = cluster.start(COMMAND, "backfill", "acme", "--cancel")
    assert stopping.wait() == 0, stopping.text
    assert asking.wait() == 1, asking.text
    assert "Cancelled" in asking.text
    assert 0 < len(cluster.raw()) < 300
    assert producer.running


def test_a_start_far_in_the_past_is_a_backfill_beside_live_polling(cluster: Cluster) -> None:
    tenant = unlimited(seed=11, scenario=Morning(emails=80, periods=1))
    began = datetime.fromtimestamp(tenant.now() // 1000 - 86_400, UTC)
    tenant.advance(3 * 86_400)
    tenant.clock.run(1.0)
    cluster.add("acme", tenant, start=began, period=1)
    cluster.producer()
    until("both are written", lambda: wanted(tenant) <= set(versions(cluster.raw())), PATIENCE)
    gsid = tenant.create({"TypeName": "Email"})["id"]
    until("live polling goes on", lambda: f"acme/{gsid}" in {r.key for r in cluster.raw()})
    assert set(versions(cluster.raw()).values()) == {1}


def test_a_backfills_wrong_date_is_refused_with_the_right_form(cluster: Cluster) -> None:
    past(cluster, 5)
    service = cluster.start(COMMAND, "backfill", "acme", "--since", "yesterday")
    assert service.wait() == 2
    assert "2026-01-01" in service.text
    service = cluster.start(COMMAND, "backfill", "acme")
    assert service.wait() == 2
    assert "--since" in service.text
