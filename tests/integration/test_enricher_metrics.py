"""What a running enricher shows is what is in the topics."""

from __future__ import annotations

import re
import urllib.request

from frame_gainsight.sandbox import Morning
from tests.fixtures.cluster import Cluster, unlimited, until


def shown(port: str) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
        lines = reply.read().decode().splitlines()
    found = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name.removeprefix("frame_gainsight_"): float(value) for name, _, value in found}


def test_an_enrichers_metrics_are_the_figures_of_its_topics(cluster: Cluster) -> None:
    tenant = unlimited(seed=61, scenario=Morning(emails=40, periods=1, deletes=0.1))
    cluster.add("acme", tenant)
    cluster.poll()
    tenant.reset_calls()
    enricher = cluster.enricher(FRAME_GAINSIGHT_METRICS_PORT="0")
    cluster.settled()
    enricher.says("metrics_served")
    found = re.search(r'"port": ?(\d+)', enricher.text)
    assert found is not None, enricher.text
    port = found[1]
    out = cluster.conversations()
    written = sum(r.value is not None for r in out)
    conversations = 'conversations_written_total{connector="acme"}'
    until("it shows what it wrote", lambda: shown(port).get(conversations) == written)
    figures = shown(port)
    assert figures.get('conversations_deleted_total{connector="acme"}') == len(out) - written
    assert figures['dead_letters_total{connector="acme",service="enricher"}'] == 0
    assert figures['parked_activities{connector="acme"}'] == 0
    assert figures['lanes_owned{service="enricher"}'] == cluster.settings.partitions
    asked = {n: v for n, v in figures.items() if n.startswith("api_calls_total") and 'service="enricher"' in n}
    assert sum(asked.values()) == tenant.calls()["total"]
    assert enricher.stop() == 0, enricher.text
