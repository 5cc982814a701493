"""The KMS stand-in, through the same client library that the vault uses."""

from __future__ import annotations

import boto3
import pytest

from frame_gainsight.sandbox.kms import ALIAS, KmsStandIn


def test_its_environment_is_all_that_a_client_needs(kms: KmsStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in kms.environment().items():
        monkeypatch.setenv(name, value)
    client = boto3.client("kms")
    sealed = client.encrypt(KeyId=ALIAS, Plaintext=b"secret", EncryptionContext={"connector": "acme"})
    assert sealed["KeyId"].endswith(kms.key_id)
    opened = client.decrypt(CiphertextBlob=sealed["CiphertextBlob"], EncryptionContext={"connector": "acme"})
    assert opened["Plaintext"] == b"secret"
    with pytest.raises(client.exceptions.InvalidCiphertextException):
        client.decrypt(CiphertextBlob=sealed["CiphertextBlob"], EncryptionContext={"connector": "other"})
    client.close()


def test_a_second_one_in_the_same_process_has_the_same_key_elsewhere(kms: KmsStandIn) -> None:
    with KmsStandIn() as other:
        assert other.endpoint_url != kms.endpoint_url
        assert other.key_id == kms.key_id
