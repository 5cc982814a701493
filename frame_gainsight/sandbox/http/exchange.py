"""What goes in and out of a tenant, free of any HTTP library: calls, replies, and the envelope around data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from frame_gainsight.sandbox.query.dialect import Dialect
from frame_gainsight.sandbox.query.errors import ADDRESS_NOT_ALLOWED, UNAUTHORIZED, Failure

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Call:
    """One request.  `headers` have lower-case names; `kind` and `objects` are set once its route is known."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)
    kind: str = "unknown"
    objects: tuple[str, ...] = ()
    argument: str = ""

    @property
    def endpoint(self) -> str:
        """How the call is counted: `query company`, `describe person`, `token`, ..."""
        return " ".join(filter(None, (self.kind, ",".join(self.objects))))


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply.  `cut` drops the connection before the headers or in the middle of the body."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = JSON
    delay: float = 0.0
    cut: Literal["", "before", "mid"] = ""
    gzip: Literal["accepted", "never", "always"] = "accepted"


class EndedError(Exception):
    """Ends a call with a reply that is no failure of Gainsight's own (a proxy's page, a dropped connection)."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


def as_reply(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """A JSON reply."""
    return Reply(status, orjson.dumps(content), headers or {})


def success(data: Any, request_id: str, dialect: Dialect) -> Reply:
    """`data` in the envelope of a call that worked."""
    return as_reply(_envelope({"result": True, "errorCode": None, "errorDesc": None}, request_id, data, dialect))


def rows(found: list[dict[str, Any]], request_id: str, dialect: Dialect) -> Reply:
    """Rows in the envelope; no rows in the tenant's form of nothing."""
    if not found:
        if dialect.empty == "no_data":
            text = "No data found for given criteria"
            return failure(Failure(200, "GSOBJ_1XXX", text), request_id, dialect)
        if dialect.empty == "gsobj_1011":
            return failure(Failure(400, "GSOBJ_1011", "No entity found for the given criteria"), request_id, dialect)
        if dialect.empty == "null":
            return success(None, request_id, dialect)
    return success(found if dialect.data == "list" else {"records": found}, request_id, dialect)


def failure(
    what: Failure, request_id: str, dialect: Dialect, headers: Mapping[str, str] | None = None, instance: str = ""
) -> Reply:
    """A failed call; `instance` is the time that the shape with a title shows."""
    status = dialect.error_status if what.semantic else what.status
    if what.title:
        shape = {"requestId": request_id, "result": False, "instance": instance, "title": what.code}
        return as_reply({**shape, "detail": what.text, "errorDesc": "Requested object not found."}, status, headers)
    head = {"result": False, "errorCode": what.code, "errorDesc": what.text}
    if what in (UNAUTHORIZED, ADDRESS_NOT_ALLOWED) or what.code == "GS_APIG_2404":
        return as_reply({**head, "requestId": request_id, "message": what.text}, status, headers)
    return as_reply(_envelope(head, request_id, None, dialect), status, headers)


def _envelope(head: dict[str, Any], request_id: str, data: Any, dialect: Dialect) -> dict[str, Any]:
    envelope = {**head, "requestId": request_id, "data": data, "message": None}
    if dialect.localized:
        envelope |= {"localizedErrorDesc": head["errorDesc"], "localizedMessage": None}
    return envelope
