"""Looking before writing: `connector init` and `connector preview`, as people run them, with and without a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from frame_gainsight.connectors.definition.yaml_file import SCHEMA_FILE, parse_yaml
from frame_gainsight.sandbox import Morning, Tenant
from tests.fixtures.cluster import Cluster, calls, unlimited
from tests.fixtures.commands import FAILED, WRONG_USE, Terminal, run, words


@pytest.fixture(scope="module")
def cluster(module_cluster: Cluster) -> Cluster:
    return module_cluster


@pytest.fixture(scope="module")
def tenant(cluster: Cluster) -> Iterator[Tenant]:
    """A tenant with a morning behind it, registered and enriched, for a preview to be held against."""
    tenant = unlimited(seed=81, scenario=Morning(emails=30, periods=1))
    cluster.add("acme", tenant)
    cluster.poll()
    enricher = cluster.enricher()
    cluster.settled()
    assert enricher.stop() == 0
    yield tenant


def ends(cluster: Cluster) -> dict[str, int]:
    """Topic → how many records it has."""
    settings = cluster.settings
    return {
        t: len(cluster.records(t)) for t in (settings.connectors_topic, settings.raw_topic, settings.entities_topic)
    }


def preview(cluster: Cluster, *arguments: str) -> dict[str, Any]:
    done = run(cluster, "connector", "preview", "acme", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_a_preview_is_what_frame_gets_and_writes_nothing(cluster: Cluster, tenant: Tenant) -> None:
    before = ends(cluster)
    tenant.reset_calls()
    told = preview(cluster, "--max", "20")
    published = {r.name: r.value for r in cluster.conversations()}
    assert len(told["conversations"]) == 20
    for one in told["conversations"]:
        assert one["conversation"] == published[one["activity_id"]]
    assert told["api_calls"] == tenant.calls()["total"] <= 8
    assert ends(cluster) == before
    shown = run(cluster, "connector", "preview", "acme", "--max", "2")
    assert words(shown.stdout).endswith("nothing was written.")
    assert (told["conversations"][0]["conversation"]["subject"] or "") in words(shown.stdout)


def test_a_preview_compares_another_mapping_for_no_more_calls_than_its_columns_cost(
    cluster: Cluster, tenant: Tenant
) -> None:
    definition = yaml.safe_load(run(cluster, "connector", "export", "acme").stdout)
    definition["user_profile"] = {"first_name": "person.FirstName", "zone": "person.Timezone"}
    file = cluster.folder / "other.yaml"
    file.write_text(yaml.safe_dump(definition))
    plain, told = preview(cluster, "--max", "20"), preview(cluster, "--max", "20", "--mapping", str(file))
    assert told["api_calls"] == plain["api_calls"]
    for one, alone in zip(told["conversations"], plain["conversations"], strict=True):
        assert one["conversation"] == alone["conversation"]
        assert one["with_mapping"]["mapping_version"] != one["conversation"]["mapping_version"]
        known = [p["email"] for p in one["conversation"]["participants"] if p["role"] == "customer" and p["profile"]]
        assert {f"{email}: zone" for email in known} <= set(one["differs"])
    shown = run(cluster, "connector", "preview", "acme", "--max", "20", "--mapping", str(file))
    assert "20 of 20 conversations would differ" in words(shown.stdout)

    file.write_text(yaml.safe_dump(definition | {"host": "https://other.example"}))
    refused = run(cluster, "connector", "preview", "acme", "--mapping", str(file))
    assert refused.returncode == WRONG_USE and "its key goes nowhere else" in words(refused.stderr)
    file.write_text(yaml.safe_dump(definition | {"tags": {"gone": "company.NotThere"}}))
    refused = run(cluster, "connector", "preview", "acme", "--mapping", str(file))
    assert refused.returncode == FAILED and "NotThere" in refused.stderr


def test_init_without_a_terminal_writes_what_registers(cluster: Cluster, tenant: Tenant, tmp_path: Path) -> None:
    file = tmp_path / "bolt.yaml"
    host = cluster.definitions["acme"].host
    command = ("connector", "init", "--id", "bolt", "--host", host, "--yes", "--out", str(file), "--max", "1")
    before = ends(cluster)
    done = run(cluster, *command, given=tenant.access_key)
    assert done.returncode == 0, done.stderr
    assert ends(cluster) == before
    definition = parse_yaml(file.read_text())
    assert definition.activity_types == ("Email",)
    assert definition.user_profile["first_name"] == "person.FirstName"
    assert definition.org_profile["contract_value"] == "contract__gc.Value__gc"
    assert definition.tags["industry"] == "company.Industry"
    assert tenant.access_key not in done.stdout + done.stderr + file.read_text()
    schema = json.loads(file.with_name(SCHEMA_FILE).read_text())
    assert set(yaml.safe_load(file.read_text())) <= set(schema["properties"])
    again = run(cluster, *command, given=tenant.access_key)
    assert again.returncode == WRONG_USE and "--force" in words(again.stderr)
    added = run(cluster, "connector", "add", str(file), given=tenant.access_key)
    assert added.returncode == 0, added.stdout
    assert run(cluster, "connector", "remove", "bolt", "--yes").returncode == 0


def test_init_proposes_only_what_is_filled(cluster: Cluster, tenant: Tenant, tmp_path: Path) -> None:
    tenant.set_variant("missing_fields", ["Industry"], object="company")
    try:
        host = cluster.definitions["acme"].host
        out = str(tmp_path / "x.yaml")
        arguments = ("--id", "x", "--host", host, "--yes", "--out", out, "--max", "0", "--type", "QBR")
        done = run(cluster, "connector", "init", *arguments, given=tenant.access_key)
    finally:
        tenant.clear_variants()
    assert done.returncode == 0, done.stderr
    definition = parse_yaml(Path(out).read_text())
    assert "industry" not in definition.tags and definition.activity_types == ("QBR",)


def test_init_without_a_terminal_names_the_options_that_it_needs(cluster: Cluster, tenant: Tenant) -> None:
    done = run(cluster, "connector", "init", given="key")
    assert done.returncode == WRONG_USE and "--yes" in done.stderr
    done = run(cluster, "connector", "init", "--yes", "--id", "x", given="key")
    assert done.returncode == WRONG_USE and "--host" in done.stderr


def test_init_asks_a_person_and_the_key_is_not_echoed(cluster: Cluster, tenant: Tenant) -> None:
    person = Terminal(cluster, "connector", "init", "--max", "1")
    person.asked("connector's id", "No Such Id")
    person.asked("connector's id", "crux")
    person.asked("tenant's address", cluster.definitions["acme"].host)
    person.asked("API access key", tenant.access_key)
    person.asked("Activity types to take", "Email, Meeting")
    person.asked("participants' profile?", "n")
    person.asked("first_name (person.FirstName)?", "y")
    for _ in range(6):
        person.asked("?", "n")
    person.asked("account's profile?", "")
    person.asked("tags?", "")
    assert person.end() == 0, person.seen
    assert tenant.access_key not in person.seen
    definition = parse_yaml((cluster.folder / "crux.yaml").read_text())
    assert definition.activity_types == ("Email", "Meeting")
    assert definition.user_profile == {"first_name": "person.FirstName"}
    assert definition.org_profile and definition.tags


def test_a_purge_is_asked_about_twice(cluster: Cluster, tenant: Tenant) -> None:
    before = ends(cluster)
    for answers in (("n",), ("y", "acmee")):
        person = Terminal(cluster, "connector", "remove", "acme", "--purge")
        for question, answer in zip(("Go on?", "Type the connector's id"), answers, strict=False):
            person.asked(question, answer)
        assert person.end() != 0
        assert ends(cluster) == before


def test_check_shows_how_many_calls_it_cost(cluster: Cluster, tenant: Tenant) -> None:
    tenant.reset_calls()
    done = run(cluster, "connector", "check", "acme")
    assert done.returncode == 0, done.stdout
    assert f"{tenant.calls()['total']} API calls" in done.stdout
    assert calls(tenant) <= tenant.calls()["total"] <= 12
