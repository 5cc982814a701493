"""Secrets at rest: envelope encryption under AWS KMS, bound to the connector and its host.

KMS makes a data key for each secret that is stored; the secret is encrypted by it (AES-256-GCM) and stands beside the
data key, which only KMS can decrypt. Decrypted data keys are kept in memory for a while, so that KMS is called once a
connector and not once a poll, and need not answer for connectors whose data key is known.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import boto3
import orjson
import structlog
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, NoCredentialsError, NoRegionError
from botocore.exceptions import ConnectionError as BotoConnectionError
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from frame_gainsight.connectors.errors import SecretError, VaultError, VaultUnavailableError
from frame_gainsight.connectors.secrets.secret import Secret

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

log = structlog.get_logger(__name__)

KEPT_SECONDS = 3600.0  # of a data key; after it KMS is called again, which may refuse by then
MAX_KEPT = 10_000
MAX_SIZE = 4096  # bytes of a secret, as KMS itself would accept
_ENVELOPE = b"FG\x01"  # then: length of the encrypted data key (2 bytes), it, nonce, ciphertext
_NONCE = 12
_BUSY = frozenset({"ThrottlingException", "KMSInternalException", "DependencyTimeoutException", "InternalFailure"})


@dataclass(frozen=True, slots=True)
class Sealed:
    """An encrypted secret. `kms_key_id` is the key that encrypted its data key (its ARN)."""

    kind: str
    ciphertext: bytes
    kms_key_id: str


class Vault(Protocol):
    """Encrypts and decrypts secrets. May block."""

    def seal(self, connector: str, host: str, secret: Secret) -> Sealed:
        """Raises VaultError."""

    def open(self, connector: str, host: str, sealed: Sealed) -> Secret:
        """Raises VaultError, also when it was sealed for another connector or host; VaultUnavailableError when trying
        again helps."""


class DataKeys:
    """The data keys known in this process, least recently used ones dropped first. Thread-safe.

    Args:
        seconds: how long a data key counts without a call to KMS.
    """

    def __init__(
        self, max_keys: int = MAX_KEPT, seconds: float = KEPT_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_keys = max_keys
        self._seconds = seconds
        self._clock = clock
        self._kept: OrderedDict[tuple[str, str, bytes], tuple[float, bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, connector: str, host: str, wrapped: bytes) -> tuple[bytes | None, bool]:
        """The data key, if it is known, and whether it is young enough to be used without KMS."""
        with self._lock:
            known = self._kept.get((connector, host, wrapped))
            if known is None:
                return None, False
            self._kept.move_to_end((connector, host, wrapped))
            return known[1], self._clock() - known[0] < self._seconds

    def put(self, connector: str, host: str, wrapped: bytes, key: bytes) -> None:
        with self._lock:
            self._kept[connector, host, wrapped] = (self._clock(), key)
            self._kept.move_to_end((connector, host, wrapped))
            while len(self._kept) > self._max_keys:
                self._kept.popitem(last=False)

    def forget(self, connector: str, host: str, wrapped: bytes) -> None:
        with self._lock:
            self._kept.pop((connector, host, wrapped), None)


class KmsVault:
    """A `Vault` on AWS KMS. Credentials, region and endpoint come by boto3's own chain; a key named by its ARN is used
    in its own region.

    Args:
        key_id: KMS key id, ARN or alias (`KMS_KEY_ID`); needed to seal, not to open.
        client: used for every region; None: made when it is needed.
    """

    def __init__(self, key_id: str | None, client: KMSClient | None = None, keys: DataKeys | None = None) -> None:
        self._key_id = key_id
        self._given = client
        self._clients: dict[str | None, KMSClient] = {}
        self._making = threading.Lock()
        self._keys = keys or DataKeys()

    def require_key(self) -> None:
        """Raises VaultError when no KMS key is named: nothing can be sealed then, so that no secret is prompted for."""
        if not self._key_id:
            raise VaultError("No KMS key is named to encrypt the API key with. Set KMS_KEY_ID (id, ARN or alias).")

    def seal(self, connector: str, host: str, secret: Secret) -> Sealed:
        self.require_key()
        assert self._key_id is not None
        text = secret.text.encode()
        if not 0 < len(text) <= MAX_SIZE:
            raise VaultError(f"The API key of '{connector}' has {len(text)} characters; 1 to {MAX_SIZE} can be stored.")
        try:
            reply = self._kms(self._key_id).generate_data_key(
                KeyId=self._key_id, KeySpec="AES_256", EncryptionContext=_context(connector, host)
            )
        except (BotoCoreError, ClientError) as error:
            raise _failed(f"KMS gave no data key for the API key of '{connector}'", error) from None
        wrapped, key = reply["CiphertextBlob"], reply["Plaintext"]
        nonce = secrets.token_bytes(_NONCE)
        encrypted = AESGCM(key).encrypt(nonce, text, _bound_to(connector, host, secret.kind))
        self._keys.put(connector, host, wrapped, key)
        return Sealed(
            secret.kind, _ENVELOPE + len(wrapped).to_bytes(2, "big") + wrapped + nonce + encrypted, reply["KeyId"]
        )

    def open(self, connector: str, host: str, sealed: Sealed) -> Secret:
        blob = sealed.ciphertext
        length = int.from_bytes(blob[len(_ENVELOPE) : len(_ENVELOPE) + 2], "big")
        begin = len(_ENVELOPE) + 2
        wrapped, rest = blob[begin : begin + length], blob[begin + length :]
        if not blob.startswith(_ENVELOPE) or len(wrapped) < length or len(rest) <= _NONCE:
            raise VaultError(_damaged(connector))
        key = self._data_key(connector, host, sealed.kms_key_id, wrapped)
        try:
            text = AESGCM(key).decrypt(rest[:_NONCE], rest[_NONCE:], _bound_to(connector, host, sealed.kind))
            return Secret.of(sealed.kind, text.decode())
        except (InvalidTag, ValueError):
            raise VaultError(_damaged(connector)) from None
        except SecretError as error:
            raise VaultError(str(error)) from None

    def _data_key(self, connector: str, host: str, kms_key_id: str, wrapped: bytes) -> bytes:
        known, young = self._keys.get(connector, host, wrapped)
        if known is not None and young:
            return known
        try:
            reply = self._kms(kms_key_id).decrypt(
                CiphertextBlob=wrapped, KeyId=kms_key_id, EncryptionContext=_context(connector, host)
            )
        except (BotoCoreError, ClientError) as error:
            failure = _failed(f"KMS did not decrypt the API key of '{connector}'", error)
            if known is not None and isinstance(failure, VaultUnavailableError):
                log.warning("kms_unavailable", connector=connector, cause=str(failure))
                return known
            self._keys.forget(connector, host, wrapped)
            raise failure from None
        self._keys.put(connector, host, wrapped, reply["Plaintext"])
        return reply["Plaintext"]

    def _kms(self, key_id: str) -> KMSClient:
        if self._given is not None:
            return self._given
        region = _region_of(key_id)
        with self._making:  # boto3 makes clients in one thread at a time
            if region not in self._clients:
                config = Config(connect_timeout=5, read_timeout=10, retries={"max_attempts": 4, "mode": "standard"})
                try:
                    self._clients[region] = boto3.client("kms", config=config, region_name=region)
                except BotoCoreError as error:
                    raise VaultError(f"KMS cannot be used: {_why(error)}") from None
                except ValueError as error:  # an endpoint that is not an address
                    raise VaultError(f"KMS cannot be used: {error}. Check AWS_ENDPOINT_URL_KMS.") from None
            return self._clients[region]


def _context(connector: str, host: str) -> dict[str, str]:
    return {"connector": connector, "host": host}


def _bound_to(connector: str, host: str, kind: str) -> bytes:
    """The data that is authenticated with the ciphertext."""
    return orjson.dumps({**_context(connector, host), "kind": kind}, option=orjson.OPT_SORT_KEYS)


def _region_of(key_id: str) -> str | None:
    """The region that an ARN names; None: the default one."""
    parts = key_id.split(":")
    return parts[3] or None if len(parts) > 5 and parts[0] == "arn" else None


def _damaged(connector: str) -> str:
    return (
        f"The stored API key of '{connector}' is damaged, or not its own. Store it again: frame-gainsight connector "
        f"rotate-key {connector}"
    )


def _failed(what: str, error: BotoCoreError | ClientError) -> VaultError:
    passing = isinstance(error, BotoConnectionError | HTTPClientError)
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        passing = error.response.get("Error", {}).get("Code") in _BUSY or status >= 500
    return (VaultUnavailableError if passing else VaultError)(f"{what}: {_why(error)}")


def _why(error: BotoCoreError | ClientError) -> str:
    """The cause in words; a request's content is never part of it."""
    if isinstance(error, ClientError):
        code = error.response.get("Error", {}).get("Code", "unknown")
        hints = {
            "AccessDeniedException": "grant kms:GenerateDataKey and kms:Decrypt on the key to this role",
            "NotFoundException": "check KMS_KEY_ID and the region",
            "DisabledException": "enable the key again",
            "InvalidCiphertextException": "it was encrypted for another connector or host; store the key again, with "
            "connector rotate-key",
            "IncorrectKeyException": "it was encrypted with another KMS key",
        }
        return f"{code}; {hints.get(code, 'see the KMS documentation for this code')}."
    if isinstance(error, NoRegionError):
        return "no region is named. Set AWS_DEFAULT_REGION, such as eu-central-1, or name the key by its ARN."
    if isinstance(error, NoCredentialsError):
        return "there are no credentials. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE."
    text = str(error).rstrip(".")
    return f"{text}. Check the AWS_* variables (region, credentials, AWS_ENDPOINT_URL_KMS)."
