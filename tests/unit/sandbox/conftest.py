"""A small tenant behind a real server, and a client that asks it the way Gainsight is asked."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from frame_gainsight.sandbox import Limits, Morning, Sandbox, Tenant

QUERY = "/v1/data/objects/query/"
UNLIMITED = Limits(None, None)


@dataclass
class Client:
    """Asks one sandbox; `http` never follows redirects."""

    tenant: Tenant
    http: httpx.Client

    def post(self, path: str, body: Any = None, **headers: str) -> httpx.Response:
        return self.http.post(path, json=body, headers={"accesskey": self.tenant.access_key, **headers})

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.http.get(path, headers={"accesskey": self.tenant.access_key, **headers})

    def ask(self, name: str, select: list[str], *conditions: tuple[str, str, list[Any]], **more: Any) -> httpx.Response:
        """Query with all conditions joined by AND."""
        named = [
            {"name": field, "alias": f"C{n}", "operator": operator, "value": value}
            for n, (field, operator, value) in enumerate(conditions)
        ]
        body: dict[str, Any] = {"select": select, "limit": 5000, **more}
        if named:
            expression = more.pop("expression", " AND ".join(c["alias"] for c in named))
            body |= {"where": {"conditions": named, "expression": expression}}
            body.pop("expression", None)
        return self.post(QUERY + name, body)

    def rows(self, name: str, select: list[str], *conditions: tuple[str, str, list[Any]], **more: Any) -> list[Any]:
        reply = self.ask(name, select, *conditions, **more).json()
        assert reply["result"] is True, reply
        data = reply["data"]
        return list(data if isinstance(data, list) else data["records"])

    def code(self, reply: httpx.Response) -> tuple[int, str]:
        """Status and error code (or title)."""
        body = reply.json()
        assert body["result"] is False
        return reply.status_code, body.get("errorCode") or body["title"]


def serving(tenant: Tenant) -> Iterator[Client]:
    with Sandbox(tenant) as sandbox, httpx.Client(base_url=sandbox.url, follow_redirects=False) as http:
        yield Client(tenant, http)


@pytest.fixture
def client() -> Iterator[Client]:
    """A fresh tenant with a small morning behind it."""
    yield from serving(Tenant(seed=7, scenario=Morning(emails=120), size=20, limits=UNLIMITED))


@pytest.fixture(scope="module")
def reader() -> Iterator[Client]:
    """The same, shared by the tests of a module; not to be changed by them."""
    yield from serving(Tenant(seed=7, scenario=Morning(emails=120), size=20, limits=UNLIMITED))


@pytest.fixture
def wall() -> Any:
    """A wall clock that stands still until it is moved."""

    class Wall:
        now = 1_772_438_400_000

        def __call__(self) -> int:
            return self.now

    return Wall()
