"""The table of hostile tenants: a name, what it does, and what must become of its connector.

The verdicts are the law's, not those of the code of some day: one bad item costs that item, a bad reply is its
connector's failure with its true cause, and nothing is dropped without a word.
"""

from __future__ import annotations

import asyncio
import functools
import gzip
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson

from tests.hostile.exchange import Exchange, Row

MB, HOUR = 1024 * 1024, 3_600_000
TIMELINE, DESCRIBE, LIST, TOKEN, DELETIONS = "query/activity_timeline", "/describe", "objects/list", "/token", "delete"
EVERYWHERE = ""


class Verdict(StrEnum):
    """What must become of a hostile tenant's connector. `cause` is a fragment of what is said of it."""

    READ = "rows read"
    """Two polls end well, and every right row is there once."""
    DEAD = "row is a dead letter"
    """A poll ends well with every right row, and the bad ones are dead letters with the cause."""
    ACCOUNTED = "row is read or a dead letter"
    """As one or the other, for a row that may well be read as it is."""
    FAILS = "connector fails"
    """A poll fails with the cause, which is recorded for `status`."""
    SAID = "connector fails, or rows are dead letters"
    GOES_ON = "rows keep coming"
    """Pages without an end: each is written, and none delays another connector."""
    REFUSED = "refused at registration"
    CHECKED = "the check goes through"
    """The check of a registration ends with its findings, whatever they are."""


Act = Callable[[Exchange], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Behaviour:
    """A hostile tenant.

    Attributes:
        act: sends its reply.
        at: the part of a path at which it acts; elsewhere it replies rightly.
        cause: a regular expression that the cause holds.
        may_fail: one that a failure's cause may hold in the verdict's place; None: it must not fail.
        bad: how many bad rows its reply has.
        heavy: it sends tens of megabytes.
        definition: what its connector's definition has beside the usual.
        oauth: its connector has an OAuth client.
    """

    name: str
    act: Act
    verdict: Verdict
    cause: str = ""
    at: str = TIMELINE
    may_fail: str | None = None
    bad: int = 1
    heavy: bool = False
    definition: Mapping[str, Any] = field(default_factory=dict)
    oauth: bool = False


# ---- ways to act --------------------------------------------------------------------------------------------------


def right(**headers: str | None) -> Act:
    """The right reply with other headers; None takes one out."""

    async def act(x: Exchange) -> None:
        await x.send_right(**headers)

    return act


def body(content: bytes | Callable[[Exchange], bytes], status: int = 200, **headers: str | None) -> Act:
    """This body."""

    async def act(x: Exchange) -> None:
        await x.send(content(x) if callable(content) else content, status, **headers)

    return act


def rows(change: Callable[[list[Row], Exchange], list[Any]]) -> Act:
    """The right reply with other rows."""
    return body(lambda x: x.with_rows(lambda found: change(found, x)))


def row(**fields: Any) -> Act:
    """A further row with these fields."""
    return rows(lambda found, x: [*found, {**x.example(), **fields}] if found else found)


def text_row(text: str | bytes) -> Act:
    """A further row whose `Subject` is this JSON text, right or not."""
    value = text.encode() if isinstance(text, str) else text

    def content(x: Exchange) -> bytes:
        example = x.example()
        if not example:
            return x.reply.body
        return x.raw_rows(orjson.dumps(example | {"Subject": None})[:-1] + b',"Context":' + value + b"}")

    return body(content)


def document(change: Callable[[Any], Any]) -> Act:
    """The right reply's JSON, changed."""
    return body(lambda x: orjson.dumps(change(x.document)))


def envelope(data: str) -> Act:
    """A success whose `data` is this JSON text."""
    return body(b'{"result":true,"errorCode":null,"data":' + data.encode() + b"}")


def fields(change: Callable[[list[Any]], Any]) -> Act:
    """The right description, the fields of whose objects are changed."""

    def changed(found: Any) -> Any:
        for described in found["data"]:
            described["fields"] = change(described["fields"])
        return found

    return document(changed)


def stream(prefix: bytes, piece: bytes, times: int, suffix: bytes, status: int = 200, **headers: str) -> Act:
    """A chunked body: `piece`, so many times, between the others."""

    async def act(x: Exchange) -> None:
        pieces = (part for part in (prefix, *(piece for _ in range(times)), suffix) if part)
        await x.stream(pieces, status, end=True, **headers)

    return act


def large_row(prefix: bytes, piece: bytes, times: int, suffix: bytes) -> Act:
    """The right rows, and a further row of that text."""

    async def act(x: Exchange) -> None:
        example = x.example()
        if not example:
            await x.send_right()
            return
        head = x.raw_rows(orjson.dumps(example)[:-1] + b",")[: -len(b"]}}")]
        head = head[: -len(b",")] if prefix.startswith(b"}") else head
        await x.stream([head, prefix, *[piece] * times, suffix, b"}]}}"])

    return act


def wire(*pieces: bytes, then: str = "close") -> Act:
    """These bytes on the wire, and then the connection's end."""

    async def act(x: Exchange) -> None:
        for piece in pieces:
            await x.write(piece)
        if then == "hang":
            await x.hang()
        elif then == "reset":
            x.reset()
        else:
            x.close()

    return act


async def cut(x: Exchange) -> None:
    """Half of the body, and the connection dropped."""
    content = x.reply.body
    await x.write(x.head(200, {"Content-Length": str(len(content))}) + content[: len(content) // 2])
    await asyncio.sleep(0.05)
    x.reset()


async def drip(x: Exchange) -> None:
    """The body, a byte a second."""
    content = x.reply.body
    await x.write(x.head(200, {"Content-Length": str(len(content))}))
    for start in range(len(content)):
        await x.write(content[start : start + 1])
        await asyncio.sleep(0.4)


async def drip_head(x: Exchange) -> None:
    """The headers, a byte at a time."""
    for byte in x.head(200, {}):
        await x.write(bytes([byte]))
        await asyncio.sleep(0.4)


async def no_end(x: Exchange) -> None:
    """A chunked body whose last chunk never comes."""
    await x.stream([x.reply.body], end=False)
    await x.hang()


def interim(line: bytes, times: int | None) -> Act:
    """So many interim replies (None: without an end), and then the right one."""

    async def act(x: Exchange) -> None:
        block = line * 50
        sent = 0
        while times is None or sent < times:
            await x.write(block)
            sent += 50
        await x.send_right()

    return act


def of_length(length: Callable[[int], int], close: bool = True) -> Act:
    """The right body under another length."""

    async def act(x: Exchange) -> None:
        await x.write(x.head(200, {"Content-Length": str(length(len(x.reply.body)))}) + x.reply.body)
        if close:
            x.close()

    return act


def compressed(encoding: str, change: Callable[[bytes], bytes]) -> Act:
    """The right body, changed and under that encoding."""
    return body(lambda x: change(x.reply.body), content_encoding=encoding)


@functools.cache
def zeros(megabytes: int, wbits: int) -> bytes:
    """The beginning of a compressed body that is so many megabytes of blanks; its end never matters."""
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    head = packer.compress(b" ") + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(b" " * MB) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + block * megabytes


def bomb(encoding: str, megabytes: int, wbits: int = 16 + zlib.MAX_WBITS, *, twice: bool = False) -> Act:
    """A small body that is a large one decompressed."""
    return body(
        lambda x: gzip.compress(zeros(megabytes, wbits)) if twice else zeros(megabytes, wbits),
        content_encoding=encoding,
    )


def nested(depth: int, opening: str = "[", closing: str = "]") -> str:
    return opening * depth + ("1" if opening.endswith(":") else "") + closing * depth


def redirect(to: str | None) -> Act:
    """A redirect there; None: to where the request went."""

    async def act(x: Exchange) -> None:
        await x.send(b"", 302, location=to or x.url + x.call.path)

    return act


async def surrogate_gsid(x: Exchange) -> None:
    """A further row whose Gsid is half a character."""
    if x.document["data"]["records"]:
        await x.send(x.raw_rows(orjson.dumps(x.example()).replace(b'"HOSTILE1"', rb'"\ud83d"')))
    else:
        await x.send_right()


async def cookie(x: Exchange) -> None:
    """Sets a cookie, and fails a request that has one."""
    if "cookie" in x.call.headers:
        await x.send(b"", 418)
    else:
        await x.send_right(set_cookie="session=1; Path=/; Max-Age=9999")


def lifetime(value: str) -> Act:
    """The right token, with this JSON text for its `expires_in`."""
    return body(lambda x: orjson.dumps(x.document | {"expires_in": orjson.loads(value)}))


async def same_page(x: Exchange) -> None:
    """The first page of the tenant, whatever is asked for."""
    if x.number == 1:
        FIRST_PAGE[x.url] = x.reply.body
    await x.send(FIRST_PAGE[x.url])


FIRST_PAGE: dict[str, bytes] = {}


async def crowded_second(x: Exchange) -> None:
    """A full page of the first second that is asked for, of new rows each time."""
    body = orjson.loads(x.call.body)
    limit = body["limit"]
    at = min(c["value"][0] for c in body["where"]["conditions"] if c["operator"] == "GTE")
    made = [{"Gsid": f"N{x.number:09d}{n:05d}", "LastModifiedDate": at} for n in range(limit)]
    await x.send(orjson.dumps({"result": True, "data": {"records": made}}))


async def endless_log(x: Exchange) -> None:
    """A full page of deletions, whatever is asked for."""
    made = [
        {"RecordId": f"D{x.number}-{n}", "DeletedOn": x.now, "ObjectName": "activity_timeline"} for n in range(5000)
    ]
    await x.send(orjson.dumps({"result": True, "data": {"records": made}}))


def shift(milliseconds: int | None = None, value: Any = None) -> Act:
    """A further row modified so long after this hour's beginning, or with that LastModifiedDate."""

    def change(found: list[Row], x: Exchange) -> list[Any]:
        at = value if milliseconds is None else x.now // HOUR * HOUR + milliseconds
        return [*found, {**x.example(), "LastModifiedDate": at}] if found else found

    return rows(change)


def gsids(*made: Any) -> Act:
    """Further rows with these Gsids."""
    return rows(lambda found, x: [*found, *({**x.example(), "Gsid": g} for g in made)] if found else found)


async def many(x: Exchange) -> None:
    """A hundred times the rows that were asked for."""
    limit, at = orjson.loads(x.call.body)["limit"], x.now // HOUR * HOUR
    if not x.document["data"]["records"]:
        await x.send_right()
        return
    head = x.raw_rows()[: -len(b"]}}")]
    block = (
        b",".join(b'{"Gsid":"M%d-%d","LastModifiedDate":%d}' % (n, m, at) for m in range(limit)) for n in range(100)
    )
    await x.stream([head, *(b"," + rows_ for rows_ in block), b"]}}"])


def listed(items: str) -> Act:
    """A success whose rows are these and the right ones."""
    extra = items.encode()
    return body(lambda x: x.raw_rows(extra) if x.document["data"]["records"] else x.reply.body)


ADDRESS, WORDS = "https://elsewhere.example/v1", "(?i)"
DEFECT = WORDS + r"no json|not its api|broken|decompress|encod|compress|json"
NET = WORDS + r"reached|in time|broken|connection|protocol|reply|answer"
LARGE = WORDS + r"larger than|too large|rows|bytes"
SERVER = WORDS + r"server|failure|failed|not understood|answer|refused"
DATE = r"(?i)date|clock"
THROTTLE = WORDS + "allowance|throttl"
V = Verdict

BEHAVIOURS: tuple[Behaviour, ...] = (
    # JSON: depth, shapes, numbers, text
    Behaviour("row nested 200 deep", text_row(nested(200)), V.ACCOUNTED),
    Behaviour("row nested 300 deep", text_row(nested(300)), V.ACCOUNTED),
    Behaviour("row nested 5,000 deep", text_row(nested(5000)), V.ACCOUNTED),
    Behaviour("row of objects nested 300 deep", text_row(nested(300, '{"a":', "}")), V.ACCOUNTED),
    Behaviour("row of objects nested 100,000 deep", text_row(nested(100_000, '{"a":', "}")), V.ACCOUNTED),
    Behaviour("reply nested 100,000 deep", body(nested(100_000).encode()), V.FAILS, DEFECT),
    Behaviour("row is null", listed("null"), V.DEAD),
    Behaviour("row is a text", listed('"row"'), V.DEAD),
    Behaviour("row is a number", listed("17"), V.DEAD),
    Behaviour("row is a list", listed('[["Gsid","1"]]'), V.DEAD),
    Behaviour("row is empty", listed("{}"), V.DEAD, "Gsid"),
    Behaviour("Infinity in a row", text_row("Infinity"), V.ACCOUNTED),
    Behaviour("NaN in a row", text_row("NaN"), V.ACCOUNTED),
    Behaviour("1e400 in a row", text_row("1e400"), V.ACCOUNTED),
    Behaviour("-1e400 in a row", text_row("-1e400"), V.ACCOUNTED),
    Behaviour("an integer of 400 digits in a row", text_row("1" + "0" * 400), V.ACCOUNTED),
    Behaviour("an integer of 100,000 digits in a row", text_row("1" + "0" * 100_000), V.ACCOUNTED),
    Behaviour("an integer above 64 bits in a row", text_row(str(2**70)), V.ACCOUNTED),
    Behaviour("a lone high surrogate", text_row(r'"half \ud83d"'), V.ACCOUNTED),
    Behaviour("a lone low surrogate", text_row(r'"half \udc00"'), V.ACCOUNTED),
    Behaviour("a lone surrogate in a column's name", row(**{"x": 1, "\ufffd": 2}), V.ACCOUNTED),
    Behaviour("a lone surrogate in a Gsid", surrogate_gsid, V.ACCOUNTED),
    Behaviour("an unescaped tab", text_row(b'"a\tb"'), V.ACCOUNTED),
    Behaviour("an unescaped newline", text_row(b'"a\nb"'), V.ACCOUNTED),
    Behaviour("an unescaped NUL", text_row(b'"a\0b"'), V.ACCOUNTED),
    Behaviour("an unknown escape", text_row(rb'"a\qb"'), V.ACCOUNTED),
    Behaviour("invalid UTF-8", text_row(b'"a\xff\xfeb"'), V.ACCOUNTED),
    Behaviour("overlong UTF-8", text_row(b'"a\xc0\xafb"'), V.ACCOUNTED),
    Behaviour("UTF-16", body(lambda x: x.reply.body.decode().encode("utf-16")), V.SAID, DEFECT, may_fail=DEFECT),
    Behaviour("a byte order mark", body(lambda x: b"\xef\xbb\xbf" + x.reply.body), V.READ),
    Behaviour("the same key twice in a row", listed('{"Gsid":"A1","Gsid":"A2"}'), V.DEAD),
    Behaviour("truncated JSON", body(lambda x: x.reply.body[:-9]), V.FAILS, DEFECT),
    Behaviour("two JSON documents", body(lambda x: x.reply.body * 2), V.FAILS, DEFECT),
    Behaviour("an empty body", body(b""), V.FAILS, DEFECT),
    Behaviour("blanks for a body", body(b"\n \n"), V.FAILS, DEFECT),
    Behaviour("HTML", body(b"<!doctype html><title>Log in</title>", content_type="text/html"), V.FAILS, DEFECT),
    Behaviour("a JSON text", body(b'"hello"'), V.FAILS, SERVER),
    Behaviour("a JSON list", body(b"[]"), V.FAILS, SERVER),
    Behaviour("data is a text", envelope('"none"'), V.FAILS, "list of rows"),
    Behaviour("data is a number", envelope("5"), V.FAILS, "list of rows"),
    Behaviour("data is false", envelope("false"), V.FAILS, "list of rows"),
    Behaviour("records is an object", envelope('{"records":{"Gsid":"1"}}'), V.FAILS, "list of rows"),
    Behaviour("result is a text", body(b'{"result":"true","data":[]}'), V.FAILS, SERVER),
    Behaviour("the error code is a list", body(b'{"result":false,"errorCode":[1],"data":null}'), V.FAILS, SERVER),
    Behaviour("the error code is an object", body(b'{"result":false,"errorCode":{"a":1}}', 400), V.FAILS, SERVER),
    # Keys, dates, order
    Behaviour("Gsid is !period", gsids("!period"), V.DEAD),
    Behaviour("Gsid ends with /!period", gsids("x/!period"), V.ACCOUNTED),
    Behaviour("Gsid has a newline", gsids("a\nb"), V.ACCOUNTED),
    Behaviour("Gsid has a NUL", gsids("a\0b"), V.ACCOUNTED),
    Behaviour("Gsid has a slash", gsids("acme/1"), V.ACCOUNTED),
    Behaviour("Gsid is blank", gsids(" "), V.ACCOUNTED),
    Behaviour("Gsid is a number", gsids(5, 1.5, True), V.DEAD, "Gsid", bad=3),
    Behaviour("Gsid is a list or an object", gsids(["a"], {"a": 1}), V.DEAD, "Gsid", bad=2),
    Behaviour("Gsid of 9 MB", gsids("G" * 9 * MB), V.DEAD, heavy=True),
    Behaviour("Gsid of 64 kB", gsids("G" * 65_536), V.ACCOUNTED),
    Behaviour("the same Gsids twice in a page", rows(lambda found, x: [*found, *found]), V.READ),
    Behaviour("rows modified in the future", shift(2 * HOUR), V.ACCOUNTED),
    Behaviour("rows modified a year ago", shift(-365 * 24 * HOUR), V.ACCOUNTED),
    Behaviour("LastModifiedDate is words", shift(value="yesterday"), V.DEAD, "LastModifiedDate"),
    Behaviour("LastModifiedDate in the year 10000", shift(value="10000-01-01T00:00:00Z"), V.DEAD, "LastModifiedDate"),
    Behaviour("LastModifiedDate of 10^300", shift(value=1e300), V.DEAD, "LastModifiedDate"),
    Behaviour("LastModifiedDate before 1970", shift(value=-5), V.ACCOUNTED),
    Behaviour("LastModifiedDate in the year 1", shift(value="0001-01-01T00:00:00+14:00"), V.ACCOUNTED),
    Behaviour("LastModifiedDate is a list", shift(value=[1]), V.DEAD, "LastModifiedDate"),
    Behaviour("LastModifiedDate is an object", shift(value={"a": 1}), V.DEAD, "LastModifiedDate"),
    Behaviour("LastModifiedDate is true", shift(value=True), V.DEAD, "LastModifiedDate"),
    Behaviour("LastModifiedDate of 10,000 digits", shift(value="1" * 10_000), V.DEAD, "LastModifiedDate"),
    Behaviour("every row without a date", rows(lambda f, x: [r | {"LastModifiedDate": None} for r in f]), V.SAID),
    Behaviour("rows unsorted", rows(lambda found, x: found[::-1]), V.READ),
    Behaviour("100 times the rows asked for", many, V.ACCOUNTED, may_fail=LARGE, heavy=True),
    Behaviour("the same page for ever", same_page, V.READ, may_fail="."),
    Behaviour("a crowded second without end", crowded_second, V.GOES_ON),
    # Size
    Behaviour("a row of 9 MB", large_row(b'"Notes":"', b"n" * MB, 9, b'"'), V.DEAD, heavy=True),
    Behaviour(
        "a row of 9 MB without Gsid", large_row(b'"Gsid":null,"Notes":"', b"n" * MB, 9, b'"'), V.DEAD, heavy=True
    ),
    Behaviour("a column's name of 9 MB", large_row(b'"', b"n" * MB, 9, b'":1'), V.DEAD, heavy=True),
    Behaviour("a row of 100,000 columns", row(**{f"c{n}": n for n in range(100_000)}), V.ACCOUNTED),
    Behaviour(
        "60 MB of backslashes",
        large_row(b'"Notes":"', b"\\\\" * (MB // 2), 60, b'"'),
        V.SAID,
        heavy=True,
        may_fail=LARGE,
    ),
    Behaviour(
        "60 MB of backslashes, broken",
        stream(b'{"result":true,"data":{"records":[{"Notes":"', b"\\\\" * (MB // 2), 60, b"\\"),
        V.FAILS,
        heavy=True,
    ),
    Behaviour(
        "60 MB of lone surrogates",
        stream(b'{"result":true,"data":{"records":[{"Notes":"', rb"\ud83d" * 100_000, 100, b'"}]}}'),
        V.SAID,
        heavy=True,
    ),
    Behaviour(
        "7 million empty rows",
        stream(b'{"result":true,"data":{"records":[', b"{}," * 100_000, 70, b"{}]}}"),
        V.SAID,
        heavy=True,
    ),
    Behaviour(
        "20 million numbers in a row",
        stream(b'{"result":true,"data":{"records":[{"Notes":[', b"1," * 200_000, 100, b"1]}]}}"),
        V.SAID,
        heavy=True,
    ),
    Behaviour(
        "5 million keys in a row",
        stream(
            b'{"result":true,"data":{"records":[{"Notes":{',
            b",".join(b'"%07d":1' % n for n in range(100_000)) + b",",
            40,
            b'"a":1}}]}}',
        ),
        V.SAID,
        heavy=True,
    ),
    Behaviour("a body without end", stream(b'{"result":true,"data":"', b"x" * MB, 200, b'"}'), V.FAILS, heavy=True),
    Behaviour(
        "an error code of 9 MB",
        body(b'{"result":false,"errorCode":"' + b"E" * 9 * MB + b'"}', 400),
        V.FAILS,
        heavy=True,
    ),
    Behaviour(
        "an error text of 9 MB",
        body(b'{"result":false,"errorCode":"P_5005","errorDesc":"' + b"Column a" * MB + b'"}', 400),
        V.FAILS,
        heavy=True,
    ),
    Behaviour(
        "an unknown column of 300 kB",
        body(b'{"result":false,"errorCode":"P_5005","errorDesc":"Column ' + b"a" * 300_000 + b' does not exist"}', 400),
        V.FAILS,
    ),
    Behaviour("500 with 60 MB", stream(b"", b"x" * MB, 60, b"", 500), V.FAILS, SERVER, heavy=True),
    # Compression
    Behaviour("gzip bomb", bomb("gzip", 300), V.FAILS, LARGE, heavy=True),
    Behaviour("x-gzip bomb", bomb("x-gzip", 300), V.FAILS, LARGE, heavy=True),
    Behaviour("gzip, gzip bomb", bomb("gzip, gzip", 300, twice=True), V.FAILS, heavy=True),
    Behaviour("GZIP,identity bomb", bomb("GZIP,identity", 300), V.FAILS, heavy=True),
    Behaviour("deflate bomb", bomb("deflate", 300, zlib.MAX_WBITS), V.FAILS, heavy=True),
    Behaviour("bare deflate bomb", bomb("deflate", 300, -zlib.MAX_WBITS), V.FAILS, heavy=True),
    Behaviour("br", compressed("br", lambda b: b"\x8b\x02\x80hello\x03"), V.FAILS, DEFECT),
    Behaviour("zstd", compressed("zstd", lambda b: b"\x28\xb5\x2f\xfd\x04\x00"), V.FAILS, DEFECT),
    Behaviour("an encoding of no name", compressed("cabbage", lambda b: b), V.READ, may_fail=DEFECT),
    Behaviour("deflate, right", compressed("deflate", zlib.compress), V.READ, may_fail=DEFECT),
    Behaviour(
        "gzip twice, right",
        compressed("gzip, gzip", lambda b: gzip.compress(gzip.compress(b))),
        V.READ,
        may_fail=DEFECT,
    ),
    Behaviour(
        "gzip of two members", compressed("gzip", lambda b: gzip.compress(b[:40]) + gzip.compress(b[40:])), V.READ
    ),
    Behaviour("broken gzip", compressed("gzip", lambda b: gzip.compress(b)[:12] + b"garbage" * 9), V.FAILS, DEFECT),
    Behaviour("gzip cut short", compressed("gzip", lambda b: gzip.compress(b)[:-20]), V.FAILS, DEFECT),
    Behaviour(
        "gzip of a wrong checksum", compressed("gzip", lambda b: gzip.compress(b)[:-8] + b"12345678"), V.FAILS, DEFECT
    ),
    Behaviour("gzip claimed, plain", compressed("gzip", lambda b: b), V.FAILS, DEFECT),
    Behaviour("gzip unsaid", body(lambda x: gzip.compress(x.reply.body)), V.FAILS, DEFECT),
    Behaviour("an empty gzip body", compressed("gzip", lambda b: b""), V.FAILS, DEFECT),
    # HTTP
    Behaviour("Content-Length too long", of_length(lambda n: n + 100), V.FAILS, NET),
    Behaviour("Content-Length too long, held open", of_length(lambda n: n + 100, close=False), V.FAILS, NET),
    Behaviour("Content-Length too short", of_length(lambda n: n - 100), V.FAILS, DEFECT),
    Behaviour("Content-Length negative", of_length(lambda n: -5), V.FAILS, NET),
    Behaviour("Content-Length of 10^30", of_length(lambda n: 10**30), V.FAILS, NET),
    Behaviour(
        "two Content-Lengths",
        wire(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        V.FAILS,
        NET,
    ),
    Behaviour("chunks without end", no_end, V.FAILS, NET),
    Behaviour("a chunk of no size", wire(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), V.FAILS, NET),
    Behaviour(
        "a chunk of 2^70 bytes",
        wire(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 18 + b"\r\n"),
        V.FAILS,
        NET,
    ),
    Behaviour("headers of 100 kB", right(x_padding="x" * 100_000), V.READ, may_fail=NET),
    Behaviour("headers of 10 MB", right(x_padding="x" * 10 * MB), V.FAILS, NET, heavy=True),
    Behaviour("10,000 headers", right(**{f"x_{n}": "1" for n in range(10_000)}), V.READ, may_fail=NET),
    Behaviour("headers that are no ASCII", right(x_name="äöü \udcff"), V.READ, may_fail=NET),
    Behaviour("a header of two lines", wire(b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n"), V.FAILS),
    Behaviour("no HTTP", wire(b"220 smtp.example ESMTP\r\n"), V.FAILS, NET),
    Behaviour("HTTP/0.9", wire(b"hello"), V.FAILS, NET),
    Behaviour("HTTP/2 unasked", wire(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), V.FAILS, NET),
    Behaviour("a status of four digits", wire(b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"), V.FAILS, NET),
    Behaviour(
        "switching protocols",
        wire(b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", then="hang"),
        V.FAILS,
    ),
    *(Behaviour(f"a byte now and then, {n}", drip, V.FAILS, NET) for n in range(5)),
    Behaviour("a header's byte now and then", drip_head, V.FAILS, NET),
    Behaviour("accepts and never answers", wire(then="hang"), V.FAILS, NET),
    Behaviour("closes at once", wire(), V.FAILS, NET),
    Behaviour("resets at once", wire(then="reset"), V.FAILS, NET),
    Behaviour("resets in mid-body", cut, V.FAILS, NET),
    Behaviour("ten 100s, then the reply", interim(b"HTTP/1.1 100 Continue\r\n\r\n", 10), V.READ),
    Behaviour("100s without end", interim(b"HTTP/1.1 100 Continue\r\n\r\n", None), V.FAILS, NET),
    Behaviour("103s without end", interim(b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n", None), V.FAILS, NET),
    Behaviour("a redirect elsewhere", redirect(ADDRESS), V.FAILS, "redirects"),
    Behaviour("a redirect to itself", redirect(None), V.FAILS, "redirects"),
    Behaviour("a redirect to no address", redirect("http://[::1"), V.FAILS, "redirects"),
    Behaviour("Set-Cookie", cookie, V.READ),
    Behaviour("Set-Cookie of garbage", right(set_cookie="\x01=;;;=\x7f"), V.READ, may_fail=NET),
    Behaviour("Content-Type of garbage", right(content_type="///;charset=\x7f"), V.READ, may_fail=NET),
    Behaviour("charset of no name", right(content_type="application/json; charset=klingon"), V.READ),
    *(Behaviour(f"status {code}", body(b"{}", code), V.FAILS, SERVER) for code in (201, 206, 418, 451, 507, 599)),
    Behaviour(
        "status 204",
        wire(b"HTTP/1.1 204 X\r\nDate: Mon, 30 Nov 2026 00:00:00 GMT\r\n\r\n", then="hang"),
        V.FAILS,
        SERVER,
    ),
    Behaviour("status 299 with the rows", body(lambda x: x.reply.body, 299), V.FAILS, SERVER),
    Behaviour("status 999", body(b"{}", 999), V.FAILS),
    Behaviour(
        "200 with an error", body(b'{"result":false,"errorCode":"GSOBJ_9999","errorDesc":"no"}'), V.FAILS, SERVER
    ),
    Behaviour(
        "200 with an error and rows", document(lambda d: d | {"result": False, "errorCode": "X"}), V.FAILS, SERVER
    ),
    # Headers that are read
    *(
        Behaviour(f"{code} with Retry-After {value[:12]!r}", body(b"{}", code, retry_after=value), V.FAILS, cause)
        for code, cause in ((429, THROTTLE), (503, SERVER))
        for value in ("Wed, 21 Oct 2099 07:28:00 GMT", "-5", "1e300", "9" * 400, "nan", "inf", "soon", "")
    ),
    Behaviour("no Date", right(date=None), V.FAILS, DATE, at=EVERYWHERE),
    Behaviour("Date is garbage", right(date="yesterday"), V.FAILS, DATE, at=EVERYWHERE),
    Behaviour("Date in 1970", right(date="Thu, 01 Jan 1970 00:00:00 GMT"), V.FAILS, DATE, at=EVERYWHERE),
    Behaviour("Date in 2099", right(date="Thu, 01 Jan 2099 00:00:00 GMT"), V.FAILS, DATE, at=EVERYWHERE),
    Behaviour("Date in the year 1", right(date="Mon, 01 Jan 0001 00:00:00 +2359"), V.FAILS, DATE, at=EVERYWHERE),
    Behaviour("Date in the year 9999", right(date="Fri, 31 Dec 9999 23:59:59 -2359"), V.FAILS, DATE, at=EVERYWHERE),
    Behaviour("Date in zone +99999", right(date="Mon, 30 Nov 2026 00:00:00 +99999"), V.FAILS, DATE, at=EVERYWHERE),
    Behaviour(
        "Date of a huge year", right(date="Mon, 30 Nov " + "9" * 30 + " 00:00:00 GMT"), V.FAILS, DATE, at=EVERYWHERE
    ),
    Behaviour("Date of 100,000 digits", right(date="1" * 50_000), V.FAILS, DATE, at=EVERYWHERE),
    *(
        Behaviour(
            f"x-ratelimit {text!r}",
            right(**{f"x_ratelimit_{n}": text for n in ("limit", "remaining", "reset")}),
            V.READ,
            may_fail=THROTTLE,
        )
        for text in ("garbage", "-1", "1e308", "1e400", "nan", "0", ",", "²", "1" * 300, "9" * 5000)
    ),
    # Descriptions
    *(
        Behaviour(f"a field is {name}", fields(lambda f, bad=bad: [*f, bad]), V.READ, at=DESCRIBE)  # type: ignore[misc]
        for name, bad in (
            ("null", None),
            ("a text", "Name"),
            ("a number", 5),
            ("a list", ["fieldName"]),
            ("empty", {}),
            ("named by a number", {"fieldName": 5}),
            ("named by a list", {"fieldName": ["a"]}),
            ("named by 64 kB", {"fieldName": "Ant__" + "x" * 65_536}),
            ("named with a quote", {"fieldName": 'Ant__a"b\n', "dataType": "STRING", "meta": {}}),
            ("of a meta that is a text", {"fieldName": "Ant__A__c", "meta": "none"}),
            ("of a meta that is a list", {"fieldName": "Ant__A__c", "meta": [1]}),
            ("of a dataType that is an object", {"fieldName": "Other", "dataType": {"a": 1}, "meta": {}}),
            (
                "of a lookupDetail that is a text",
                {"fieldName": "A", "meta": {"hasLookup": True, "lookupDetail": "company"}},
            ),
            ("of a lookupDetail that is a list", {"fieldName": "A", "meta": {"hasLookup": True, "lookupDetail": [1]}}),
            (
                "of lookupObjects that are a text",
                {"fieldName": "A", "meta": {"hasLookup": True, "lookupDetail": {"lookupObjects": "company"}}},
            ),
            (
                "of lookupObjects that are texts",
                {
                    "fieldName": "A",
                    "meta": {"hasLookup": True, "lookupDetail": {"lookupObjects": ["company", 5, None]}},
                },
            ),
            (
                "of a lookupName that is a number",
                {
                    "fieldName": "A",
                    "meta": {
                        "hasLookup": True,
                        "lookupDetail": {"lookupName": 5, "lookupObjects": [{"objectName": "company"}]},
                    },
                },
            ),
            ("of options that are an object", {"fieldName": "A", "meta": {}, "options": {"a": 1}}),
            ("of options that are texts", {"fieldName": "A", "meta": {}, "options": ["a", 1, None]}),
            (
                "of an option whose value is a list",
                {"fieldName": "A", "meta": {}, "options": [{"value": ["a"], "label": {"b": 1}}]},
            ),
        )
    ),
    Behaviour("fields are null", fields(lambda f: None), V.FAILS, at=DESCRIBE),
    Behaviour("fields are a text", fields(lambda f: "Gsid"), V.FAILS, at=DESCRIBE),
    Behaviour("fields are an object", fields(lambda f: {"Gsid": {}}), V.FAILS, at=DESCRIBE),
    Behaviour("fields are numbers", fields(lambda f: [1, 2]), V.FAILS, at=DESCRIBE),
    Behaviour(
        "a description among texts",
        document(lambda d: d | {"data": [*d["data"], "x", None, 5, []]}),
        V.READ,
        at=DESCRIBE,
    ),
    Behaviour(
        "an objectName that is a list",
        document(lambda d: d | {"data": [*d["data"], {"objectName": ["a"], "fields": []}]}),
        V.READ,
        at=DESCRIBE,
    ),
    Behaviour(
        "descriptions are an object", document(lambda d: d | {"data": {"activity_timeline": {}}}), V.FAILS, at=DESCRIBE
    ),
    Behaviour(
        "100,000 fields",
        fields(
            lambda f: [*f, *({"fieldName": f"Ant__F{n}__c", "dataType": "STRING", "meta": {}} for n in range(100_000))]
        ),
        V.READ,
        at=DESCRIBE,
        may_fail=".",
        heavy=True,
    ),
    # Deletions: the rows are read all the same
    *(
        Behaviour(f"deletions: {name}", act, V.READ, at=DELETIONS, may_fail=".", definition={"deletions_every": 1})
        for name, act in (
            ("rows of texts", envelope('{"records":["a","b"]}')),
            ("a text", envelope('"none"')),
            ("nulls", envelope("[null,null]")),
            ("ids of other types", envelope('[{"RecordId":5,"DeletedOn":"soon"},{"RecordId":["a"]}]')),
            (
                "dates of other types",
                envelope('[{"RecordId":"a","DeletedOn":{"a":1}},{"RecordId":"b","DeletedOn":1e300}]'),
            ),
            ("!period is deleted", envelope('[{"RecordId":"!period","DeletedOn":1}]')),
            ("HTML", body(b"<html>")),
        )
    ),
    Behaviour(
        "deletions without end",
        endless_log,
        V.READ,
        at="query/record_delete_log",
        may_fail=".",
        definition={"deletions_every": 1},
    ),
    # OAuth
    *(
        Behaviour(f"token reply: {name}", body(text, 200), V.FAILS, at=TOKEN, oauth=True)
        for name, text in (
            ("a number", b'{"access_token":5e3}'),
            ("a list", b'{"access_token":["a"]}'),
            ("an object", b'{"access_token":{"a":1}}'),
            ("null", b'{"access_token":null}'),
            ("not ASCII", '{"access_token":"tökén 🔑"}'.encode()),
            ("a surrogate", rb'{"access_token":"\ud83d"}'),
            ("a line break", rb'{"access_token":"a\r\nX-Evil: 1"}'),
            ("a NUL", rb'{"access_token":"a\u0000b"}'),
            ("9 MB", b'{"access_token":"' + b"t" * 9 * MB + b'"}'),
            ("no object", b'["access_token"]'),
            ("a text", b'"access_token"'),
            ("HTML", b"<html>"),
            ("empty", b""),
            ("true", b'{"access_token":true}'),
        )
    ),
    *(
        Behaviour(f"expires_in {value}", lifetime(value), V.READ, at=TOKEN, oauth=True)
        for value in ('"soon"', "-1", "0", "null", "[]", "{}", '"1e400"', '"nan"', "1000000000000000000", "true")
    ),
    # Registration
    *(
        Behaviour(f"list of objects: {name}", act, V.CHECKED, at=LIST)
        for name, act in (
            ("null", envelope("null")),
            ("a text", envelope('"x"')),
            ("texts", envelope('["company"]')),
            ("numbers", envelope("[1,2]")),
            ("names of other types", envelope('[{"objectName":5},{"objectName":["a"]},{"objectName":{"a":1}}]')),
            ("HTML", body(b"<html>")),
            ("nested 5,000 deep", envelope(nested(5000))),
        )
    ),
    Behaviour("registration: an HTML page for everything", body(b"<html>"), V.REFUSED, at=EVERYWHERE),
    Behaviour("registration: fields are a text", fields(lambda f: "Gsid"), V.REFUSED, at=DESCRIBE),
    Behaviour("registration: a redirect for everything", redirect(ADDRESS), V.REFUSED, at=EVERYWHERE),
    *(
        Behaviour(f"registration: {name}", act, V.CHECKED, at=at)
        for name, act, at in (
            ("rows are texts", envelope('["a"]'), "query/"),
            ("a field is a text", fields(lambda f: [*f, "x"]), DESCRIBE),
            ("a meta is a list", fields(lambda f: [*f, {"fieldName": "A", "meta": [1]}]), DESCRIBE),
            ("dates are objects", rows(lambda f, x: [{k: {"a": 1} for k in r} for r in f]), "query/"),
            (
                "numbers out of range",
                envelope('[{"LastModifiedDate":1e300,"CreatedDate":-1e300,"TypeName":5}]'),
                "query/",
            ),
            ("Date in the year 1", right(date="Mon, 01 Jan 0001 00:00:00 +2359"), EVERYWHERE),
            (
                "rate headers of garbage",
                right(x_ratelimit_limit="1e308", x_ratelimit_remaining="-", x_ratelimit_reset="x"),
                EVERYWHERE,
            ),
            ("type names of other types", rows(lambda f, x: [{**r, "TypeName": ["a"]} for r in f]), TIMELINE),
        )
    ),
)
