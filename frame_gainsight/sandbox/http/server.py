"""The HTTP server: turns requests into calls and replies into responses, for one tenant or for many."""

import asyncio
import gzip
import signal
from collections.abc import Callable, Mapping
from threading import Event, Thread
from types import TracebackType

from aiohttp import web

from frame_gainsight.sandbox.http.api import handle
from frame_gainsight.sandbox.http.control import PREFIX, control
from frame_gainsight.sandbox.http.exchange import Call, Reply
from frame_gainsight.sandbox.http.tenant import Tenant
from frame_gainsight.sandbox.query.dates import http_date

_LARGEST_BODY = 32 * 1024 * 1024
_WORTH_ZIPPING = 1024

Tenants = Tenant | Mapping[str, Tenant] | Callable[[str], Tenant | None]
"""One tenant for every host, tenants by host name (without port), or a function from the host name."""


def application(tenants: Tenants) -> web.Application:
    """The aiohttp application that serves `tenants`."""
    find = _finder(tenants)

    async def answer(request: web.Request) -> web.StreamResponse:
        tenant = find((request.host or "").rpartition(":")[0] or request.host or "")
        if tenant is None:
            return web.json_response({"error": f"no tenant is called {request.host}"}, status=404)
        body = await request.read()
        if request.path.startswith(PREFIX):
            # The expected conversations of a large tenant takes a while; API calls must not wait for it.
            reply = await asyncio.to_thread(control, tenant, request.method, request.path, body)
        else:
            headers = {name.lower(): value for name, value in request.headers.items()}
            call = Call(request.method, request.path, headers, dict(request.query), body)
            reply = handle(tenant, call)
        if reply.delay:
            await asyncio.sleep(reply.delay)
        return await _respond(request, tenant, reply)

    app = web.Application(client_max_size=_LARGEST_BODY)
    app.router.add_route("*", "/{path:.*}", answer)
    return app


def _finder(tenants: Tenants) -> Callable[[str], Tenant | None]:
    if isinstance(tenants, Tenant):
        only = tenants
        return lambda host: only
    if isinstance(tenants, Mapping):
        return tenants.get
    return tenants


async def _respond(request: web.Request, tenant: Tenant, reply: Reply) -> web.StreamResponse:
    headers = {
        "Date": http_date(tenant.now()),
        "Server": "gainsight-sandbox",
        "Content-Type": reply.content_type,
        **reply.headers,
    }
    body = reply.body
    accepted = "gzip" in request.headers.get("Accept-Encoding", "")
    if reply.gzip == "always" or (reply.gzip == "accepted" and accepted and len(body) >= _WORTH_ZIPPING):
        body = gzip.compress(body, compresslevel=1)
        headers["Content-Encoding"] = "gzip"
    if reply.cut:
        return await _cut(request, reply, body, headers)
    return web.Response(status=reply.status, body=body, headers=headers)


async def _cut(request: web.Request, reply: Reply, body: bytes, headers: Mapping[str, str]) -> web.StreamResponse:
    """Drop the connection: before the first byte, or after half of the announced body."""
    response = web.StreamResponse(status=reply.status, headers={**headers, "Content-Length": str(len(body))})
    if reply.cut == "mid":
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close() if reply.cut == "mid" else request.transport.abort()
    return response


class Sandbox:
    """Serves tenants from a thread of its own; a context manager.

    `port` 0 takes a free one; `url` and `port` are known once it has started.
    """

    def __init__(self, tenants: Tenants, host: str = "127.0.0.1", port: int = 0) -> None:
        self._tenants = tenants
        self.host = host
        self.port = port
        self._thread: Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._failure: OSError | None = None

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end."""
        return f"http://{self.host}:{self.port}"

    @property
    def tenant(self) -> Tenant:
        """The only tenant.  Raises ValueError where there are several."""
        if not isinstance(self._tenants, Tenant):
            raise ValueError("this sandbox serves several tenants")
        return self._tenants

    def start(self) -> "Sandbox":
        """Start serving; returns when connections are accepted.  Raises OSError when the port is taken."""
        ready = Event()
        self._thread = Thread(target=self._run, args=(ready,), name="sandbox", daemon=True)
        self._thread.start()
        ready.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        return self

    def stop(self) -> None:
        """Stop serving and drop open connections; harmless when it does not run."""
        if self._thread is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()
        self._thread = self._loop = None

    def __enter__(self) -> "Sandbox":
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self, ready: Event) -> None:
        asyncio.run(self._serve(ready))

    async def _serve(self, ready: Event) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        try:
            runner, self.port = await _listen(self._tenants, self.host, self.port)
        except OSError as error:
            self._failure = error
            return
        finally:
            ready.set()
        await self._stopping.wait()
        await runner.cleanup()


async def _listen(tenants: Tenants, host: str, port: int) -> tuple[web.AppRunner, int]:
    runner = web.AppRunner(application(tenants), access_log=None, shutdown_timeout=1.0, keepalive_timeout=300)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError:
        await runner.cleanup()
        raise
    return runner, int(runner.addresses[0][1])


def serve(
    tenants: Tenants,
    host: str = "127.0.0.1",
    port: int = 0,
    on_ready: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve until SIGINT or SIGTERM; to be called from the main thread.

    `on_ready` is called with the base URL once connections are accepted.  Raises OSError when the port is taken.
    """

    async def run() -> None:
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopping.set)
        runner, bound = await _listen(tenants, host, port)
        try:
            on_ready(f"http://{host}:{bound}")
            await stopping.wait()
        finally:
            await runner.cleanup()

    asyncio.run(run())
