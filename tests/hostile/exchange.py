"""One request to a hostile tenant, the right reply to it, and ways to send another one: raw bytes on a raw socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from frame_gainsight.sandbox.http.exchange import Call, Reply
from frame_gainsight.sandbox.query.dates import http_date

PIECE = 256 * 1024
Row = dict[str, Any]


@dataclass(slots=True)
class Exchange:
    """A request, the sandbox's right `reply` to it, and the connection on which something else may be sent.

    `number` counts the requests of this kind of the connector, from 1 on.
    """

    call: Call
    reply: Reply
    now: int
    number: int
    url: str
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def document(self) -> Any:
        """The right reply's JSON, fresh."""
        return orjson.loads(self.reply.body)

    def with_rows(self, change: Callable[[list[Row]], list[Any]]) -> bytes:
        """The right reply with other rows."""
        document = self.document
        rows = document["data"]["records"] if isinstance(document["data"], dict) else document["data"]
        document["data"] = {"records": change(rows or [])}
        return orjson.dumps(document)

    def raw_rows(self, *extra: bytes) -> bytes:
        """The right reply with further rows that are written as they are, JSON or not."""
        rows = self.document["data"]["records"]
        texts = [orjson.dumps(row) for row in rows]
        return b'{"result":true,"data":{"records":[' + b",".join([*texts, *extra]) + b"]}}"

    def example(self, gsid: str = "HOSTILE1") -> Row:
        """A row of the window that was asked for, of another Gsid."""
        rows = self.document["data"]["records"]
        return {**rows[-1], "Gsid": gsid} if rows else {}

    def head(self, status: int, headers: Mapping[str, str | None]) -> bytes:
        """The status line and headers; of the usual ones, those given as None are left out."""
        given = {"Date": http_date(self.now), "Content-Type": "application/json", **self.headers, **headers}
        lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in given.items() if value is not None)]
        return "\r\n".join([*lines, "\r\n"]).encode("utf-8", "surrogateescape")

    async def send(self, body: bytes, status: int = 200, **headers: str | None) -> None:
        """A whole reply; `content_encoding` is the header Content-Encoding."""
        named = {name.replace("_", "-").title(): value for name, value in headers.items()}
        self.writer.write(self.head(status, {"Content-Length": str(len(body)), **named}))
        for start in range(0, len(body), PIECE):
            self.writer.write(body[start : start + PIECE])
            await self.writer.drain()

    async def send_right(self, **headers: str | None) -> None:
        """The right reply, with these headers."""
        await self.send(self.reply.body, self.reply.status, **headers)

    async def stream(self, pieces: Iterable[bytes], status: int = 200, *, end: bool = True, **headers: str) -> None:
        """A chunked reply; without its end when `end` is false."""
        named = {name.replace("_", "-").title(): value for name, value in headers.items()}
        self.writer.write(self.head(status, {"Transfer-Encoding": "chunked", **named}))
        for piece in pieces:
            self.writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await self.writer.drain()
        if end:
            self.writer.write(b"0\r\n\r\n")
            await self.writer.drain()

    async def write(self, data: bytes) -> None:
        """Bytes as they are."""
        self.writer.write(data)
        await self.writer.drain()

    async def hang(self) -> None:
        """Keeps the connection open until the other side closes it."""
        while await self.reader.read(PIECE):
            pass

    def close(self) -> None:
        """Ends the connection behind what was sent."""
        self.writer.close()

    def reset(self) -> None:
        """Drops the connection."""
        self.writer.transport.abort()
