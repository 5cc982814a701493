"""Errors of a tenant's failing replies: one table of match → action × failure class × words for people."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from frame_gainsight.runtime.failures import Failure


class Action(StrEnum):
    """The client's reaction to a failing reply."""

    RETRY = "retry"
    THROTTLED = "throttled"  # retry, after the budget has waited
    EMPTY = "empty"  # not a failure: no row matches
    FAIL = "fail"


class GainsightError(Exception):
    """A call that failed for good, or for now.

    Attributes:
        failure: its class.
        code: Gainsight's error code, where there is one.
        status: HTTP status; None when no reply came.
        retry_after: seconds that the tenant gave for the wait, if it did.
    """

    failure: Failure = Failure.TRANSIENT

    def __init__(
        self, text: str, *, code: str | None = None, status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(text)
        self.code = code
        self.status = status
        self.retry_after = retry_after


class TransientError(GainsightError):
    """A failure that may pass: a timeout, a broken reply, a server's fault, throttling."""

    failure = Failure.TRANSIENT


class ThrottledError(TransientError):
    """The tenant's allowance is used up for now."""


class UnavailableError(ThrottledError):
    """The tenant's server is not available for now, and says for how long it is not to be called."""


class CallsSpentError(GainsightError):
    """The client's `max_calls` are made: this one was not."""

    def __init__(self, max_calls: int) -> None:
        super().__init__(f"Not asked, to stay within {max_calls} calls.")


class NoCallsError(GainsightError):
    """A call would be needed, and none is to be made."""

    failure = Failure.CONFIG


class ConfigError(GainsightError):
    """A failure that somebody must set right: the key, the IP allowlist, a permission, the mapping."""

    failure = Failure.CONFIG


class BadKeyError(ConfigError):
    """The tenant does not take the API access key.

    Attributes:
        remedy: the advice that stores another key for the registered connector `{id}`.
    """

    remedy = "Then store it: frame-gainsight connector rotate-key {id}"


class BadClientError(BadKeyError):
    """The tenant does not take the OAuth client, or the token that it gave the client."""

    remedy = "Then store them: frame-gainsight connector rotate-key {id} --oauth"


class UnknownFieldError(ConfigError):
    """A queried column does not exist, or not for this key (P_5005)."""

    def __init__(self, object_name: str, field: str | None, status: int | None) -> None:
        self.object_name = object_name
        self.field = field
        super().__init__(
            f"The tenant knows no field '{field or '?'}' on {object_name}. Correct the mapping, or ask the Gainsight "
            "admin whether the field was renamed or hidden from the key's owner.",
            code="P_5005",
            status=status,
        )


class UnknownObjectError(ConfigError):
    """The queried object does not exist, or not for this key."""


class RefusedQueryError(GainsightError):
    """The tenant refused the query as such; a smaller `IN` list may be taken."""

    failure = Failure.CONFIG


class ReplyTooLargeError(RefusedQueryError):
    """A reply is larger than the limit; fewer rows, or a smaller `IN` list, may fit.

    Attributes:
        size_limit: bytes of the decoded body.
    """

    def __init__(self, object_name: str, size_limit: int) -> None:
        self.size_limit = size_limit
        super().__init__(
            f"The tenant's answer is larger than {size_limit:,} bytes, which is where reading stops ({object_name}). "
            "Ask for fewer rows at once.",
            status=200,
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the table. None matches anything; `code` is matched as a prefix."""

    status: int | range | None
    code: str | None
    action: Action
    error: type[GainsightError]
    text: str

    def matches(self, status: int, code: str | None) -> bool:
        if self.code is not None and not (code or "").startswith(self.code):
            return False
        if self.status is None:
            return True
        return status in self.status if isinstance(self.status, range) else status == self.status


NOT_A_LOOKUP = "P_5068"
_BAD_KEY = (
    "The tenant does not accept the API key. Ask the Gainsight admin for the current key: a reset makes the old one "
    "invalid at once."
)
# First match wins. Codes and statuses: the vendor's API pages and public clients; doubtful statuses match any.
RULES: tuple[Rule, ...] = (
    Rule(None, "GSOBJ_1011", Action.EMPTY, GainsightError, "No row matches."),
    Rule(None, "GSOBJ_1XXX", Action.EMPTY, GainsightError, "No row matches."),
    Rule(None, "GS_APIG_2401", Action.FAIL, BadKeyError, _BAD_KEY),
    Rule(None, "GSOBJ_1024", Action.FAIL, BadKeyError, _BAD_KEY),
    Rule(
        None,
        "GS_APIG_2402",
        Action.FAIL,
        ConfigError,
        "The tenant does not allow calls from this IP address. Ask the Gainsight admin to add Frame's addresses to the "
        "API allowlist, or use OAuth client credentials.",
    ),
    Rule(None, "GS_APIG_2404", Action.THROTTLED, ThrottledError, "The tenant's API allowance is used up for now."),
    Rule(None, "GU_2400", Action.THROTTLED, ThrottledError, "The tenant's API allowance is used up for now."),
    Rule(429, None, Action.THROTTLED, ThrottledError, "The tenant's API allowance is used up for now."),
    Rule(None, "P_5005", Action.FAIL, UnknownFieldError, ""),
    Rule(
        None,
        NOT_A_LOOKUP,
        Action.FAIL,
        RefusedQueryError,
        "The query follows a look-up from a field that is not one. Correct the mapping's path.",
    ),
    Rule(
        None,
        "OBJECT_NOT_FOUND",
        Action.FAIL,
        UnknownObjectError,
        "The tenant knows no such object. Correct its name, or ask the Gainsight admin whether the key's owner may "
        "read it.",
    ),
    Rule(
        None,
        "GS_APIG_1000",
        Action.FAIL,
        ConfigError,
        "The tenant's host has no such API. Check the connector's host: it must be the tenant's own address.",
    ),
    Rule(
        None,
        "P_50",
        Action.FAIL,
        RefusedQueryError,
        "The tenant does not take the query. Correct the mapping, or ask the Gainsight admin whether a field's type "
        "was changed.",
    ),
    Rule(
        range(200, 500),  # failures can come as 200; RefusedQueryError: the value not taken may be a long IN list
        "GSOBJ_10",
        Action.FAIL,
        RefusedQueryError,
        "The tenant does not take a field or a value of the query. Correct the mapping, or ask the Gainsight admin "
        "whether the field's type was changed.",
    ),
    Rule(401, None, Action.FAIL, BadKeyError, _BAD_KEY),
    Rule(
        403,
        None,
        Action.FAIL,
        ConfigError,
        "The tenant forbids this call. Ask the Gainsight admin whether the key's owner may read the object, and about "
        "an IP allowlist.",
    ),
    Rule(
        404,
        None,
        Action.FAIL,
        ConfigError,
        "The tenant's host has no such API. Check the connector's host: it must be the tenant's own address.",
    ),
    Rule(
        range(300, 400),
        None,
        Action.FAIL,
        ConfigError,
        "The tenant's host redirects elsewhere, and the key is not sent there. Set the connector's host to the "
        "tenant's own address.",
    ),
    Rule(range(500, 600), None, Action.RETRY, TransientError, "The tenant's server failed."),
    Rule(413, None, Action.FAIL, RefusedQueryError, "The tenant refused the query as too large."),
    Rule(408, None, Action.RETRY, TransientError, "The tenant's server gave up waiting."),
    Rule(400, None, Action.FAIL, RefusedQueryError, "The tenant refused the query."),
    Rule(range(400, 500), None, Action.FAIL, RefusedQueryError, "The tenant refused the query."),
    Rule(range(200, 300), None, Action.RETRY, TransientError, "The tenant answered with a failure."),
)
BAD_CLIENT = Rule(
    None,
    None,
    Action.FAIL,
    BadClientError,
    "The tenant does not accept the OAuth client. Ask the Gainsight admin for its key and secret.",
)
BAD_TOKEN = Rule(
    None,
    None,
    Action.FAIL,
    BadClientError,
    "The tenant does not accept the token that it gave the OAuth client. Ask the Gainsight admin whether the client is "
    "still in force, or for another one's key and secret.",
)
NOT_THE_API = Rule(
    None,
    None,
    Action.RETRY,
    TransientError,
    "What answers for the tenant is not its API: no JSON, such as a page of a proxy's, or a broken reply.",
)
UNAVAILABLE = Rule(
    None,
    None,
    Action.THROTTLED,
    UnavailableError,
    "The tenant's server is not available now, and says when it is to be called again.",
)
_UNEXPECTED = Rule(None, None, Action.RETRY, TransientError, "The tenant's answer is not understood.")
_NO_DATA = "no data found"
_COLUMN = re.compile(r"Column (?:\w+\.)?(?P<field>[\w.]{1,256}) does not exist", re.IGNORECASE)
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,32}")
_MAX_DESCRIPTION = 4096  # characters of an error's text that are searched


def rule_for(status: int, code: str | None) -> Rule:
    """The table's first line that matches."""
    return next((rule for rule in RULES if rule.matches(status, code)), _UNEXPECTED)


def code_of(body: Any) -> str | None:
    """The error code of a reply's body; an unknown object has its own shape, with the code in `title`.

    A code is a word or a number. Whatever else is there is none: it may repeat what was sent, the key too.
    """
    if not isinstance(body, dict):
        return None
    code = body.get("errorCode") or body.get("title")
    if not code or not isinstance(code, str | int | float) or _CODE.fullmatch(str(code)) is None:
        return None
    return str(code)


def is_empty_result(body: Any) -> bool:
    """Whether a failing body only says that no row matches (the documented sample has a placeholder code)."""
    if not isinstance(body, dict):
        return False
    texts = (body.get("errorDesc"), body.get("message"), body.get("localizedErrorDesc"))
    return any(isinstance(text, str) and _NO_DATA in text[:_MAX_DESCRIPTION].lower() for text in texts)


def error_for(rule: Rule, object_name: str, status: int, body: Any, retry_after: float | None = None) -> GainsightError:
    """The rule's error. `errorDesc` can quote record values: only a column's name is taken from it."""
    code = code_of(body)
    if rule.error is UnknownFieldError:
        text = body.get("errorDesc") if isinstance(body, dict) else None
        found = _COLUMN.search(text[:_MAX_DESCRIPTION]) if isinstance(text, str) else None
        return UnknownFieldError(object_name, found["field"] if found else None, status)
    where = f"{object_name}, HTTP {status}" + (f", {code}" if code else "")
    return rule.error(f"{rule.text} ({where})", code=code, status=status, retry_after=retry_after)
