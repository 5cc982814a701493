"""`FRAME_GAINSIGHT_ALLOW_HOSTS`: the names and networks to which connectors may connect though they are not public."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

VARIABLE = "FRAME_GAINSIGHT_ALLOW_HOSTS"
LOOPBACK = "127.0.0.0/8"  # where simulated tenants are
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*", re.IGNORECASE | re.ASCII)
_NUMBERS = re.compile(r"[0-9.]+|0x[0-9a-f]+(\.[0-9a-fx.]*)?|.*/.*|.*:.*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class AllowedHosts:
    """Hosts that an operator allows.

    Attributes:
        names: in lower case; what such a name resolves to is allowed too.
        networks: of addresses, a single one being a network of its own.
    """

    names: frozenset[str] = frozenset()
    networks: tuple[IPNetwork, ...] = ()

    @staticmethod
    def parse(text: str) -> AllowedHosts:
        """The names, addresses and CIDR networks of a list with commas or blanks between them.

        Raises ValueError naming a wrong one.
        """
        names, networks = set(), []
        for entry in text.replace(",", " ").split():
            bare = entry.removeprefix("[").removesuffix("]")
            try:
                networks.append(ipaddress.ip_network(bare))
                continue
            except ValueError as error:
                if _NUMBERS.fullmatch(bare):
                    raise ValueError(f"'{entry}' is no network: {error}") from None
            if not _NAME.fullmatch(bare.removesuffix(".")):
                raise ValueError(f"'{entry}' is no host name, address or network such as 10.0.0.0/8")
            names.add(bare.removesuffix(".").lower())
        return AllowedHosts(frozenset(names), tuple(networks))

    def has_name(self, name: str) -> bool:
        return name.lower().removesuffix(".") in self.names

    def has_address(self, address: IPAddress) -> bool:
        return any(address in network for network in self.networks if network.version == address.version)
