"""Two people at the same connector: the slow command keeps what the quick one did, or refuses and says why."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from frame_gainsight.connectors import (
    ChangedMeanwhileError,
    Connector,
    Definition,
    KmsVault,
    Registry,
    Sealed,
    Secret,
    register,
    rotate,
)
from frame_gainsight.kafka import ProducerRecord, put
from frame_gainsight.runtime import SystemClock
from frame_gainsight.sandbox import Tenant
from tests.fixtures.cluster import Cluster, unlimited
from tests.fixtures.commands import FAILED, Terminal, run, words

HOST = "https://acme.example"
FIRST, SECOND, THIRD = (Secret.access_key(f"00000000-key-{n}") for n in range(3))


@pytest.fixture(scope="module")
def cluster(module_cluster: Cluster) -> Cluster:
    return module_cluster


class Office:
    """A registered connector, and commands of which one is slow: `meanwhile` happens after its check."""

    def __init__(self, cluster: Cluster, connector: str) -> None:
        self.id = connector
        self.cluster = cluster
        self.registry = Registry(cluster.settings, cluster.codec)
        self.vault = cluster.vault
        self.add(FIRST)

    def add(
        self, secret: Secret | None, meanwhile: Callable[[], object] = lambda: None, host: str = HOST, period: int = 600
    ) -> Connector:
        definition = Definition(id=self.id, host=host, period=period)
        work = register(
            self.registry,
            Slow(self.vault, meanwhile),
            SystemClock(),
            definition,
            secret,
            known=self.registry.all(),
            unchecked=True,
        )
        made = asyncio.run(work).connector
        assert made is not None
        return made

    def rotate(self, secret: Secret, meanwhile: Callable[[], object] = lambda: None) -> None:
        work = rotate(self.registry, Slow(self.vault, meanwhile), SystemClock(), self.now(), secret, unchecked=True)
        asyncio.run(work)

    def pause(self) -> None:
        self.cluster.set_state(self.id, "PAUSED")

    def remove(self) -> None:
        assert self.registry.remove(self.id)

    def now(self) -> Connector:
        return self.registry.get(self.id)

    def key(self) -> Secret:
        return self.vault.open(self.id, HOST, self.now().sealed)


class Slow:
    """A vault at which something happens in the meantime."""

    def __init__(self, vault: KmsVault, meanwhile: Callable[[], object]) -> None:
        self._vault = vault
        self._meanwhile = meanwhile

    def seal(self, connector: str, host: str, secret: Secret) -> Sealed:
        self._meanwhile()
        return self._vault.seal(connector, host, secret)

    def open(self, connector: str, host: str, sealed: Sealed) -> Secret:
        self._meanwhile()
        return self._vault.open(connector, host, sealed)


def test_a_rotation_changes_the_key_and_nothing_else(cluster: Cluster) -> None:
    office = Office(cluster, "alpha")

    def meanwhile() -> None:
        office.pause()
        office.add(None, period=60)

    office.rotate(SECOND, meanwhile)
    assert (office.now().state, office.now().definition.period, office.key()) == ("PAUSED", 60, SECOND)


def test_a_changed_definition_changes_neither_the_state_nor_a_newer_key(cluster: Cluster) -> None:
    office = Office(cluster, "beta")

    def meanwhile() -> None:
        office.pause()
        office.rotate(SECOND)

    office.add(None, meanwhile, period=60)
    assert (office.now().state, office.now().definition.period, office.key()) == ("PAUSED", 60, SECOND)


@pytest.mark.parametrize("slow", ["rotate", "add", "add and keep the key"])
def test_a_connector_removed_meanwhile_does_not_come_back(cluster: Cluster, slow: str) -> None:
    office = Office(cluster, f"gamma-{len(slow)}")
    with pytest.raises(ChangedMeanwhileError, match=r"removed meanwhile: nothing was written.*connector add"):
        if slow == "rotate":
            office.rotate(SECOND, office.remove)
        else:
            office.add(SECOND if slow == "add" else None, office.remove)
    assert office.id not in office.registry.all()


def test_a_change_over_another_host_another_key_or_a_namesake_is_refused(cluster: Cluster) -> None:
    office = Office(cluster, "delta")
    with pytest.raises(ChangedMeanwhileError, match=r"Another key was stored.*rotate-key delta"):
        office.rotate(SECOND, lambda: office.rotate(THIRD))
    assert office.key() == THIRD
    with pytest.raises(ChangedMeanwhileError, match=r"Another key was stored"):
        office.add(FIRST, lambda: office.rotate(SECOND))
    assert office.key() == SECOND
    with pytest.raises(ChangedMeanwhileError, match=r"is for https://other.example now.*connector show delta"):
        office.rotate(FIRST, lambda: office.add(THIRD, host="https://other.example"))
    office.remove()
    with pytest.raises(ChangedMeanwhileError, match=r"registered by somebody else meanwhile, for https://other"):
        office.add(FIRST, lambda: office.add(THIRD, host="https://other.example"))
    assert office.now().definition.host == "https://other.example"


def test_a_connector_written_between_anothers_read_and_write_is_not_overwritten(cluster: Cluster) -> None:
    """The last moment of all: the connector has been read for the last time, and the record is not written yet."""
    office, seen = Office(cluster, "epsilon"), []

    def shorter(newest: Connector | None) -> Connector:
        assert newest is not None
        seen.append(newest.state)
        if len(seen) == 1:
            office.pause()
        return replace(newest, definition=newest.definition.model_copy(update={"period": 60}))

    office.registry.change(office.id, shorter)
    assert seen == ["ACTIVE", "PAUSED"]
    assert (office.now().state, office.now().definition.period) == ("PAUSED", 60)


def test_an_unreadable_definition_is_reported_until_it_is_removed(cluster: Cluster) -> None:
    topic = cluster.settings.connectors_topic
    for lane in range(cluster.settings.partitions):
        put(cluster.settings, ProducerRecord(topic, lane, b"zeta", b"what is this"))
    shown = run(cluster, "connector", "show", "zeta")
    assert shown.returncode == FAILED and "The definition of 'zeta' does not read" in words(shown.stderr)
    listed = run(cluster, "connector", "list")
    assert listed.returncode == 0 and words(listed.stderr).count("zeta") == 2, "once, with the command to take it out"
    assert "connector remove zeta" in words(listed.stderr) and "definition_unreadable" not in listed.stderr
    removed = run(cluster, "connector", "remove", "zeta", "--yes")
    assert removed.returncode == 0 and "Removed zeta" in removed.stdout, removed.stderr
    assert "zeta" not in run(cluster, "status", "--json").stdout
    assert run(cluster, "connector", "list").stderr == ""

    put(cluster.settings, ProducerRecord(topic, cluster.lane("zeta"), b"zeta", b"once more"))
    purged = run(cluster, "connector", "remove", "zeta", "--purge", "--yes", "--confirm", "zeta")
    assert "Removed zeta" in purged.stdout and "There was nothing of zeta" in purged.stdout
    assert "zeta" not in run(cluster, "status", "--json").stdout


def test_a_connector_whose_key_is_not_utf_8_is_removed_by_the_id_that_is_shown(cluster: Cluster) -> None:
    put(cluster.settings, ProducerRecord(cluster.settings.connectors_topic, 1, b"caf\xe9", b"x"))
    office = Office(cluster, "caf")
    assert Registry(cluster.settings, cluster.codec).remove("caf\ufffd")
    assert not Registry(cluster.settings, cluster.codec).remove("caf\ufffd")
    assert office.now().id == "caf"


def test_a_tombstone_in_another_lane_removes_no_connector(cluster: Cluster) -> None:
    office = Office(cluster, "theta")
    for lane in set(range(cluster.settings.partitions)) - {cluster.lane("theta")}:
        put(cluster.settings, ProducerRecord(cluster.settings.connectors_topic, lane, b"theta", None))
    assert office.now().id == "theta"


# ---- what else an administrator's commands are to do --------------------------------------------------------------


def test_a_connector_whose_id_looks_like_an_option_is_removed(cluster: Cluster) -> None:
    registry = Registry(cluster.settings, cluster.codec)
    sealed = Office(cluster, "iota").now()
    for id_ in ("-", "--purge"):
        named = replace(sealed, definition=sealed.definition.model_copy(update={"id": id_}))
        registry.put(named)
        assert registry.get(id_) == named
        done = run(cluster, "connector", "remove", "--yes", "--", id_)
        assert done.returncode == 0 and f"Removed {id_}." in done.stdout, done.stderr
        assert id_ not in registry.all()


@pytest.mark.parametrize("command", ["add", "rotate-key", "import"])
def test_without_a_kms_key_no_command_asks_for_an_api_key(cluster: Cluster, tmp_path: Path, command: str) -> None:
    Office(cluster, "kappa")
    file = tmp_path / "new.yaml"
    file.write_text(f"id: new\nhost: {HOST}\n")
    person = Terminal(cluster, "connector", command, "kappa" if command == "rotate-key" else str(file), KMS_KEY_ID="")
    assert person.end() == FAILED
    assert "KMS_KEY_ID" in person.seen and "API access key" not in person.seen


def test_an_api_key_that_cannot_be_stored_is_not_checked_first(cluster: Cluster, tmp_path: Path) -> None:
    Office(cluster, "lambda")
    file = tmp_path / "lambda.yaml"
    file.write_text(f"id: lambda\nhost: {HOST}\nperiod: 1m\n")
    done = run(cluster, "connector", "add", str(file), given="00000000-key-9", KMS_KEY_ID="")
    assert done.returncode == FAILED and "KMS_KEY_ID" in done.stderr and "Checking" not in done.stderr
    kept = run(cluster, "connector", "add", str(file), "--no-check", KMS_KEY_ID="")
    assert kept.returncode == 0, kept.stderr
    assert cluster.registered("lambda").definition.period == 60


@pytest.mark.parametrize("said", [True, False], ids=["as exported", "as the command says"])
def test_import_asks_for_an_oauth_client_where_there_was_one(cluster: Cluster, tmp_path: Path, said: bool) -> None:
    tenant = unlimited(seed=79)
    host = cluster.serve(tenant)
    names = {True: ("mu", "mu-key"), False: ("nu", "nu-key")}[said]
    file = tmp_path / "all.yaml"
    file.write_text("---\n".join(f"id: {name}\nhost: {host}\n" for name in names))
    if said:
        for name, flags, secret in ((names[0], ["--oauth"], pair_of(tenant)), (names[1], [], tenant.access_key)):
            one = tmp_path / "one.yaml"
            one.write_text(f"id: {name}\nhost: {host}\n")
            assert run(cluster, "connector", "add", str(one), *flags, given=secret).returncode == 0
        file.write_text(run(cluster, "connector", "export", *names).stdout)
        for name in names:
            assert run(cluster, "connector", "remove", name, "--yes").returncode == 0
    flags = [] if said else ["--oauth"]
    person = Terminal(cluster, "connector", "import", str(file), *flags)
    person.asked("OAuth client key", tenant.client_id)
    person.asked("OAuth client secret", tenant.client_secret)
    if said:
        person.asked("API access key", tenant.access_key)
    else:
        person.asked("OAuth client key", tenant.client_id)
        person.asked("OAuth client secret", tenant.client_secret)
    assert person.end() == 0, person.seen
    kinds = [cluster.registered(name).sealed.kind for name in names]
    assert kinds == ["oauth_client", "access_key" if said else "oauth_client"]


def pair_of(tenant: Tenant) -> str:
    return f"{tenant.client_id}:{tenant.client_secret}"
