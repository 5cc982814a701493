"""Hostile tenants, a port for each, in a process of their own: what they build is not counted as their reader's memory.

`python -m tests.hostile.server hostile` writes one line of JSON, and serves until its standard input closes; with
`healthy` in that place, it serves the healthy tenant, which no hostile one delays.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections import Counter
from urllib.parse import parse_qsl, urlsplit

from frame_gainsight.sandbox import Clock, Limits, Tenant
from frame_gainsight.sandbox.http.api import handle
from frame_gainsight.sandbox.http.exchange import Call
from tests.hostile.behaviours import BEHAVIOURS, Behaviour
from tests.hostile.exchange import Exchange

HEALTHY = "healthy"
CREATED = "/-/created"  # the healthy tenant's Gsids, as JSON
EVERY = 0.5  # seconds between two rows of the healthy tenant
ROWS = 3  # right rows of every hostile tenant
SETTLED = 1.1  # seconds, after which a row's second is over
MAX_HEAD = 64 * 1024


class Door:
    """One tenant's port. Its right replies are the sandbox's; without a behaviour, or not `armed`, it has no others."""

    def __init__(self, tenant: Tenant, behaviour: Behaviour | None) -> None:
        self._tenant = tenant
        self._behaviour = behaviour
        self.armed = True
        self._asked: Counter[str] = Counter()
        self.url = ""

    async def open(self) -> None:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=MAX_HEAD)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Cancelled when the serving ends: asyncio's streams log a connection's task that ends so.
        over = (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError)
        with contextlib.suppress(*over):
            while not writer.is_closing():
                await self._answer(await _call(reader), reader, writer)
        with contextlib.suppress(OSError):
            writer.close()

    async def _answer(self, call: Call, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._asked[call.path] += 1
        reply = handle(self._tenant, call)
        exchange = Exchange(
            call, reply, self._tenant.now(), self._asked[call.path], self.url, reader, writer, dict(reply.headers)
        )
        behaviour = self._behaviour
        if behaviour is None and call.path == CREATED:
            await exchange.send(json.dumps(list(self._tenant.timeline.current)).encode())
        elif behaviour is not None and self.armed and behaviour.at in call.path:
            await behaviour.act(exchange)
        else:
            await exchange.send_right()


async def _call(reader: asyncio.StreamReader) -> Call:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {n.strip().lower(): v.strip() for n, _, v in (line.partition(":") for line in lines if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    parts = urlsplit(target)
    return Call(method, parts.path, headers, dict(parse_qsl(parts.query)), body)


async def serve(hostile: bool) -> None:
    """Serves the hostile tenants, or the healthy one."""
    tenant = Tenant(seed=3, clock=Clock.real(), size=3, limits=Limits(None, None))
    for _ in range(ROWS):
        tenant.create({"TypeName": "Email"})
    doors = {b.name: Door(tenant, b) for b in BEHAVIOURS} if hostile else {HEALTHY: Door(tenant, None)}
    for door in doors.values():
        await door.open()
    await asyncio.sleep(SETTLED)
    told = {
        "urls": {name: door.url for name, door in doors.items()},
        "key": tenant.access_key,
        "oauth": f"{tenant.client_id}:{tenant.client_secret}",
        "rows": list(tenant.timeline.current),
    }
    print(json.dumps(told), flush=True)
    ending = asyncio.create_task(asyncio.to_thread(sys.stdin.buffer.read))
    while not ending.done():
        if not hostile:
            tenant.create({"TypeName": "Email"})
        await asyncio.wait([ending], timeout=EVERY)


if __name__ == "__main__":
    asyncio.run(serve(hostile="hostile" in sys.argv))
