"""A registered connector's tenant, opened: its key decrypted, its client within the connector's share of calls."""

from __future__ import annotations

import asyncio

from bus import Settings
from connectors.registry import Connector
from connectors.vault import Vault
from gainsight import AccessKey, CallBudget, Clock, GainsightClient

# Producer and enricher read the same tenant from processes of their own: each takes half of the connector's share.
PART_OF_SHARE = 0.5


async def open_client(settings: Settings, vault: Vault, clock: Clock, connector: Connector) -> GainsightClient:
    """A client for one service. Raises VaultError when the key cannot be decrypted."""
    definition = connector.definition
    key = await asyncio.to_thread(vault.open, connector.id, definition.host, connector.sealed)
    return GainsightClient(
        definition.host,
        AccessKey(key),
        CallBudget(clock, definition.api_share * PART_OF_SHARE),
        clock,
        retry_seconds=settings.retry_seconds,
        timeout=settings.http_timeout_seconds,
    )
