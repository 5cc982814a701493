"""A small tenant behind a real server, a client of it, and a clock that moves only when a test moves it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from frame_gainsight.gainsight import (
    AccessKey,
    Condition,
    GainsightClient,
    GainsightError,
    HttpTransport,
    Priority,
    Query,
)
from frame_gainsight.runtime import SystemClock
from frame_gainsight.sandbox import Limits, Morning, Sandbox, Tenant


@dataclass
class FakeClock:
    """Stands still; sleeping moves it."""

    at: int = 1_772_445_600_000
    slept: list[float] = field(default_factory=list)

    def now(self) -> int:
        return self.at

    def monotonic(self) -> float:
        return self.at / 1000

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += round(seconds * 1000)


class FreeBudget:
    """Never waits; remembers what was reported to it."""

    per_minute = per_day = left_today = 10**9
    spent = (0, 0)

    def __init__(self) -> None:
        self.acquired = 0
        self.priorities: list[Priority] = []
        self.throttles: list[float | None] = []
        self.headers: list[tuple[int | None, int | None, float | None]] = []
        self.successes = 0

    async def acquire(self, priority: Priority = Priority.LIVE) -> None:
        self.acquired += 1
        self.priorities.append(priority)

    def throttled(self, retry_after: float | None, *, unavailable: bool = False) -> float:
        self.throttles.append(retry_after)
        return 0.0

    def update_from_headers(self, limit: int | None, remaining: int | None, reset: float | None) -> None:
        self.headers.append((limit, remaining, reset))

    def succeeded(self) -> None:
        self.successes += 1


COMPANIES = Query("company", ["Gsid", "Name", "Csm__gr.Email"], order_by={"Gsid": "asc"}, limit=5)


NO_ROWS = Query("company", ["Gsid"], [Condition("Gsid", "EQ", ["none"])])


async def failure(client: GainsightClient, query: Query = COMPANIES) -> GainsightError:
    with pytest.raises(GainsightError) as caught:
        await client.query(query)
    return caught.value


MEBIBYTE = 1024 * 1024


def rows_body(size: int) -> bytes:
    """A reply of about `size` bytes."""
    return json.dumps({"result": True, "data": [{"Gsid": "1", "Name": "x" * size}]}).encode()


def opened(url: str, **more: Any) -> GainsightClient:
    return GainsightClient(
        HttpTransport(url, AccessKey("k"), FreeBudget(), SystemClock(), **{"retry_seconds": 0, **more})
    )


@pytest.fixture(autouse=True)
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between tries, which take no real time, but count as if they did."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr("stamina._core._smart_sleep", sleep)
    monkeypatch.setattr("tenacity.time", SimpleNamespace(monotonic=lambda: sum(waits), sleep=None))
    return waits


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def budget() -> FreeBudget:
    return FreeBudget()


@pytest.fixture(scope="package")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(Tenant(seed=3, scenario=Morning(emails=30), size=10, limits=Limits(None, None))) as running:
        yield running


@pytest.fixture
def tenant(sandbox: Sandbox) -> Iterator[Tenant]:
    """The tenant without any variant, its calls counted anew."""
    sandbox.tenant.reset_calls()
    yield sandbox.tenant
    sandbox.tenant.clear_variants()


@pytest.fixture
async def client(sandbox: Sandbox, tenant: Tenant, budget: FreeBudget) -> AsyncIterator[GainsightClient]:
    """A client that tries a failing call again for ten seconds."""
    key = AccessKey(tenant.access_key)
    async with GainsightClient(
        HttpTransport(sandbox.url, key, budget, SystemClock(), retry_seconds=10, timeout=30)
    ) as opened:
        yield opened
