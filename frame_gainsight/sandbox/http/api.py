"""The API's endpoints: from a call to a reply, through access, allowance, variants and the query engine."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any
from uuid import UUID

import orjson

from frame_gainsight.sandbox.http.calls import Recorded
from frame_gainsight.sandbox.http.exchange import Call, EndedError, Reply, as_reply, failure, rows, success
from frame_gainsight.sandbox.http.limits import Limits, Spent
from frame_gainsight.sandbox.http.switches import Setting
from frame_gainsight.sandbox.http.tenant import Tenant, moments_of
from frame_gainsight.sandbox.http.variants import THROTTLED
from frame_gainsight.sandbox.query.dates import iso
from frame_gainsight.sandbox.query.describe import described, dropdown, listed
from frame_gainsight.sandbox.query.dialect import Dialect
from frame_gainsight.sandbox.query.errors import (
    NO_ROUTE,
    UNAUTHORIZED,
    ApiError,
    Failure,
    bad_mapping,
    invalid,
    unknown_object,
)
from frame_gainsight.sandbox.query.paths import Paths
from frame_gainsight.sandbox.query.query import evaluate
from frame_gainsight.sandbox.query.schema import ACTIVITY, DELETE_LOG, DELETE_LOG_HIGH, SCHEMAS
from frame_gainsight.sandbox.query.tables import Table
from frame_gainsight.sandbox.tenant.activity import Activity
from frame_gainsight.sandbox.tenant.gsid import digest


@dataclass(slots=True)
class _Handling:
    """One call while it is handled."""

    tenant: Tenant
    call: Call
    request_id: str
    number: int
    in_force: list[Setting]
    in_values: int = 0
    rows: int = 0
    seen: Sequence[Activity] = ()
    spent: Spent | None = None
    throttled: bool = False
    by_variant: bool = False
    body: Mapping[str, Any] = field(default_factory=dict)

    def dialect(self, name: str | None = None) -> Dialect:
        name = name or (self.call.objects[0] if self.call.objects else "")
        return self.tenant.switches.dialect(self.call.kind, name, self.in_force)


_Endpoint = Callable[[_Handling], Reply]


def handle(tenant: Tenant, call: Call) -> Reply:
    """Answer one API call and record it."""
    with tenant.lock:
        call, endpoint = _route(call)
        number = tenant.next_number()
        request_id = str(UUID(int=digest(tenant.seed, "request", number) % (1 << 128), version=4))
        h = _Handling(tenant, call, request_id, number, tenant.switches.begin(call.kind, call.objects))
        reply = _answer(h, endpoint)
        if not h.by_variant:
            reply = _afterwards(h, reply)
        if h.dialect().rate_headers and h.spent is not None:
            reply = replace(reply, headers={**reply.headers, **_rate_headers(h.spent)})
        tenant.log.add(Recorded(tenant.wall(), call.endpoint, h.in_values, h.rows, reply.status, h.throttled))
        return reply


def _answer(h: _Handling, endpoint: _Endpoint | None) -> Reply:
    try:
        _before(h)
        if endpoint is None:
            raise ApiError(NO_ROUTE)
        if h.call.kind != "token":
            if not h.tenant.admits(h.call.headers):
                raise ApiError(UNAUTHORIZED)
            _spend(h)
        h.body = _parsed(h.call)
        return endpoint(h)
    except EndedError as ended:
        return ended.reply
    except ApiError as error:
        return _failed(h, error.failure)


def _before(h: _Handling) -> None:
    for setting in h.in_force:
        if setting.variant.before is not None:
            try:
                setting.variant.before(h.call, setting.value)
            except (ApiError, EndedError):
                h.tenant.switches.spend(setting)
                h.by_variant = True
                raise


def _spend(h: _Handling) -> None:
    dialect, own = h.dialect(), h.tenant.limits
    limits = Limits(dialect.per_minute or own.per_minute, dialect.per_day or own.per_day)
    h.spent = h.tenant.windows.spend(limits, dialect.others)
    if not h.spent.allowed:
        raise ApiError(THROTTLED)


def _failed(h: _Handling, what: Failure) -> Reply:
    dialect, headers = h.dialect(), {}
    if what is THROTTLED:
        h.throttled = True
        if dialect.throttle == "gs_apig_2404":
            what = replace(what, status=200)
        elif dialect.throttle == "429_retry_after":
            headers["Retry-After"] = str(h.spent.reset if h.spent else 1)
    instance = iso(h.tenant.now()).replace("T", " ").replace("Z", " UTC")
    return failure(what, h.request_id, dialect, headers, instance)


def _afterwards(h: _Handling, reply: Reply) -> Reply:
    """Hooks on the finished reply and on the timeline; every setting that had an effect is spent once."""
    for setting in h.in_force:
        variant, effect = setting.variant, setting.variant.dialect is not None
        if variant.after is not None:
            reply, effect = variant.after(reply, setting.value), True
        if variant.timeline is not None and h.call.objects == (ACTIVITY.name,) and reply.status == 200:
            variant.timeline(h.tenant, setting.value, h.seen)
            effect = True
        if effect:
            h.tenant.switches.spend(setting)
    return reply


def _rate_headers(spent: Spent) -> dict[str, str]:
    return {
        "x-ratelimit-limit": str(spent.limit),
        "x-ratelimit-remaining": str(spent.remaining),
        "x-ratelimit-reset": str(spent.reset),
    }


def _parsed(call: Call) -> Mapping[str, Any]:
    if call.kind in ("token", "list") or not call.body:
        return {}
    try:
        body = orjson.loads(call.body)
    except orjson.JSONDecodeError:
        raise invalid("the body is not JSON") from None
    if not isinstance(body, dict):
        raise invalid("the body is not a JSON object")
    return body


def _token(h: _Handling) -> Reply:
    token = h.tenant.grant_token(h.call.headers.get("authorization", ""))
    if token is None:
        raise ApiError(UNAUTHORIZED)
    return as_reply(token)


def _table(h: _Handling, name: str, tables: Mapping[str, Table]) -> Table:
    table = tables.get(name.lower())
    dialect = h.dialect(name)
    hidden_log = name.lower() in (DELETE_LOG.name, DELETE_LOG_HIGH.name) and name.lower() not in dialect.delete_logs
    if table is None or dialect.absent or hidden_log:
        raise unknown_object(name)
    return table


def _query(h: _Handling) -> Reply:
    tenant = h.tenant
    tables = tenant.tables(h.dialect(DELETE_LOG_HIGH.name).high_volume)
    table = _table(h, h.call.argument, tables)
    paths = Paths(tables, h.dialect)
    chance = Random(f"order:{tenant.seed}:{h.number}")
    answer = evaluate(h.body, table, paths, tenant.world.picklists, chance)
    h.in_values, h.rows = answer.in_values, len(answer.rows)
    h.seen = answer.records if table.schema is ACTIVITY else ()
    return rows(answer.rows, h.request_id, h.dialect())


def _describe_one(h: _Handling) -> Reply:
    schema = _table(h, h.call.argument, h.tenant.tables()).schema
    return success([described(schema, h.dialect(schema.name), h.tenant.world.picklists)], h.request_id, h.dialect())


def _describe_many(h: _Handling) -> Reply:
    requested = h.body.get("objectNames")
    if not isinstance(requested, list) or not all(isinstance(name, str) for name in requested):
        raise bad_mapping("objectNames must be a list of object names")
    tables = h.tenant.tables()
    found = [
        described(
            schema,
            h.dialect(schema.name),
            h.tenant.world.picklists,
            options=_yes(h.body.get("populatePickListOptions")),
            remove_hidden=_yes(h.body.get("removeHidden")),
        )
        for schema in (_table(h, name, tables).schema for name in requested)
    ]
    return success(found, h.request_id, h.dialect())


def _yes(flag: object) -> bool:
    return flag is True or str(flag).lower() == "true"


def _list(h: _Handling) -> Reply:
    def there(name: str) -> bool:
        dialect = h.dialect(name)
        log = name in (DELETE_LOG.name, DELETE_LOG_HIGH.name)
        return not dialect.absent and (not log or name in dialect.delete_logs)

    found = [listed(schema, h.dialect(name)) for name, schema in SCHEMAS.items() if there(name)]
    return success(found, h.request_id, h.dialect())


def _dropdown(h: _Handling) -> Reply:
    for name, picklist in h.tenant.world.picklists.items():
        if picklist.gsid == h.call.argument:
            return success(dropdown(picklist, name), h.request_id, h.dialect())
    raise ApiError(Failure(400, "GSOBJ_1004", "GSID missing or invalid in path"))


def _deleted(h: _Handling) -> Reply:
    span = moments_of(h.body)
    if span is None:
        raise invalid("the body needs a time range, such as fromDate and toDate in ISO 8601")
    found: list[dict[str, Any]] = [
        {"Gsid": d.gsid, "DeletedOn": iso(d.deleted_ms)}
        for d in h.tenant.timeline.deleted.values()
        if span[0] <= d.deleted_ms < span[1]
    ]
    h.rows = len(found)
    return rows(found, h.request_id, h.dialect())


_ROUTES: Sequence[tuple[str, re.Pattern[str], str, _Endpoint]] = (
    ("POST", re.compile(r"/v1/data/objects/query/([^/]+)/?"), "query", _query),
    ("GET", re.compile(r"/v1/meta/services/objects/list/?"), "list", _list),
    ("POST", re.compile(r"/v1/meta/services/objects/?"), "list", _list),
    ("POST", re.compile(r"/v1/meta/services/objects/describe/?"), "describe", _describe_many),
    ("GET", re.compile(r"/v1/meta/services/objects/([^/]+)/describe/?"), "describe", _describe_one),
    ("GET", re.compile(r"/v1/meta/services/dropdowns/([^/]+)/?"), "dropdown", _dropdown),
    ("POST", re.compile(r"/v1/ant/es/activity/deleted/?"), "deleted", _deleted),
    ("POST", re.compile(r"/v1/users/m2m/oauth/token/?"), "token", _token),
)


def _route(call: Call) -> tuple[Call, _Endpoint | None]:
    """The call with its kind, objects and path argument, and its endpoint; None for a path without an endpoint."""
    for method, pattern, kind, endpoint in _ROUTES:
        found = pattern.fullmatch(call.path)
        if found is None or method != call.method:
            continue
        argument = found[1] if pattern.groups else ""
        objects: tuple[str, ...] = (argument.lower(),) if argument and kind != "dropdown" else ()
        if endpoint is _describe_many:
            objects = _requested(call.body)
        return replace(call, kind=kind, objects=objects, argument=argument), endpoint
    return call, None


def _requested(body: bytes) -> tuple[str, ...]:
    try:
        content = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError:
        return ()
    requested = content.get("objectNames") if isinstance(content, dict) else None
    return tuple(str(name).lower() for name in requested) if isinstance(requested, list) else ()
