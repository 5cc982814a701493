"""The commands as people run them: processes, with their output, their exit codes and what they leave behind."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from frame_gainsight.embedded_kafka.node import LOOPBACK, free_port
from frame_gainsight.kafka import topics
from frame_gainsight.sandbox import Morning, Tenant
from tests.fixtures.cluster import Cluster, unlimited
from tests.fixtures.commands import FAILED, WRONG_USE, run, words
from tests.fixtures.processes import COMMAND, PATIENCE

DEFINITION: dict[str, Any] = {
    "id": "acme",
    "start": "2026-03-02T08:00:00Z",
    "activity_types": ["Email"],
    "user_profile": {"first_name": "person.FirstName"},
}


@pytest.fixture(scope="module")
def cluster(module_cluster: Cluster) -> Cluster:
    return module_cluster


@pytest.fixture(scope="module")
def tenant(cluster: Cluster) -> Tenant:
    """A tenant that is served and not yet registered."""
    tenant = unlimited(seed=41, scenario=Morning(emails=5, periods=1))
    DEFINITION["host"] = cluster.serve(tenant)
    return tenant


def write(cluster: Cluster, content: Any) -> str:
    path = cluster.folder / "acme.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return str(path)


def definitions(cluster: Cluster) -> list[str]:
    return [r.key for r in cluster.records(cluster.settings.connectors_topic)]


# ---- settings and Kafka -------------------------------------------------------------------------------------------


def test_an_unknown_setting_is_named_with_the_one_that_was_meant(cluster: Cluster) -> None:
    done = run(cluster, "topics", "check", FRAME_GAINSIGHT_PARTITONS="3")
    assert done.returncode == WRONG_USE
    assert "FRAME_GAINSIGHT_PARTITONS is not a setting. Did you mean FRAME_GAINSIGHT_PARTITIONS?" in words(done.stderr)


def test_a_wrong_setting_is_named_with_its_value(cluster: Cluster) -> None:
    done = run(cluster, "topics", "check", FRAME_GAINSIGHT_PARTITIONS="many")
    assert done.returncode == WRONG_USE
    assert "FRAME_GAINSIGHT_PARTITIONS='many'" in words(done.stderr)


def test_a_broker_that_does_not_answer_is_reported_with_advice(cluster: Cluster) -> None:
    address = f"{LOOPBACK}:{free_port()}"
    commands = (("poll", "--once"), ("enrich",), ("connector", "list"), ("topics", "check"))
    services = [cluster.start(COMMAND, *command, KAFKA_BOOTSTRAP_SERVERS=address) for command in commands]
    for service in services:
        assert service.wait() == FAILED
        assert f"Kafka at {address} does not answer" in words(service.text)
        assert "frame-gainsight kafka" in words(service.text)
        assert "Traceback" not in service.text


def test_a_topic_that_is_not_as_it_must_be_stops_everything_with_a_way_out(cluster: Cluster) -> None:
    prefix = cluster.settings.prefix
    wrong = {"FRAME_GAINSIGHT_RAW_TOPIC": f"{prefix}.deleting", "FRAME_GAINSIGHT_PARKED_TOPIC": f"{prefix}.narrow"}
    client = AdminClient({"bootstrap.servers": cluster.settings.brokers()})
    for name, count, cleanup in ((f"{prefix}.deleting", 3, "delete"), (f"{prefix}.narrow", 1, "compact")):
        client.create_topics([NewTopic(name, count, 1, config={"cleanup.policy": cleanup})])[name].result(20)
    for command in (("topics", "check"), ("topics", "create"), ("poll", "--once")):
        done = run(cluster, *command, **wrong)
        said = words(done.stdout + done.stderr)
        assert done.returncode == FAILED, command
        assert f"Topic {prefix}.deleting has cleanup.policy=delete, but must have compact" in said
        assert f"--entity-name {prefix}.deleting --add-config cleanup.policy=compact" in said
        assert f"Topic {prefix}.narrow has 1 partitions, but the setting is 3" in said
        assert "FRAME_GAINSIGHT_PARTITIONS=1" in said


def test_topics_are_created_once_and_then_as_they_must_be(cluster: Cluster) -> None:
    name = f"{cluster.settings.prefix}.parked-too"
    assert run(cluster, "topics", "check", FRAME_GAINSIGHT_PARKED_TOPIC=name).returncode == FAILED
    created = run(cluster, "topics", "create", FRAME_GAINSIGHT_PARKED_TOPIC=name)
    assert (created.returncode, created.stdout.count("created")) == (0, 1)
    assert name in created.stdout
    again = run(cluster, "topics", "create", FRAME_GAINSIGHT_PARKED_TOPIC=name)
    assert (again.returncode, "created" in again.stdout) == (0, False)
    checked = run(cluster, "topics", "check", FRAME_GAINSIGHT_PARKED_TOPIC=name)
    assert (checked.returncode, checked.stdout.count("ok ")) == (0, len(topics.specs(cluster.settings)))


# ---- connectors ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "code", "named"),
    [
        ("id: acme\nhost: [", WRONG_USE, "acme.yaml is not YAML: line 2"),
        ({"perod": "10m"}, WRONG_USE, "perod: unknown; did you mean 'period'?"),
        ({"user_profile": {"first_name": "persn.FirstName"}}, WRONG_USE, "persn"),
        ({"user_profile": {"first_name": "person.FirstNam"}}, FAILED, "person.FirstNam"),
        ({"host": f"http://{LOOPBACK}:9"}, FAILED, f"{LOOPBACK}:9"),
        ({"host": "http://acme.gainsightcloud.com"}, WRONG_USE, "the API key would travel readable over http"),
    ],
)
def test_a_definition_that_cannot_work_is_not_registered(
    cluster: Cluster, tenant: Tenant, change: Any, code: int, named: str
) -> None:
    before = definitions(cluster)
    file = write(cluster, change if isinstance(change, str) else DEFINITION | change)
    done = run(cluster, "connector", "add", file, given=tenant.access_key, FRAME_GAINSIGHT_RETRY_SECONDS="0.2")
    assert done.returncode == code, done.stderr
    assert named in words(done.stdout + done.stderr)
    assert tenant.access_key not in done.stdout + done.stderr
    assert definitions(cluster) == before


@pytest.mark.parametrize(("key", "code"), [("00000000-not-the-key", FAILED), ("two words", WRONG_USE), ("", WRONG_USE)])
def test_a_wrong_key_is_not_stored_and_not_shown(cluster: Cluster, tenant: Tenant, key: str, code: int) -> None:
    before = definitions(cluster)
    done = run(cluster, "connector", "add", write(cluster, DEFINITION), given=f"{key}\n")
    assert done.returncode == code
    assert "key" in words(done.stdout + done.stderr).lower()
    assert "--no-check" not in done.stderr
    assert not key or key not in done.stdout + done.stderr
    assert definitions(cluster) == before


def test_a_connector_is_registered_listed_shown_and_polled_without_its_key_ever_being_seen(
    cluster: Cluster, tenant: Tenant
) -> None:
    key = tenant.access_key
    said = []
    added = run(cluster, "connector", "add", write(cluster, DEFINITION), "--json", given=f"{key}\n")
    said.append(added)
    assert added.returncode == 0, added.stderr
    findings = json.loads(added.stdout)
    assert (findings["id"], findings["registered"]) == ("acme", True)
    assert [f["need"] for f in findings["findings"] if f["state"] != "ok"] == ["the tenant's clock"]

    said.append(run(cluster, "connector", "list", "--json"))
    (listed,) = json.loads(said[-1].stdout)
    said.append(run(cluster, "connector", "show", "acme", "--json"))
    shown = json.loads(said[-1].stdout)
    assert listed == shown
    assert (shown["id"], shown["state"], shown["definition"]["host"]) == ("acme", "active", DEFINITION["host"])
    said.append(run(cluster, "connector", "show", "acme"))
    unknown = run(cluster, "connector", "show", "acne")
    assert unknown.returncode == FAILED
    assert "There is no connector 'acne'. Registered: acme" in words(unknown.stderr)

    for command, state, changed in (("pause", "paused", True), ("pause", "paused", False), ("resume", "active", True)):
        told = run(cluster, "connector", command, "acme", "--json")
        assert json.loads(told.stdout) == {"id": "acme", "state": state, "changed": changed}
    for flags, answer in (((), "--yes"), (("--purge",), "--purge --yes --confirm acme")):
        unanswered = run(cluster, "connector", "remove", "acme", *flags)
        assert unanswered.returncode == WRONG_USE
        assert words(unanswered.stderr).endswith(f"In a script: connector remove acme {answer}")
    assert run(cluster, "connector", "remove", "acme", given="n\n").returncode == FAILED
    assert run(cluster, "connector", "rotate-key", "acme", "--no-check").returncode == WRONG_USE
    unasked = run(cluster, "connector", "rotate-key", "acme", "--no-check", given=key)
    assert unasked.returncode == 0 and "Checking" not in unasked.stderr

    said.append(run(cluster, "poll", "--once", FRAME_GAINSIGHT_LOG_LEVEL="DEBUG"))
    assert said[-1].returncode == 0, said[-1].stderr
    assert len(cluster.raw()) == 5
    for done in said:
        assert key not in done.stdout + done.stderr
    for topic in (spec.name for spec in topics.specs(cluster.settings)):
        assert not [r for r in cluster.records(topic) if key.encode() in (r.source.value or b"")], topic

    # The tenant goes down.
    tenant.set_variant("server_error", 503)
    down = run(cluster, "poll", "--once", FRAME_GAINSIGHT_RETRY_SECONDS="0.2")
    tenant.clear_variants()
    assert down.returncode == FAILED
    assert "acme" in down.stderr
    assert "503" in down.stderr


def test_tail_prints_a_record_a_line(cluster: Cluster) -> None:
    lines = tail(cluster, cluster.settings.connectors_topic)
    records = cluster.records(cluster.settings.connectors_topic)
    assert len(lines) == len(records) > 0
    for line in lines:
        assert list(line) == ["topic", "partition", "offset", "timestamp", "key", "headers", "value"]
    ours = [(r.key, r.source.partition, r.source.offset) for r in records]
    assert [(line["key"], line["partition"], line["offset"]) for line in lines] == ours
    raw = tail(cluster, cluster.settings.raw_topic)
    assert {line["headers"]["connector"] for line in raw} == {"acme"}
    assert {line["value"]["connector"] for line in raw} == {"acme"}
    assert not tail(cluster, cluster.settings.dead_letters_topic)


def tail(cluster: Cluster, topic: str) -> list[dict[str, Any]]:
    done = run(cluster, "tail", topic, "--from-beginning", "--json", "--exit-at-end")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_tail_of_an_unknown_topic_lists_those_that_there_are(cluster: Cluster) -> None:
    done = run(cluster, "tail", "frame.conversation", "--exit-at-end")
    assert done.returncode == FAILED
    assert "There is no topic 'frame.conversation'" in words(done.stderr)
    assert cluster.settings.conversations_topic in done.stderr.replace("\n", "")


# ---- what runs until it is stopped --------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_sandbox_serves_until_it_is_stopped(cluster: Cluster, number: signal.Signals) -> None:
    service = cluster.start(COMMAND, "sandbox", "--port", "0")
    service.says("runs at")
    found = re.search(r"http://[0-9.:]+", service.text)
    assert found
    assert httpx.get(f"{found[0]}/_sandbox/truth", timeout=PATIENCE, trust_env=False).status_code == 200
    client = re.search(r"OAuth client \(--oauth\): (\S+:\S+)", service.text)
    assert client
    arguments = ("--yes", "--id", "x", "--host", found[0], "--max", "0", "--oauth", "--force")
    rehearsed = run(cluster, "connector", "init", *arguments, given=client[1])
    assert rehearsed.returncode == 0, rehearsed.stderr
    assert service.stop(number) == 0, service.text


def test_kafka_runs_until_it_is_stopped_and_leaves_its_port(cluster: Cluster, tmp_path: Path) -> None:
    port = free_port()
    service = cluster.start(COMMAND, "kafka", "--port", str(port), "--data", str(tmp_path / "data"))
    service.says("Ctrl-C stops it.")
    client = AdminClient({"bootstrap.servers": f"{LOOPBACK}:{port}"})
    assert client.list_topics(timeout=20).brokers
    assert service.stop() == 0, service.text
    assert (tmp_path / "data").is_dir()
