"""API keys at rest: encrypted by AWS KMS, bound to the connector and its host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from connectors.errors import VaultError

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient


@dataclass(frozen=True, slots=True)
class Sealed:
    """An encrypted API key. `kms_key_id` is the key that encrypted it (its ARN)."""

    kind: str
    ciphertext: bytes
    kms_key_id: str


class Vault(Protocol):
    """Encrypts and decrypts API keys. May block."""

    def seal(self, connector: str, host: str, key: str) -> Sealed:
        """Raises VaultError."""

    def open(self, connector: str, host: str, sealed: Sealed) -> str:
        """Raises VaultError, also when it was sealed for another connector or host."""


class KmsVault:
    """A `Vault` on AWS KMS. Credentials, region and endpoint come by boto3's own chain.

    Args:
        key_id: KMS key id, ARN or alias (`KMS_KEY_ID`); needed to seal, not to open.
    """

    def __init__(self, key_id: str | None, client: KMSClient | None = None) -> None:
        self._key_id = key_id
        self._client = client

    def seal(self, connector: str, host: str, key: str) -> Sealed:
        if not self._key_id:
            raise VaultError("No KMS key is named to encrypt the API key with. Set KMS_KEY_ID (id, ARN or alias).")
        try:
            reply = self._kms().encrypt(
                KeyId=self._key_id, Plaintext=key.encode(), EncryptionContext=_context(connector, host)
            )
        except (BotoCoreError, ClientError) as error:
            raise VaultError(f"KMS did not encrypt the API key of '{connector}': {_why(error)}") from None
        return Sealed("access_key", reply["CiphertextBlob"], reply["KeyId"])

    def open(self, connector: str, host: str, sealed: Sealed) -> str:
        try:
            reply = self._kms().decrypt(
                CiphertextBlob=sealed.ciphertext,
                KeyId=sealed.kms_key_id,
                EncryptionContext=_context(connector, host),
            )
        except (BotoCoreError, ClientError) as error:
            raise VaultError(f"KMS did not decrypt the API key of '{connector}': {_why(error)}") from None
        return reply["Plaintext"].decode()

    def _kms(self) -> KMSClient:
        if self._client is None:
            config = Config(connect_timeout=5, read_timeout=10, retries={"max_attempts": 4, "mode": "standard"})
            try:
                self._client = boto3.client("kms", config=config)
            except BotoCoreError as error:
                raise VaultError(f"KMS cannot be used: {_why(error)}") from None
            except ValueError as error:  # an endpoint that is not an address
                raise VaultError(f"KMS cannot be used: {error}. Check AWS_ENDPOINT_URL_KMS.") from None
        return self._client


def _context(connector: str, host: str) -> dict[str, str]:
    return {"connector": connector, "host": host}


def _why(error: BotoCoreError | ClientError) -> str:
    """The cause in words; a request's content is never part of it."""
    if isinstance(error, ClientError):
        code = error.response.get("Error", {}).get("Code", "unknown")
        hints = {
            "AccessDeniedException": "grant kms:Encrypt and kms:Decrypt on the key to this role",
            "NotFoundException": "check KMS_KEY_ID and the region",
            "DisabledException": "enable the key again",
            "InvalidCiphertextException": "it was encrypted for another connector or host; store the key again: "
            "frame-gainsight connector add FILE",
            "IncorrectKeyException": "it was encrypted with another KMS key",
        }
        return f"{code}; {hints.get(code, 'see the KMS documentation for this code')}."
    return f"{error}. Check the AWS_* variables (region, credentials, AWS_ENDPOINT_URL_KMS)."
