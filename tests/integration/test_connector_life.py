"""A connector's life by its commands, beside services that run all the time and are never restarted."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from frame_gainsight.connectors.definition.yaml_file import parse_yaml
from frame_gainsight.kafka import ProducerRecord, put
from frame_gainsight.runtime import SystemClock
from frame_gainsight.sandbox import Tenant
from tests.fixtures.cluster import Service, World, unlimited, until
from tests.integration.test_commands import FAILED, WRONG_USE, run, words

LATELY = datetime.fromtimestamp(time.time() - 3600, UTC).isoformat()
FOLLOW = 5.0  # seconds in which services follow
QUICK = {"FRAME_GAINSIGHT_RETRY_SECONDS": "0.2", "FRAME_GAINSIGHT_UNPARK_SECONDS": "0.3"}
MAPPING = {"user_profile": {"first_name": "person.FirstName"}}


class Life:
    """A tenant, its definition's file, and both services."""

    def __init__(self, world: World, connector: str, seed: int) -> None:
        self.world = world
        self.id = connector
        self.tenant: Tenant = unlimited(seed=seed, size=4)
        self.tenant.advance((SystemClock().now() - self.tenant.now()) / 1000)
        self.tenant.clock.run(1.0)
        self.host = world.serve(self.tenant)
        self.file = world.folder / f"{connector}.yaml"

    def write(self, **changes: Any) -> str:
        definition = {"id": self.id, "host": self.host, "period": "1s", "overlap": "30s", "api_share": 1.0}
        self.file.write_text(yaml.safe_dump(definition | MAPPING | changes))
        return str(self.file)

    def command(self, *arguments: str, given: str = "", code: int = 0) -> str:
        done = run(self.world, "connector", *arguments, given=given, **QUICK)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def add(self, *more: str, given: str | None = None, code: int = 0, **changes: Any) -> str:
        key = self.tenant.access_key if given is None else given
        return self.command("add", self.write(**changes), *more, given=key, code=code)

    def email(self) -> str:
        return str(self.tenant.create()["id"])

    def conversations(self) -> dict[str, Any]:
        return {r.name: r.value for r in self.world.conversations() if r.key.startswith(f"{self.id}/")}

    def arrives(self, gsid: str, seconds: float = 60.0) -> dict[str, Any]:
        begun = time.monotonic()
        until(f"{gsid} is a conversation", lambda: self.conversations().get(gsid), 60.0)
        assert time.monotonic() - begun < seconds, "it took longer than services may take to follow"
        return dict(self.conversations()[gsid])

    def quiet(self) -> None:
        """Returns when the tenant has been asked for nothing for two periods."""
        last, since = -1, time.monotonic()
        deadline = since + FOLLOW + 3

        def calm() -> bool:
            nonlocal last, since
            now = self.tenant.calls()["total"]
            if now != last:
                assert time.monotonic() < deadline, "it is still being asked"
                last, since = now, time.monotonic()
            return time.monotonic() - since > 2.2

        until("its tenant is not asked any more", calm)

    def status(self) -> dict[str, Any]:
        done = run(self.world, "status", self.id, "--json")
        (found,) = json.loads(done.stdout)["connectors"]
        assert done.returncode == (FAILED if found["state"] in ("late", "broken", "unreadable") else 0)
        return dict(found)


@pytest.fixture(scope="module")
def world(module_world: World) -> World:
    return module_world


@pytest.fixture(scope="module")
def services(world: World) -> Iterator[list[Service]]:
    running = [world.producer(**QUICK), world.enricher(**QUICK)]
    yield running
    assert all(service.running for service in running), "\n".join(service.text for service in running)


@pytest.fixture(scope="module")
def other(world: World, services: list[Service]) -> Life:
    """A connector that nothing is done to, and that must always go on."""
    life = Life(world, "other", 71)
    life.add()
    life.arrives(life.email())
    return life


def test_pausing_resuming_and_a_changed_mapping_are_followed(world: World, other: Life) -> None:
    acme = Life(world, "acme", 72)
    assert "Registered" in acme.add()
    first = acme.arrives(acme.email())
    assert "Paused" in acme.command("pause", "acme")
    assert "already" in acme.command("pause", "acme")
    acme.quiet()
    missed = acme.email()
    other.arrives(other.email())
    assert acme.status()["state"] == "paused"
    assert missed not in acme.conversations()
    assert "paused" in acme.add(given="", tags={"industry": "company.Industry"})  # the key and the state are kept
    acme.command("resume", "acme")
    later = acme.arrives(missed, FOLLOW + 1)
    assert later["mapping_version"] != first["mapping_version"]
    found = acme.status()
    assert (found["state"], found["parked"], found["dead"], found["last_error"]) == ("active", 0, 0, "")
    assert 0 < found["calls_today"] <= acme.tenant.calls()["total"]
    assert found["fresh_seconds"] < 30


def test_a_reset_key_is_told_with_what_to_do_and_a_new_one_heals_everything(world: World, other: Life) -> None:
    bolt = Life(world, "bolt", 73)
    bolt.add()
    bolt.arrives(bolt.email())
    old, new = bolt.tenant.access_key, bolt.tenant.reset_key()
    missed = bolt.email()
    until("it is told", lambda: bolt.status()["state"] == "broken")
    told = bolt.status()["last_error"]
    assert "does not accept the API key" in told and "connector rotate-key bolt" in told
    shown = run(world, "status")
    assert shown.returncode == FAILED and "rotate-key" in words(shown.stdout)

    before = world.registered("bolt")
    said = bolt.command("rotate-key", "bolt", given="not-the-key", code=FAILED)
    assert "the stored key stays" in words(said)
    assert world.registered("bolt") == before
    checked = run(world, "connector", "check", "bolt", "--json")
    assert checked.returncode == FAILED
    answer = json.loads(checked.stdout)
    assert [f["state"] for f in answer["findings"]] == ["ok", "failed", "unknown"]
    assert answer["api_calls"] == 1

    assert "Rotated" in bolt.command("rotate-key", "bolt", given=new)
    bolt.arrives(missed, FOLLOW + 1)
    until("its trouble is over", lambda: bolt.status()["last_error"] == "")
    assert not {old, new} & set(said.split())


def test_a_broken_connector_is_told_of_again_after_it_was_purged_and_registered_anew(world: World, other: Life) -> None:
    edge = Life(world, "edge", 78)
    edge.add("--no-check", given="00000000-not-the-key")
    until("it is told", lambda: edge.status()["state"] == "broken")
    for purge in ([], ["--purge", "--confirm", "edge"]):
        edge.command("remove", "edge", "--yes", *purge)
        edge.add("--no-check", given="00000000-not-the-key")
        until("it is told again", lambda: edge.status()["state"] == "broken")
    edge.command("rotate-key", "edge", given=edge.tenant.access_key)
    until("all is well", lambda: edge.status()["state"] == "active")
    edge.command("remove", "edge", "--yes")


def test_an_oauth_client_does_as_well(world: World, other: Life) -> None:
    crux = Life(world, "crux", 74)
    pair = f"{crux.tenant.client_id}\n{crux.tenant.client_secret}\n"
    crux.add("--oauth", given=pair)
    crux.arrives(crux.email())
    assert json.loads(crux.command("show", "crux", "--json"))["key"]["kind"] == "oauth_client"
    said = crux.command("rotate-key", "crux", "--oauth", given="wrong:pair", code=FAILED)
    assert "does not accept the OAuth client" in words(said)


def test_what_is_purged_is_gone_from_every_topic_and_can_begin_anew(world: World, other: Life) -> None:
    dune = Life(world, "dune", 75)
    dune.add(start=LATELY)
    gsid = dune.email()
    dune.arrives(gsid)
    assert "'dun' is not 'dune'" in dune.command("remove", "dune", "--purge", "--yes", "--confirm", "dun", code=2)
    assert "dune" in json.loads(run(world, "connector", "list", "--json").stdout).__repr__()
    said = words(dune.command("remove", "dune", "--purge", "--yes", "--confirm", "dune"))
    assert "Removed dune" in said and "Purged dune" in said
    assert alive(world, "dune") == {}
    assert "There is no connector 'dune'" in words(dune.command("show", "dune", code=FAILED))
    tombstones = [r for r in world.conversations() if r.key == f"dune/{gsid}" and r.value is None]
    assert len(tombstones) == 1, "the enricher's, and no other"
    assert other.conversations()
    other.arrives(other.email())
    dune.add(start=LATELY)
    assert dune.arrives(gsid)["activity_id"] == gsid
    dune.command("remove", "dune", "--yes")
    dune.quiet()
    assert gsid in dune.conversations(), "without --purge what was read stays"


def alive(world: World, connector: str) -> dict[str, int]:
    """Topic → keys of the connector that have a value."""
    settings = world.settings
    found = {}
    for topic in (
        settings.connectors_topic,
        settings.raw_topic,
        settings.checkpoints_topic,
        settings.entities_topic,
        settings.conversations_topic,
        settings.parked_topic,
    ):
        newest = {r.key: r.source.value for r in world.records(topic)}
        mine = [k for k, v in newest.items() if v is not None and (k == connector or k.startswith(f"{connector}/"))]
        if mine:
            found[topic] = len(mine)
    return found


def test_a_definition_that_does_not_read_stops_nobody(world: World, other: Life) -> None:
    topic, partitions = world.settings.connectors_topic, range(world.settings.partitions)
    for lane in partitions:
        put(world.settings, ProducerRecord(topic, lane, b"garbage", b"what is this"))
    put(world.settings, ProducerRecord(topic, world.lane("other"), b"other", b"\x00nor this"))
    other.arrives(other.email())
    listed = {c["id"] for c in json.loads(run(world, "status", "--json").stdout)["connectors"]}
    assert {"garbage", "other"} <= listed
    assert other.status()["state"] == "unreadable"
    other.add(given="")
    assert other.status()["state"] == "active"
    for lane in partitions:
        put(world.settings, ProducerRecord(topic, lane, b"garbage", None))


def test_a_tenant_that_cannot_be_reached_yet_is_registered_unchecked(world: World, other: Life) -> None:
    late = Life(world, "late", 76)
    late.tenant.set_variant("server_error", 503)
    assert "✗" in late.add(code=FAILED)
    late.add("--no-check")
    until("it waits", lambda: late.status()["state"] == "waiting")
    late.tenant.clear_variants()
    late.arrives(late.email())


def test_a_stored_key_goes_to_no_other_host(world: World, other: Life) -> None:
    evil = Life(world, "other", 77)
    said = evil.add(given="", code=WRONG_USE)
    assert "For another host its key is needed again" in words(said)
    assert evil.tenant.calls()["total"] == 0
    other.write()


def test_definitions_travel_without_their_keys(world: World, other: Life, tmp_path: Path) -> None:
    exported = run(world, "connector", "export").stdout
    parts = [parse_yaml(part) for part in exported.split("---\n")]
    assert {d.id for d in parts} >= {"other", "acme"}
    assert all(d == world.registered(d.id).definition for d in parts)
    assert other.tenant.access_key not in exported
    file = tmp_path / "all.yaml"
    new = yaml.safe_dump({"id": "unknown", "host": other.host})
    file.write_text(f"{exported}---\n{new}".replace("first_name: person.FirstName", "name: person.Name"))
    said = other.command("import", str(file), code=FAILED)
    assert "Changed other" in words(said) and "Not imported: unknown" in words(said)
    assert world.registered("other").definition.user_profile == {"name": "person.Name"}
    file.write_text(run(world, "connector", "export", "other").stdout)
    assert "other: as it was" in other.command("import", str(file))
