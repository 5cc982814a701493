"""Records that the client passes over in silence are missed by the lane, and are not committed over; those that it
gives up in a rebalance are read again; and a client that gives nothing any more does not go unnoticed."""

from __future__ import annotations

import sys

import pytest

from frame_gainsight.sandbox import Morning
from tests.fixtures.cluster import Cluster, unlimited
from tests.fixtures.processes import ROOT
from tests.fixtures.unsteady import FETCH

EMAILS = 3 * FETCH - 1  # with the period's marker three whole fetches


@pytest.mark.parametrize(
    ("lost", "before"),
    [(1, 0), (2, 0), (4, 1)],
    ids=["the first of the lane", "in the middle of a batch", "between two batches"],
)
def test_a_worker_whose_client_loses_records_ends_and_the_next_one_has_them(
    cluster: Cluster, lost: int, before: int
) -> None:
    tenant = unlimited(seed=71, scenario=Morning(emails=EMAILS, periods=1, edits=0))
    cluster.add("acme", tenant)
    worker = cluster.start(sys.executable, "-m", "tests.fixtures.unsteady", "lose", str(lost), PYTHONPATH=str(ROOT))
    cluster.poll()
    if before:
        cluster.settled()
        for number in range(EMAILS):
            tenant.create({"TypeName": "Email", "Subject": f"Further {number}"})
        tenant.advance(1200)
        cluster.poll()
    assert worker.wait() != 0
    assert "Nothing was committed; start the worker again." in worker.text
    assert len(cluster.conversations()) == before * EMAILS

    enricher = cluster.enricher()
    cluster.settled()
    cluster.right()
    assert enricher.stop() == 0, enricher.text


@pytest.mark.parametrize("number", [1, 2, 4], ids=["the first fetch ever", "a later one", "with a position committed"])
def test_records_that_a_rebalance_interrupts_are_read_again(cluster: Cluster, number: int) -> None:
    tenant = unlimited(seed=72, scenario=Morning(emails=EMAILS, periods=1, edits=0))
    cluster.add("acme", tenant)
    enricher = cluster.start(
        sys.executable, "-m", "tests.fixtures.unsteady", "interrupt", str(number), PYTHONPATH=str(ROOT)
    )
    cluster.poll()
    cluster.settled()
    tenant.create({"TypeName": "Email", "Subject": "One more"})
    tenant.advance(1200)
    cluster.poll()
    cluster.settled()
    cluster.right()
    assert enricher.stop() == 0, enricher.text


def test_a_worker_whose_client_gives_nothing_any_more_ends(cluster: Cluster) -> None:
    tenant = unlimited(seed=73, scenario=Morning(emails=FETCH - 1, periods=1, edits=0))  # with the marker a fetch
    cluster.add("acme", tenant)
    worker = cluster.start(sys.executable, "-m", "tests.fixtures.unsteady", "stall", "1", PYTHONPATH=str(ROOT))
    cluster.poll()
    cluster.settled()
    assert worker.running, worker.text
    tenant.create({"TypeName": "Email", "Subject": "One more"})
    tenant.advance(1200)
    cluster.poll()
    assert worker.wait() != 0
    assert "the client does not give it. Nothing is lost; start the worker again." in worker.text

    enricher = cluster.enricher()
    cluster.settled()
    cluster.right()
    assert enricher.stop() == 0, enricher.text
