"""Conversations made anew from the raw topic, into another topic and into the live one: on real processes."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]

from frame_gainsight.connectors import Definition, Registry, Secret, register
from frame_gainsight.gainsight import format_date
from frame_gainsight.kafka import ConsumedRecord, KafkaLaneWriter, ProducerRecord
from frame_gainsight.kafka.clients import admin
from frame_gainsight.runtime import SystemClock
from frame_gainsight.sandbox import Morning, Tenant
from frame_gainsight.sandbox.kms import KmsStandIn
from tests.fixtures.cluster import Cluster, Record, Service, unlimited, until
from tests.fixtures.processes import COMMAND, PATIENCE

LatestOffsets = dict[str, tuple[bytes | None, Any]]


class Town:
    """An installation with one connector's morning behind it (an edit, a deletion), all of it enriched."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.tenant: Tenant = unlimited(seed=5, scenario=Morning(emails=60, periods=1, edits=0.2, late=0))
        cluster.add("acme", self.tenant)
        cluster.poll()
        emails = [a["activity_id"] for a in self.tenant.truth()["activities"] if a["type"] == "Email"]
        self.tenant.advance(5)
        self.tenant.edit(emails[0], {"Subject": "What was agreed"})
        self.tenant.delete(emails[1])
        self.tenant.advance(2400)
        cluster.poll()
        self.enricher: Service = cluster.enricher()
        cluster.settled()

    def replay(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        """Runs the command to its end; what it answers."""
        service = self.cluster.start(COMMAND, "replay", *arguments, "--json")
        assert service.wait() == code, service.text
        answer: dict[str, Any] = orjson.loads(next(x for x in service.text.splitlines() if x.startswith("{")))
        return answer

    def says(self, *arguments: str, code: int) -> str:
        """Runs the command to its end; all that it says."""
        service = self.cluster.start(COMMAND, "replay", *arguments)
        assert service.wait() == code, service.text
        return " ".join(service.text.split())

    def total(self) -> int:
        return int(self.tenant.calls()["total"])

    def remap(self, **changes: Any) -> Definition:
        """Registers the connector again, with another mapping."""
        cluster, before = self.cluster, self.cluster.registered("acme").definition
        registry = Registry(cluster.settings, cluster.codec)
        definition = before.model_copy(update=changes)
        registered = asyncio.run(
            register(registry, cluster.vault, SystemClock(), definition, Secret.access_key(self.tenant.access_key))
        )
        assert registered.connector is not None
        self.tenant.reset_calls()
        return registered.connector.definition

    def kill(self) -> None:
        """Kills the enricher, and starts another one."""
        self.enricher.kill()
        self.cluster.bury("enricher")
        self.enricher = self.cluster.enricher()

    def live(self) -> list[Record]:
        return self.cluster.conversations()

    def entities(self) -> list[Record]:
        return self.cluster.records(self.cluster.settings.entities_topic)

    def topic(self, name: str) -> str:
        return f"{self.cluster.settings.prefix}.{name}"


@pytest.fixture(scope="module")
def town(kafka: str, kms_environment: KmsStandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("cluster")
    with Cluster(kafka, kms_environment, folder, partitions=2, unpark_seconds=0.1, whole_object_rows=0) as cluster:
        yield Town(cluster)


def newest(records: Sequence[Record]) -> LatestOffsets:
    """Each key's last value and headers."""
    return {r.key: (r.source.value, r.source.headers) for r in records}


def test_a_replay_into_another_topic_writes_the_same_bytes_as_live_without_a_call(town: Town) -> None:
    live, entities, calls = newest(town.live()), town.entities(), town.total()
    target = town.topic("again")
    answer = town.replay("--to", target, "--no-calls")
    first = town.cluster.records(target)
    assert newest(first) == live
    assert set(Counter(r.key for r in first).values()) == {1}, "each key's newest version, once"
    assert [r.key for r in first if r.value is None] == [k for k, (value, _) in live.items() if value is None] != []
    assert (answer["written"], answer["deleted"], answer["calls"]) == (len(live) - 1, 1, 0)
    assert town.replay("acme", "--to", target) == answer
    assert newest(town.cluster.records(target)[len(first) :]) == live
    assert (town.entities(), town.total()) == (entities, calls)


def test_a_replay_with_a_changed_mapping_reaches_every_conversation_for_few_calls(town: Town) -> None:
    live, entities = town.live(), town.entities()
    mapping = {"zone": "person.Timezone", "role": "company_person.Role"}
    definition = town.remap(user_profile=mapping, tags={"kind": "activity.TypeName"})
    target = town.topic("mapped")
    blind = town.replay("--to", target, "--no-calls", code=1)
    assert blind["unresolved"] == len(blind["faults"]) > 0, "what is not known is told, and the rest is done"
    assert town.total() == 0
    seeing = town.replay("--to", target)
    assert seeing["unresolved"] == 0
    assert 0 < seeing["calls"] == town.total() <= 6, town.tenant.calls()
    assert town.entities() == entities, "they have another writer"

    town.tenant.reset_calls()
    answer = town.replay()
    made = town.live()[len(live) :]
    assert {r.value["mapping_version"] for r in made if r.value} == {definition.mapping_version}
    assert {definition.mapping_version}.isdisjoint(r.value["mapping_version"] for r in live if r.value)
    assert Counter(r.key for r in made) == Counter(newest(live).keys())
    assert newest(made) == newest(town.cluster.records(target))
    assert (answer["state"], answer["written"] + answer["deleted"]) == ("DONE", len(made))
    assert 0 < answer["calls"] == town.total() <= 6, town.tenant.calls()
    assert len(town.entities()) > len(entities)
    assert town.replay("acme")["calls"] == 0, "now it is known"


def test_a_replay_of_a_span_of_one_connector_leaves_out_the_rest(town: Town) -> None:
    live = town.live()
    dates = sorted(r.value["version"] for r in live if r.value)
    middle = dates[len(dates) // 2] // 1000 * 1000
    answer = town.replay("acme", "--since", format_date(middle))
    made = town.live()[len(live) :]
    values = {r.key: r.value for r in live}
    assert {r.key for r in made if r.value} == {k for k, v in values.items() if v and v["version"] >= middle}
    assert 0 < answer["written"] < len(values)


def crowd(town: Town, count: int) -> list[ConsumedRecord]:
    """So many activities more in the raw topic, of the same shape as those that are there."""
    models = [r.source for r in town.cluster.raw() if r.value is not None]
    records = [replace(models[n % len(models)], key=f"acme/C{n:06}".encode()) for n in range(count)]
    write(town.cluster, records)
    return records


def write(cluster: Cluster, records: Sequence[ConsumedRecord], later: int = 0) -> None:
    """Writes raw records as their owner would; `later`: as versions that many milliseconds newer."""
    outgoing = []
    for record in records:
        value = cluster.codec.decode_as("raw_activity", record.value or b"")
        value["modified_at"] += later
        data = cluster.codec.encode("raw_activity", value)
        outgoing.append(ProducerRecord(record.topic, record.partition, record.key or b"", data, record.headers))
    with KafkaLaneWriter(cluster.settings, "producer", cluster.lane("acme")) as writer:
        writer.write(outgoing)


def test_a_replay_whose_worker_is_killed_goes_on_and_writes_nothing_twice_nor_old_over_new(town: Town) -> None:
    cluster = town.cluster
    many = crowd(town, 3000)
    cluster.settled()
    live = town.live()
    base = len(live)
    arriving = cluster.arriving(cluster.settings.conversations_topic)
    arriving.until(base)
    asking = cluster.start(COMMAND, "replay", "acme", "--json")
    edited: list[ConsumedRecord] = []
    for number, made in enumerate((1, 1000)):
        arriving.until(base + len(edited) + made)
        some = many[number::40]  # of what is made anew already, and of what is not
        write(cluster, some, later=60_000)
        edited += some
        assert asking.running, "it was to be killed before the end"
        town.kill()
    assert asking.wait() == 0, asking.text
    cluster.settled()
    answer = orjson.loads(next(x for x in asking.text.splitlines() if x.startswith("{")))
    everything = town.live()
    versions: dict[str, list[int]] = {}
    for record in everything[base:]:
        if record.value is not None:
            versions.setdefault(record.key, []).append(record.value["version"])
    changed = {(r.key or b"").decode() for r in edited}
    for key, seen in versions.items():
        assert seen == sorted(seen), f"an older version over a newer one: {key} {seen}"
    again = Counter(r.key for r in everything[base:] if r.key not in changed)
    assert set(again.values()) == {1}, "nothing twice within one replay"
    assert {r.key for r in everything[base:]} == {r.key for r in live}, "and nothing left out"
    edit = {
        (r.key or b"").decode(): cluster.codec.decode_as("raw_activity", r.value or b"")["modified_at"] for r in edited
    }
    assert all(versions[key].count(at + 60_000) == 1 for key, at in edit.items())
    assert answer["newer"] > 0
    assert answer["written"] + answer["deleted"] + answer["newer"] == len({r.key for r in live})
    assert answer["written"] + answer["deleted"] == len(everything) - base - len(edited)
    assert answer["calls"] == 0


def test_a_cancelled_replay_stops_and_its_command_reports_it(town: Town) -> None:
    town.enricher.stop()
    asking = town.cluster.start(COMMAND, "replay")
    asking.says("Requested")
    until("it is asked of both lanes", lambda: len(requests(town)) == 2)
    assert "Given up" in town.says("--cancel", code=0)
    assert asking.wait() == 1, asking.text
    assert "Cancelled" in asking.text
    live = len(town.live())
    town.enricher = town.cluster.enricher()
    assert town.replay("acme", "--since", "2100-01-01")["written"] == 0
    assert len(town.live()) == live, "and nobody takes it up later"


def requests(town: Town) -> list[Record]:
    found = town.cluster.records(town.cluster.settings.checkpoints_topic)
    return [r for r in found if r.value and r.kind == "replay" and r.value["state"] == "REQUESTED"][-2:]


def test_wrong_use_of_replay_says_what_would_be_right(town: Town) -> None:
    settings = town.cluster.settings
    narrow = town.topic("narrow")
    asking = admin(settings)  # held: a client that is gone never answers
    asking.create_topics([NewTopic(narrow, 1, 1, config={"cleanup.policy": "compact"})])[narrow].result(PATIENCE)
    text = town.says("--to", narrow, code=1)
    assert f"{narrow} cannot take conversations" in text
    assert "with 2 partitions" in text
    assert "leave it out" in town.says("--to", settings.conversations_topic, code=2)
    assert "2026-01-01" in town.says("--since", "yesterday", code=2)
    assert "nobody" in town.says("nobody", code=1)
