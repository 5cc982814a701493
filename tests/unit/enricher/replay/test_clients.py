"""The pools of clients that background work uses."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from enricher.processing.tenants import ClientPool
from enricher.replay.clients import BackgroundClients, OfflineClients
from frame_gainsight.connectors import Connector, Definition, Sealed
from frame_gainsight.gainsight import AccessKey, CallBudget, GainsightClient, HttpTransport, NoCallsError, Query
from frame_gainsight.runtime import SystemClock
from frame_gainsight.sandbox import Sandbox, Tenant

CONNECTOR = Connector(
    Definition(id="acme", host="https://acme.gainsightcloud.com"), Sealed("kms", b"", "arn"), "ACTIVE", 0, 0
)
QUERY = Query("company", ["Gsid"], limit=1)


class OneClient(ClientPool):
    """A pool with one client, and another to replace it with."""

    def __init__(self, client: GainsightClient, following: GainsightClient) -> None:
        self.client, self.following = client, following

    async def of(self, connector: Connector, spent_today: tuple[int, int] | None = None) -> GainsightClient:
        return self.client


def connected(sandbox: Sandbox) -> GainsightClient:
    clock, key = SystemClock(), AccessKey(sandbox.tenant.access_key)
    return GainsightClient(HttpTransport(sandbox.url, key, CallBudget(clock, 1.0), clock))


@pytest.fixture
async def pool() -> AsyncIterator[OneClient]:
    with Sandbox(Tenant(seed=1)) as sandbox:
        async with connected(sandbox) as first, connected(sandbox) as second:
            yield OneClient(first, second)


async def test_background_calls_are_counted_over_a_client_s_replacement(pool: OneClient) -> None:
    background = BackgroundClients(pool)
    assert background.calls("acme") == 0
    view = await background.of(CONNECTOR)
    assert await background.of(CONNECTOR) is view is not pool.client
    await view.query(QUERY)
    await pool.client.query(QUERY)
    assert background.calls("acme") == 1
    pool.client = pool.following
    renewed = await background.of(CONNECTOR)
    assert renewed is not view
    assert background.calls("acme") == 1
    await renewed.query(QUERY)
    assert background.calls("acme") == 2
    assert background.in_use() == [("acme", renewed)]


async def test_closing_the_background_clients_leaves_the_pool_s_open(pool: OneClient) -> None:
    background = BackgroundClients(pool)
    await background.of(CONNECTOR)
    await background.close()
    assert background.in_use() == []
    assert await pool.client.query(QUERY)


async def test_offline_clients_need_no_key_and_make_no_call() -> None:
    clients = BackgroundClients(OfflineClients(SystemClock()))
    client = await clients.of(CONNECTOR)
    with pytest.raises(NoCallsError):
        await client.query(QUERY)
    assert clients.calls("acme") == 0
