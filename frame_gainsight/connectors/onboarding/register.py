"""Registering a connector: the check first, then the key's encryption, and only then the definition's writing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from frame_gainsight.connectors.definition.model import Definition
from frame_gainsight.connectors.errors import ChangedMeanwhileError, MissingSecretError
from frame_gainsight.connectors.onboarding.check import check
from frame_gainsight.connectors.onboarding.findings import Finding
from frame_gainsight.connectors.registry import Connector, Registry
from frame_gainsight.connectors.secrets.secret import Secret
from frame_gainsight.connectors.secrets.vault import Vault
from frame_gainsight.gainsight import CallBudget, GainsightClient, HostPolicy, HttpTransport
from frame_gainsight.runtime import Clock


@dataclass(frozen=True, slots=True)
class Registration:
    """The result of a registration. `connector` is None when a finding blocks; nothing was written then."""

    findings: Sequence[Finding]
    calls: int
    connector: Connector | None


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """Options of the clients that commands open, while a person waits.

    Args:
        timeout: seconds, of a reply.
        retry_seconds: how long a call is tried again.
        hosts: where they may connect to; None: public hosts only.
    """

    clock: Clock
    timeout: float = 60.0
    retry_seconds: float = 10.0
    hosts: HostPolicy | None = None

    def client(self, definition: Definition, secret: Secret) -> GainsightClient:
        """A client with the definition's whole allowance."""
        budget = CallBudget(self.clock, 1.0, definition.calls_per_minute, definition.calls_per_day)
        return GainsightClient(
            HttpTransport(
                definition.host,
                secret.credentials(self.clock),
                budget,
                self.clock,
                retry_seconds=self.retry_seconds,
                timeout=self.timeout,
                hosts=self.hosts,
            )
        )


async def register(
    registry: Registry,
    vault: Vault,
    clock: Clock,
    definition: Definition,
    secret: Secret | None,
    *,
    known: Mapping[str, Connector] | None = None,
    unchecked: bool = False,
    timeout: float = 60.0,
    retry_seconds: float = 10.0,
    hosts: HostPolicy | None = None,
) -> Registration:
    """Checks the definition and the secret against the tenant, seals the secret, writes both.

    A connector that is registered already gets the definition, and keeps its state and its start, unless that lies
    ahead; a new one without a start begins now, by the tenant's clock. A person's answers and a check take a while:
    changes that others make meanwhile are kept.

    Args:
        secret: None keeps the one that is stored.
        known: the connectors as they were when this was begun; None: it begins now.
        unchecked: no call is made to the tenant.
        hosts: where the client that checks may connect to; None: public hosts only.

    Raises HostRefusedError when the definition's host may not be connected to, MissingSecretError when no secret is
    stored for this connector and host, ChangedMeanwhileError when the connector is not what was known any more,
    VaultError or BrokerError when the secret or the definition cannot be stored.
    """
    if hosts is not None:
        hosts.require(definition.host)
    before = (await asyncio.to_thread(registry.all) if known is None else known).get(definition.id)
    options = ClientOptions(clock, timeout, retry_seconds, hosts)
    kept = None
    if secret is None:
        kept = _stored(definition, before)
        secret = await asyncio.to_thread(vault.open, definition.id, definition.host, kept.sealed)
    findings, calls, tenant_now = ([], 0, None) if unchecked else await _checked(options, definition, secret)
    if any(finding.blocks for finding in findings):
        return Registration(findings, calls, None)
    given = None
    if kept is None:
        given = await asyncio.to_thread(vault.seal, definition.id, definition.host, secret)
    now = clock.now()
    begins = tenant_now if tenant_now is not None else now

    def changed(latest: Connector | None) -> Connector:
        _require_still(definition.id, before, latest, new_key=given is not None)
        made = definition
        if latest is not None and made.start is None:  # a new start would cut off the overlap of the next polls
            stored = latest.definition.start
            if stored is not None and stored.timestamp() * 1000 <= max(begins, now):
                made = made.model_copy(update={"start": stored})
        state = latest.state if latest is not None else "ACTIVE"
        if given is not None:
            return Connector(made.started(begins), given, state, now, now)
        assert latest is not None  # it was there before, or there would be no key to keep
        return Connector(made.started(begins), latest.sealed, state, now, latest.rotated_at)

    return Registration(findings, calls, await asyncio.to_thread(registry.change, definition.id, changed))


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
    hosts: HostPolicy | None = None,
) -> Registration:
    """Checks a new secret, and only then puts it in the place of the stored one. Whatever else others have changed
    meanwhile stays. Raises as `register` does.

    Args:
        connector: as it was when this was begun.
    """
    definition = connector.definition
    if hosts is not None:
        hosts.require(definition.host)
    options = ClientOptions(clock, timeout, retry_seconds, hosts)
    findings, calls, _ = ([], 0, None) if unchecked else await _checked(options, definition, secret)
    if any(finding.blocks for finding in findings):
        return Registration(findings, calls, None)
    sealed = await asyncio.to_thread(vault.seal, connector.id, definition.host, secret)
    now = clock.now()

    def rotated(latest: Connector | None) -> Connector:
        _require_still(connector.id, connector, latest, new_key=True)
        assert latest is not None
        return replace(latest, sealed=sealed, updated_at=now, rotated_at=now)

    return Registration(findings, calls, await asyncio.to_thread(registry.change, connector.id, rotated))


def gone(connector: str) -> ChangedMeanwhileError:
    """The error for a connector that was removed while a command was about to change it."""
    return ChangedMeanwhileError(
        f"'{connector}' was removed meanwhile: nothing was written. To register it anew: connector add FILE"
    )


def _require_still(connector: str, before: Connector | None, latest: Connector | None, *, new_key: bool) -> None:
    """Raises ChangedMeanwhileError when what was checked does not fit what there is now."""
    if before is None and latest is None:
        return
    if latest is None:
        raise gone(connector)
    host = latest.definition.host
    if before is None:
        raise ChangedMeanwhileError(
            f"'{connector}' was registered by somebody else meanwhile, for {host}: nothing was written. "
            f"Look at it: connector show {connector}. If it is to be changed, repeat this."
        )
    if before.definition.host != host:
        raise ChangedMeanwhileError(
            f"'{connector}' was changed meanwhile: it was for {before.definition.host} and is for {host} now. "
            f"Nothing was written. Look at it: connector show {connector}. If it is to be changed, repeat this."
        )
    if new_key and before.sealed != latest.sealed:  # ours may have been reset in between
        raise ChangedMeanwhileError(
            f"Another key was stored for '{connector}' meanwhile: nothing was written. "
            f"If yours is the newer one: connector rotate-key {connector}"
        )


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


async def _checked(
    options: ClientOptions, definition: Definition, secret: Secret
) -> tuple[list[Finding], int, int | None]:
    """The findings, the calls that they took, and the tenant's time in milliseconds, where it is known."""
    async with options.client(definition, secret) as client:
        findings = await check(client, definition)
        return findings, sum(client.calls.values()), client.tenant_now()
