"""Replies of whatever shape: a value, or an error of the tenant's; never another exception, and never a busy loop."""

from __future__ import annotations

import asyncio
import gzip as gzipping
import json
import time
import zlib
from collections.abc import Callable
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from frame_gainsight.gainsight import (
    AccessKey,
    GainsightClient,
    GainsightError,
    HttpTransport,
    ReplyTooLargeError,
    TransientError,
    UnreadableRow,
)
from frame_gainsight.gainsight.delete_log import SOURCES, deleted_in, deleted_records
from frame_gainsight.runtime import SystemClock
from producer.state.seen_versions import fingerprint_of
from producer.timeline.keyset_reader import _read
from tests.unit.gainsight.conftest import COMPANIES, MEBIBYTE, FreeBudget, failure, opened, rows_body
from tests.unit.gainsight.served import Request, Served

_WORDS = """
result data records fields fieldName meta hidden hasLookup lookupDetail lookupObjects lookupName objectName label
options value dataType objectType readable errorCode errorDesc message title Gsid gsid RecordId DeletedOn
LastModifiedDate ObjectName company activity_timeline
"""
NAMES = st.sampled_from(_WORDS.split())
DEEP = st.sampled_from([101, 300, 1000]).map(lambda depth: orjson.loads(b"[" * depth + b"]" * depth))
DATES = st.sampled_from(["2026-01-01T00:00:00Z", 1_772_445_600_000, "0001-01-01T00:00:00+14:00", 10**17, -(10**17)])
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=20) | NAMES
JSON = st.recursive(
    SCALARS | DEEP | DATES,
    lambda of: st.lists(of, max_size=4) | st.dictionaries(NAMES | st.text(max_size=3), of, max_size=6),
    max_leaves=12,
)
DESCRIBED = st.fixed_dictionaries(
    {"objectName": JSON | st.just("company")},
    optional={
        "fields": JSON
        | st.lists(
            st.fixed_dictionaries(
                {"fieldName": JSON | st.just("Name")},
                optional={
                    "meta": JSON | st.fixed_dictionaries({"hasLookup": st.booleans() | JSON, "lookupDetail": JSON}),
                    "options": JSON | st.lists(st.fixed_dictionaries({"value": JSON}, optional={"label": JSON})),
                    "dataType": JSON,
                },
            )
            | JSON,
            max_size=3,
        )
    },
)
ROW = st.fixed_dictionaries({}, optional={"Gsid": JSON, "LastModifiedDate": JSON | DATES, "DeletedOn": JSON, "x": JSON})
BODIES = st.one_of(
    JSON,
    st.fixed_dictionaries(
        {"result": st.just(True) | JSON, "data": JSON | st.lists(ROW | DESCRIBED | JSON, max_size=4)}
    ),
    st.fixed_dictionaries({"result": st.just(True), "data": st.fixed_dictionaries({"records": st.lists(ROW | JSON)})}),
    st.fixed_dictionaries({"result": JSON, "errorCode": JSON, "errorDesc": JSON, "title": JSON, "message": JSON}),
)


def answered_with(content: bytes, status: int = 200) -> GainsightClient:
    transport = httpx.MockTransport(lambda _: httpx.Response(status, content=content))
    return GainsightClient(
        HttpTransport("https://t.example", AccessKey("k"), FreeBudget(), SystemClock(), retry_seconds=0, http=transport)
    )


async def every_call(client: GainsightClient) -> None:
    """Makes every kind of call, and does with rows what the producer does."""

    async def page() -> None:
        with await client.fetch(COMPANIES) as reply:
            activities, unreadable = _read(reply.rows)
        assert len(activities) + len(unreadable) == len(reply.rows)
        for activity in activities:
            assert len(fingerprint_of(activity)) == 32
            assert isinstance(orjson.loads(orjson.dumps(activity.row)), dict)
        for row in unreadable:
            assert orjson.dumps(row.row) and 10 < len(row.cause) < 1000
            row.cause.encode()

    calls: list[Callable[[], Any]] = [
        page,
        lambda: client.query(COMPANIES),
        lambda: client.describe(["company", "person", "x"]),
        client.list_objects,
        lambda: client.post("/v1/x", {}, "x"),
        lambda: deleted_records(client, SOURCES[0], 0, 10**12, ["company"]),
        *(lambda source=source: deleted_in(client, source, 0, 10**12) for source in SOURCES),
    ]
    for call in calls:
        try:
            await call()
        except GainsightError as error:
            assert 0 < len(str(error)) < 1500
            str(error).encode()


@settings(deadline=None, max_examples=60)
@given(BODIES, st.sampled_from([200, 200, 200, 400, 401, 404, 500]))
@example({"result": True, "data": [{"objectName": "company", "fields": {"a": 1}}]}, 200)
@example({"result": True, "data": [{"objectName": "company", "fields": [{"fieldName": "a", "meta": [1]}, 5]}]}, 200)
@example({"result": True, "data": [{"Gsid": "1", "LastModifiedDate": 1, "x": [[[]] * 9]}]}, 200)
@example({"result": False, "errorCode": "x" * 10**6, "errorDesc": ["P_5005"]}, 200)
@example({"result": False, "errorCode": "P_5005", "errorDesc": f"Column {'x' * 10**6} does not exist"}, 400)
def test_any_json_is_a_value_or_an_error_of_the_tenant(body: Any, status: int) -> None:
    async def run() -> None:
        async with answered_with(json.dumps(body).encode(), status) as client:
            await every_call(client)

    asyncio.run(run())


@settings(deadline=None, max_examples=60)
@given(JSON, st.binary(max_size=40), st.integers(0, 400))
def test_any_damage_to_json_is_a_value_or_an_error_of_the_tenant(item: Any, damage: bytes, at: int) -> None:
    good = {"Gsid": "1", "LastModifiedDate": "2026-01-01T00:00:00Z"}
    body = json.dumps({"result": True, "data": {"records": [good, item, good]}}).encode()

    async def run() -> None:
        async with answered_with(body[:at] + damage + body[at:]) as client:
            await every_call(client)

    asyncio.run(run())


async def test_one_bad_object_of_a_describe_hides_no_other_and_is_not_taken_for_absent() -> None:
    good = b'{"objectName":"company","fields":[{"fieldName":"Name"}]}'
    content = b'{"result":true,"data":[%s,{"objectName":"person","fields":[}],"message":null}' % good
    async with answered_with(content) as client:
        assert list(await client.describe(["company"])) == ["company"]
        with pytest.raises(TransientError, match=r"description of its objects cannot be read\. The row cannot be read"):
            await client.describe(["company", "person"])


async def test_unreadable_rows_keep_their_place_and_their_cause() -> None:
    content = b'{"result":true,"data":{"records":[{"Gsid":"1"},{"Gsid":"2","Name":nope},{"GSID":"3"}]}}'
    async with answered_with(content) as client:
        rows = await client.query(COMPANIES)
    assert (rows[0], rows[2]) == ({"Gsid": "1"}, {"Gsid": "3"})
    assert isinstance(rows[1], UnreadableRow)
    assert rows[1].cause == "The row of 2 cannot be read: Expecting value at its character 19."
    assert rows[1] == {"unreadable": '{"Gsid":"2","Name":nope}'}


ENCODED = {
    "gzip, gzip": lambda content: gzipping.compress(gzipping.compress(content)),
    "gzip,identity,gzip": lambda content: gzipping.compress(gzipping.compress(content)),
    "deflate": zlib.compress,
    "br": bytes,
    "zstd": bytes,
    "aes128gcm": bytes,
    "gzip, deflate": bytes,
}


@pytest.mark.parametrize("encoding", ENCODED)
async def test_an_encoding_that_was_not_accepted_is_refused_unread(encoding: str) -> None:
    packed = ENCODED[encoding](rows_body(100))
    with Served(lambda request: request.send(packed, headers={"Content-Encoding": encoding})) as server:
        async with opened(server.url) as client:
            error = await failure(client)
    assert isinstance(error, TransientError) and "only gzip is accepted (company)" in str(error)
    assert server.requests[0]["headers"]["accept-encoding"] == "gzip"


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip", "identity, gzip", " gzip ,", "identity", ""])
async def test_gzip_and_no_encoding_are_read_however_they_are_written(encoding: str) -> None:
    content = rows_body(5000)
    packed = gzipping.compress(content) if "gzip" in encoding.lower() else content
    with Served(lambda request: request.send(packed, headers={"Content-Encoding": encoding})) as server:
        async with opened(server.url) as client:
            assert (await client.fetch(COMPANIES)).size == len(content)


async def test_a_gzip_body_of_several_members_is_read_to_its_end_and_padding_is_none() -> None:
    content = rows_body(300_000)
    parts = [gzipping.compress(content[at : at + 50_000]) for at in range(0, len(content), 50_000)]
    packed = b"".join(parts) + b"\0" * 512
    with Served(lambda request: request.send(packed, headers={"Content-Encoding": "gzip"})) as server:
        async with opened(server.url) as client:
            assert (await client.fetch(COMPANIES)).size == len(content)


EMPTY_BLOCK = b"\x00\x00\x00\xff\xff"


@pytest.mark.parametrize(
    ("packed", "words"),
    [
        (gzipping.compress(b"") * 100_000, "in too many parts"),
        (gzipping.compress(b"")[:10] + EMPTY_BLOCK * 1_000_000, "larger than 2,097,152 bytes"),
        (gzipping.compress(b" " * 200 * MEBIBYTE, 1), "larger than 2,097,152 bytes"),
    ],
    ids=["members", "blocks", "spaces"],
)
async def test_a_gzip_body_is_bounded_in_what_is_sent_and_in_what_it_is(packed: bytes, words: str) -> None:
    with Served(lambda request: request.send(packed, headers={"Content-Encoding": "gzip"})) as server:
        async with opened(server.url, max_reply_bytes=2 * MEBIBYTE) as client:
            assert words in str(await failure(client))


async def test_a_body_in_chunks_of_a_byte_is_given_up() -> None:
    def answer(request: Request) -> None:
        request.send(b"1\r\n \r\n" * 400_000, headers={"Transfer-Encoding": "chunked"})

    with Served(answer) as server:
        async with opened(server.url) as client:
            error = await failure(client)
    assert isinstance(error, TransientError) and "chunks of a few bytes (company)" in str(error)


SOUND = b",".join([b'{"Gsid":"1","Name":"%s"}' % (b"a" * 20_000)] * 500)
HOSTILE = {
    "a lone half among sound rows": SOUND + b',{"Gsid":"2","Name":"\\ud800"}',
    "backslashes": b'{"Gsid":"1","Name":"%s"}' % (rb"\\" * 6 * MEBIBYTE),
    "backslashes and a lone half": b'{"Gsid":"1","Name":"%s\\ud800"}' % (rb"\\" * 6 * MEBIBYTE),
    "quotes": b'{"Gsid":"1","Name":"%s\t"}' % (rb"\"" * 6 * MEBIBYTE),
    "empty rows": b",".join([b"{}"] * 4 * MEBIBYTE),
    "empty rows in a megabyte": b",".join([b"{}"] * 300_000),
    "empty lists in a row": b'{"Gsid":"1","Name":[%s]}' % b",".join([b"[]"] * 4 * MEBIBYTE),
}


@pytest.mark.parametrize("rows", HOSTILE.values(), ids=HOSTILE)
async def test_a_hostile_body_does_not_hold_up_the_event_loop(rows: bytes) -> None:
    longest, last = 0.0, time.thread_time()

    async def watch() -> None:
        nonlocal longest, last
        while True:
            await asyncio.sleep(0.001)
            longest, last = max(longest, time.thread_time() - last), time.thread_time()

    watching = asyncio.create_task(watch())
    content = b'{"result":true,"data":{"records":[%s]},"message":null}' % rows
    async with answered_with(content) as client:
        try:
            await client.query(COMPANIES)
        except GainsightError as error:
            assert isinstance(error, ReplyTooLargeError), error
    watching.cancel()
    assert longest < 0.25  # of the loop's own processor time: what others use does not count
