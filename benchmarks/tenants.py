"""Simulated tenants as a process of their own: `python -m benchmarks.tenants PLAN`, PLAN being JSON.

It prints one line of JSON when it serves (port, keys by host, first date) and ends with its standard input. Under
`/_bench`, which is not counted, it tells what was asked of it.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from benchmarks.steady import SECOND, Steady
from frame_gainsight.sandbox import Clock, Limits, Live, Tenant
from frame_gainsight.sandbox.http.control import PREFIX
from frame_gainsight.sandbox.http.server import application
from frame_gainsight.sandbox.query.dates import iso

QUIET = 120  # seconds between the last email and the present
OURS = "/_bench"
NO_LIMITS = Limits(None, None)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Book:
    """What was asked of one host since the last reset."""

    calls: Counter[str] = field(default_factory=Counter)
    first: float | None = None  # when the first timeline query came, epoch seconds
    last: float | None = None  # when the last timeline query was answered, seconds of a steady clock
    body: bytes = b""  # of the first timeline query


def _steady(rows: int, seconds: int, start_ms: int, clock: Clock, seed: int = 1, size: int = 20, **more: Any) -> Tenant:
    scenario = Steady(rows, start_ms, seconds, **more)
    return Tenant(seed=seed, scenario=scenario, clock=clock, size=size, limits=NO_LIMITS)


def _made(plan: dict[str, Any]) -> tuple[dict[str, Tenant], int]:
    """Tenants by host address, and the date of their first email. They live in the present.

    `rows` in the last `seconds`. Or `rates`: a tenant for each pair of rows in ten minutes and companies, its clock
    stopped before the first of so many `periods`, which end now; of the people met in each `new_people` are new.
    Or `tiny`: so many tenants of one company.
    """
    now = int(time.time()) * SECOND
    if rates := plan.get("rates"):
        seconds = 600 * plan["periods"]
        start = now - seconds * SECOND
        made = {
            f"127.0.1.{number}": _steady(
                rate * plan["periods"],
                seconds,
                start,
                Clock.stopped(start),
                number,
                size,
                periods=plan["periods"],
                new_people=plan["new_people"],
            )
            for number, (rate, size) in enumerate(rates, 1)
        }
        return made, start
    if count := plan.get("tiny"):
        tenants = {
            f"127.0.{1 + n // 200}.{1 + n % 200}": Tenant(
                seed=n + 1, scenario=Live(per_minute=plan["per_minute"]), size=1, limits=NO_LIMITS
            )
            for n in range(count)
        }
        return tenants, now
    start = now - (plan["seconds"] + QUIET) * SECOND
    tenant = _steady(plan["rows"], plan["seconds"], start, Clock.real())
    for name, value in plan.get("variants", {}).items():
        tenant.set_variant(name, value)
    return {"127.0.0.1": tenant}, start


class CallCounter:
    """Counts calls by host and endpoint."""

    def __init__(self, tenants: dict[str, Tenant]) -> None:
        self._tenants = tenants
        self._books: dict[str, Book] = {}

    async def answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith(OURS):
            return self._own(request.path.removeprefix(OURS))
        if request.path.startswith(PREFIX):
            return await handler(request)
        host = (request.host or "").rpartition(":")[0]
        book = self._books.setdefault(host, Book())
        book.calls["/".join(request.path.split("/")[-2:])] += 1
        is_timeline = request.path.endswith("query/activity_timeline")
        if book.first is None and is_timeline:
            book.first, book.body = time.time(), await request.read()
        response = await handler(request)
        if is_timeline:
            book.last = time.monotonic()
        return response

    def _own(self, what: str) -> web.Response:
        if what == "/reset":
            self._books.clear()
            return web.json_response({})
        if what == "/sizes":
            sizes = {
                host: {n: len(t.world.rows(n)) for n in ("company", "person")} for host, t in self._tenants.items()
            }
            return web.json_response(sizes)
        if what == "/versions":
            found = {
                host: {a.gsid: a.modified_ms for a in tenant.timeline.current.values()}
                for host, tenant in self._tenants.items()
            }
            return web.Response(body=orjson.dumps(found), content_type="application/json")
        books = {
            host: {"calls": b.calls, "first": b.first, "last": b.last, "body": b.body.decode()}
            for host, b in self._books.items()
        }
        return web.Response(body=orjson.dumps(books), content_type="application/json")


async def _serve(plan: dict[str, Any]) -> None:
    tenants, start = _made(plan)
    for tenant in tenants.values():
        _ = tenant.timeline  # up to its clock, before anybody waits for it
    counter = CallCounter(tenants)
    several = tenants.keys() != {"127.0.0.1"}
    app = application(tenants.get if several else next(iter(tenants.values())))

    @web.middleware
    async def counted(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await counter.answer(request, handler)

    app.middlewares.append(counted)
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=900)
    await runner.setup()
    # All of 127.0.0.0/8 is this machine: so each tenant has an address of its own, and one server.
    await web.TCPSite(runner, "0.0.0.0" if several else "127.0.0.1", 0, backlog=2048).start()
    keys = {host: tenant.access_key for host, tenant in tenants.items()}
    ready = {"port": runner.addresses[0][1], "keys": keys, "start": iso(start)}
    sys.stdout.write(orjson.dumps(ready).decode() + "\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(_serve(orjson.loads(sys.argv[1])))
