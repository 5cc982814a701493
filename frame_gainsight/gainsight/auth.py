"""Credentials that authenticate a call; never shown."""

from __future__ import annotations

import asyncio
import base64
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from frame_gainsight.gainsight.errors import BadKeyError, TransientError
from frame_gainsight.runtime.clock import Clock

TOKEN_PATH = "/v1/users/m2m/oauth/token"  # noqa: S105
GRANT = b"grant_type=client_credentials"
FORM = "application/x-www-form-urlencoded"
# Seconds. A token is renewed this long before its end; one that is refused younger than that stays refused.
EARLY = 60.0
_MIN_LIFETIME, _MAX_LIFETIME = 120.0, 86_400.0
_MAX_TOKEN = 16_384  # characters

Grant = Callable[[Mapping[str, str]], Awaitable[Mapping[str, Any]]]
"""Requests a token with these headers, and returns the reply's JSON; raises as a call of the API does."""


class Credentials(Protocol):
    """The headers that authenticate a call. `repr` shows nothing secret."""

    async def headers(self, grant: Grant) -> dict[str, str]:
        """The headers of a call. Raises what `grant` does, BadKeyError where no header can have the stored secret, and
        TransientError where none can have the token.
        """

    def refused(self, headers: Mapping[str, str]) -> bool:
        """Notes that the tenant did not accept these headers; returns whether another try with new ones may help."""


class AccessKey:
    """A tenant's API access key: header `accesskey`."""

    __slots__ = ("_key",)

    def __init__(self, key: str) -> None:
        self._key = key

    async def headers(self, grant: Grant) -> dict[str, str]:
        if not _fits_header(self._key):
            raise BadKeyError("The API key that is stored is not one word of ASCII characters: it cannot be sent.")
        return {"accesskey": self._key}

    def refused(self, headers: Mapping[str, str]) -> bool:
        return False

    def __repr__(self) -> str:
        return "AccessKey(…)"


class OAuthClient:
    """OAuth client credentials ("M2M"): a bearer token, requested when there is none or when it ends.

    The API allows up to 15 pairs of key and secret; a token lasts a day (its reply says `expires_in`, seconds).
    """

    __slots__ = ("_basic", "_clock", "_ends", "_granting", "_since", "_token")

    def __init__(self, key: str, secret: str, clock: Clock) -> None:
        self._basic = "Basic " + base64.b64encode(f"{key}:{secret}".encode()).decode()
        self._clock = clock
        self._token: str | None = None
        self._since = self._ends = 0.0
        self._granting = asyncio.Lock()

    async def headers(self, grant: Grant) -> dict[str, str]:
        async with self._granting:
            if self._token is None or self._clock.monotonic() >= self._ends:
                reply = await grant({"authorization": self._basic, "content-type": FORM})
                token = reply.get("access_token")
                if not isinstance(token, str) or not _fits_header(token):  # never quoted
                    raise TransientError(
                        "The tenant's answer to the OAuth client has no token that can be sent: one word of ASCII "
                        "characters. Is there a proxy before the tenant that changes its answers?",
                        status=200,
                    )
                self._since = self._clock.monotonic()
                self._ends = self._since + _lifetime(reply.get("expires_in")) - EARLY
                self._token = token
            return {"authorization": f"Bearer {self._token}"}

    def refused(self, headers: Mapping[str, str]) -> bool:
        if headers.get("authorization") != f"Bearer {self._token}":
            return True  # another call has renewed the token meanwhile
        young = self._clock.monotonic() - self._since < EARLY
        self._token = None
        return not young

    def __repr__(self) -> str:
        return "OAuthClient(…)"


def _fits_header(text: str) -> bool:
    """Whether a header can have it: characters that are seen, and no more than a server takes."""
    return 0 < len(text) <= _MAX_TOKEN and all("!" <= character <= "~" for character in text)


def _lifetime(value: Any) -> float:
    """Seconds that a token lasts; nonsense counts as the shortest time, and a day is the longest."""
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        return _MIN_LIFETIME
    return min(max(_MIN_LIFETIME, seconds), _MAX_LIFETIME) if not math.isnan(seconds) else _MIN_LIFETIME
