"""The allowance and the waits that a reply's headers ask for."""

from __future__ import annotations

from email.utils import formatdate

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frame_gainsight.gainsight import (
    AccessKey,
    CallBudget,
    GainsightClient,
    HttpTransport,
    ThrottledError,
    UnavailableError,
)
from frame_gainsight.gainsight.rate_headers import allowance_of
from frame_gainsight.runtime import SystemClock
from frame_gainsight.sandbox import Limits, Sandbox, Tenant
from tests.unit.gainsight.conftest import COMPANIES, FakeClock, FreeBudget, failure
from tests.unit.gainsight.served import Request, Served


@pytest.mark.parametrize(
    ("limit", "remaining", "reset", "expected"),
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
    limit: str | None, remaining: str | None, reset: str | None, expected: tuple[int | None, int | None, float | None]
) -> None:
    given = {"limit": limit, "remaining": remaining, "reset": reset}
    headers = httpx.Headers({f"X-RateLimit-{name}": value for name, value in given.items() if value is not None})
    assert allowance_of(headers, 1_772_445_600.0) == expected


@given(st.lists(st.text("0123456789,;.-e nainf", max_size=12), min_size=3, max_size=3))
def test_no_rate_header_breaks_the_reading(texts: list[str]) -> None:
    names = ("limit", "remaining", "reset")
    limit, remaining, reset = allowance_of({f"x-ratelimit-{n}": t for n, t in zip(names, texts, strict=True)}, 1.7e9)
    assert all(value is None or value >= 0 for value in (limit, remaining, reset))


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("soon", None),
        ("inf", None),
        ("nan", None),
        ("1e300", 86_400.0),
        ("", None),
    ],
)
async def test_retry_after_is_obeyed_where_it_is_a_number_of_seconds(
    budget: FreeBudget, header: str, expected: float | None
) -> None:
    def answer(request: Request) -> None:
        if len(server.requests) == 1:
            request.json({"result": False}, 429, {"Retry-After": header})
        else:
            request.json({"result": True, "data": []})

    with Served(answer) as server:
        async with GainsightClient(HttpTransport(server.url, AccessKey("k"), budget, SystemClock())) as client:
            assert await client.query(COMPANIES) == []
    assert budget.throttles == [expected]


DATE = "Mon, 02 Mar 2026 10:00:00 GMT"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Mon, 02 Mar 2026 10:00:07 GMT", 7.0),
        ("Monday, 02-Mar-26 10:01:00 GMT", 60.0),
        ("Mon, 02 Mar 2026 09:00:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400.0),
        ("Mon, 02 Mar 2026 10:00:07 +9999999999999999", None),
    ],
)
async def test_retry_after_as_a_date_counts_from_the_reply_s_own(
    clock: FakeClock, budget: FreeBudget, header: str, expected: float | None
) -> None:
    clock.at += 3_600_000  # ours is wrong
    replies = [
        httpx.Response(429, json={"result": False}, headers={"Retry-After": header, "Date": DATE}),
        httpx.Response(200, json={"result": True, "data": []}),
    ]
    transport = httpx.MockTransport(lambda _: replies.pop(0))
    async with GainsightClient(
        HttpTransport("http://127.0.0.1:1", AccessKey("k"), budget, clock, http=transport)
    ) as client:
        assert await client.query(COMPANIES) == []
    assert budget.throttles == [expected]


@pytest.mark.parametrize("header", ["120", "Mon, 02 Mar 2026 10:02:00 GMT"])
async def test_a_server_that_is_not_available_is_not_called_before_the_time_that_it_says(
    clock: FakeClock, header: str
) -> None:
    calls = 0

    def answer(_: httpx.Request) -> httpx.Response:
        nonlocal calls
        calls += 1
        return httpx.Response(503, content=b"<p>Maintenance", headers={"Retry-After": header, "Date": DATE})

    budget = CallBudget(clock, 1.0)
    async with GainsightClient(
        HttpTransport("http://127.0.0.1:1", AccessKey("k"), budget, clock, http=httpx.MockTransport(answer))
    ) as client:
        first = await failure(client)
        clock.at += 30_000
        second = await failure(client)
        assert calls == 1
        clock.at += 90_000
        await failure(client)
    assert calls == 2
    assert isinstance(first, UnavailableError) and "not available" in str(first) and first.retry_after == 120
    assert isinstance(second, ThrottledError) and second.retry_after == 90
    assert "server is not available" in str(second) and "10:02 UTC" in str(second) and "allowance" not in str(second)


@pytest.mark.parametrize("status", [200, 400, 401, 429, 503])
async def test_every_reply_s_rate_headers_reach_the_budget_also_a_failing_one_s(
    status: int, clock: FakeClock, budget: FreeBudget
) -> None:
    headers = {"x-ratelimit-limit": "100", "x-ratelimit-remaining": "57", "x-ratelimit-reset": "12"}
    with Served(lambda request: request.json({"result": status == 200, "data": []}, status, headers)) as server:
        async with GainsightClient(HttpTransport(server.url, AccessKey("k"), budget, clock, retry_seconds=0)) as client:
            if status == 200:
                await client.query(COMPANIES)
            else:
                await failure(client)
    assert budget.headers == [(100, 57, 12.0)]
    assert budget.successes == (status == 200)


async def test_a_reset_that_is_a_time_counts_by_the_tenant_s_clock(clock: FakeClock, budget: FreeBudget) -> None:
    tenants = clock.at // 1000 - 3600
    headers = {
        "Date": formatdate(tenants, usegmt=True),
        "x-ratelimit-remaining": "0",
        "x-ratelimit-reset": str(tenants + 12),
    }
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json={"result": True, "data": []}, headers=headers))
    async with GainsightClient(
        HttpTransport("http://127.0.0.1:1", AccessKey("k"), budget, clock, http=transport)
    ) as client:
        await client.query(COMPANIES)
    assert budget.headers == [(None, 0, 12.0)]


async def test_a_tenant_whose_allowance_others_use_up_is_not_called_into_throttling(clock: FakeClock) -> None:
    tenant = Tenant(seed=3, size=5, limits=Limits(10, 1000), wall=clock.now)
    tenant.set_variant("rate_headers", True)
    tenant.set_variant("others", 6)
    with Sandbox(tenant) as sandbox:
        budget = CallBudget(clock, 1.0, per_minute=10)
        async with GainsightClient(HttpTransport(sandbox.url, AccessKey(tenant.access_key), budget, clock)) as client:
            for _ in range(12):
                await client.query(COMPANIES)
    assert tenant.calls()["throttled"] == 0
    assert len(clock.slept) == 2
