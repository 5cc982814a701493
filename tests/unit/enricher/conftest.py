"""Activities as they arrive, and what resolves them, without Kafka."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import pytest

from enricher.activity.mentions import Mention
from enricher.activity.raw_record import RawActivity
from enricher.resolution.entity_cache import EntityCache
from enricher.resolution.model import Reference
from enricher.resolution.resolver import Resolver
from frame_gainsight.connectors import Definition
from frame_gainsight.connectors.columns import required
from frame_gainsight.gainsight import (
    AccessKey,
    CallBudget,
    GainsightClient,
    HttpTransport,
    Query,
    Row,
    parse_date,
    value_of,
)
from frame_gainsight.kafka import ConsumedRecord
from frame_gainsight.runtime import Settings
from frame_gainsight.sandbox import Clock, Limits, Sandbox, Tenant
from schemas import Codec

HOUR = 3_600_000


def raw(row: Row, gsid: str = "G1", at: int = 1_772_438_400_000) -> RawActivity:
    return RawActivity(ConsumedRecord("raw", 0, 0, f"acme/{gsid}".encode(), b""), "acme", gsid, at, "f1", row)


def refer(mentions: Sequence[Mention] = (), company: str | None = None, relationship: str | None = None) -> Reference:
    """What an activity refers to of which no more is known."""
    return Reference(raw({}), mentions, company, relationship)


class TenantTime:
    """Our clock, showing what the tenant's does."""

    def __init__(self, tenant: Tenant) -> None:
        self._tenant = tenant

    def now(self) -> int:
        return self._tenant.now()

    def monotonic(self) -> float:
        return self._tenant.now() / 1000

    async def sleep(self, seconds: float) -> None:
        self._tenant.advance(seconds)


class TenantRig:
    """One connector's client, cache and resolver against a sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.tenant = sandbox.tenant
        self.url = sandbox.url
        self.clock = TenantTime(self.tenant)
        self.cache = EntityCache(24 * HOUR, 6 * HOUR)
        self.client = GainsightClient(
            HttpTransport(
                sandbox.url,
                AccessKey(self.tenant.access_key),
                CallBudget(self.clock, 1.0, 10**9, 10**9),
                self.clock,
                retry_seconds=0.0001,
            )
        )

    def definition(self, **changes: Any) -> Definition:
        return Definition.model_validate({"id": "acme", "host": self.url, "api_share": 1.0} | changes)

    def resolver(self, max_scan_rows: int = 20_000, **changes: Any) -> Resolver:
        return Resolver(self.definition(**changes), self.client, self.cache, self.clock, max_scan_rows=max_scan_rows)

    async def activities(self, definition: Definition | None = None, *, joined: bool = True) -> list[RawActivity]:
        """Everything in the timeline, as the producer selects it."""
        described = await self.client.describe(required.TIMELINE_OBJECTS if joined else [required.ACTIVITY])
        columns = required.timeline_columns(definition or self.definition(), described)
        order = {"LastModifiedDate": "asc", "Gsid": "asc"}
        rows = await self.client.query(Query(required.ACTIVITY, columns, (), order))
        return [raw(r, str(value_of(r, "Gsid")), parse_date(value_of(r, "LastModifiedDate")) or 0) for r in rows]

    def calls(self) -> dict[str, int]:
        return dict(self.tenant.calls()["by_endpoint"])

    def total(self) -> int:
        return int(self.tenant.calls()["total"])


@pytest.fixture
def tenant() -> Tenant:
    return Tenant(seed=3, clock=Clock.stopped("2026-03-02T08:00:00Z"), size=6, limits=Limits(None, None))


@pytest.fixture
def sandbox(tenant: Tenant) -> Iterator[Sandbox]:
    with Sandbox(tenant) as served:
        yield served


@pytest.fixture
async def rig(sandbox: Sandbox) -> AsyncIterator[TenantRig]:
    made = TenantRig(sandbox)
    async with made.client:
        yield made


@pytest.fixture
def settings() -> Settings:
    return Settings(_env_file=None)


@pytest.fixture
def codec() -> Codec:
    return Codec()


@pytest.fixture
def of() -> Any:
    """Makes an activity of a row."""
    return raw
