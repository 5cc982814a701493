"""Findings: what a connector needs of its tenant, whether it has it, and the words for the customer's admin."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import httpx

from frame_gainsight.gainsight import (
    BadKeyError,
    GainsightError,
    HostRefusedError,
    RefusedQueryError,
    ThrottledError,
    TransientError,
    UnavailableError,
)

State = Literal["ok", "missing", "failed", "unknown"]

REACHABLE = "the host answers"
TLS = "its certificate is good"
KEY = "it takes the key"
ADDRESS = "it allows this address"
CONNECTION = (REACHABLE, TLS, KEY, ADDRESS)
ALLOWANCE = "allowance of calls"
ACTIVITY_TYPE = "activity type "  # and its name
ADDRESS_CODE = "GS_APIG_2402"

ASK_KEY = (
    "The API access key that we have for you is not accepted. Please send us the current one (Administration → "
    "Connectors 2.0 → Gainsight API); if it was reset, the old one no longer works."
)
ASK_CLIENT = (
    "The OAuth client (M2M) that we have for you is not accepted. Please send us the key and the secret of one that is "
    "in force; if its secret was made anew or it was deleted, the old ones no longer work."
)
ASK_ADDRESS = "Please add the addresses of Frame AI to the IP allowlist of your Gainsight API connection."
ASK_HOST = "Please tell us the address at which you sign in to Gainsight NXT, such as https://acme.gainsightcloud.com."
ASK_TLS = "The certificate of your Gainsight address is not valid for us. Is there a proxy in front of it?"
ASK_STATUS = "Is your Gainsight tenant available at the moment?"
ASK_WAY = (
    "Is your Gainsight tenant available at the moment, and is there a proxy or a firewall before it that answers in "
    "its place or breaks connections off?"
)
ASK_ALLOWANCE = (
    "Your Gainsight tenant's allowance of API calls is used up at the moment. How many calls a minute and a day does "
    "your package have, and which other integrations use them?"
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One need: whether it is met, the evidence of that, and what to request of the Gainsight admin.

    Attributes:
        state: `missing`: the connector works without it; `unknown`: the check could not find out.
    """

    need: str
    state: State
    evidence: str
    ask: str = ""

    @property
    def blocks(self) -> bool:
        """Whether the connector cannot work like this."""
        return self.state == "failed"

    def plain(self) -> dict[str, Any]:
        """The finding as a JSON object."""
        return asdict(self)


def unconnected(error: GainsightError, secure: bool, oauth: bool) -> list[Finding]:
    """The findings when no call was accepted: each step up to the one that failed, and unknown ones behind it.

    Args:
        oauth: whether the calls are authenticated by an OAuth client, and not by the API access key.
    """
    failed, evidence, ask = _step(error, oauth)
    steps = _steps(secure)
    reached = steps.index(failed) if failed in steps else steps.index(KEY)
    found = []
    for number, need in enumerate(steps):
        if number < reached:
            found.append(Finding(need, "ok", "as far as the call came"))
        elif need == failed:
            found.append(Finding(need, "failed", evidence, ask))
        else:
            found.append(Finding(need, "unknown", "not reached"))
    return found if failed in steps else [*found, Finding(failed, "failed", evidence, ask)]


def connected(host: str, secure: bool) -> list[Finding]:
    """The findings when a call was answered."""
    evidence = {
        REACHABLE: host,
        TLS: f"valid for {host.removeprefix('https://')}",
        KEY: "a call was answered",
        ADDRESS: "no allowlist is in the way",
    }
    return [Finding(need, "ok", evidence[need]) for need in _steps(secure)]


def owner(oauth: bool) -> str:
    """The user whose permissions count."""
    return "the OAuth client" if oauth else "the user who owns the API key"


def words_for(error: GainsightError, objects: Sequence[str], oauth: bool) -> str:
    """The request to the admin when objects could not be read or described, though other calls were accepted."""
    if error.code == ADDRESS_CODE:
        return ASK_ADDRESS
    if isinstance(error, UnavailableError):
        return ASK_STATUS
    if isinstance(error, ThrottledError):
        return ASK_ALLOWANCE
    if isinstance(error, TransientError):
        return _ask_availability(error)
    named = ", ".join(f"'{name}'" for name in objects)
    which = f"the object {named}, with all its fields" if len(objects) == 1 else f"the objects {named}"
    permission = f"Please let {owner(oauth)} read {which}."
    if isinstance(error, BadKeyError):
        return f"{permission} Other calls are taken: if what we sign in with was changed just now, send us the new one."
    if isinstance(error, RefusedQueryError):
        return f"May {owner(oauth)} query {named}? It is refused ({error.code or error.status})."
    return permission


def ask_without_lookups(object_name: str, path: str) -> str:
    """The request to the admin when a tenant does not accept a mapped look-up."""
    return (
        f"The API of your tenant takes no look-ups in queries, so that '{path}' of '{object_name}' cannot be read. Is "
        f"there a field of '{object_name}' itself that has the same?"
    )


def _ask_availability(error: GainsightError) -> str:
    return ASK_STATUS if (error.status or 0) >= 500 else ASK_WAY


def _steps(secure: bool) -> list[str]:
    return [need for need in CONNECTION if secure or need != TLS]


def _step(error: GainsightError, oauth: bool) -> tuple[str, str, str]:
    """The need that is not met, the evidence of that, and the request to the admin."""
    if error.code == ADDRESS_CODE:
        return ADDRESS, str(error), ASK_ADDRESS
    if isinstance(error, HostRefusedError):
        return REACHABLE, str(error), ""
    if isinstance(error, UnavailableError):
        return REACHABLE, str(error), ASK_STATUS
    if isinstance(error, ThrottledError):
        return ALLOWANCE, str(error), ASK_ALLOWANCE
    causes = list(_chain(error))
    if any(isinstance(cause, ssl.SSLError) for cause in causes) or any("SSL" in str(c) for c in causes[1:]):
        return TLS, str(error), ASK_TLS
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return REACHABLE, "no such name: the host does not exist", ASK_HOST
    if any(isinstance(cause, httpx.ConnectError | httpx.ConnectTimeout | httpx.InvalidURL) for cause in causes):
        return REACHABLE, str(error), ASK_HOST
    if isinstance(error, TransientError):
        return REACHABLE, str(error), _ask_availability(error)
    if error.code == "GS_APIG_1000" or error.status == 404 or (error.status or 0) in range(300, 400):
        return REACHABLE, str(error), ASK_HOST
    if isinstance(error, BadKeyError):
        return KEY, str(error), ASK_CLIENT if oauth else ASK_KEY
    return KEY, str(error), f"Please let {owner(oauth)} use Gainsight's API: its first calls are refused."


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found
