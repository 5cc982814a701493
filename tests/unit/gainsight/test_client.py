"""The client against a real HTTP server that serves what tenants have been seen, or are feared, to serve."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from bus.node import free_port
from gainsight import (
    AccessKey,
    CallBudget,
    Condition,
    ConfigError,
    GainsightClient,
    GainsightError,
    Query,
    RefusedQueryError,
    SystemClock,
    ThrottledError,
    TransientError,
    UnknownFieldError,
    UnknownObjectError,
)
from sandbox import Limits, Sandbox, Tenant
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
    assert [told is not None for told in budget.told] == [shape == "429_retry_after"] * 2


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
    assert budget.told == [told]


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
    assert key.headers() == {"accesskey": tenant.access_key}


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


async def test_a_wrong_key_is_no_missing_object(client: GainsightClient, tenant: Tenant) -> None:
    tenant.set_variant("unauthorized", "GS_APIG_2401")
    with pytest.raises(ConfigError):
        await client.describe(["company", "person"])


# ---- a server of one's own ----------------------------------------------------------------------------------------


class Request:
    """One request to `Served`, to be answered once."""

    def __init__(self, handler: BaseHTTPRequestHandler) -> None:
        self._handler = handler

    def json(self, body: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(body).encode()
        self._handler.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self._handler.send_header(name, value)
        self._handler.end_headers()
        self._handler.wfile.write(content)


class Served:
    """A server that remembers who asked and with which headers."""

    def __init__(self, answer: Callable[[Request], None]) -> None:
        requests: list[dict[str, Any]] = []
        self.requests = requests

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                requests.append({"peer": self.client_address, "headers": dict(self.headers)})
                answer(Request(self))

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
