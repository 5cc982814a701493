"""Clients for work beside the batches: calls give way to theirs, and are counted apart; or none is made."""

from __future__ import annotations

from enricher.processing.tenants import ClientPool
from frame_gainsight.connectors import Connector
from frame_gainsight.gainsight import GainsightClient
from frame_gainsight.gainsight.aside import aside, silent
from frame_gainsight.runtime import Clock


class BackgroundClients(ClientPool):
    """Another's clients, seen from aside. Closing is the other's business."""

    def __init__(self, clients: ClientPool) -> None:
        self._clients = clients
        self._aside: dict[str, tuple[GainsightClient, GainsightClient]] = {}
        self._before: dict[str, int] = {}

    async def of(self, connector: Connector, spent_today: tuple[int, int] | None = None) -> GainsightClient:
        client = await self._clients.of(connector, spent_today)
        known = self._aside.get(connector.id)
        if known is None or known[0] is not client:
            self._before[connector.id] = self.calls(connector.id)
            known = self._aside[connector.id] = (client, aside(client))
        return known[1]

    def in_use(self) -> list[tuple[str, GainsightClient]]:
        return [(connector, client) for connector, (_, client) in self._aside.items()]

    def calls(self, connector: str) -> int:
        """The calls made from here."""
        known = self._aside.get(connector)
        return self._before.get(connector, 0) + (sum(known[1].calls.values()) if known else 0)

    async def close(self) -> None:
        """Nothing is open here."""
        self._aside.clear()


class OfflineClients(ClientPool):
    """Clients that raise NoCallsError at every call. Nobody's key is decrypted."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._silent: dict[str, GainsightClient] = {}

    async def of(self, connector: Connector, spent_today: tuple[int, int] | None = None) -> GainsightClient:
        if connector.id not in self._silent:
            self._silent[connector.id] = silent(connector.definition.host, self._clock)
        return self._silent[connector.id]

    async def close(self) -> None:
        for client in self._silent.values():
            await client.close()
