"""A server that a test scripts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from tests.unit.gainsight.conftest import MEBIBYTE


class Request:
    """One request to `Served`, to be answered once."""

    def __init__(self, handler: BaseHTTPRequestHandler, body: Any, seen: dict[str, Any]) -> None:
        self._handler = handler
        self.body = body
        self._seen = seen

    def json(self, body: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send(json.dumps(body).encode(), status, headers)

    def send(self, content: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._begin(status, {"Content-Length": str(len(content)), **(headers or {})})
        self._write(content)

    def drip(self, first: bytes, every: float, seconds: float) -> None:
        """Sends some bytes, then one every now and then; never the end."""
        self._begin(200, {"Content-Length": str(1 << 30)})
        self._write(first)
        ends = time.monotonic() + seconds
        while time.monotonic() < ends and self._write(b" "):
            time.sleep(every)

    def slowly(self, content: bytes, every: float, pieces: int) -> None:
        """Sends a body in pieces, one every now and then."""
        self._begin(200, {"Content-Length": str(len(content))})
        size = len(content) // pieces + 1
        for start in range(0, len(content), size):
            self._write(content[start : start + size])
            time.sleep(every)

    def _begin(self, status: int, headers: dict[str, str]) -> None:
        self._handler.send_response(status)
        for name, value in headers.items():
            self._handler.send_header(name, value)
        self._handler.end_headers()

    def _write(self, content: bytes) -> bool:
        """False when the client has closed the connection."""
        try:
            for start in range(0, len(content), MEBIBYTE):
                self._handler.wfile.write(content[start : start + MEBIBYTE])
                self._seen["sent"] += MEBIBYTE
        except OSError:
            self._handler.close_connection = True
            return False
        return True


class Served:
    """A server that keeps each request's peer and headers, and the bytes sent to it."""

    def __init__(self, answer: Callable[[Request], None]) -> None:
        requests: list[dict[str, Any]] = []
        self.requests = requests

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                requests.append({"peer": self.client_address, "headers": dict(self.headers), "sent": 0})
                answer(Request(self, json.loads(content) if content else None, requests[-1]))

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
