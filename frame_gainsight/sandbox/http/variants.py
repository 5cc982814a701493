"""The table of variants: each way in which a tenant may differ from the default dialect is one entry.

An entry has a name, what it does, the values it takes, the kinds of call it touches, and one hook:

- `dialect(dialect, value)` changes the dialect that the reply is made with;
- `before(call, value)` may answer the call at once, or let it go on by returning None;
- `after(reply, value)` changes the finished reply;
- `timeline(edits, value, seen)` changes the timeline after a query of activities has been answered.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal, Protocol

import orjson

from frame_gainsight.sandbox.http.exchange import Call, EndedError, Reply
from frame_gainsight.sandbox.http.values import Values, choice, flag, names, number, record, spellings, text, whole
from frame_gainsight.sandbox.query.dialect import Dialect
from frame_gainsight.sandbox.query.errors import ADDRESS_NOT_ALLOWED, BAD_AUTHORIZATION, UNAUTHORIZED, ApiError, Failure
from frame_gainsight.sandbox.tenant.activity import Activity

Group = Literal["access", "faults", "throttling", "rows", "envelope", "queries", "fields", "timeline"]

ALL: frozenset[str] = frozenset()
"""Every kind of call."""
QUERY = frozenset({"query"})
METADATA = frozenset({"query", "describe", "list"})


class TimelineEdits(Protocol):
    """The changes that a timeline variant may make to the activities, at the tenant's present time."""

    def edit_some(self, seen: Sequence[Activity], count: int) -> None:
        """Edit up to `count` of the activities just read, or of those next in line."""
        ...

    def delete_some(self, seen: Sequence[Activity], count: int) -> None:
        """Delete up to `count` of them."""
        ...

    def create_some(self, count: int, visible_in: float) -> None:
        """Create `count` emails in the present second that show after `visible_in` seconds."""
        ...


@dataclass(frozen=True, slots=True)
class Variant:
    """One entry of the table."""

    name: str
    group: Group
    what: str
    values: Values
    touches: frozenset[str] = ALL
    dialect: Callable[[Dialect, Any], Dialect] | None = None
    before: Callable[[Call, Any], None] | None = None
    after: Callable[[Reply, Any], Reply] | None = None
    timeline: Callable[[TimelineEdits, Any, Sequence[Activity]], None] | None = None


def _set(field: str) -> Callable[[Dialect, Any], Dialect]:
    """A hook that puts the value into one field of the dialect."""
    return lambda dialect, value: replace(dialect, **{field: value})


def _fail(failure: Failure) -> Callable[[Call, Any], None]:
    def before(call: Call, value: Any) -> None:
        raise ApiError(failure)

    return before


def _unauthorized(call: Call, value: str) -> None:
    raise ApiError(UNAUTHORIZED if value == "GS_APIG_2401" else BAD_AUTHORIZATION)


def _token_expired(call: Call, value: bool) -> None:
    if value and call.headers.get("authorization", "").lower().startswith("bearer "):
        raise ApiError(UNAUTHORIZED)


def _refused(call: Call, value: Mapping[str, Any]) -> None:
    raise ApiError(Failure(value["status"], value["code"], "The call was refused"))


def _server_error(call: Call, status: int) -> None:
    raise ApiError(Failure(status, "GSOBJ_1003", "Something went wrong"))


def _html_page(call: Call, status: int) -> None:
    page = f"<html><head><title>{status}</title></head><body><h1>Please try again later</h1></body></html>"
    raise EndedError(Reply(status, page.encode(), content_type="text/html"))


def _redirect(call: Call, target: str) -> None:
    raise EndedError(Reply(302, b"", {"Location": target.rstrip("/") + call.path}, "text/html"))


def _dropped(call: Call, where: str) -> None:
    if where == "before":
        raise EndedError(Reply(200, b"", cut="before"))


def _cut_mid(reply: Reply, where: str) -> Reply:
    return replace(reply, cut="mid") if where == "mid" else reply


def _broken(reply: Reply, how: str) -> Reply:
    if how == "truncated":
        return replace(reply, body=reply.body[: len(reply.body) // 2])
    if how == "empty":
        return replace(reply, body=b"")
    return replace(reply, body=b"\xff\xfe{not json" + reply.body[:20])


def _extra_data(reply: Reply, keys: int) -> Reply:
    """Unrequested keys in the envelope: readers must pass them over."""
    try:
        content = orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        return reply
    if not isinstance(content, dict):
        return reply
    return replace(reply, body=orjson.dumps({**{f"x{n}": {"n": n} for n in range(keys)}, **content}))


def _rate(dialect: Dialect, value: Mapping[str, int]) -> Dialect:
    return replace(dialect, per_minute=value["per_minute"], per_day=value["per_day"])


def _throttled(call: Call, value: bool) -> None:
    if value:
        raise ApiError(THROTTLED)


THROTTLED = Failure(429, "GS_APIG_2404", "Rate limit reached")
"""Raised by the allowance and by the variant; its final shape is the dialect's `throttle`."""


def _in_limit(dialect: Dialect, value: Mapping[str, int]) -> Dialect:
    return replace(dialect, in_max=value["max"], in_status=value["status"])


def _delete_logs(dialect: Dialect, value: str) -> Dialect:
    low, high = "record_delete_log", "record_delete_log_high_volume"
    found = {"low": {low}, "high": {high}, "both": {low, high}, "missing": set()}[value]
    return replace(dialect, delete_logs=frozenset(found))


_FORMS = ("mixed", "emails", "angle", "names", "bare_names", "json_strings", "json_objects", "gsids", "null")

_TABLE = (
    # access
    Variant(
        "unauthorized",
        "access",
        "calls are refused as if the key were wrong: 401 GS_APIG_2401 or 400 GSOBJ_1024",
        choice("GS_APIG_2401", "GSOBJ_1024"),
        before=_unauthorized,
    ),
    Variant(
        "ip_not_allowed",
        "access",
        "the caller's address is not in the allowlist: GS_APIG_2402",
        flag(),
        before=lambda call, value: _fail(ADDRESS_NOT_ALLOWED)(call, value) if value else None,
    ),
    Variant("token_expired", "access", "bearer tokens are refused with 401", flag(), before=_token_expired),
    Variant(
        "redirect",
        "access",
        "302 to the same path on another host, given as its base URL; a client must not follow with the key",
        text(),
        before=_redirect,
    ),
    # faults
    Variant("server_error", "faults", "the server fails", choice(500, 502, 503, 504), before=_server_error),
    Variant("html_page", "faults", "a proxy's HTML page", choice(200, 502, 503), before=_html_page),
    Variant(
        "failure",
        "faults",
        "a failure with any code and status, `result: false` with 200 among them",
        record(code=text(), status=whole(200)),
        before=_refused,
    ),
    Variant(
        "dropped",
        "faults",
        "the connection drops before the reply or in the middle of it",
        choice("before", "mid"),
        before=_dropped,
        after=_cut_mid,
    ),
    Variant(
        "slow",
        "faults",
        "replies come after that many real seconds",
        number(),
        after=lambda reply, value: replace(reply, delay=value),
    ),
    Variant(
        "broken_json",
        "faults",
        "the body is cut in half, empty, or not JSON",
        choice("truncated", "empty", "invalid"),
        after=_broken,
    ),
    Variant(
        "gzip",
        "faults",
        "compression: when accepted, never, or always, requested or not",
        choice("accepted", "never", "always"),
        after=lambda reply, value: replace(reply, gzip=value),
    ),
    # throttling
    Variant("throttled", "throttling", "calls are throttled whatever the allowance", flag(), before=_throttled),
    Variant(
        "throttle_shape",
        "throttling",
        "how throttling is reported: 429, 429 with Retry-After, or GS_APIG_2404 in the body of a 200",
        choice("429", "429_retry_after", "gs_apig_2404"),
        dialect=_set("throttle"),
    ),
    Variant(
        "rate",
        "throttling",
        "the allowance; without the variant the tenant's own limits hold",
        record(per_minute=whole(1), per_day=whole(1)),
        dialect=_rate,
    ),
    Variant(
        "others",
        "throttling",
        "calls that other integrations spend of the allowance every minute",
        whole(),
        dialect=_set("others"),
    ),
    Variant(
        "rate_headers",
        "throttling",
        "x-ratelimit-limit, -remaining and -reset on every reply",
        flag(),
        dialect=_set("rate_headers"),
    ),
    # rows
    Variant(
        "dates",
        "rows",
        "the form of dates: ISO Z with or without fraction, ISO +0000, epoch milliseconds",
        choice("iso", "iso_fraction", "iso_offset", "ms"),
        QUERY,
        dialect=_set("dates"),
    ),
    Variant(
        "nulls",
        "rows",
        "the form of a missing value (dates too): null, an empty string, or no key",
        choice("null", "empty", "absent"),
        QUERY,
        dialect=_set("nulls"),
    ),
    Variant(
        "undated",
        "rows",
        "one of this many activities has no ActivityDate (0: none)",
        whole(),
        QUERY,
        dialect=_set("undated_every"),
    ),
    Variant(
        "keys",
        "rows",
        "the case of reply keys: as requested, lower, upper, or as in describe",
        choice("requested", "lower", "upper", "described"),
        QUERY,
        dialect=_set("keys"),
    ),
    Variant(
        "attendees",
        "rows",
        "the form of InternalAttendees and ExternalAttendees; mixed: each row its own",
        choice(*_FORMS),
        QUERY,
        dialect=_set("attendees"),
    ),
    Variant(
        "attendee_delimiter",
        "rows",
        "what stands between attendees in a list that is not JSON",
        choice(",", ";"),
        QUERY,
        dialect=_set("delimiter"),
    ),
    Variant(
        "multi_select",
        "rows",
        "multi-select values as a list or joined by `;`",
        choice("list", "joined"),
        QUERY,
        dialect=_set("multi_select"),
    ),
    Variant(
        "picklists",
        "rows",
        "picklist values as item Gsids or as labels",
        choice("gsid", "label"),
        QUERY,
        dialect=_set("picklists"),
    ),
    # envelope
    Variant(
        "data",
        "envelope",
        "`data` as a bare list or as {records}",
        choice("list", "records"),
        QUERY,
        dialect=_set("data"),
    ),
    Variant(
        "empty",
        "envelope",
        "no rows: as `data` has it, null, `No data found` with 200, or GSOBJ_1011 with 400",
        choice("data", "null", "no_data", "gsobj_1011"),
        QUERY,
        dialect=_set("empty"),
    ),
    Variant("localized", "envelope", "localizedErrorDesc and localizedMessage", flag(), dialect=_set("localized")),
    Variant(
        "extra_keys",
        "envelope",
        "this many further keys in the envelope",
        whole(),
        after=_extra_data,
    ),
    Variant(
        "error_status",
        "envelope",
        "the status of P_* failures",
        choice(200, 400, 500),
        QUERY,
        dialect=_set("error_status"),
    ),
    # queries
    Variant("page_cap", "queries", "the most rows in one reply", whole(1), QUERY, dialect=_set("page_cap")),
    Variant(
        "over_limit",
        "queries",
        "a `limit` above the cap is lowered or refused",
        choice("cap", "error"),
        QUERY,
        dialect=_set("over_limit"),
    ),
    Variant(
        "in_limit",
        "queries",
        "IN lists longer than `max` are refused with `status`",
        record(max=whole(1), status=choice(400, 413, 414)),
        QUERY,
        dialect=_in_limit,
    ),
    Variant(
        "dotted_select",
        "queries",
        "columns through a look-up are refused in `select`: as an unknown field, or as no look-up",
        choice("P_5005", "P_5068"),
        QUERY,
        dialect=_set("dotted_select"),
    ),
    Variant(
        "dotted_where",
        "queries",
        "fields through a look-up are refused in `where`: as an unknown field, or as no look-up",
        choice("P_5005", "P_5068"),
        QUERY,
        dialect=_set("dotted_where"),
    ),
    Variant("no_or", "queries", "OR is refused in expressions: P_5026", flag(), QUERY, dialect=_set("no_or")),
    Variant(
        "filter_zone",
        "queries",
        "the zone (minutes east of UTC) of filter values without offset",
        choice(*range(-12 * 60, 14 * 60 + 1, 15)),
        QUERY,
        dialect=_set("filter_zone"),
    ),
    Variant(
        "offset_ignored",
        "queries",
        "the offset of filter values (`Z` too) is not read: all are in the zone of `filter_zone`",
        flag(),
        QUERY,
        dialect=_set("offset_ignored"),
    ),
    Variant(
        "between",
        "queries",
        "whether BTW includes its ends",
        choice("inclusive", "half_open", "exclusive"),
        QUERY,
        dialect=_set("between"),
    ),
    # fields
    Variant(
        "missing_fields",
        "fields",
        "fields that the tenant does not have (From, To, Ant__Sentiment__c, ...)",
        names(),
        METADATA,
        dialect=_set("missing"),
    ),
    Variant(
        "spellings",
        "fields",
        "fields that the tenant spells otherwise, look-ups with them (Person_ID: PersonId makes PersonId__gr)",
        spellings(),
        METADATA,
        dialect=_set("spellings"),
    ),
    Variant("hidden_fields", "fields", "fields hidden in describe", names(), METADATA, dialect=_set("hidden")),
    Variant(
        "gone_fields",
        "fields",
        "fields that describe shows and a query does not find any more",
        names(),
        METADATA,
        dialect=_set("gone"),
    ),
    Variant(
        "missing_object",
        "fields",
        "the object (scope it by `object`) does not exist: OBJECT_NOT_FOUND",
        flag(),
        METADATA,
        dialect=_set("absent"),
    ),
    Variant("readable", "fields", "`readable` in the object list", flag(), METADATA, dialect=_set("readable")),
    Variant(
        "describe_padding",
        "fields",
        "this many characters of further fields in describe",
        whole(),
        METADATA,
        dialect=_set("padding"),
    ),
    Variant(
        "delete_log",
        "fields",
        "which delete logs exist",
        choice("low", "high", "both", "missing"),
        METADATA,
        dialect=_delete_logs,
    ),
    Variant(
        "high_volume",
        "fields",
        "objects whose deletions are in record_delete_log_high_volume and not in record_delete_log; "
        "without the variant each log that exists has all",
        names("object"),
        QUERY,
        dialect=_set("high_volume"),
    ),
    Variant(
        "deleted_call",
        "fields",
        "whether `/v1/ant/es/activity/deleted` exists",
        choice("on", "missing"),
        frozenset({"deleted"}),
        before=lambda call, value: (
            _fail(Failure(404, "GS_APIG_1000", "No such route"))(call, value) if value == "missing" else None
        ),
    ),
    # timeline
    Variant(
        "edit_while_paging",
        "timeline",
        "each query of activities is followed by edits of this many rows of the page or behind it",
        whole(1),
        QUERY,
        timeline=lambda edits, count, seen: edits.edit_some(seen, count),
    ),
    Variant(
        "delete_while_paging",
        "timeline",
        "each query of activities is followed by deletions of this many rows of the page or behind it",
        whole(1),
        QUERY,
        timeline=lambda edits, count, seen: edits.delete_some(seen, count),
    ),
    Variant(
        "late_rows",
        "timeline",
        "each query of activities is followed by the creation of `rows` emails that show after `seconds`",
        record(rows=whole(1), seconds=number()),
        QUERY,
        timeline=lambda edits, value, seen: edits.create_some(value["rows"], value["seconds"]),
    ),
    Variant(
        "one_second",
        "timeline",
        "each query of activities is followed by the creation of this many emails in one second",
        whole(1),
        QUERY,
        timeline=lambda edits, count, seen: edits.create_some(count, 0.0),
    ),
)

VARIANTS: Mapping[str, Variant] = MappingProxyType({variant.name: variant for variant in _TABLE})
