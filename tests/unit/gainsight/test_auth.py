"""OAuth client credentials against the sandbox: one token for many calls, renewed when it ends or is refused."""

from __future__ import annotations

import asyncio

import pytest

from frame_gainsight.gainsight import (
    AccessKey,
    BadClientError,
    GainsightClient,
    HttpTransport,
    OAuthClient,
    Query,
)
from frame_gainsight.runtime import SystemClock, cause_of
from frame_gainsight.sandbox import Sandbox, Tenant
from tests.unit.gainsight.conftest import FreeBudget

SECRET = "5f0c4f5a-very-secret-9a55"
QUERY = Query("company", ["Gsid"], limit=1)


class Clock(SystemClock):
    def __init__(self) -> None:
        self.moved = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.moved


def client(sandbox: Sandbox, clock: Clock, secret: str | None = None) -> GainsightClient:
    tenant = sandbox.tenant
    credentials = OAuthClient(tenant.client_id, secret or tenant.client_secret, clock)
    return GainsightClient(HttpTransport(sandbox.url, credentials, FreeBudget(), clock, retry_seconds=0))


async def test_one_token_serves_many_calls_and_is_renewed_before_its_end() -> None:
    clock = Clock()
    with Sandbox(Tenant(seed=1)) as sandbox:
        async with client(sandbox, clock) as asking:
            await asyncio.gather(*(asking.query(QUERY) for _ in range(5)))
            assert asking.calls == {"token": 1, "company": 5}
            clock.moved = 86_400.0 - 61
            await asking.query(QUERY)
            assert asking.calls["token"] == 1
            clock.moved = 86_400.0 - 59
            await asking.query(QUERY)
            assert asking.calls == {"token": 2, "company": 7}


async def test_a_token_that_is_refused_is_renewed_once() -> None:
    clock = Clock()
    with Sandbox(Tenant(seed=1)) as sandbox:
        async with client(sandbox, clock) as asking:
            await asking.query(QUERY)
            clock.moved = 3600.0
            sandbox.tenant.set_variant("token_expired", True, times=1)
            assert await asking.query(QUERY)
            assert asking.calls == {"token": 2, "company": 3}
            clock.moved = 7200.0
            sandbox.tenant.set_variant("token_expired", True)
            with pytest.raises(BadClientError, match="token that it gave the OAuth client") as caught:
                await asking.query(QUERY)
            assert cause_of(caught.value, "acme").endswith("frame-gainsight connector rotate-key acme --oauth")
            assert asking.calls == {"token": 3, "company": 5}
            sandbox.tenant.clear_variants()
            assert await asking.query(QUERY)  # what was refused young is not kept


async def test_a_wrong_secret_is_a_config_failure_that_shows_nothing() -> None:
    with Sandbox(Tenant(seed=1)) as sandbox:
        async with client(sandbox, Clock(), "wrong-secret-9a55") as asking:
            with pytest.raises(BadClientError, match="does not accept the OAuth client") as caught:
                await asking.query(QUERY)
        assert "rotate-key" not in str(caught.value), "the client does not know whether it is registered"
        assert cause_of(caught.value, "acme").endswith("frame-gainsight connector rotate-key acme --oauth")
        assert "9a55" not in str(caught.value) and "9a55" not in repr(asking)
        assert asking.calls == {"token": 1}


def test_an_access_key_s_repr_shows_nothing_also_in_a_container() -> None:
    key = AccessKey(SECRET)
    assert SECRET not in f"{key!r} {key!s} {[key]} { ({'key': key}) }"
    assert not hasattr(key, "__dict__")
