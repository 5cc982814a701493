"""Dead letters listed, shown, and tried again, as a person does it."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import orjson
from typer.testing import CliRunner

from frame_gainsight.cli.main import app
from frame_gainsight.sandbox import Morning
from tests.fixtures.cluster import Cluster, unlimited, until
from tests.fixtures.processes import COMMAND, ROOT


def says(cluster: Cluster, *arguments: str, code: int = 0) -> str:
    answer = CliRunner().invoke(app, ["dead-letters", *arguments], env=cluster.env | {"COLUMNS": "200"})
    assert answer.exit_code == code, answer.output
    return str(answer.output)


def listed(cluster: Cluster) -> list[dict[str, Any]]:
    lines = says(cluster, "list", "--json").splitlines()
    return [orjson.loads(line) for line in lines if line.startswith("{")]


def test_dead_letters_are_listed_shown_and_come_out_when_retried(cluster: Cluster) -> None:
    cluster.add("acme", unlimited(seed=62, scenario=Morning(emails=6, periods=1, edits=0)))
    cluster.poll()
    assert "no dead letters" in says(cluster, "list")
    broken = cluster.start(sys.executable, "-m", "tests.fixtures.refusing", PYTHONPATH=str(ROOT))
    cluster.settled()
    assert broken.stop() == 0, broken.text

    found = listed(cluster)
    emails = {r.name for r in cluster.raw()}
    assert {x["activity"] for x in found} == emails
    first = found[0]
    table = says(cluster, "list")
    assert f"{len(emails)} dead letters (acme: {len(emails)})" in table
    assert first["at"] in table
    whole = says(cluster, "show", first["at"])
    assert "This release cannot convert it." in whole
    assert f"acme/{first['activity']}" in whole
    assert '"Subject"' in whole
    assert "no dead letter" in says(cluster, "show", "0:9999", code=1)
    assert "Say which" in says(cluster, "retry", code=2)
    assert "no dead letter 0:9999" in says(cluster, "retry", "0:9999", code=1)

    enricher = cluster.enricher(FRAME_GAINSIGHT_UNPARK_SECONDS="0.2")
    says(cluster, "retry", first["activity"])
    until("the one is there", lambda: {r.name for r in cluster.conversations()} == {first["activity"]})
    says(cluster, "retry", "--connector", "acme")
    until("all are there", lambda: {r.name for r in cluster.conversations()} == emails)
    cluster.right()
    assert "nothing to do" in says(cluster, "retry", "--all")
    assert len(cluster.dead_letters()) == len(emails)
    assert enricher.stop() == 0, enricher.text


def test_dead_letters_of_a_replay_come_out_once_though_their_versions_were_published_before(
    cluster: Cluster,
) -> None:
    cluster.add("acme", unlimited(seed=62, scenario=Morning(emails=6, periods=1, edits=0)))
    cluster.poll()
    emails = {r.name for r in cluster.raw()}
    enricher = cluster.enricher()
    until("all are there", lambda: {r.name for r in cluster.conversations()} == emails)
    assert enricher.stop() == 0, enricher.text

    broken = cluster.start(sys.executable, "-m", "tests.fixtures.refusing", PYTHONPATH=str(ROOT))
    asking = cluster.start(COMMAND, "replay", "acme", "--json")
    assert asking.wait() == 0, asking.text
    assert broken.stop() == 0, broken.text
    assert {x["activity"] for x in listed(cluster)} == emails
    assert len(cluster.conversations()) == len(emails), "those of before"

    enricher = cluster.enricher()
    first = listed(cluster)[0]["activity"]
    for which, count in (((first,), 1), (("--all",), len(emails) - 1), (("--all",), 0)):
        wanted = len(cluster.conversations()) + count
        text = says(cluster, "retry", *which)
        assert f"acme: {count} activities" in text if count else "nothing to do" in text
        until("they are there again", lambda: len(cluster.conversations()) == wanted)  # noqa: B023
    assert Counter(r.name for r in cluster.conversations()) == dict.fromkeys(emails, 2)
    assert enricher.stop() == 0, enricher.text
