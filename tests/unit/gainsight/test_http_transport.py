"""Calls over HTTP: counted, retried, throttled, limited; the key shown to the tenant only."""

from __future__ import annotations

import gzip as gzipping
import logging
import ssl
import traceback
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from frame_gainsight.embedded_kafka.node import free_port
from frame_gainsight.gainsight import (
    AccessKey,
    CallBudget,
    CallsSpentError,
    ConfigError,
    GainsightClient,
    HttpTransport,
    ReplyTooLargeError,
    ThrottledError,
    TransientError,
)
from frame_gainsight.runtime import SystemClock
from frame_gainsight.sandbox import Limits, Sandbox, Tenant
from tests.unit.gainsight.conftest import (
    COMPANIES,
    MEBIBYTE,
    NO_ROWS,
    FakeClock,
    FreeBudget,
    failure,
    opened,
    rows_body,
)
from tests.unit.gainsight.served import Request, Served


@pytest.mark.parametrize("gzip", ["accepted", "never", "always"])
async def test_a_body_is_read_compressed_or_not(client: GainsightClient, tenant: Tenant, gzip: str) -> None:
    tenant.set_variant("gzip", gzip)
    assert len(await client.query(COMPANIES)) == 5


async def test_one_connection_serves_all_calls(tenant: Tenant, budget: FreeBudget) -> None:
    with Served(lambda request: request.json({"result": True, "data": []})) as server:
        async with GainsightClient(HttpTransport(server.url, AccessKey("k"), budget, SystemClock())) as client:
            for _ in range(5):
                await client.query(COMPANIES)
    assert len({request["peer"] for request in server.requests}) == 1
    assert len(server.requests) == 5


async def test_every_call_is_counted_by_object_and_acquires_budget_retries_too(
    client: GainsightClient, tenant: Tenant, budget: FreeBudget
) -> None:
    tenant.set_variant("server_error", 503, times=1)
    await client.query(COMPANIES)
    await client.describe(["company"])
    assert client.calls == {"company": 2, "describe": 1}
    assert budget.acquired == tenant.calls()["total"] == 3


async def test_no_call_is_made_beyond_max_calls_and_retries_are_calls_too(
    client: GainsightClient, tenant: Tenant
) -> None:
    tenant.set_variant("server_error", 503, every=2)
    client.max_calls = 4
    for _ in range(2):
        await client.query(COMPANIES)
    assert tenant.calls()["total"] == 3
    with pytest.raises(TransientError, match="server failed"):  # not: that there is no further try
        await client.query(COMPANIES)
    with pytest.raises(CallsSpentError, match="4 calls"):
        await client.query(COMPANIES)
    assert tenant.calls()["total"] == sum(client.calls.values()) == 4


@pytest.mark.parametrize("host", ["https://nobody.invalid", "http://127.0.0.1:1"])
async def test_a_request_that_never_left_this_machine_is_no_call(budget: FreeBudget, host: str) -> None:
    async with GainsightClient(HttpTransport(host, AccessKey("k"), budget, SystemClock(), retry_seconds=0.1)) as client:
        with pytest.raises(TransientError):
            await client.query(COMPANIES)
        assert client.calls == {}


PASSING = [
    ("server_error", 500),
    ("server_error", 502),
    ("server_error", 503),
    ("server_error", 504),
    ("html_page", 200),
    ("html_page", 502),
    ("html_page", 503),
    ("dropped", "before"),
    ("dropped", "mid"),
    ("broken_json", "truncated"),
    ("broken_json", "empty"),
    ("broken_json", "invalid"),
    ("failure", {"code": "SEEN_NEVER", "status": 200}),
]


@pytest.mark.parametrize(("variant", "value"), PASSING, ids=str)
async def test_a_passing_fault_is_tried_again(
    client: GainsightClient, tenant: Tenant, variant: str, value: Any
) -> None:
    tenant.set_variant(variant, value, times=1)
    assert len(await client.query(COMPANIES)) == 5
    assert client.calls["company"] == 2


@pytest.mark.parametrize(("variant", "value"), PASSING, ids=str)
async def test_a_lasting_fault_is_transient_and_given_up_in_the_end(
    client: GainsightClient, tenant: Tenant, variant: str, value: Any
) -> None:
    tenant.set_variant(variant, value)
    assert isinstance(await failure(client), TransientError)
    assert client.calls["company"] >= 3


@pytest.mark.parametrize("patience", [1.0, 10.0, 60.0])
async def test_a_lasting_fault_is_given_up_after_retry_seconds(
    tenant: Tenant, sandbox: Sandbox, waited: list[float], patience: float
) -> None:
    tenant.set_variant("server_error", 503)
    key = AccessKey(tenant.access_key)
    async with GainsightClient(
        HttpTransport(sandbox.url, key, FreeBudget(), SystemClock(), retry_seconds=patience)
    ) as client:
        assert isinstance(await failure(client), TransientError)
    assert patience <= sum(waited) < patience + 5.5 + 0.5  # the longest single wait, and its jitter
    assert len(set(waited)) > 1  # with jitter: a thousand clients do not come back together
    assert max(waited) <= 5.5


async def test_with_no_retry_seconds_a_fault_is_raised_after_one_call(tenant: Tenant, sandbox: Sandbox) -> None:
    tenant.set_variant("server_error", 500)
    key = AccessKey(tenant.access_key)
    async with GainsightClient(HttpTransport(sandbox.url, key, FreeBudget(), SystemClock(), retry_seconds=0)) as client:
        assert isinstance(await failure(client), TransientError)
        assert client.calls["company"] == 1


async def test_a_reply_that_does_not_come_in_time_is_transient_and_names_the_host(
    tenant: Tenant, sandbox: Sandbox
) -> None:
    tenant.set_variant("slow", 3600.0)
    key = AccessKey(tenant.access_key)
    async with GainsightClient(
        HttpTransport(sandbox.url, key, FreeBudget(), SystemClock(), retry_seconds=1, timeout=0.05)
    ) as client:
        error = await failure(client)
    assert isinstance(error, TransientError)
    assert "did not answer in time" in str(error) and sandbox.url in str(error)


async def test_an_absent_host_is_transient_with_advice() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    async with GainsightClient(
        HttpTransport(url, AccessKey("k"), FreeBudget(), SystemClock(), retry_seconds=1)
    ) as client:
        error = await failure(client)
    assert isinstance(error, TransientError)
    assert url in str(error) and "Check the connector's host" in str(error)


@pytest.mark.parametrize("shape", ["429", "429_retry_after", "gs_apig_2404"])
async def test_every_shape_of_throttling_reaches_the_budget(
    client: GainsightClient, tenant: Tenant, budget: FreeBudget, shape: str
) -> None:
    tenant.set_variant("throttle_shape", shape)
    tenant.set_variant("throttled", True, times=2)
    assert len(await client.query(COMPANIES)) == 5
    assert [wait is not None for wait in budget.throttles] == [shape == "429_retry_after"] * 2


async def test_a_tenant_that_throttles_with_no_wait_is_not_called_in_a_tight_loop(
    client: GainsightClient, tenant: Tenant, budget: FreeBudget
) -> None:
    tenant.set_variant("throttled", True)
    assert isinstance(await failure(client), ThrottledError)
    assert client.calls["company"] <= 10 / 0.5 + 1


@pytest.mark.parametrize("shape", ["429", "429_retry_after", "gs_apig_2404"])
async def test_throttling_longer_than_retry_seconds_is_raised_after_one_call(
    tenant: Tenant, sandbox: Sandbox, clock: FakeClock, shape: str
) -> None:
    tenant.set_variant("throttle_shape", shape)
    tenant.set_variant("throttled", True)
    key = AccessKey(tenant.access_key)
    async with GainsightClient(
        HttpTransport(sandbox.url, key, CallBudget(clock, 1.0), clock, retry_seconds=0.5)
    ) as client:
        assert isinstance(await failure(client), ThrottledError)
        assert client.calls["company"] == 1


async def test_the_tenant_s_own_allowance_is_kept_by_the_budget(clock: FakeClock) -> None:
    tenant = Tenant(seed=3, size=5, limits=Limits(10, 1000), wall=clock.now)
    with Sandbox(tenant) as sandbox:
        key, budget = AccessKey(tenant.access_key), CallBudget(clock, 1.0, per_minute=10)
        async with GainsightClient(HttpTransport(sandbox.url, key, budget, clock)) as client:
            for _ in range(25):
                await client.query(COMPANIES)
    assert tenant.calls()["throttled"] == 0
    assert tenant.calls()["total"] == 25


@pytest.mark.parametrize(
    ("variant", "value", "words"),
    [
        ("unauthorized", "GS_APIG_2401", "current key"),
        ("unauthorized", "GSOBJ_1024", "current key"),
        ("ip_not_allowed", True, "allowlist"),
        ("failure", {"code": "GS_APIG_2401", "status": 200}, "current key"),
        ("failure", {"code": "GS_APIG_2402", "status": 200}, "allowlist"),
    ],
)
async def test_a_refusal_of_the_caller_is_a_config_error_after_one_call(
    client: GainsightClient, tenant: Tenant, variant: str, value: Any, words: str
) -> None:
    tenant.set_variant(variant, value)
    error = await failure(client)
    assert isinstance(error, ConfigError)
    assert words in str(error)
    assert client.calls["company"] == 1


async def test_a_key_that_was_reset_is_refused(client: GainsightClient) -> None:
    with Sandbox(Tenant(seed=8, size=3)) as sandbox:
        key = AccessKey(sandbox.tenant.access_key)
        async with GainsightClient(HttpTransport(sandbox.url, key, FreeBudget(), SystemClock())) as other:
            assert await other.query(NO_ROWS) == []
            sandbox.tenant.reset_key()
            assert (await failure(other)).status == 401


@pytest.mark.parametrize("status", [401, 403, 429, 500])
async def test_a_failing_status_with_a_text_of_no_data_is_still_a_failure(status: int, budget: FreeBudget) -> None:
    with Served(lambda request: request.json({"result": False, "message": "No data found for key"}, status)) as server:
        async with GainsightClient(
            HttpTransport(server.url, AccessKey("k"), budget, SystemClock(), retry_seconds=0.01)
        ) as client:
            await failure(client)


async def test_a_redirect_is_not_followed_and_the_key_never_reaches_the_other_host(
    client: GainsightClient, tenant: Tenant
) -> None:
    with Served(lambda request: request.json({"result": True, "data": []})) as elsewhere:
        tenant.set_variant("redirect", elsewhere.url)
        error = await failure(client)
    assert isinstance(error, ConfigError)
    assert "redirects elsewhere" in str(error)
    assert elsewhere.requests == []
    assert client.calls["company"] == 1


async def test_a_proxy_of_the_environment_does_not_get_the_key(
    sandbox: Sandbox, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Served(lambda request: request.json({}, 502)) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv("NO_PROXY", "")
        monkeypatch.setenv("no_proxy", "")
        key = AccessKey(tenant.access_key)
        async with GainsightClient(HttpTransport(sandbox.url, key, FreeBudget(), SystemClock())) as client:
            assert len(await client.query(COMPANIES)) == 5
    assert proxy.requests == []


FAULTS = [
    ("unauthorized", "GS_APIG_2401"),
    ("ip_not_allowed", True),
    ("redirect", "http://127.0.0.1:1"),
    ("throttled", True),
    *PASSING,
]


@pytest.mark.parametrize(("variant", "value"), FAULTS, ids=str)
async def test_the_key_appears_in_no_error_and_no_log(
    variant: str, value: Any, sandbox: Sandbox, tenant: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    tenant.set_variant(variant, value)
    key = AccessKey(tenant.access_key)
    with structlog.testing.capture_logs() as logged:
        client = GainsightClient(HttpTransport(sandbox.url, key, FreeBudget(), SystemClock(), retry_seconds=1))
        async with client:
            error = await failure(client)
    shown = [
        "".join(traceback.format_exception(error)),
        repr(error),
        repr(error.__dict__),
        repr(client),
        repr(key),
        str(key),
        f"{key}",
        caplog.text,
        repr(logged),
        *(repr(record.__dict__) for record in caplog.records),
    ]
    assert not [text for text in shown if tenant.access_key in text]


@pytest.mark.parametrize("packed", [False, True])
async def test_a_reply_over_the_limit_is_not_read_to_its_end_nor_requested_again(packed: bool) -> None:
    content = rows_body(50 * MEBIBYTE)

    def answer(request: Request) -> None:
        if packed:
            request.send(gzipping.compress(content, 1), headers={"Content-Encoding": "gzip"})
        else:
            request.send(content)

    with Served(answer) as server:
        async with opened(server.url, retry_seconds=10, max_reply_bytes=2 * MEBIBYTE) as client:
            error = await failure(client)
            assert client.calls["company"] == 1
    assert isinstance(error, ReplyTooLargeError)
    assert error.size_limit == 2 * MEBIBYTE
    assert "2,097,152 bytes" in str(error) and "company" in str(error)
    if not packed:
        assert server.requests[0]["sent"] < 40 * MEBIBYTE


async def test_a_compressed_reply_is_never_decompressed_much_beyond_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    largest = 0

    class Watched(bytearray):
        def __iadd__(self, more: Any) -> Any:
            nonlocal largest
            largest = max(largest, len(more))
            return super().__iadd__(more)

    body = SimpleNamespace(content=Watched(), slot=None, release=int)
    monkeypatch.setattr("frame_gainsight.gainsight.http_transport._Body", lambda: body)
    packed = gzipping.compress(rows_body(30 * MEBIBYTE))
    with Served(lambda request: request.send(packed, headers={"Content-Encoding": "gzip"})) as server:
        async with opened(server.url, max_reply_bytes=2 * MEBIBYTE) as client:
            assert isinstance(await failure(client), ReplyTooLargeError)
    assert largest <= 64 * 1024


async def test_a_body_that_does_not_decompress_is_transient() -> None:
    with Served(lambda request: request.send(b"no gzip", headers={"Content-Encoding": "gzip"})) as server:
        async with opened(server.url) as client:
            error = await failure(client)
    assert isinstance(error, TransientError) and "decompress" in str(error)


async def test_lasting_throttling_slows_the_calls_and_one_success_ends_that(
    sandbox: Sandbox, tenant: Tenant, clock: FakeClock
) -> None:
    tenant.set_variant("throttle_shape", "429")
    tenant.set_variant("throttled", True)
    key, budget = AccessKey(tenant.access_key), CallBudget(clock, 1.0)
    async with GainsightClient(HttpTransport(sandbox.url, key, budget, clock, retry_seconds=0)) as client:
        began = clock.at
        for _ in range(5):
            try:
                await client.query(COMPANIES)
            except ThrottledError as error:
                clock.at += round((error.retry_after or 0) * 1000)
        assert client.calls["company"] < 5
        assert clock.at - began >= 180_000
        tenant.clear_variants()
        clock.at += 3_600_000
        await client.query(COMPANIES)
        assert budget.throttled(None) <= 60


async def test_a_thousand_clients_build_one_tls_context(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[ssl.SSLContext] = []
    init = ssl.SSLContext.__new__

    def counted(cls: Any, *args: Any, **more: Any) -> ssl.SSLContext:
        built.append(init(cls, *args, **more))
        return built[-1]

    opened("https://a.example")
    monkeypatch.setattr(ssl.SSLContext, "__new__", counted)
    clients = [opened(f"https://t{n}.example") for n in range(1000)]
    assert built == []
    assert all(c._transport._http._transport._pool._ssl_context.verify_mode is ssl.CERT_REQUIRED for c in clients)  # type: ignore[attr-defined]
