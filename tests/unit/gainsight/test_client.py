"""Queries, descriptions and other calls, over a real server that serves what tenants may serve."""

from __future__ import annotations

import gzip as gzipping
from typing import Any

import pytest

from frame_gainsight.gainsight import (
    AccessKey,
    CallBudget,
    CallsSpentError,
    ConfigError,
    GainsightClient,
    HttpTransport,
    NoCallsError,
    OAuthClient,
    OfflineTransport,
    Priority,
    Query,
    RefusedQueryError,
    ThrottledError,
    TransientError,
    UnknownFieldError,
    UnknownObjectError,
)
from frame_gainsight.sandbox import Sandbox, Tenant
from tests.unit.gainsight.conftest import COMPANIES, NO_ROWS, FakeClock, FreeBudget, failure, opened, rows_body
from tests.unit.gainsight.served import Request, Served


@pytest.mark.parametrize("data", ["list", "records"])
@pytest.mark.parametrize("keys", ["requested", "lower", "upper", "described"])
async def test_rows_have_the_requested_keys_whatever_the_reply_s_spelling(
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
    assert await client.query(NO_ROWS) == []
    assert tenant.calls()["total"] == 1


async def test_a_reply_has_the_size_of_its_decoded_body() -> None:
    content = rows_body(5000)

    def answer(request: Request) -> None:
        request.send(gzipping.compress(content), headers={"Content-Encoding": "gzip"})

    with Served(answer) as server:
        async with opened(server.url) as client:
            reply = await client.fetch(COMPANIES)
    assert (reply.size, len(reply.rows)) == (len(content), 1)


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


async def test_a_refused_look_up_is_named(client: GainsightClient, tenant: Tenant) -> None:
    tenant.set_variant("dotted_select", "P_5068")
    with pytest.raises(RefusedQueryError, match=r"Look-ups in it: Csm__gr\.Email\.") as caught:
        await client.query(Query("company", ["Gsid", "Csm__gr.Email"], limit=1))
    assert (caught.value.code, caught.value.status) == ("P_5068", 400)


async def test_an_unknown_object_is_named(client: GainsightClient) -> None:
    error = await failure(client, Query("nope__gc", ["Gsid"]))
    assert isinstance(error, UnknownObjectError)
    assert "nope__gc" in str(error)


async def test_objects_are_described_in_one_call_by_the_requested_names(
    client: GainsightClient, tenant: Tenant
) -> None:
    described = await client.describe(["Company", "person"])
    assert list(described) == ["Company", "person"]
    assert described["Company"].field("csm") is not None
    assert tenant.calls()["total"] == 1


async def test_an_object_that_does_not_exist_does_not_hide_the_others(client: GainsightClient) -> None:
    assert list(await client.describe(["company", "nope__gc", "person"])) == ["company", "person"]
    assert await client.describe(["nope__gc"]) == {}


async def test_with_an_object_that_does_not_exist_the_list_saves_a_call_for_each(
    client: GainsightClient, tenant: Tenant
) -> None:
    names = ["company", "nope__gc", "person", "gsuser", "relationship"]
    described = await client.describe(names)
    assert list(described) == [name for name in names if name != "nope__gc"]
    assert tenant.calls()["total"] == 3
    tenant.set_variant("failure", {"code": "GS_APIG_1000", "status": 404}, endpoint="list")
    assert await client.describe(names) == described, "without a list, one call for each"


async def test_a_wrong_key_is_no_missing_object(client: GainsightClient, tenant: Tenant) -> None:
    tenant.set_variant("unauthorized", "GS_APIG_2401")
    with pytest.raises(ConfigError):
        await client.describe(["company", "person"])


async def test_post_gives_the_data_of_another_call_of_the_api(budget: FreeBudget) -> None:
    answers: list[Any] = [{"data": ["a"]}, {"data": {"records": [{"b": 1}]}}, {"data": None}, {"data": "text"}]
    with Served(lambda request: request.json({"result": True, **answers.pop(0)})) as server:
        async with opened(server.url) as client:
            assert [await client.post("/v1/x", {}, "x") for _ in range(3)] == [["a"], [{"b": 1}], []]
            with pytest.raises(TransientError):
                await client.post("/v1/x", {}, "x")
            assert client.calls == {"x": 4}


async def test_a_call_s_priority_reaches_the_budget(client: GainsightClient, budget: FreeBudget) -> None:
    await client.fetch(COMPANIES, priority=Priority.BACKFILL)
    await client.query(COMPANIES)
    await client.describe(["company"])
    assert budget.priorities == [Priority.BACKFILL, Priority.LIVE, Priority.LIVE]


async def test_a_backfill_that_must_wait_does_not_stop_live_calls(
    sandbox: Sandbox, tenant: Tenant, clock: FakeClock
) -> None:
    budget = CallBudget(clock, 1.0, per_day=10)
    async with GainsightClient(HttpTransport(sandbox.url, AccessKey(tenant.access_key), budget, clock)) as client:
        for _ in range(9):
            await client.fetch(COMPANIES, priority=Priority.BACKFILL)
        with pytest.raises(ThrottledError):
            await client.fetch(COMPANIES, priority=Priority.BACKFILL)
        assert len(await client.query(COMPANIES)) == 5
        assert (client.left_today, client.spent) == (0, (clock.at // 86_400_000, 10))


async def test_a_background_view_s_calls_give_way_and_are_counted_apart(
    client: GainsightClient, budget: FreeBudget, tenant: Tenant
) -> None:
    background = client.with_priority(Priority.BACKFILL)
    assert await background.query(COMPANIES) == await client.query(COMPANIES)
    await background.describe(["company"])
    await background.fetch(COMPANIES, priority=Priority.LIVE)
    assert budget.priorities == [Priority.BACKFILL, Priority.LIVE, Priority.BACKFILL, Priority.BACKFILL]
    assert background.calls == {"company": 2, "describe": 1}
    assert client.calls == {"company": 1}
    assert tenant.calls()["total"] == 4


async def test_a_background_view_s_calls_for_a_token_give_way_and_are_its_own() -> None:
    with Sandbox(Tenant(seed=1)) as sandbox:
        clock, budget = FakeClock(), FreeBudget()
        credentials = OAuthClient(sandbox.tenant.client_id, sandbox.tenant.client_secret, clock)
        async with GainsightClient(HttpTransport(sandbox.url, credentials, budget, clock)) as client:
            background = client.with_priority(Priority.BACKFILL)
            await background.query(COMPANIES)
            await client.query(COMPANIES)
            await client.fetch(COMPANIES, priority=Priority.BACKFILL)
    assert background.calls == {"token": 1, "company": 1}
    assert client.calls == {"company": 2}
    assert budget.priorities == [Priority.BACKFILL, Priority.BACKFILL, Priority.LIVE, Priority.BACKFILL]


async def test_a_background_view_shares_the_share_of_calls_and_the_tenant_s_clock_but_not_the_bound(
    sandbox: Sandbox, tenant: Tenant, clock: FakeClock
) -> None:
    budget = CallBudget(clock, 1.0, per_day=10)
    async with GainsightClient(HttpTransport(sandbox.url, AccessKey(tenant.access_key), budget, clock)) as client:
        background = client.with_priority(Priority.BACKFILL)
        client.max_calls = 1
        for _ in range(9):
            await background.query(COMPANIES)
        with pytest.raises(ThrottledError, match="backfills' part"):
            await background.query(COMPANIES)
        assert (client.left_today, client.spent) == (background.left_today, background.spent)
        assert client.left_today == 1
        assert client.tenant_now() == background.tenant_now() is not None
        await client.query(COMPANIES)
        with pytest.raises(CallsSpentError):
            await client.query(COMPANIES)


async def test_an_offline_client_raises_at_every_call_and_counts_none(clock: FakeClock) -> None:
    async with GainsightClient(OfflineTransport(clock)) as client:
        for offline in (client, client.with_priority(Priority.BACKFILL)):
            for _ in range(200):  # more than a minute's share: none waits for the budget
                with pytest.raises(NoCallsError, match="no call was to be made"):
                    await offline.query(COMPANIES)
            with pytest.raises(NoCallsError):
                await offline.describe(["company"])
            with pytest.raises(NoCallsError):
                await offline.post("/v1/x", {}, "x")
            assert not offline.calls
        assert client.tenant_now() is None
    assert clock.slept == []
