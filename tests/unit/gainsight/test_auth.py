"""OAuth client credentials against the sandbox: one token for many calls, renewed when it ends or is refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from frame_gainsight.gainsight import (
    AccessKey,
    BadClientError,
    BadKeyError,
    GainsightClient,
    HttpTransport,
    OAuthClient,
    Query,
    TransientError,
)
from frame_gainsight.runtime import SystemClock, cause_of
from frame_gainsight.sandbox import Sandbox, Tenant
from tests.unit.gainsight.conftest import FakeClock, FreeBudget

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


TOKENS = [
    "tok\xe9n",
    "to\nken",
    "to\r\nx-evil: 1",
    "to ken",
    "tok\u2028en",
    "\x00",
    "x" * 20_000,
    "\ud800",
    7,
    ["a"],
    {"a": 1},
    True,
]


@pytest.mark.parametrize("token", TOKENS, ids=lambda token: ascii(token)[:20])
async def test_a_token_that_no_header_can_have_is_a_failure_of_the_tenant_that_shows_nothing(token: Any) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=json.dumps({"access_token": token, "expires_in": 3600}).encode())

    credentials = OAuthClient("key", "secret", SystemClock())
    transport = httpx.MockTransport(answer)
    async with GainsightClient(
        HttpTransport("http://127.0.0.1:1", credentials, FreeBudget(), SystemClock(), retry_seconds=0, http=transport)
    ) as asking:
        with pytest.raises(TransientError, match="no token that can be sent") as caught:
            await asking.query(QUERY)
    assert str(token) not in str(caught.value)
    assert asking.calls == {"token": 1}


@pytest.mark.parametrize(
    ("expires_in", "seconds"),
    [
        (3600, 3600),
        ("3600", 3600),
        (None, 120),
        ("soon", 120),
        (-5, 120),
        ("nan", 120),
        ("inf", 86_400),
        (1e300, 86_400),
        (10**400, 120),
        ([], 120),
    ],
    ids=lambda value: str(value)[:12],
)
async def test_a_token_s_life_is_bounded_whatever_the_tenant_says(expires_in: Any, seconds: float) -> None:
    granted = 0

    async def grant(_: Mapping[str, str]) -> Mapping[str, Any]:
        nonlocal granted
        granted += 1
        return {"access_token": "token", "expires_in": expires_in}

    clock = FakeClock()
    credentials = OAuthClient("key", "secret", clock)
    await credentials.headers(grant)
    clock.at += round((seconds - 61) * 1000)
    await credentials.headers(grant)
    assert granted == 1
    clock.at += 2000
    await credentials.headers(grant)
    assert granted == 2


@pytest.mark.parametrize("key", ["k\xe9y", "k\ney", "", "k y"], ids=ascii)
async def test_a_stored_key_that_no_header_can_have_is_a_bad_key(key: str) -> None:
    async with GainsightClient(
        HttpTransport("http://127.0.0.1:1", AccessKey(key), FreeBudget(), SystemClock())
    ) as asking:
        with pytest.raises(BadKeyError, match="cannot be sent"):
            await asking.query(QUERY)
    assert asking.calls == {}
