"""Findings: what a connector needs of its tenant, whether it has it, and the words for the customer's admin."""

from __future__ import annotations

import socket
import ssl
from dataclasses import asdict, dataclass
from typing import Any, Literal

from gainsight import GainsightError, TransientError

State = Literal["ok", "missing", "failed", "unknown"]

REACHABLE = "the host answers"
TLS = "its certificate is good"
KEY = "it takes the key"
ADDRESS = "it allows this address"
CONNECTION = (REACHABLE, TLS, KEY, ADDRESS)

ASK_KEY = (
    "The API access key that we have for you is not accepted. Please send us the current one (Administration → "
    "Connectors → Gainsight API); if it was reset, the old one no longer works."
)
ASK_ADDRESS = "Please add the addresses of Frame AI to the IP allowlist of your Gainsight API connection."
ASK_HOST = "Please tell us the address at which you sign in to Gainsight NXT, such as https://acme.gainsightcloud.com."
ASK_TLS = "The certificate of your Gainsight address is not valid for us. Is there a proxy in front of it?"
ASK_STATUS = "Is your Gainsight tenant available at the moment?"


@dataclass(frozen=True, slots=True)
class Finding:
    """One need: whether it is met, by what one sees that, and what to ask the Gainsight admin for.

    Attributes:
        state: `missing`: the connector does without; `unknown`: it could not be told.
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
        """As JSON."""
        return asdict(self)


def unconnected(error: GainsightError, secure: bool) -> list[Finding]:
    """The findings when the first call failed: each step up to the one that failed, and those behind it unknown."""
    failed, evidence, ask = _step(error)
    found = []
    for number, need in enumerate(steps := _steps(secure)):
        if number < steps.index(failed):
            found.append(Finding(need, "ok", "as far as the call came"))
        elif need == failed:
            found.append(Finding(need, "failed", evidence, ask))
        else:
            found.append(Finding(need, "unknown", "not reached"))
    return found


def connected(host: str, secure: bool) -> list[Finding]:
    """The findings when a call was answered."""
    evidence = {
        REACHABLE: host,
        TLS: f"valid for {host.removeprefix('https://')}",
        KEY: "a call was answered",
        ADDRESS: "no allowlist is in the way",
    }
    return [Finding(need, "ok", evidence[need]) for need in _steps(secure)]


def words_for(error: GainsightError, object_name: str) -> str:
    """What to ask the admin for when an object could not be read."""
    if error.code == "GS_APIG_2402":
        return ASK_ADDRESS
    if isinstance(error, TransientError):
        return ASK_STATUS
    if error.status == 401 or error.code == "GSOBJ_1024":
        return ASK_KEY
    return f"Please let the user who owns the API key read the object '{object_name}', with all its fields."


def _steps(secure: bool) -> list[str]:
    return [need for need in CONNECTION if secure or need != TLS]


def _step(error: GainsightError) -> tuple[str, str, str]:
    if error.code == "GS_APIG_2402":
        return ADDRESS, str(error), ASK_ADDRESS
    causes = list(_chain(error))
    if any(isinstance(cause, ssl.SSLError) for cause in causes) or any("SSL" in str(c) for c in causes[1:]):
        return TLS, f"the certificate was refused: {causes[-1]}", ASK_TLS
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return REACHABLE, "no such name: the host does not exist", ASK_HOST
    if isinstance(error, TransientError) or error.code == "GS_APIG_1000" or (error.status or 0) in range(300, 400):
        return REACHABLE, str(error), ASK_HOST if error.status is None or error.status < 500 else ASK_STATUS
    return KEY, str(error), ASK_KEY


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found
