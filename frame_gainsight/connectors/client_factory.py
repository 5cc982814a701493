"""The client of a registered connector's tenant: its key decrypted, its calls within the connector's share."""

from __future__ import annotations

import asyncio
from typing import Literal

from frame_gainsight.connectors.registry import Connector
from frame_gainsight.connectors.secrets.vault import Vault
from frame_gainsight.gainsight import CallBudget, GainsightClient, HostPolicy, HttpTransport, ReplySlots
from frame_gainsight.runtime import Clock, Settings

Role = Literal["producer", "enricher"]


async def open_client(
    settings: Settings,
    vault: Vault,
    clock: Clock,
    connector: Connector,
    *,
    role: Role | None = None,
    spent_today: tuple[int, int] | None = None,
    budgets: dict[str, CallBudget] | None = None,
    reply_slots: ReplySlots | None = None,
) -> GainsightClient:
    """A client for one service. Raises VaultError when the key cannot be decrypted.

    Args:
        role: the service whose part of the connector's share of calls is taken; None: half of the share.
        spent_today: the client's `spent` in an earlier process, so that a restart does not begin the day anew.
        budgets: connector → the budget of its last client in this process, so that a new one does not begin anew.
        reply_slots: the slots for large replies that the process's clients share.
    """
    definition = connector.definition
    secret = await asyncio.to_thread(vault.open, connector.id, definition.host, connector.sealed)
    budget = CallBudget(
        clock,
        definition.api_share * _part(settings, role),
        definition.calls_per_minute,
        definition.calls_per_day,
        spent_today,
        budgets.get(connector.id) if budgets is not None else None,
    )
    if budgets is not None:
        budgets[connector.id] = budget
    return GainsightClient(
        HttpTransport(
            definition.host,
            secret.credentials(clock),
            budget,
            clock,
            retry_seconds=settings.retry_seconds,
            timeout=settings.http_timeout_seconds,
            reply_slots=reply_slots,
            hosts=HostPolicy(settings.allowed_hosts),
        )
    )


def _part(settings: Settings, role: Role | None) -> float:
    """The role's part of the connector's share: producer and enricher, each in its own process, share all of it."""
    if role is None:
        return 0.5
    return settings.producer_share if role == "producer" else 1 - settings.producer_share
