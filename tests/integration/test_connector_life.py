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
from tests.fixtures.cluster import Cluster, Service, unlimited, until
from tests.fixtures.commands import FAILED, WRONG_USE, run, words

LATELY = datetime.fromtimestamp(time.time() - 3600, UTC).isoformat()
FOLLOW = 5.0  # seconds in which services follow
QUICK = {"FRAME_GAINSIGHT_RETRY_SECONDS": "0.2", "FRAME_GAINSIGHT_UNPARK_SECONDS": "0.3"}
MAPPING = {"user_profile": {"first_name": "person.FirstName"}}


class Life:
    """A tenant, its definition's file, and both services."""

    def __init__(self, cluster: Cluster, connector: str, seed: int) -> None:
        self.cluster = cluster
        self.id = connector
        self.tenant: Tenant = unlimited(seed=seed, size=4)
        self.tenant.advance((SystemClock().now() - self.tenant.now()) / 1000)
        self.tenant.clock.run(1.0)
        self.host = cluster.serve(self.tenant)
        self.file = cluster.folder / f"{connector}.yaml"

    def write(self, **changes: Any) -> str:
        definition = {"id": self.id, "host": self.host, "period": "1s", "overlap": "30s", "api_share": 1.0}
        self.file.write_text(yaml.safe_dump(definition | MAPPING | changes))
        return str(self.file)

    def command(self, *arguments: str, given: str = "", code: int = 0) -> str:
        done = run(self.cluster, "connector", *arguments, given=given, **QUICK)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def add(self, *more: str, given: str | None = None, code: int = 0, **changes: Any) -> str:
        key = self.tenant.access_key if given is None else given
        return self.command("add", self.write(**changes), *more, given=key, code=code)

    def email(self) -> str:
        return str(self.tenant.create()["id"])

    def conversations(self) -> dict[str, Any]:
        return {r.name: r.value for r in self.cluster.conversations() if r.connector == self.id}

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
        done = run(self.cluster, "status", self.id, "--json")
        (found,) = json.loads(done.stdout)["connectors"]
        assert done.returncode == (FAILED if found["state"] in ("late", "broken", "unreadable") else 0)
        return dict(found)


@pytest.fixture(scope="module")
def cluster(module_cluster: Cluster) -> Cluster:
    return module_cluster


@pytest.fixture(scope="module")
def services(cluster: Cluster) -> Iterator[list[Service]]:
    running = [cluster.producer(**QUICK), cluster.enricher(**QUICK)]
    yield running
    assert all(service.running for service in running), "\n".join(service.text for service in running)


@pytest.fixture(scope="module")
def other(cluster: Cluster, services: list[Service]) -> Life:
    """A connector that nothing is done to, and that must always go on."""
    life = Life(cluster, "other", 71)
    life.add()
    life.arrives(life.email())
    return life


def test_pausing_resuming_and_a_changed_mapping_are_followed(cluster: Cluster, other: Life) -> None:
    acme = Life(cluster, "acme", 72)
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


def test_a_reset_key_is_reported_with_what_to_do_and_a_new_one_heals_everything(cluster: Cluster, other: Life) -> None:
    bolt = Life(cluster, "bolt", 73)
    bolt.add()
    bolt.arrives(bolt.email())
    old, new = bolt.tenant.access_key, bolt.tenant.reset_key()
    missed = bolt.email()
    until("it is told", lambda: bolt.status()["state"] == "broken")
    told = bolt.status()["last_error"]
    assert "does not accept the API key" in told and "connector rotate-key bolt" in told
    shown = run(cluster, "status")
    assert shown.returncode == FAILED and "rotate-key" in words(shown.stdout)

    before = cluster.registered("bolt")
    said = bolt.command("rotate-key", "bolt", given="not-the-key", code=FAILED)
    assert "the stored key stays" in words(said)
    assert cluster.registered("bolt") == before
    checked = run(cluster, "connector", "check", "bolt", "--json")
    assert checked.returncode == FAILED
    answer = json.loads(checked.stdout)
    assert [f["state"] for f in answer["findings"]] == ["ok", "failed", "unknown"]
    assert answer["api_calls"] == 1

    assert "Rotated" in bolt.command("rotate-key", "bolt", given=new)
    bolt.arrives(missed, FOLLOW + 1)
    until("its trouble is over", lambda: bolt.status()["last_error"] == "")
    assert not {old, new} & set(said.split())


def test_a_broken_connector_is_reported_again_after_it_was_purged_and_registered_anew(
    cluster: Cluster, other: Life
) -> None:
    edge = Life(cluster, "edge", 78)
    edge.add("--no-check", given="00000000-not-the-key")
    until("it is told", lambda: edge.status()["state"] == "broken")
    for purge in ([], ["--purge", "--confirm", "edge"]):
        edge.command("remove", "edge", "--yes", *purge)
        edge.add("--no-check", given="00000000-not-the-key")
        until("it is told again", lambda: edge.status()["state"] == "broken")
    edge.command("rotate-key", "edge", given=edge.tenant.access_key)
    until("all is well", lambda: edge.status()["state"] == "active")
    edge.command("remove", "edge", "--yes")


def test_a_connector_with_an_oauth_client_is_polled_and_enriched(cluster: Cluster, other: Life) -> None:
    crux = Life(cluster, "crux", 74)
    pair = f"{crux.tenant.client_id}\n{crux.tenant.client_secret}\n"
    crux.add("--oauth", given=pair)
    crux.arrives(crux.email())
    assert json.loads(crux.command("show", "crux", "--json"))["key"]["kind"] == "oauth_client"
    said = crux.command("rotate-key", "crux", "--oauth", given="wrong:pair", code=FAILED)
    assert "does not accept the OAuth client" in words(said)


def test_a_purged_connector_is_gone_from_every_topic_and_can_begin_anew(cluster: Cluster, other: Life) -> None:
    dune = Life(cluster, "dune", 75)
    dune.add(start=LATELY)
    gsid = dune.email()
    dune.arrives(gsid)
    assert "'dun' is not 'dune'" in dune.command("remove", "dune", "--purge", "--yes", "--confirm", "dun", code=2)
    assert "dune" in json.loads(run(cluster, "connector", "list", "--json").stdout).__repr__()
    said = words(dune.command("remove", "dune", "--purge", "--yes", "--confirm", "dune"))
    assert "Removed dune" in said and "Purged dune" in said
    assert alive(cluster, "dune") == {}
    assert "There is no connector 'dune'" in words(dune.command("show", "dune", code=FAILED))
    tombstones = [r for r in cluster.conversations() if r.key == f"dune/{gsid}" and r.value is None]
    assert len(tombstones) == 1, "the enricher's, and no other"
    assert other.conversations()
    other.arrives(other.email())
    dune.add(start=LATELY)
    assert dune.arrives(gsid)["activity_id"] == gsid
    dune.command("remove", "dune", "--yes")
    dune.quiet()
    assert gsid in dune.conversations(), "without --purge what was read stays"


def test_a_start_in_the_wrong_year_is_said_and_its_correction_is_followed_at_once(
    cluster: Cluster, other: Life
) -> None:
    typo = Life(cluster, "typo", 79)
    said = words(typo.add(start="2126-11-01T00:00:00Z"))
    assert "starts in the future" in said and "ahead of the tenant's clock" in said
    until("it says what it waits for", lambda: typo.status()["state"] == "waiting")
    assert "2126-11-01T00:00:00Z, which is in the future" in typo.status()["last_error"]
    gsid = typo.email()
    typo.add(given="", start=LATELY)
    typo.arrives(gsid, FOLLOW)
    until("all is well", lambda: typo.status()["last_error"] == "")
    typo.command("remove", "typo", "--yes")


def test_activity_types_that_the_tenant_does_not_have_are_refused_and_said(cluster: Cluster, other: Life) -> None:
    wrong = Life(cluster, "wrong", 80)
    gsid = wrong.email()
    said = words(wrong.add(code=FAILED, activity_types=["Emails"], start=LATELY))
    assert "Is 'Email' meant?" in said and "--no-check" in said
    wrong.add("--no-check", activity_types=["Emails"], start=LATELY)
    until("it is said", lambda: "No activity of its types ('Emails')" in wrong.status()["last_error"])
    assert wrong.status()["state"] == "waiting"
    wrong.add(given="", activity_types=["Email"])
    wrong.arrives(gsid)
    until("all is well", lambda: wrong.status()["last_error"] == "")
    wrong.add("--no-check", given="", activity_types=["Mails"])
    until("it is said again", lambda: "No activity of its types ('Mails')" in wrong.status()["last_error"])
    wrong.command("remove", "wrong", "--yes")


def alive(cluster: Cluster, connector: str) -> dict[str, int]:
    """Topic → keys of the connector that have a value."""
    settings = cluster.settings
    found = {}
    for topic in (
        settings.connectors_topic,
        settings.raw_topic,
        settings.checkpoints_topic,
        settings.entities_topic,
        settings.conversations_topic,
        settings.parked_topic,
    ):
        newest = {r.key: r.source.value for r in cluster.records(topic)}
        mine = [k for k, v in newest.items() if v is not None and (k == connector or k.startswith(f"{connector}/"))]
        if mine:
            found[topic] = len(mine)
    return found


def test_an_unreadable_definition_stops_no_other_connector(cluster: Cluster, other: Life) -> None:
    topic, partitions = cluster.settings.connectors_topic, range(cluster.settings.partitions)
    for lane in partitions:
        put(cluster.settings, ProducerRecord(topic, lane, b"garbage", b"what is this"))
    put(cluster.settings, ProducerRecord(topic, cluster.lane("other"), b"other", b"\x00nor this"))
    other.arrives(other.email())
    listed = {c["id"] for c in json.loads(run(cluster, "status", "--json").stdout)["connectors"]}
    assert {"garbage", "other"} <= listed
    assert other.status()["state"] == "unreadable"
    other.add(given="")
    assert other.status()["state"] == "active"
    for lane in partitions:
        put(cluster.settings, ProducerRecord(topic, lane, b"garbage", None))


def test_a_tenant_that_cannot_be_reached_yet_is_registered_unchecked(cluster: Cluster, other: Life) -> None:
    late = Life(cluster, "late", 76)
    late.tenant.set_variant("server_error", 503)
    assert "✗" in late.add(code=FAILED)
    late.add("--no-check")
    until("it waits", lambda: late.status()["state"] == "waiting")
    late.tenant.clear_variants()
    late.arrives(late.email())


def test_a_stored_key_goes_to_no_other_host(cluster: Cluster, other: Life) -> None:
    evil = Life(cluster, "other", 77)
    said = evil.add(given="", code=WRONG_USE)
    assert "For another host its key is needed again" in words(said)
    assert evil.tenant.calls()["total"] == 0
    other.write()


def test_exported_definitions_have_no_keys_and_are_imported_again(
    cluster: Cluster, other: Life, tmp_path: Path
) -> None:
    exported = run(cluster, "connector", "export").stdout
    parts = [parse_yaml(part) for part in exported.split("---\n")]
    assert {d.id for d in parts} >= {"other", "acme"}
    assert all(d == cluster.registered(d.id).definition for d in parts)
    assert other.tenant.access_key not in exported
    file = tmp_path / "all.yaml"
    new = yaml.safe_dump({"id": "unknown", "host": other.host})
    file.write_text(f"{exported}---\n{new}".replace("first_name: person.FirstName", "name: person.Name"))
    said = other.command("import", str(file), code=FAILED)
    assert "Changed other" in words(said) and "Not imported: unknown" in words(said)
    assert cluster.registered("other").definition.user_profile == {"name": "person.Name"}
    file.write_text(run(cluster, "connector", "export", "other").stdout)
    assert "other: as it was" in other.command("import", str(file))
