"""Connections to tenants: to an address that was checked, by the host's name, and without cookies."""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import socket
import ssl
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from http.cookiejar import CookieJar
from typing import Any

import httpcore
import httpx

from frame_gainsight.gainsight.host_policy import HostPolicy, ascii_name
from frame_gainsight.runtime.allowed_hosts import IPAddress

_LOOKUPS = 32  # names looked up at a time in a process, in threads of their own: those of others wait for none


class NoCookies(CookieJar):
    """Keeps no cookie: a tenant's calls carry what the definition says, and nothing that a reply brought."""

    def extract_cookies(self, response: Any, request: Any) -> None:
        """Passes over the reply's cookies, also unreadable ones."""


async def without_location(reply: httpx.Response) -> None:
    """Takes the address of a redirect out of a reply, as it is not followed: one that does not read is no failure."""
    reply.headers.pop("location", None)


class CheckedTransport(httpx.AsyncHTTPTransport):
    """Requests over connections that `CheckedBackend` opens."""

    def __init__(self, hosts: HostPolicy, context: ssl.SSLContext, limits: httpx.Limits) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context,
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=CheckedBackend(hosts),
        )


class CheckedBackend(httpcore.AsyncNetworkBackend):
    """Resolves a name once, and connects to those of its addresses that the policy permits: nobody can give another
    address between the check and the connection."""

    def __init__(self, hosts: HostPolicy) -> None:
        self._hosts = hosts
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A connection to the first permitted address that takes one. `timeout`: seconds, the look-up among them.

        Raises HostRefusedError, httpcore.ConnectError, httpcore.ConnectTimeout.
        """
        try:
            async with asyncio.timeout(timeout):
                addresses = await _resolve(host, port)
                permitted = self._hosts.public(ascii_name(host), port, addresses)
                for number, address in enumerate(permitted, 1):
                    left = None if timeout is None else timeout / len(permitted)
                    try:
                        return await self._backend.connect_tcp(str(address), port, left, local_address, socket_options)
                    except (httpcore.ConnectError, httpcore.ConnectTimeout):
                        if number == len(permitted):
                            raise
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"no connection to {host} in {timeout:g} s") from error
        except (OSError, ValueError) as error:  # UnicodeError: a name that cannot be looked up
            raise httpcore.ConnectError(str(error)) from error
        raise httpcore.ConnectError(f"{host} has no address")

    async def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        """Raises ConnectError: a tenant is nowhere on this machine's file system."""
        raise httpcore.ConnectError("no tenant is behind a Unix socket")

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_LOOKUPS, thread_name_prefix="look-up")


async def _resolve(host: str, port: int) -> list[IPAddress]:
    """The host's addresses, each once, in the resolver's order. Raises OSError, UnicodeError."""
    look_up = functools.partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    found = await asyncio.get_running_loop().run_in_executor(_threads(), look_up)
    return list(dict.fromkeys(ipaddress.ip_address(str(address[0]).partition("%")[0]) for *_, address in found))


_CERTIFICATE_FAULTS = {  # by OpenSSL's X509_V_ERR_*
    2: "no authority that is known here vouches for it, or a part of its chain is not sent",
    9: "it is not valid yet",
    10: "it has expired",
    18: "it is self-signed",
    19: "its chain ends in a self-signed certificate of an unknown authority",
    20: "no authority that is known here vouches for it, or a part of its chain is not sent",
    21: "no authority that is known here vouches for it, or a part of its chain is not sent",
    23: "it was revoked",
    62: "it is for another name",
    64: "it is for another name",
}


def tls_fault(error: BaseException) -> str | None:
    """What is wrong with a host's TLS, for people; None where a connection failed of something else."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if isinstance(cause, ssl.SSLCertVerificationError):
            what = _CERTIFICATE_FAULTS.get(cause.verify_code, "it was not accepted")
            return f"the certificate was refused: {what} ({cause.verify_message})"
        if isinstance(cause, ssl.SSLError):
            return f"it does not speak TLS as it should ({cause.reason or cause})"
        cause = cause.__cause__ or cause.__context__
    return None
