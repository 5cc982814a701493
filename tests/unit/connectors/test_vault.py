"""API keys at rest, against a real KMS server: sealed for one connector and one host."""

from __future__ import annotations

import traceback
from collections.abc import Iterator

import pytest

from bus.node import free_port
from connectors import KmsVault, Sealed, VaultError
from connectors.kms_standin import KmsStandIn

KEY = "5f0c4f5a-very-secret-9a55"
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
    assert KEY not in "".join(traceback.format_exception(caught.value))
    return str(caught.value)


def test_what_is_sealed_is_opened_and_shown_nowhere_in_between(vault: KmsVault, environment: KmsStandIn) -> None:
    sealed = vault.seal("acme", HOST, KEY)
    assert vault.open("acme", HOST, sealed) == KEY
    assert sealed.kind == "access_key"
    assert environment.key_id in sealed.kms_key_id
    assert KEY.encode() not in sealed.ciphertext
    assert KEY not in repr(sealed) and KEY not in repr(vault)


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
    ours, theirs = vault.seal("acme", HOST, KEY), vault.seal("other", "https://other.example", "their key")
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


def test_a_key_that_kms_does_not_have_is_told_with_what_to_check(environment: KmsStandIn) -> None:
    with pytest.raises(VaultError, match="NotFoundException; check KMS_KEY_ID and the region"):
        KmsVault("00000000-0000-0000-0000-000000000000").seal("acme", HOST, KEY)


@pytest.mark.parametrize("key", ["", KEY * 500])
def test_a_key_that_kms_does_not_take_is_refused_without_being_shown(vault: KmsVault, key: str) -> None:
    with pytest.raises(VaultError) as caught:
        vault.seal("acme", HOST, key)
    assert KEY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("name", "value"), [("AWS_ENDPOINT_URL_KMS", "nonsense"), ("AWS_ENDPOINT_URL_KMS", "http://[::1")]
)
def test_a_wrong_endpoint_is_named(
    environment: KmsStandIn, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(VaultError, match=name):
        KmsVault(environment.key_id).seal("acme", HOST, KEY)


def test_an_unreachable_kms_is_told_with_what_to_check(
    environment: KmsStandIn, vault: KmsVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed = vault.seal("acme", HOST, KEY)
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", f"http://127.0.0.1:{free_port()}")
    away = KmsVault(environment.key_id)
    assert "Check the AWS_* variables" in refused(away, "acme", HOST, sealed)
    with pytest.raises(VaultError, match="AWS_ENDPOINT_URL_KMS") as caught:
        away.seal("acme", HOST, KEY)
    assert KEY not in "".join(traceback.format_exception(caught.value))


def test_no_region_is_told(environment: KmsStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.delenv("AWS_REGION", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(VaultError, match="region"):
        KmsVault(environment.key_id).seal("acme", HOST, KEY)
