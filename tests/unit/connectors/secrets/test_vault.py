"""API keys at rest, against a real KMS server: sealed for one connector and one host."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from frame_gainsight.connectors import (
    DataKeys,
    KmsVault,
    Sealed,
    Secret,
    SecretError,
    VaultError,
    VaultUnavailableError,
)
from frame_gainsight.embedded_kafka.node import free_port
from frame_gainsight.sandbox.kms import KmsStandIn

TEXT = "5f0c4f5a-very-secret-9a55"
KEY = Secret.access_key(TEXT)
HOST = "https://acme.gainsightcloud.com"


@pytest.fixture
def environment(kms: KmsStandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[KmsStandIn]:
    for name, value in kms.environment().items():
        monkeypatch.setenv(name, value)
    yield kms


@pytest.fixture
def vault(environment: KmsStandIn) -> KmsVault:
    return KmsVault(environment.key_id)


def refused(vault: KmsVault, connector: str, host: str, sealed: Sealed) -> str:
    with pytest.raises(VaultError) as caught:
        vault.open(connector, host, sealed)
    assert TEXT not in "".join(traceback.format_exception(caught.value))
    return str(caught.value)


def test_what_is_sealed_is_opened_and_shown_nowhere_in_between(vault: KmsVault, environment: KmsStandIn) -> None:
    sealed = vault.seal("acme", HOST, KEY)
    assert vault.open("acme", HOST, sealed) == KEY
    assert sealed.kind == "access_key"
    assert environment.key_id in sealed.kms_key_id
    assert TEXT.encode() not in sealed.ciphertext
    assert TEXT not in repr(sealed) and TEXT not in repr(vault) and TEXT not in repr(KEY)


def test_an_alias_seals_too_and_the_sealed_key_names_the_real_one(environment: KmsStandIn) -> None:
    sealed = KmsVault("alias/frame-gainsight").seal("acme", HOST, KEY)
    assert environment.key_id in sealed.kms_key_id


def test_opening_needs_no_key_id(vault: KmsVault) -> None:
    assert KmsVault(None).open("acme", HOST, vault.seal("acme", HOST, KEY)) == KEY


@pytest.mark.parametrize(("connector", "host"), [("other", HOST), ("acme", "https://evil.example"), ("acme", "")])
def test_it_opens_for_no_other_connector_and_no_other_host(vault: KmsVault, connector: str, host: str) -> None:
    text = refused(vault, connector, host, vault.seal("acme", HOST, KEY))
    assert "encrypted for another connector or host; store the key again" in text
    assert f"'{connector}'" in text


def test_one_connector_s_ciphertext_in_another_s_place_is_refused(vault: KmsVault) -> None:
    ours, theirs = (
        vault.seal("acme", HOST, KEY),
        vault.seal("other", "https://other.example", Secret.access_key("their-key")),
    )
    assert "InvalidCiphertext" in refused(vault, "acme", HOST, theirs)
    assert vault.open("acme", HOST, ours) == KEY


@pytest.mark.parametrize("damage", [b"", b"x", b"\0" * 200])
def test_damaged_ciphertext_is_refused(vault: KmsVault, damage: bytes) -> None:
    sealed = vault.seal("acme", HOST, KEY)
    assert "'acme'" in refused(vault, "acme", HOST, Sealed(sealed.kind, damage, sealed.kms_key_id))


@pytest.mark.parametrize("key_id", [None, ""])
def test_without_a_key_id_the_variable_is_named(environment: KmsStandIn, key_id: str | None) -> None:
    with pytest.raises(VaultError, match="Set KMS_KEY_ID"):
        KmsVault(key_id).seal("acme", HOST, KEY)


def test_a_key_that_kms_does_not_have_is_an_error_with_the_check_to_make(environment: KmsStandIn) -> None:
    with pytest.raises(VaultError, match="NotFoundException; check KMS_KEY_ID and the region"):
        KmsVault("00000000-0000-0000-0000-000000000000").seal("acme", HOST, KEY)


@pytest.mark.parametrize("text", ["", TEXT * 500])
def test_a_key_that_is_none_is_refused_without_being_shown(vault: KmsVault, text: str) -> None:
    with pytest.raises(VaultError) as caught:
        vault.seal("acme", HOST, Secret("access_key", text))
    assert TEXT not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("name", "value"), [("AWS_ENDPOINT_URL_KMS", "nonsense"), ("AWS_ENDPOINT_URL_KMS", "http://[::1")]
)
def test_a_wrong_endpoint_is_named(
    environment: KmsStandIn, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(VaultError, match=name):
        KmsVault(environment.key_id).seal("acme", HOST, KEY)


def test_an_unreachable_kms_is_an_error_with_the_check_to_make(
    environment: KmsStandIn, vault: KmsVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed = vault.seal("acme", HOST, KEY)
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", f"http://127.0.0.1:{free_port()}")
    away = KmsVault(environment.key_id)
    assert "Check the AWS_* variables" in refused(away, "acme", HOST, sealed)
    with pytest.raises(VaultError, match="AWS_ENDPOINT_URL_KMS") as caught:
        away.seal("acme", HOST, KEY)
    assert TEXT not in "".join(traceback.format_exception(caught.value))


def test_no_region_is_an_error(environment: KmsStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.delenv("AWS_REGION", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(VaultError, match=r"no region is named\. Set AWS_DEFAULT_REGION, .*\.$"):
        KmsVault(environment.key_id).seal("acme", HOST, KEY)


class Kms:
    """A KMS that counts its calls, and can be away or refuse."""

    def __init__(self, real: Any) -> None:
        self.real, self.calls = real, Counter[str]()
        self.fails_with: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        def call(**arguments: Any) -> Any:
            self.calls[name] += 1
            if self.fails_with is not None:
                raise self.fails_with
            return getattr(self.real, name)(**arguments)

        return call


@pytest.fixture
def counted(environment: KmsStandIn) -> Kms:
    return Kms(boto3.client("kms"))


AWAY = EndpointConnectionError(endpoint_url="https://kms.example")
DENIED = ClientError({"Error": {"Code": "AccessDeniedException"}}, "Decrypt")


def test_kms_is_called_once_a_connector(environment: KmsStandIn, counted: Kms) -> None:
    sealed = {c: KmsVault(environment.key_id).seal(c, HOST, KEY) for c in ("acme", "bolt")}
    vault = KmsVault(None, counted)
    for _ in range(5):
        assert {c: vault.open(c, HOST, s) for c, s in sealed.items()} == {"acme": KEY, "bolt": KEY}
    assert counted.calls == {"decrypt": 2}


def test_every_secret_has_a_data_key_of_its_own(vault: KmsVault) -> None:
    first, second = (vault.seal("acme", HOST, KEY).ciphertext for _ in range(2))
    assert first[:200] != second[:200]


def test_while_kms_is_away_what_is_known_opens_however_old(environment: KmsStandIn, counted: Kms) -> None:
    sealed = {c: KmsVault(environment.key_id).seal(c, HOST, KEY) for c in ("acme", "bolt")}
    now = 0.0
    vault = KmsVault(None, counted, DataKeys(seconds=60, clock=lambda: now))
    assert vault.open("acme", HOST, sealed["acme"]) == KEY
    now, counted.fails_with = 61.0, AWAY
    assert vault.open("acme", HOST, sealed["acme"]) == KEY
    with pytest.raises(VaultUnavailableError):
        vault.open("bolt", HOST, sealed["bolt"])
    counted.fails_with = None
    assert vault.open("bolt", HOST, sealed["bolt"]) == KEY


def test_a_key_that_kms_refuses_now_is_forgotten_when_it_is_old(environment: KmsStandIn, counted: Kms) -> None:
    sealed = KmsVault(environment.key_id).seal("acme", HOST, KEY)
    now = 0.0
    vault = KmsVault(None, counted, DataKeys(seconds=60, clock=lambda: now))
    vault.open("acme", HOST, sealed)
    counted.fails_with = DENIED
    assert vault.open("acme", HOST, sealed) == KEY
    now = 61.0
    for fault in (DENIED, AWAY):
        counted.fails_with = fault
        with pytest.raises(VaultError):
            vault.open("acme", HOST, sealed)


def test_known_data_keys_are_bounded(environment: KmsStandIn, counted: Kms) -> None:
    sealed = {c: KmsVault(environment.key_id).seal(c, HOST, KEY) for c in ("acme", "bolt", "crux")}
    vault = KmsVault(None, counted, DataKeys(max_keys=2))
    for connector in ("acme", "bolt", "acme", "crux", "acme", "bolt"):
        vault.open(connector, HOST, sealed[connector])
    assert counted.calls == {"decrypt": 4}


def test_a_data_key_does_not_open_what_is_another_connector_s(vault: KmsVault) -> None:
    ours, theirs = vault.seal("acme", HOST, KEY), vault.seal("bolt", HOST, Secret.access_key("their-key"))
    spliced = ours.ciphertext[:-40] + theirs.ciphertext[-40:]
    assert "damaged, or not its own" in refused(vault, "acme", HOST, Sealed("access_key", spliced, ours.kms_key_id))
    assert "damaged, or not its own" in refused(vault, "acme", HOST, Sealed("oauth_client", *_rest(ours)))


def _rest(sealed: Sealed) -> tuple[bytes, str]:
    return sealed.ciphertext, sealed.kms_key_id


def test_a_key_of_another_region_is_used_there(vault: KmsVault) -> None:
    there = boto3.client("kms", region_name="eu-west-1").create_key()["KeyMetadata"]["Arn"]
    sealed = KmsVault(there).seal("acme", HOST, KEY)
    assert ":eu-west-1:" in sealed.kms_key_id
    assert KmsVault(None).open("acme", HOST, sealed) == KEY


def test_both_kinds_of_secret_come_back_as_they_were(vault: KmsVault) -> None:
    client = Secret.oauth_client("the-key\nthe:secret")
    assert vault.open("acme", HOST, vault.seal("acme", HOST, client)) == Secret("oauth_client", "the-key:the:secret")


@pytest.mark.parametrize("text", ["", "0ne", "0ne two three", ":x", "x:", "a:b c"])
def test_what_is_no_oauth_client_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(SecretError) as caught:
        Secret.oauth_client(text)
    assert not text or text not in str(caught.value)
