"""The demo as people run it: its figures, and what it serves for a walk through the product."""

from __future__ import annotations

import json
import re

from tests.fixtures.cluster import Cluster
from tests.fixtures.commands import run
from tests.fixtures.processes import COMMAND

FIGURES = {
    "activities",
    "conversations",
    "tombstones",
    "duplicates",
    "missing",
    "api_calls",
    "api_calls_per_1000",
    "p99_seconds_poll_to_conversation",
    "participants",
    "participants_identified",
}


def test_the_demo_proves_the_main_job(cluster: Cluster) -> None:
    demo = cluster.start(COMMAND, "demo", "--emails", "150", "--json")
    assert demo.wait() == 0, demo.text
    (line,) = (line for line in demo.text.splitlines() if line.startswith("{"))
    numbers = json.loads(line)
    assert numbers.keys() >= FIGURES
    assert numbers["activities"] == 150
    assert numbers["conversations"] + numbers["tombstones"] == numbers["activities"]
    assert numbers["tombstones"] > 0
    faults = ("duplicates", "missing", "surplus", "mismatches", "dead_letters")
    assert {name: numbers[name] for name in faults} == dict.fromkeys(faults, 0)
    assert 0 < numbers["participants_identified"] <= numbers["participants"]


def test_the_served_demo_prints_all_that_the_readme_s_walk_asks_for(cluster: Cluster) -> None:
    demo = cluster.start(COMMAND, "demo", "--emails", "20", "--serve", COLUMNS="200")
    try:
        demo.says("Ctrl-C stops everything.")
        exported = dict(re.findall(r"^  export (\w+)=(\S+)$", demo.text, re.MULTILINE))
        told = dict(re.findall(r"^  (address|API access key|OAuth client)[^:]*: (\S+)$", demo.text, re.MULTILINE))
        (line,) = re.findall(r"start: \S+Z", demo.text)
        arguments = ("--yes", "--id", "acme", "--host", told["address"], "--max", "0", "--force")
        made = run(cluster, "connector", "init", *arguments, given=told["API access key"], **exported)
        assert made.returncode == 0, made.stderr
        file = cluster.folder / "acme.yaml"
        file.write_text(re.sub(r"^start: .*$", line, file.read_text(), flags=re.MULTILINE))
        assert line in file.read_text()
        added = run(cluster, "connector", "add", str(file), "--oauth", given=told["OAuth client"], **exported)
        assert added.returncode == 0, added.stdout + added.stderr
        assert "Registered acme" in added.stdout
    finally:
        ended = demo.stop()  # killed, it would leave its enricher behind
    assert ended == 0, demo.text
