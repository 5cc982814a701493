"""Tenants that were set up differently, from the first look to their conversations: what a check passes is read."""

from __future__ import annotations

import json
import re
from pathlib import Path

from frame_gainsight.connectors.definition.yaml_file import parse_yaml
from frame_gainsight.sandbox import Morning
from frame_gainsight.sandbox.scenarios.tenant_profiles import apply_profile
from tests.fixtures.cluster import Cluster, unlimited
from tests.fixtures.commands import run


def test_a_tenant_without_look_ups_is_proposed_for_checked_polled_and_enriched(
    cluster: Cluster, tmp_path: Path
) -> None:
    tenant = apply_profile(unlimited(seed=5, scenario=Morning(emails=40, periods=1)), "plain")
    host, file = cluster.serve(tenant), tmp_path / "birch.yaml"
    arguments = ("--yes", "--id", "birch", "--host", host, "--out", str(file))
    done = run(cluster, "connector", "init", *arguments, given=tenant.access_key)
    assert done.returncode == 0, done.stderr
    file.write_text(re.sub("^start: .*$", "start: 2026-03-02T08:00:00Z", file.read_text(), flags=re.MULTILINE))
    added = run(cluster, "connector", "add", str(file), given=tenant.access_key)
    assert added.returncode == 0, added.stdout
    assert run(cluster, "connector", "check", "birch").returncode == 0
    cluster.tenants["birch"] = tenant
    cluster.definitions["birch"] = parse_yaml(file.read_text())

    assert cluster.poll()["birch"].written
    enricher = cluster.enricher()
    cluster.settled()
    assert enricher.stop() == 0
    assert cluster.waiting() == []

    there = {a["activity_id"] for a in tenant.truth()["activities"] if a["type"] == "Email"}
    rows = {r.name: r.value["row"] for r in cluster.raw() if r.value}
    conversations = {r.name: r.value for r in cluster.conversations() if r.value}
    assert rows.keys() == conversations.keys() == there
    users = {user["Gsid"]: user for user in tenant.world.rows("gsuser")}
    for gsid, text in rows.items():
        row = json.loads(text)
        assert not any("." in column for column in row)
        if not row["AuthorId"]:  # an integration's own
            continue
        author = users[row["AuthorId"]]
        agents = {p["user_id"]: p["email"] for p in conversations[gsid]["participants"] if p["role"] == "agent"}
        assert agents[author["Gsid"]] == str(author["Email"]).lower()
