"""Registering a connector: check first, then encrypt the key, and only then write the definition."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from connectors.check import Finding, check
from connectors.definition import Definition
from connectors.registry import Connector, Registry
from connectors.vault import Vault
from gainsight import AccessKey, CallBudget, Clock, GainsightClient


@dataclass(frozen=True, slots=True)
class Registration:
    """What came of it. `connector` is None when a finding blocks; nothing was written then."""

    findings: Sequence[Finding]
    calls: int
    connector: Connector | None


async def register(
    registry: Registry,
    vault: Vault,
    clock: Clock,
    definition: Definition,
    key: str,
    *,
    timeout: float = 60.0,
    retry_seconds: float = 10.0,
) -> Registration:
    """Checks the definition and the key against the tenant, seals the key, writes both.

    Raises VaultError or BrokerError when the key or the definition cannot be stored.
    """
    budget = CallBudget(clock, 1.0)
    async with GainsightClient(
        definition.host, AccessKey(key), budget, clock, retry_seconds=retry_seconds, timeout=timeout
    ) as client:
        findings = await check(client, definition)
        calls = sum(client.calls.values())
    if any(finding.blocks for finding in findings):
        return Registration(findings, calls, None)
    now = clock.now()
    sealed = vault.seal(definition.id, definition.host, key)
    before = (await asyncio.to_thread(registry.all)).get(definition.id)
    if before is not None and definition.start is None:  # a new start would cut off the overlap of the next polls
        definition = definition.model_copy(update={"start": before.definition.start})
    connector = Connector(definition.started(now), sealed, "ACTIVE", now, now)
    registry.put(connector)
    return Registration(findings, calls, connector)
