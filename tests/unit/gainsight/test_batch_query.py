"""Batch queries: all rows of many values, in as few calls as the tenant takes."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import structlog

from frame_gainsight.gainsight import (
    Chunking,
    GainsightClient,
    PageCap,
    Query,
    RefusedQueryError,
    ReplyTooLargeError,
    TransientError,
    UnknownFieldError,
    fetch_where_in,
    scan_from,
)
from frame_gainsight.gainsight.delete_log import deleted_in
from frame_gainsight.sandbox import Tenant
from tests.unit.gainsight.conftest import opened
from tests.unit.gainsight.served import Request, Served


async def emails(client: GainsightClient) -> list[str]:
    rows = await client.query(Query("person", ["Email"], order_by={"Gsid": "asc"}, limit=40))
    return list(dict.fromkeys(str(row["Email"]) for row in rows if row["Email"]))[:20]


async def test_all_values_go_in_one_call_where_the_tenant_takes_them(client: GainsightClient, tenant: Tenant) -> None:
    wanted = await emails(client)
    tenant.reset_calls()
    rows = await fetch_where_in(client, "person", ["Gsid", "Email"], "Email", wanted, Chunking())
    assert {row["Email"] for row in rows} >= set(wanted)
    assert tenant.calls()["total"] == 1


@pytest.mark.parametrize("status", [400, 413, 414])
async def test_a_refused_in_list_is_halved_and_the_size_that_works_is_kept(
    client: GainsightClient, tenant: Tenant, status: int
) -> None:
    wanted = await emails(client)
    expected = await fetch_where_in(client, "person", ["Gsid", "Email"], "Email", wanted, Chunking())
    tenant.set_variant("in_limit", {"max": 6, "status": status})
    chunking = Chunking()
    rows = await fetch_where_in(client, "person", ["Gsid", "Email"], "Email", wanted, chunking)
    assert sorted(row["Gsid"] for row in rows) == sorted(row["Gsid"] for row in expected)
    assert chunking.size == 5
    tenant.reset_calls()
    await fetch_where_in(client, "person", ["Gsid", "Email"], "Email", wanted, chunking)
    assert tenant.calls()["total"] == 4
    assert all(call["status"] == 200 for call in tenant.recent_calls())


async def test_more_rows_than_a_page_are_all_read(client: GainsightClient, tenant: Tenant) -> None:
    companies = [row["Gsid"] for row in await client.query(Query("company", ["Gsid"]))]
    rows = await fetch_where_in(client, "company_person", ["Gsid", "Company_ID"], "Company_ID", companies, Chunking())
    assert len({row["Gsid"] for row in rows}) == len(rows) > len(companies)


async def test_no_values_cost_no_call(client: GainsightClient, tenant: Tenant) -> None:
    assert await fetch_where_in(client, "person", ["Gsid"], "Email", [], Chunking()) == []
    assert tenant.calls()["total"] == 0


async def test_an_unknown_field_is_not_taken_for_a_long_list(client: GainsightClient, tenant: Tenant) -> None:
    with pytest.raises(UnknownFieldError):
        await fetch_where_in(client, "person", ["Nope"], "Email", ["a", "b"], Chunking())
    assert tenant.calls()["total"] == 1


async def test_a_query_that_is_refused_whatever_its_size_teaches_nothing(
    client: GainsightClient, tenant: Tenant
) -> None:
    chunking = Chunking()
    tenant.set_variant("failure", {"code": "GSOBJ_1008", "status": 400})
    with pytest.raises(RefusedQueryError):
        await fetch_where_in(client, "person", ["Gsid"], "Email", [str(n) for n in range(64)], chunking)
    assert chunking == Chunking()


async def test_a_page_cap_below_our_limit_loses_nothing(client: GainsightClient, tenant: Tenant) -> None:
    everyone = await client.query(Query("person", ["Gsid", "Email"]))
    wanted = list(dict.fromkeys(str(row["Email"]).lower() for row in everyone if row["Email"]))
    assert len(wanted) > 50
    tenant.set_variant("page_cap", 50)
    rows = await fetch_where_in(client, "person", ["Gsid", "Email"], "Email", wanted, Chunking())
    assert {str(row["Email"]).lower() for row in rows} == set(wanted)


@pytest.mark.parametrize(("longest", "calls"), [(None, 2), (0, 2), (70, 2), (71, 1)])
async def test_a_page_shorter_than_the_longest_so_far_is_the_last_one(longest: int | None, calls: int) -> None:
    rows = [{"Email": f"p{n}@x.example"} for n in range(70)]

    def answer(request: Request) -> None:
        request.json({"result": True, "data": rows[request.body["offset"] :]})

    cap = None if longest is None else PageCap(longest)
    with Served(answer) as server:
        async with opened(server.url) as client:
            assert await fetch_where_in(client, "person", ["Email"], "Email", ["a"], Chunking(), cap) == rows
            assert client.calls == {"person": calls}
    assert cap is None or cap.rows == max(70, longest or 0)


@pytest.mark.parametrize(
    ("longest", "limit", "end"),
    [
        (71, 5000, (True, True, False)),
        (0, 5000, (True, False, False)),
        (70, 5000, (False, False, False)),
        (0, 70, (False, False, True)),
    ],
)
async def test_a_scan_s_page_shows_whether_it_is_the_last_one(
    longest: int, limit: int, end: tuple[bool, bool, bool]
) -> None:
    rows = [{"Gsid": f"g{n:02}", "Name": f"n{n // 2:02}"} for n in range(70)]
    with Served(lambda request: request.json({"result": True, "data": rows})) as server:
        async with opened(server.url) as client:
            query = Query("person", ["Gsid", "Name"], limit=limit)
            page = await scan_from(client, query, "Name", PageCap(longest))
    assert (page.exhausted, page.confirmed, page.full) == end
    assert page.rows == (rows if page.exhausted else rows[:68])
    assert page.last == ("n34" if page.confirmed else "n33"), "the rows of the last key may go on behind the page"


async def test_as_many_rows_as_values_of_the_key_cost_no_further_call(client: GainsightClient, tenant: Tenant) -> None:
    gsids = [row["Gsid"] for row in await client.query(Query("person", ["Gsid"], order_by={"Gsid": "asc"}, limit=50))]
    assert len(gsids) == 50  # a round number, which elsewhere is not taken to be all
    tenant.reset_calls()
    assert len(await fetch_where_in(client, "person", ["Gsid"], "Gsid", gsids, Chunking())) == 50
    assert tenant.calls()["total"] == 1


async def test_an_in_list_whose_rows_do_not_fit_is_halved() -> None:
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
        async with opened(server.url, max_reply_bytes=500) as client:
            with pytest.raises(ReplyTooLargeError):
                await fetch_where_in(client, "company", ["Gsid", "Name"], "Gsid", wanted, chunking)


async def test_a_tenant_that_gives_the_same_page_for_every_offset_is_given_up() -> None:
    page = {"result": True, "data": [{"Gsid": str(n), "Email": "a@b"} for n in range(100)]}
    with Served(lambda request: request.json(page)) as server:
        async with opened(server.url) as client:
            with pytest.raises(TransientError, match="same 100 rows of person again"):
                await fetch_where_in(client, "person", ["Gsid", "Email"], "Email", ["a@b"], Chunking())
            with pytest.raises(TransientError, match="same 100 rows of record_delete_log again"):
                await deleted_in(client, "record_delete_log", 0, 1000)
            assert client.calls == {"person": 2, "record_delete_log": 2}


@pytest.mark.parametrize(
    ("rows", "cause"),
    [
        (b'{"Gsid":"1","Name":"x"}', "A page of 100 rows holds only one Name, 'x'"),
        (b'{"Gsid":"1","Name":[1]}', "None of the 100 rows of a page has a text as its Name: "),
        (b'{"Gsid":"1","Name":nope}', "text as its Name. The row of 1 cannot be read: Expecting value"),
    ],
)
async def test_a_page_from_which_no_key_leads_on_says_why(rows: bytes, cause: str) -> None:
    body = b'{"result":true,"data":[%s],"message":null}' % b",".join([rows] * 100)
    with Served(lambda request: request.send(body)) as server:
        async with opened(server.url) as client:
            with pytest.raises(RefusedQueryError) as caught:
                await scan_from(client, Query("person", ["Gsid", "Name"], limit=100), "Name", PageCap())
    assert cause in str(caught.value) and "cannot be read in this order" in str(caught.value)


# Values that a tenant refuses


class Choosy:
    """A tenant that refuses some values, and lists of more than `most`; and keeps the lists it was asked for."""

    def __init__(self, bad: Sequence[str], most: int = 10_000, every: bool = False) -> None:
        self.lists: list[list[str]] = []
        self.bad = set(bad)
        self._most = most
        self._every = every

    def __call__(self, request: Request) -> None:
        values = request.body["where"]["conditions"][0]["value"]
        self.lists.append(values)
        if self._every or self.bad & set(values) or len(values) > self._most:
            request.json({"result": False, "errorCode": "GSOBJ_1008", "errorDesc": "no"}, 400)
        else:
            request.json({"result": True, "data": [{"Gsid": v, "Name": "x"} for v in values if not v.startswith("1P")]})


WANTED = [f"g{n:04}" for n in range(1000)]


async def looked_up(tenant: Choosy, values: Sequence[str], chunking: Chunking) -> list[str]:
    with Served(tenant) as server:
        async with opened(server.url) as client:
            rows = await fetch_where_in(client, "company", ["Gsid", "Name"], "Gsid", values, chunking)
    return sorted(row["Gsid"] for row in rows)


@pytest.mark.parametrize("bad", [[0], [999], [500], [333, 334], [0, 400, 999]])
async def test_a_value_that_is_refused_is_left_out_in_few_calls_and_the_others_are_read(bad: list[int]) -> None:
    refused = [WANTED[n] for n in bad]
    tenant, chunking = Choosy(refused), Chunking()
    with structlog.testing.capture_logs() as logs:
        assert await looked_up(tenant, WANTED, chunking) == [v for v in WANTED if v not in refused]
    assert len(tenant.lists) <= 1 + 2 * 11 * len(bad)
    left_out = [entry for entry in logs if entry["event"] == "value_left_out"]
    assert len(left_out) == len(bad) and all("GSOBJ_1008" in entry["cause"] for entry in left_out)
    assert chunking.size == 1000, "the list was not too long"
    again = Choosy(refused)
    assert await looked_up(again, WANTED, chunking) == [v for v in WANTED if v not in refused]
    assert len(again.lists) == 1 + len(bad), "what was refused is asked for apart"
    assert await looked_up(Choosy([]), WANTED, chunking) == WANTED, "and read once the tenant takes it"


@pytest.mark.parametrize("values", [["bad"], ["bad", "worse"], ["bad", "good"], ["good", "bad"]])
async def test_a_short_list_of_refused_values_fails_no_look_up(values: list[str]) -> None:
    assert await looked_up(Choosy(["bad", "worse"]), values, Chunking()) == [v for v in values if v == "good"]


async def test_a_size_limit_and_a_refused_value_are_told_apart() -> None:
    tenant, chunking = Choosy(["g0100"], most=300), Chunking()
    assert await looked_up(tenant, WANTED, chunking) == [v for v in WANTED if v != "g0100"]
    assert chunking.size == 250
    assert len(tenant.lists) <= 30


@pytest.mark.parametrize("tenant", [Choosy([], every=True), Choosy(WANTED[:600])])
async def test_a_tenant_that_refuses_every_value_or_many_is_an_error_in_few_calls(tenant: Choosy) -> None:
    chunking = Chunking()
    with pytest.raises(RefusedQueryError):
        await looked_up(tenant, WANTED, chunking)
    assert len(tenant.lists) <= 40
    assert chunking.size == 1000
