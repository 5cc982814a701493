"""Credentials: how a call proves who it is; never shown."""

from __future__ import annotations

from typing import Protocol


class Credentials(Protocol):
    """Gives the headers that authenticate a call. `repr` shows nothing secret."""

    def headers(self) -> dict[str, str]: ...


class AccessKey:
    """A tenant's API access key: header `accesskey`."""

    __slots__ = ("_key",)

    def __init__(self, key: str) -> None:
        self._key = key

    def headers(self) -> dict[str, str]:
        return {"accesskey": self._key}

    def __repr__(self) -> str:
        return "AccessKey(…)"
