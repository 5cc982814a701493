"""Which hosts a connector may connect to: public ones, checked by the address that the connection goes to."""

from __future__ import annotations

import difflib
import ipaddress
import re
import socket
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import idna

from frame_gainsight.gainsight.errors import ConfigError
from frame_gainsight.runtime.allowed_hosts import VARIABLE, AllowedHosts, IPAddress

PORT = 443
_IMITATED = "gainsightcloud"
_ALIKE = 0.75  # of difflib's ratio
# Letters of other scripts that look like these Latin ones, beside those that Unicode itself decomposes.
_LOOKALIKES = {
    ord(letter): plain
    for plain, letters in {
        "a": "\u0430\u0251\u03b1",
        "c": "\u0441\u03f2\u1d04",
        "d": "\u0501\u0257",
        "g": "\u050d\u0261\u0581\u0563",
        "h": "\u04bb\u0570\u029c",
        "i": "\u0456\u0131\u0269\u03b9\u026a",
        "l": "\u04cf\u01c0\u029f",
        "n": "\u0578\u057c\u03b7\u043f\u0274",
        "o": "\u043e\u03bf\u0585\u03c3\u1d0f",
        "s": "\u0455\ua731",
        "t": "\u0442\u03c4\u1d1b",
        "u": "\u03c5\u0446\u057d\u1d1c",
        "m": "\u043c\u1d0d",
    }.items()
    for letter in letters
}
_CHARACTERS = re.compile(r"[a-z0-9._-]+")
_NUMBERS = re.compile(r"[0-9a-fx.]+")  # of an address, in whichever base
_V4_IN_V6 = (
    (ipaddress.ip_network("::/96"), 0),  # "compatible", deprecated
    (ipaddress.ip_network("::ffff:0:0:0/96"), 0),  # SIIT
    (ipaddress.ip_network("64:ff9b::/96"), 0),  # NAT64
    (ipaddress.ip_network("2002::/16"), 80),  # 6to4
)
# Not public though they are not of the ranges that `ipaddress` knows as such.
_RESERVED = tuple(
    map(
        ipaddress.ip_network,
        (
            "100.64.0.0/10",  # CGNAT; Alibaba's metadata service
            "168.63.129.16/32",  # Azure's metadata service
            "192.0.0.0/24",  # protocols' own; Oracle's metadata service
            "192.88.99.0/24",  # 6to4 relays
            "64:ff9b:1::/48",  # local NAT64
            "2001::/32",  # Teredo
            "fec0::/10",  # site-local
            "3fff::/20",  # documentation
            "5f00::/16",  # segment routing
        ),
    )
)


class HostRefusedError(ConfigError):
    """The connector's host may not be connected to."""


@dataclass(frozen=True, slots=True)
class HostPolicy:
    """Public hosts on port 443, and those that `FRAME_GAINSIGHT_ALLOW_HOSTS` allows."""

    allowed: AllowedHosts = field(default_factory=AllowedHosts)

    def require(self, url: str) -> None:
        """What can be said of `https://host:port` before its name is resolved. Raises HostRefusedError."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port or (PORT if parts.scheme == "https" else 80)
        except ValueError:
            raise HostRefusedError(f"{url!r} is not an address. Correct the connector's host.") from None
        fault = name_fault(host)
        if fault is not None:
            raise HostRefusedError(f"{fault}. Correct the connector's host.")
        name = ascii_name(host)
        if (address := address_of(name)) is not None:
            self._require_address(name, port, address)
        elif _is_localhost(name):
            self.public(name, port, [ipaddress.IPv4Address("127.0.0.1"), ipaddress.IPv6Address("::1")])
        elif not self.allowed.has_name(name) and not self.allowed.networks:
            self._require_public_name(name, port)

    def public(self, host: str, port: int, addresses: Iterable[IPAddress]) -> list[IPAddress]:
        """Those of the host's addresses that may be connected to. Raises HostRefusedError where none may."""
        permitted, refused = [], None
        for address in addresses:
            try:
                self._require_address(host, port, address)
            except HostRefusedError as error:
                refused = refused or error
            else:
                permitted.append(address)
        if refused is not None and not permitted:
            raise refused
        return permitted

    def _require_address(self, host: str, port: int, address: IPAddress) -> None:
        mapped = getattr(address, "ipv4_mapped", None)
        if self.allowed.has_name(host) or self.allowed.has_address(mapped or address):
            return
        if (kind := kind_of(address)) is not None:
            shown = str(mapped or address)
            where = f"{host} is {kind}" if host in (shown, f"[{shown}]") else f"{host} is {shown}, {kind}"
            raise HostRefusedError(f"{where}: a connector may not connect to it. {_allow(shown)}")
        if address_of(host) is None:
            self._require_public_name(host, port)
        elif port != PORT:
            raise HostRefusedError(_other_port(host, port))

    def _require_public_name(self, name: str, port: int) -> None:
        if "." not in name:
            raise HostRefusedError(
                f"{name} is a name of one part, which only the network knows that this runs in: a connector may not "
                f"connect to it. {_allow(name)}"
            )
        if port != PORT:
            raise HostRefusedError(_other_port(name, port))


def ascii_name(host: str) -> str:
    """The host as it is looked up: in lower case, other scripts in punycode, without a closing dot. An address stays.

    Raises ValueError where no name can be like this.
    """
    bare = host.removesuffix(".").lower()
    if ":" in bare:
        ipaddress.IPv6Address(bare)
        return bare
    if not bare.isascii():
        bare = idna.encode(bare, uts46=True).decode()
    if not _CHARACTERS.fullmatch(bare):
        raise ValueError("it is empty, or has a character that no name has")
    if address_of(bare) is None and bare.rpartition(".")[2].isdigit():
        raise ValueError("it is neither a name nor an address")
    labels = bare.split(".")
    if len(bare) > 253 or not all(0 < len(label) <= 63 for label in labels):
        raise ValueError("a part of it is empty or has more than 63 characters, or all of it more than 253")
    for label in labels:
        if label.startswith("xn--"):
            idna.decode(label)
    return bare


def name_fault(host: str) -> str | None:
    """What is wrong with a host's name as such, for people; None where nothing is."""
    try:
        name = ascii_name(host)
        shown = ".".join(idna.decode(label) if label.startswith("xn--") else label for label in name.split("."))
    except (UnicodeError, ValueError) as error:  # idna's errors are UnicodeErrors
        return f"{host!r} is not a host name: {error}"
    for label in shown.split("."):
        if not label.isascii() and (_is_mixed(label) or _imitates(label)):
            return f"{name} is shown as '{shown}', whose letters of another script look like those of another name"
    return None


def address_of(host: str) -> IPAddress | None:
    """The address that a host is, in whichever spelling: decimal, hexadecimal, octal, short; None for a name."""
    bare = host.removeprefix("[").removesuffix("]").partition("%")[0]
    try:
        return ipaddress.ip_address(bare)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(bare)) if _NUMBERS.fullmatch(bare) else None
    except OSError:
        return None


def kind_of(address: IPAddress) -> str | None:
    """Why an address is not public, for people; None where it is. One within an IPv6 address counts as itself."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped
        if inner is None and int(address) > 1:
            shift = next((s for network, s in _V4_IN_V6 if address in network), None)
            inner = None if shift is None else ipaddress.IPv4Address(int(address) >> shift & 0xFFFFFFFF)
        if inner is not None:
            return kind_of(inner)
        if int(address) >> 32 & 0xFDFFFFFF == 0x5EFE:  # ISATAP: both addresses count, its network's and the one inside
            kind = kind_of(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
            if kind is not None:
                return kind
    if address.is_loopback:
        return "a loopback address"
    if address.is_unspecified:
        return "the unspecified address"
    if address.is_link_local:
        return "a link-local address, where clouds keep their metadata"
    if address.is_multicast:
        return "a multicast address"
    if address.is_private:
        return "a private address"
    reserved = any(address in network for network in _RESERVED if network.version == address.version)
    if reserved or address.is_reserved or not address.is_global:
        return "an address that is not public"
    return None


def _is_localhost(name: str) -> bool:
    return name == "localhost" or name.endswith(".localhost")


def _is_mixed(label: str) -> bool:
    """Whether a label mixes Latin letters with those of another script, as browsers do not show it either."""
    scripts = {unicodedata.name(c, "?").partition(" ")[0] for c in label if c.isalpha()}
    return "LATIN" in scripts and bool(scripts & {"CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "LISU"})


def _imitates(label: str) -> bool:
    """Whether a label looks like Gainsight's own name."""
    plain = unicodedata.normalize("NFKD", label)
    plain = "".join(c for c in plain if not unicodedata.combining(c)).translate(_LOOKALIKES)
    return difflib.SequenceMatcher(None, plain, _IMITATED, autojunk=False).ratio() >= _ALIKE


def _other_port(host: str, port: int) -> str:
    return f"{host} would be connected to on port {port}: a tenant's API is on port {PORT}. {_allow(host)}"


def _allow(what: str) -> str:
    return f"Correct the connector's host; or, where it is meant, allow it where this runs: {VARIABLE}={what}"
