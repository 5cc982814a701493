"""Clients for background work: calls give way to the batches' and are counted apart, or none is made."""

from __future__ import annotations

from collections import Counter

from enricher.processing.tenants import ClientPool
from frame_gainsight.connectors import Connector
from frame_gainsight.gainsight import GainsightClient, OfflineTransport, Priority
from frame_gainsight.runtime import Clock


class BackgroundClients(ClientPool):
    """Views of another pool's clients, whose calls give way to that pool's; that pool closes the clients."""

    def __init__(self, clients: ClientPool) -> None:
        self._clients = clients
        self._views: dict[str, tuple[GainsightClient, GainsightClient]] = {}  # connector → client, view
        self._before: Counter[str] = Counter()  # calls of views that were replaced

    async def of(self, connector: Connector, spent_today: tuple[int, int] | None = None) -> GainsightClient:
        client = await self._clients.of(connector, spent_today)
        known = self._views.get(connector.id)
        if known is None or known[0] is not client:
            self._before[connector.id] = self.calls(connector.id)
            known = self._views[connector.id] = (client, client.with_priority(Priority.BACKFILL))
        return known[1]

    def in_use(self) -> list[tuple[str, GainsightClient]]:
        return [(connector, view) for connector, (_, view) in self._views.items()]

    def calls(self, connector: str) -> int:
        """The connector's calls made through this pool."""
        known = self._views.get(connector)
        return self._before[connector] + (sum(known[1].calls.values()) if known else 0)

    async def close(self) -> None:
        self._views.clear()


class OfflineClients(ClientPool):
    """A client that raises NoCallsError at every call, for every connector. No key is decrypted."""

    def __init__(self, clock: Clock) -> None:
        self._client = GainsightClient(OfflineTransport(clock))

    async def of(self, connector: Connector, spent_today: tuple[int, int] | None = None) -> GainsightClient:
        return self._client

    async def close(self) -> None:
        """Nothing is open."""
