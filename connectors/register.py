"""Registering a connector: check first, then encrypt the key, and only then write the definition."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from connectors.check import check
from connectors.definition import Definition
from connectors.errors import MissingSecretError
from connectors.findings import Finding
from connectors.registry import Connector, Registry
from connectors.secret import Secret
from connectors.vault import Vault
from gainsight import CallBudget, Clock, GainsightClient


@dataclass(frozen=True, slots=True)
class Registration:
    """What came of it. `connector` is None when a finding blocks; nothing was written then."""

    findings: Sequence[Finding]
    calls: int
    connector: Connector | None


@dataclass(frozen=True, slots=True)
class Line:
    """How a tenant is asked by hand: with the patience of a person who waits.

    Args:
        timeout: seconds, of a reply.
        retry_seconds: how long a call is tried again.
    """

    clock: Clock
    timeout: float = 60.0
    retry_seconds: float = 10.0

    def to(self, definition: Definition, secret: Secret) -> GainsightClient:
        budget = CallBudget(self.clock, 1.0, definition.calls_per_minute, definition.calls_per_day)
        return GainsightClient(
            definition.host,
            secret.credentials(self.clock),
            budget,
            self.clock,
            retry_seconds=self.retry_seconds,
            timeout=self.timeout,
        )


async def register(
    registry: Registry,
    vault: Vault,
    clock: Clock,
    definition: Definition,
    secret: Secret | None,
    *,
    unchecked: bool = False,
    timeout: float = 60.0,
    retry_seconds: float = 10.0,
) -> Registration:
    """Checks the definition and the secret against the tenant, seals the secret, writes both.

    A connector that is registered already gets the definition, and keeps its state and where it started.

    Args:
        secret: None keeps the one that is stored.
        unchecked: the tenant is not asked.

    Raises MissingSecretError when no secret is stored for this connector and host, VaultError or BrokerError when the
    secret or the definition cannot be stored.
    """
    before = (await asyncio.to_thread(registry.all)).get(definition.id)
    line = Line(clock, timeout, retry_seconds)
    kept = None
    if secret is None:
        kept = _stored(definition, before)
        secret = await asyncio.to_thread(vault.open, definition.id, definition.host, kept.sealed)
    findings, calls = ([], 0) if unchecked else await _checked(line, definition, secret)
    if any(finding.blocks for finding in findings):
        return Registration(findings, calls, None)
    now = clock.now()
    if before is not None and definition.start is None:  # a new start would cut off the overlap of the next polls
        definition = definition.model_copy(update={"start": before.definition.start})
    if kept is None:
        sealed, rotated_at = await asyncio.to_thread(vault.seal, definition.id, definition.host, secret), now
    else:
        sealed, rotated_at = kept.sealed, kept.rotated_at
    state = before.state if before is not None else "ACTIVE"
    connector = Connector(definition.started(now), sealed, state, now, rotated_at)
    await asyncio.to_thread(registry.put, connector)
    return Registration(findings, calls, connector)


async def rotate(
    registry: Registry,
    vault: Vault,
    clock: Clock,
    connector: Connector,
    secret: Secret,
    *,
    unchecked: bool = False,
    timeout: float = 60.0,
    retry_seconds: float = 10.0,
) -> Registration:
    """Checks a new secret, and only then puts it in the place of the stored one. Raises as `register` does."""
    definition = connector.definition
    findings, calls = ([], 0) if unchecked else await _checked(Line(clock, timeout, retry_seconds), definition, secret)
    if any(finding.blocks for finding in findings):
        return Registration(findings, calls, None)
    sealed = await asyncio.to_thread(vault.seal, connector.id, definition.host, secret)
    now = clock.now()
    rotated = replace(connector, sealed=sealed, updated_at=now, rotated_at=now)
    await asyncio.to_thread(registry.put, rotated)
    return Registration(findings, calls, rotated)


def _stored(definition: Definition, before: Connector | None) -> Connector:
    if before is None:
        raise MissingSecretError(
            f"No API key is stored for '{definition.id}' yet: give it at the prompt, or pipe it in."
        )
    if before.definition.host != definition.host:
        raise MissingSecretError(
            f"The API key of '{definition.id}' is stored for {before.definition.host} and is not sent to another host. "
            f"Give the key of {definition.host}: at the prompt, or piped in."
        )
    return before


async def _checked(line: Line, definition: Definition, secret: Secret) -> tuple[list[Finding], int]:
    async with line.to(definition, secret) as client:
        findings = await check(client, definition)
        return findings, sum(client.calls.values())
