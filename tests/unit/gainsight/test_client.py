"""The client against a real HTTP server that serves what tenants have been seen, or are feared, to serve."""

from __future__ import annotations

import asyncio
import gzip as gzipping
import json
import logging
import ssl
import time
import traceback
from collections.abc import Callable
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from frame_gainsight.embedded_kafka.node import free_port
from frame_gainsight.gainsight import (
    AccessKey,
    CallBudget,
    CallsSpentError,
    Chunking,
    Condition,
    ConfigError,
    GainsightClient,
    GainsightError,
    LargeReplies,
    Priority,
    Query,
    RefusedQueryError,
    ReplyTooLargeError,
    ThrottledError,
    TransientError,
    UnknownFieldError,
    UnknownObjectError,
    fetch_where_in,
)
from frame_gainsight.gainsight.client import rate_of
from frame_gainsight.runtime import SystemClock
from frame_gainsight.sandbox import Limits, Sandbox, Tenant
from tests.unit.gainsight.conftest import FakeClock, FreeBudget

COMPANIES = Query("company", ["Gsid", "Name", "Csm__gr.Email"], order_by={"Gsid": "asc"}, limit=5)
NOBODY = Query("company", ["Gsid"], [Condition("Gsid", "EQ", ["none"])])
SECRET = "5f0c4f5a-very-secret-9a55"


async def failure(client: GainsightClient, query: Query = COMPANIES) -> GainsightError:
    with pytest.raises(GainsightError) as caught:
        await client.query(query)
    return caught.value


# ---- rows ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", ["list", "records"])
@pytest.mark.parametrize("keys", ["requested", "lower", "upper", "described"])
async def test_rows_have_the_keys_that_were_asked_for(
    client: GainsightClient, tenant: Tenant, data: str, keys: str
) -> None:
    expected = await client.query(COMPANIES)
    assert [set(row) for row in expected] == [set(COMPANIES.select)] * 5
    tenant.set_variant("data", data)
    tenant.set_variant("keys", keys)
    tenant.set_variant("localized", True)
    tenant.set_variant("extra_keys", 3)
    assert await client.query(COMPANIES) == expected


@pytest.mark.parametrize("empty", ["data", "null", "no_data", "gsobj_1011"])
async def test_every_form_of_nothing_is_no_rows(client: GainsightClient, tenant: Tenant, empty: str) -> None:
    tenant.set_variant("empty", empty)
    assert await client.query(NOBODY) == []
    assert tenant.calls()["total"] == 1


@pytest.mark.parametrize("gzip", ["accepted", "never", "always"])
async def test_compressed_or_not(client: GainsightClient, tenant: Tenant, gzip: str) -> None:
    tenant.set_variant("gzip", gzip)
    assert len(await client.query(COMPANIES)) == 5


async def test_one_connection_serves_all_calls(tenant: Tenant, budget: FreeBudget) -> None:
    with Served(lambda request: request.json({"result": True, "data": []})) as server:
        async with GainsightClient(server.url, AccessKey("k"), budget, SystemClock()) as client:
            for _ in range(5):
                await client.query(COMPANIES)
    assert len({request["peer"] for request in server.requests}) == 1
    assert len(server.requests) == 5


async def test_calls_are_counted_by_object_and_each_asks_the_budget_retries_too(
    client: GainsightClient, tenant: Tenant, budget: FreeBudget
) -> None:
    tenant.set_variant("server_error", 503, times=1)
    await client.query(COMPANIES)
    await client.describe(["company"])
    assert client.calls == {"company": 2, "describe": 1}
    assert budget.acquired == tenant.calls()["total"] == 3


async def test_no_call_is_made_beyond_the_most_retries_are_calls_too(client: GainsightClient, tenant: Tenant) -> None:
    tenant.set_variant("server_error", 503, every=2)
    client.most_calls = 4
    for _ in range(2):
        await client.query(COMPANIES)
    assert tenant.calls()["total"] == 3
    with pytest.raises(TransientError, match="server failed"):  # not: that there is no further try
        await client.query(COMPANIES)
    with pytest.raises(CallsSpentError, match="4 calls"):
        await client.query(COMPANIES)
    assert tenant.calls()["total"] == sum(client.calls.values()) == 4


@pytest.mark.parametrize("host", ["https://nobody.invalid", "http://127.0.0.1:1"])
async def test_what_never_left_this_machine_is_no_call(budget: FreeBudget, host: str) -> None:
    async with GainsightClient(host, AccessKey("k"), budget, SystemClock(), retry_seconds=0.1) as client:
        with pytest.raises(TransientError):
            await client.query(COMPANIES)
        assert client.calls == {}


# ---- what passes by itself ----------------------------------------------------------------------------------------

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
async def test_a_lasting_one_is_transient_and_given_up_in_the_end(
    client: GainsightClient, tenant: Tenant, variant: str, value: Any
) -> None:
    tenant.set_variant(variant, value)
    assert isinstance(await failure(client), TransientError)
    assert client.calls["company"] >= 3


@pytest.mark.parametrize("patience", [1.0, 10.0, 60.0])
async def test_it_is_given_up_after_the_time_that_was_set(
    tenant: Tenant, sandbox: Sandbox, waited: list[float], patience: float
) -> None:
    tenant.set_variant("server_error", 503)
    key = AccessKey(tenant.access_key)
    async with GainsightClient(sandbox.url, key, FreeBudget(), SystemClock(), retry_seconds=patience) as client:
        assert isinstance(await failure(client), TransientError)
    assert patience <= sum(waited) < patience + 5.5 + 0.5  # the longest single wait, and its jitter
    assert len(set(waited)) > 1  # with jitter: a thousand clients do not come back at once
    assert max(waited) <= 5.5


async def test_without_any_patience_a_fault_is_raised_at_once(tenant: Tenant, sandbox: Sandbox) -> None:
    tenant.set_variant("server_error", 500)
    key = AccessKey(tenant.access_key)
    async with GainsightClient(sandbox.url, key, FreeBudget(), SystemClock(), retry_seconds=0) as client:
        assert isinstance(await failure(client), TransientError)
        assert client.calls["company"] == 1


async def test_a_reply_that_does_not_come_in_time_is_transient_and_names_the_host(
    tenant: Tenant, sandbox: Sandbox
) -> None:
    tenant.set_variant("slow", 3600.0)
    key = AccessKey(tenant.access_key)
    async with GainsightClient(sandbox.url, key, FreeBudget(), SystemClock(), retry_seconds=1, timeout=0.05) as client:
        error = await failure(client)
    assert isinstance(error, TransientError)
    assert "did not answer in time" in str(error) and sandbox.url in str(error)


async def test_a_host_that_is_not_there_is_transient_with_advice() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    async with GainsightClient(url, AccessKey("k"), FreeBudget(), SystemClock(), retry_seconds=1) as client:
        error = await failure(client)
    assert isinstance(error, TransientError)
    assert url in str(error) and "Check the connector's host" in str(error)


# ---- throttling ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["429", "429_retry_after", "gs_apig_2404"])
async def test_every_shape_of_throttling_tells_the_budget(
    client: GainsightClient, tenant: Tenant, budget: FreeBudget, shape: str
) -> None:
    tenant.set_variant("throttle_shape", shape)
    tenant.set_variant("throttled", True, times=2)
    assert len(await client.query(COMPANIES)) == 5
    assert [told is not None for told in budget.throttles] == [shape == "429_retry_after"] * 2


async def test_a_tenant_that_throttles_and_says_come_at_once_is_not_asked_in_a_tight_loop(
    client: GainsightClient, tenant: Tenant, budget: FreeBudget
) -> None:
    tenant.set_variant("throttled", True)
    assert isinstance(await failure(client), ThrottledError)
    assert client.calls["company"] <= 10 / 0.5 + 1


@pytest.mark.parametrize("shape", ["429", "429_retry_after", "gs_apig_2404"])
async def test_throttling_longer_than_our_patience_is_raised_at_once(
    tenant: Tenant, sandbox: Sandbox, clock: FakeClock, shape: str
) -> None:
    tenant.set_variant("throttle_shape", shape)
    tenant.set_variant("throttled", True)
    key = AccessKey(tenant.access_key)
    async with GainsightClient(sandbox.url, key, CallBudget(clock, 1.0), clock, retry_seconds=0.5) as client:
        assert isinstance(await failure(client), ThrottledError)
        assert client.calls["company"] == 1


async def test_the_tenant_s_own_allowance_is_kept_by_the_budget(clock: FakeClock) -> None:
    tenant = Tenant(seed=3, size=5, limits=Limits(10, 1000), wall=clock.now)
    with Sandbox(tenant) as sandbox:
        key, budget = AccessKey(tenant.access_key), CallBudget(clock, 1.0, per_minute=10)
        async with GainsightClient(sandbox.url, key, budget, clock) as client:
            for _ in range(25):
                await client.query(COMPANIES)
    assert tenant.calls()["throttled"] == 0
    assert tenant.calls()["total"] == 25


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("soon", None),
        ("inf", None),
        ("nan", None),
        ("1e300", 86_400.0),
        ("", None),
    ],
)
async def test_retry_after_is_obeyed_when_it_can_be(budget: FreeBudget, header: str, told: float | None) -> None:
    def answer(request: Request) -> None:
        if len(server.requests) == 1:
            request.json({"result": False}, 429, {"Retry-After": header})
        else:
            request.json({"result": True, "data": []})

    with Served(answer) as server:
        async with GainsightClient(server.url, AccessKey("k"), budget, SystemClock()) as client:
            assert await client.query(COMPANIES) == []
    assert budget.throttles == [told]


# ---- what somebody must set right ---------------------------------------------------------------------------------


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
async def test_a_refusal_of_the_caller_is_raised_at_once(
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
        async with GainsightClient(sandbox.url, key, FreeBudget(), SystemClock()) as other:
            assert await other.query(NOBODY) == []
            sandbox.tenant.reset_key()
            assert (await failure(other)).status == 401


@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize("select", [["Gsid", "Nope__gc"], ["Nope__gc"]])
async def test_an_unknown_field_is_named_whatever_the_status(
    client: GainsightClient, tenant: Tenant, status: int, select: list[str]
) -> None:
    tenant.set_variant("error_status", status)
    error = await failure(client, Query("company", select))
    assert isinstance(error, UnknownFieldError)
    assert (error.object_name, error.field) == ("company", "Nope__gc")
    assert client.calls["company"] == 1


@pytest.mark.parametrize("status", [200, 400, 500])
async def test_a_look_up_through_a_field_that_is_none_is_refused(
    client: GainsightClient, tenant: Tenant, status: int
) -> None:
    tenant.set_variant("error_status", status)
    error = await failure(client, Query("company", ["Name__gr.Email"]))
    assert isinstance(error, RefusedQueryError | UnknownFieldError)
    assert client.calls["company"] == 1


async def test_an_unknown_object_is_named(client: GainsightClient) -> None:
    error = await failure(client, Query("nope__gc", ["Gsid"]))
    assert isinstance(error, UnknownObjectError)
    assert "nope__gc" in str(error)


@pytest.mark.parametrize("status", [401, 403, 429, 500])
async def test_words_about_no_data_do_not_make_a_failure_an_empty_result(status: int, budget: FreeBudget) -> None:
    with Served(lambda request: request.json({"result": False, "message": "No data found for key"}, status)) as server:
        async with GainsightClient(server.url, AccessKey("k"), budget, SystemClock(), retry_seconds=0.01) as client:
            await failure(client)


# ---- the key ------------------------------------------------------------------------------------------------------


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
        async with GainsightClient(sandbox.url, key, FreeBudget(), SystemClock()) as client:
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
        client = GainsightClient(sandbox.url, key, FreeBudget(), SystemClock(), retry_seconds=1)
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


def test_a_key_s_object_shows_nothing_also_in_a_container() -> None:
    key = AccessKey(SECRET)
    assert SECRET not in f"{key!r} {key!s} {[key]} { ({'key': key}) }"
    assert not hasattr(key, "__dict__")


# ---- time ---------------------------------------------------------------------------------------------------------


class Dated:
    """A tenant that tells the time it is told, after a given delay on a fake clock."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.ahead = 0  # milliseconds that the tenant's clock is before ours
        self.latency = 0
        self.header: str | None = None

    def now(self) -> int:
        return self.clock.at + self.ahead

    def __call__(self, request: httpx.Request) -> httpx.Response:
        date = formatdate(self.now() // 1000, usegmt=True) if self.header is None else self.header
        self.clock.at += self.latency
        return httpx.Response(200, json={"result": True, "data": []}, headers={"Date": date} if date else {})


def dated(clock: FakeClock) -> tuple[Dated, GainsightClient]:
    tenant = Dated(clock)
    transport = httpx.MockTransport(tenant)
    return tenant, GainsightClient("http://127.0.0.1:1", AccessKey("k"), FreeBudget(), clock, transport=transport)


async def test_before_any_reply_the_tenant_s_time_is_unknown(clock: FakeClock) -> None:
    _, client = dated(clock)
    assert client.tenant_now() is None
    assert client.last_reply_at is None


@pytest.mark.parametrize("header", ["", "yesterday", "Mon, 99 Foo 2026 10:00:00 GMT"])
async def test_a_reply_that_tells_no_time_leaves_it_unknown(clock: FakeClock, header: str) -> None:
    tenant, client = dated(clock)
    tenant.header = header
    await client.query(NOBODY)
    assert client.tenant_now() is None
    assert client.last_reply_at == clock.at


async def test_a_tenant_behind_us_has_its_own_time(clock: FakeClock) -> None:
    tenant, client = dated(clock)
    tenant.ahead = -90_000
    await client.query(NOBODY)
    clock.at += 30_000
    assert client.tenant_now() == tenant.now()


async def test_a_tenant_ahead_of_us_has_ours(clock: FakeClock) -> None:
    tenant, client = dated(clock)
    tenant.ahead = 90_000
    await client.query(NOBODY)
    assert client.tenant_now() == clock.at


STEP = st.tuples(
    st.integers(0, 5_000), st.integers(0, 3_000), st.sampled_from([0, 0, 0, -1, -400, -1400, -90_000, 700])
)


@given(st.integers(-100_000, 100_000), st.integers(0, 999), st.lists(STEP, min_size=1, max_size=8))
async def test_the_tenant_s_time_is_never_ahead_of_it_nor_of_us(
    ahead: int, phase: int, steps: list[tuple[int, int, int]]
) -> None:
    """Also when its clock is set back, by less than a second even, before a reply."""
    clock = FakeClock(1_772_445_600_000 + phase)
    tenant, client = dated(clock)
    tenant.ahead = ahead
    for waited, latency, stepped in steps:
        clock.at += waited
        tenant.ahead += stepped
        tenant.latency = latency
        await client.query(NOBODY)
        known = client.tenant_now()
        assert known is not None
        assert known <= tenant.now() + 1  # a float's rounding
        assert known <= clock.now()
        assert known > min(tenant.now(), clock.now()) - 1002 - latency


# ---- describe -----------------------------------------------------------------------------------------------------


async def test_objects_are_described_in_one_call_by_the_names_asked_for(
    client: GainsightClient, tenant: Tenant
) -> None:
    described = await client.describe(["Company", "person"])
    assert list(described) == ["Company", "person"]
    assert described["Company"].field("csm") is not None
    assert tenant.calls()["total"] == 1


async def test_an_object_that_does_not_exist_does_not_hide_the_others(client: GainsightClient) -> None:
    assert list(await client.describe(["company", "nope__gc", "person"])) == ["company", "person"]
    assert await client.describe(["nope__gc"]) == {}


async def test_with_one_that_does_not_exist_the_list_spares_a_call_for_each(
    client: GainsightClient, tenant: Tenant
) -> None:
    names = ["company", "nope__gc", "person", "gsuser", "relationship"]
    described = await client.describe(names)
    assert list(described) == [name for name in names if name != "nope__gc"]
    assert tenant.calls()["total"] == 3
    tenant.set_variant("failure", {"code": "GS_APIG_1000", "status": 404}, endpoint="list")
    assert await client.describe(names) == described, "a tenant without a list is asked for each"


async def test_a_wrong_key_is_no_missing_object(client: GainsightClient, tenant: Tenant) -> None:
    tenant.set_variant("unauthorized", "GS_APIG_2401")
    with pytest.raises(ConfigError):
        await client.describe(["company", "person"])


# ---- large replies ------------------------------------------------------------------------------------------------

MEBIBYTE = 1024 * 1024


def rows_body(size: int) -> bytes:
    """A reply of about `size` bytes."""
    return json.dumps({"result": True, "data": [{"Gsid": "1", "Name": "x" * size}]}).encode()


def opened(url: str, **more: Any) -> GainsightClient:
    return GainsightClient(url, AccessKey("k"), FreeBudget(), SystemClock(), **{"retry_seconds": 0, **more})


async def test_a_reply_tells_the_size_of_its_decoded_body_and_what_was_asked() -> None:
    content = rows_body(5000)

    def answer(request: Request) -> None:
        request.send(gzipping.compress(content), headers={"Content-Encoding": "gzip"})

    with Served(answer) as server:
        async with opened(server.url) as client:
            reply = await client.fetch(COMPANIES)
    assert (reply.size, reply.asked, len(reply.rows)) == (len(content), COMPANIES, 1)


@pytest.mark.parametrize("packed", [False, True])
async def test_a_reply_over_the_limit_is_not_read_to_its_end_nor_asked_for_again(packed: bool) -> None:
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

    monkeypatch.setattr(
        "frame_gainsight.gainsight.client._Body", lambda: SimpleNamespace(content=Watched(), slot=None, release=int)
    )
    packed = gzipping.compress(rows_body(30 * MEBIBYTE))
    with Served(lambda request: request.send(packed, headers={"Content-Encoding": "gzip"})) as server:
        async with opened(server.url, max_reply_bytes=2 * MEBIBYTE) as client:
            assert isinstance(await failure(client), ReplyTooLargeError)
    assert largest <= 64 * 1024


async def test_what_does_not_decompress_is_transient() -> None:
    with Served(lambda request: request.send(b"no gzip", headers={"Content-Encoding": "gzip"})) as server:
        async with opened(server.url) as client:
            error = await failure(client)
    assert isinstance(error, TransientError) and "decompress" in str(error)


async def test_a_large_page_of_a_failing_server_is_the_server_s_failure_and_takes_no_slot() -> None:
    large = LargeReplies(1)
    await large.acquire()
    with Served(lambda request: request.send(b"<p>" * MEBIBYTE, status=503)) as server:
        async with opened(server.url, large=large, max_reply_bytes=2 * MEBIBYTE) as client:
            error = await failure(client)
    assert isinstance(error, TransientError) and error.status == 503


async def test_a_list_whose_rows_do_not_fit_is_halved() -> None:
    def answer(request: Request) -> None:
        values = request.body["where"]["conditions"][0]["value"]
        data = [{"Gsid": value, "Name": "x" * 1000} for value in values]
        request.json({"result": True, "data": data})

    wanted = [f"g{n:03}" for n in range(100)]
    chunking = Chunking()
    with Served(answer) as server:
        async with opened(server.url, max_reply_bytes=30_000) as client:
            rows = await fetch_where_in(client, "company", ["Gsid", "Name"], "Gsid", wanted, chunking)
            assert [row["Gsid"] for row in rows] == wanted
            assert chunking.size == 25
            with pytest.raises(ReplyTooLargeError):
                client._max_reply_bytes = 500
                await fetch_where_in(client, "company", ["Gsid", "Name"], "Gsid", wanted, chunking)


async def test_a_large_reply_waits_for_a_slot_and_keeps_it_until_it_is_released() -> None:
    large = LargeReplies(1)
    with Served(lambda request: request.send(rows_body(2 * MEBIBYTE))) as server:
        async with opened(server.url, large=large) as one, opened(server.url, large=large) as other:
            first = await one.fetch(COMPANIES)
            assert large.full()
            second = asyncio.create_task(other.fetch(COMPANIES))
            await asyncio.sleep(0.3)
            assert not second.done()
            first.release()
            first.release()  # gives back no more than one slot
            reply = await asyncio.wait_for(second, 10)
            assert large.full()
            reply.release()
            assert not large.full()
            await one.query(COMPANIES)
            assert not large.full()  # those who only want rows keep nothing


async def test_small_replies_need_no_slot() -> None:
    large = LargeReplies(1)
    await large.acquire()
    with Served(lambda request: request.send(rows_body(MEBIBYTE // 2))) as server:
        async with opened(server.url, large=large) as client:
            assert len(await asyncio.wait_for(client.query(COMPANIES), 10)) == 1


async def test_a_failing_call_and_a_forgotten_reply_give_their_slots_back() -> None:
    large = LargeReplies(1)
    bodies = [b"x" * 2 * MEBIBYTE, rows_body(6 * MEBIBYTE), b'{"result": true, "data": 5, "x": "%s"}' % (b"x" * 2**21)]
    with Served(lambda request: request.send(bodies.pop(0) if bodies else rows_body(2 * MEBIBYTE))) as server:
        async with opened(server.url, large=large, max_reply_bytes=4 * MEBIBYTE) as client:
            for kind in (TransientError, ReplyTooLargeError, TransientError):
                assert isinstance(await failure(client), kind)
                assert not large.full()
            reply = await client.fetch(COMPANIES)
            assert large.full()
            del reply
            await asyncio.sleep(0)
            assert not large.full()


async def test_waiting_for_a_slot_does_not_count_as_the_tenant_s_slowness() -> None:
    large = LargeReplies(1)
    slot = await large.acquire()
    with Served(lambda request: request.send(rows_body(2 * MEBIBYTE))) as server:
        async with opened(server.url, large=large, timeout=0.2) as client:
            waiting = asyncio.create_task(client.query(COMPANIES))
            await asyncio.sleep(1.5)  # more than five times the time for a read
            assert not waiting.done()
            slot.release()
            assert len(await asyncio.wait_for(waiting, 10)) == 1
            assert client.latency < 1


@pytest.mark.parametrize("before", [0, 2 * MEBIBYTE])
async def test_a_tenant_that_drips_its_reply_does_not_hold_a_call_nor_a_slot(before: int) -> None:
    def answer(request: Request) -> None:
        request.drip(rows_body(before)[:before], every=0.05, seconds=20)

    large = LargeReplies(1)
    began = time.monotonic()
    with Served(answer) as server:
        async with opened(server.url, large=large, timeout=0.2) as client:
            error = await failure(client)
    assert isinstance(error, TransientError) and "did not answer in time" in str(error)
    assert 0.9 < time.monotonic() - began < 5
    assert not large.full()


# ---- what a reply tells -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "remaining", "reset", "told"),
    [
        ("100", "57", "12", (100, 57, 12.0)),
        ("100", "57", "12.5", (100, 57, 12.5)),
        (None, "57", None, (None, 57, None)),
        (None, None, None, (None, None, None)),
        ("", "", "", (None, None, None)),
        ("100, 50000", "57, 40000", "12, 3600", (100, 57, 12.0)),
        ("100, 50000", "57, 0", "12, 3600", (50_000, 0, 3600.0)),
        ("100, 100;w=60, 50000;w=86400", "57", "12", (100, 57, 12.0)),
        ("many", "few", "soon", (None, None, None)),
        ("-1", "-1", "-1", (None, None, None)),
        ("nan", "inf", "-inf", (None, None, None)),
        ("100", "0", "1772445612", (100, 0, 12.0)),
        ("100", "0", "1772445612000", (100, 0, 12.0)),
        ("100", "0", "1772445000", (100, 0, None)),  # over
        ("100", "0", "Mon, 02 Mar 2026 10:00:12 GMT", (100, 0, None)),
    ],
)
def test_the_allowance_s_headers_are_read_in_every_form(
    limit: str | None, remaining: str | None, reset: str | None, told: tuple[int | None, int | None, float | None]
) -> None:
    given = {"limit": limit, "remaining": remaining, "reset": reset}
    headers = httpx.Headers({f"X-RateLimit-{name}": value for name, value in given.items() if value is not None})
    assert rate_of(headers, 1_772_445_600.0) == told


@given(st.lists(st.text("0123456789,;.-e nainf", max_size=12), min_size=3, max_size=3))
def test_no_header_breaks_the_reading(texts: list[str]) -> None:
    names = ("limit", "remaining", "reset")
    limit, remaining, reset = rate_of({f"x-ratelimit-{n}": t for n, t in zip(names, texts, strict=True)}, 1.7e9)
    assert all(value is None or value >= 0 for value in (limit, remaining, reset))


@pytest.mark.parametrize("status", [200, 400, 401, 429, 503])
async def test_the_budget_hears_of_every_reply_s_headers_also_of_a_failing_one(
    status: int, clock: FakeClock, budget: FreeBudget
) -> None:
    headers = {"x-ratelimit-limit": "100", "x-ratelimit-remaining": "57", "x-ratelimit-reset": "12"}
    with Served(lambda request: request.json({"result": status == 200, "data": []}, status, headers)) as server:
        async with GainsightClient(server.url, AccessKey("k"), budget, clock, retry_seconds=0) as client:
            if status == 200:
                await client.query(COMPANIES)
            else:
                await failure(client)
    assert budget.headers == [(100, 57, 12.0)]
    assert budget.successes == (status == 200)


async def test_an_epoch_is_counted_by_the_tenant_s_clock(clock: FakeClock, budget: FreeBudget) -> None:
    tenants = clock.at // 1000 - 3600
    headers = {
        "Date": formatdate(tenants, usegmt=True),
        "x-ratelimit-remaining": "0",
        "x-ratelimit-reset": str(tenants + 12),
    }
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json={"result": True, "data": []}, headers=headers))
    async with GainsightClient("http://127.0.0.1:1", AccessKey("k"), budget, clock, transport=transport) as client:
        await client.query(COMPANIES)
    assert budget.headers == [(None, 0, 12.0)]


async def test_a_tenant_whose_allowance_others_use_up_is_not_asked_into_throttling(clock: FakeClock) -> None:
    tenant = Tenant(seed=3, size=5, limits=Limits(10, 1000), wall=clock.now)
    tenant.set_variant("rate_headers", True)
    tenant.set_variant("others", 6)
    with Sandbox(tenant) as sandbox:
        budget = CallBudget(clock, 1.0, per_minute=10)
        async with GainsightClient(sandbox.url, AccessKey(tenant.access_key), budget, clock) as client:
            for _ in range(12):
                await client.query(COMPANIES)
    assert tenant.calls()["throttled"] == 0
    assert len(clock.slept) == 2


async def test_a_call_s_priority_reaches_the_budget(client: GainsightClient, budget: FreeBudget) -> None:
    await client.fetch(COMPANIES, priority=Priority.BACKFILL)
    await client.query(COMPANIES)
    await client.describe(["company"])
    assert budget.priorities == [Priority.BACKFILL, Priority.LIVE, Priority.LIVE]


async def test_a_backfill_that_must_wait_does_not_stop_live_calls(
    sandbox: Sandbox, tenant: Tenant, clock: FakeClock
) -> None:
    budget = CallBudget(clock, 1.0, per_day=10)
    async with GainsightClient(sandbox.url, AccessKey(tenant.access_key), budget, clock) as client:
        for _ in range(9):
            await client.fetch(COMPANIES, priority=Priority.BACKFILL)
        with pytest.raises(ThrottledError):
            await client.fetch(COMPANIES, priority=Priority.BACKFILL)
        assert len(await client.query(COMPANIES)) == 5
        assert (client.left_today, client.spent) == (0, (clock.at // 86_400_000, 10))


async def test_lasting_throttling_slows_the_calls_and_one_success_ends_that(
    sandbox: Sandbox, tenant: Tenant, clock: FakeClock
) -> None:
    tenant.set_variant("throttle_shape", "429")
    tenant.set_variant("throttled", True)
    async with GainsightClient(
        sandbox.url, AccessKey(tenant.access_key), CallBudget(clock, 1.0), clock, retry_seconds=0
    ) as client:
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
        assert client._budget.throttled(None) <= 60


async def test_another_call_of_the_api_gives_its_data(budget: FreeBudget) -> None:
    answers: list[Any] = [{"data": ["a"]}, {"data": {"records": [{"b": 1}]}}, {"data": None}, {"data": "text"}]
    with Served(lambda request: request.json({"result": True, **answers.pop(0)})) as server:
        async with opened(server.url) as client:
            assert [await client.post("/v1/x", {}, "x") for _ in range(3)] == [["a"], [{"b": 1}], []]
            with pytest.raises(TransientError):
                await client.post("/v1/x", {}, "x")
            assert client.calls == {"x": 4}


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
    assert all(c._http._transport._pool._ssl_context.verify_mode is ssl.CERT_REQUIRED for c in clients)  # type: ignore[attr-defined]


# ---- a server of one's own ----------------------------------------------------------------------------------------


class Request:
    """One request to `Served`, to be answered once."""

    def __init__(self, handler: BaseHTTPRequestHandler, body: Any, seen: dict[str, Any]) -> None:
        self._handler = handler
        self.body = body
        self._seen = seen

    def json(self, body: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send(json.dumps(body).encode(), status, headers)

    def send(self, content: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._begin(status, {"Content-Length": str(len(content)), **(headers or {})})
        self._write(content)

    def drip(self, first: bytes, every: float, seconds: float) -> None:
        """Some bytes at once, then one every now and then; never the end."""
        self._begin(200, {"Content-Length": str(1 << 30)})
        self._write(first)
        ends = time.monotonic() + seconds
        while time.monotonic() < ends and self._write(b" "):
            time.sleep(every)

    def _begin(self, status: int, headers: dict[str, str]) -> None:
        self._handler.send_response(status)
        for name, value in headers.items():
            self._handler.send_header(name, value)
        self._handler.end_headers()

    def _write(self, content: bytes) -> bool:
        """False when nobody reads any more."""
        try:
            for start in range(0, len(content), MEBIBYTE):
                self._handler.wfile.write(content[start : start + MEBIBYTE])
                self._seen["sent"] += MEBIBYTE
        except OSError:
            self._handler.close_connection = True
            return False
        return True


class Served:
    """A server that remembers who asked and with which headers."""

    def __init__(self, answer: Callable[[Request], None]) -> None:
        requests: list[dict[str, Any]] = []
        self.requests = requests

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                requests.append({"peer": self.client_address, "headers": dict(self.headers), "sent": 0})
                answer(Request(self, json.loads(content) if content else None, requests[-1]))

            do_GET = do_POST  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Served:
        Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


async def test_a_refused_look_up_is_named(client: GainsightClient, tenant: Tenant) -> None:
    tenant.set_variant("dotted_select", "P_5068")
    with pytest.raises(RefusedQueryError, match=r"Look-ups in it: Csm__gr\.Email\.") as caught:
        await client.query(Query("company", ["Gsid", "Csm__gr.Email"], limit=1))
    assert (caught.value.code, caught.value.status) == ("P_5068", 400)
