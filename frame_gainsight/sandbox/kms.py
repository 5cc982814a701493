"""A KMS for the demo and the tests: moto's server on the loopback interface, with one key in it."""

from __future__ import annotations

import logging
import secrets
from types import TracebackType
from typing import TYPE_CHECKING, Self

from frame_gainsight.runtime.errors import MissingExtraError

if TYPE_CHECKING:
    from moto.server import ThreadedMotoServer

ALIAS = "alias/frame-gainsight"

_HOST = "127.0.0.1"
_REGION = "us-east-1"


class KmsStandIn:
    """A context manager; its keys live as long as this process (moto keeps one state per process).

    Raises `MissingExtraError` at its start when the `local` extra is not installed.
    """

    def __init__(self) -> None:
        self._server: ThreadedMotoServer | None = None
        self._secret = secrets.token_hex(20)
        self._endpoint_url = ""
        self._key_id = ""

    @property
    def endpoint_url(self) -> str:
        return self._endpoint_url

    @property
    def key_id(self) -> str:
        """The id of its key, which is also called `alias/frame-gainsight`."""
        return self._key_id

    def environment(self) -> dict[str, str]:
        """The variables that point a process to it; the credentials mean nothing anywhere else."""
        return {
            "AWS_ENDPOINT_URL_KMS": self._endpoint_url,
            "AWS_ACCESS_KEY_ID": "stand-in",
            "AWS_SECRET_ACCESS_KEY": self._secret,
            "AWS_DEFAULT_REGION": _REGION,
            "KMS_KEY_ID": self._key_id,
        }

    def start(self) -> Self:
        """Starts the server and creates the key."""
        try:
            from moto.server import ThreadedMotoServer
        except ImportError as missing:
            raise MissingExtraError(missing.name or "moto") from missing
        # The request log would land in the middle of a command's own output.
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        server = self._server = ThreadedMotoServer(ip_address=_HOST, port=0, verbose=False)
        server.start()
        try:
            host, port = server.get_host_and_port()
            self._endpoint_url = f"http://{host}:{port}"
            self._create_key()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stops the server; safe to call twice."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _create_key(self) -> None:
        import boto3

        client = boto3.client(
            "kms",
            endpoint_url=self._endpoint_url,
            region_name=_REGION,
            aws_access_key_id="stand-in",
            aws_secret_access_key=self._secret,
        )
        try:
            aliases = client.list_aliases()["Aliases"]
            found = [alias["TargetKeyId"] for alias in aliases if alias["AliasName"] == ALIAS]
            if found:
                self._key_id = found[0]
                return
            self._key_id = client.create_key(Description="frame-gainsight stand-in")["KeyMetadata"]["KeyId"]
            client.create_alias(AliasName=ALIAS, TargetKeyId=self._key_id)
        finally:
            client.close()
