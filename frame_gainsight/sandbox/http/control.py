"""The control API under `/_sandbox/`: for people and tests; its calls are not counted as API calls."""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from frame_gainsight.sandbox.http.exchange import Reply, as_reply
from frame_gainsight.sandbox.http.switches import UnknownVariantError
from frame_gainsight.sandbox.http.tenant import Tenant
from frame_gainsight.sandbox.http.variants import VARIANTS
from frame_gainsight.sandbox.query.dates import iso_fraction

PREFIX = "/_sandbox"

_Body = Mapping[str, Any]
_Action = Callable[[Tenant, _Body], Any]


def control(tenant: Tenant, method: str, path: str, body: bytes) -> Reply:
    """Answer a control call: the action's result, or 400 with `{"error"}` in words for people."""
    name = path.removeprefix(PREFIX).strip("/")
    action = _ACTIONS.get((method, name))
    if action is None:
        known = sorted(f"{m} {PREFIX}/{n}" for m, n in _ACTIONS)
        return as_reply({"error": f"no {method} {path} here", "known": known}, 404)
    try:
        given = orjson.loads(body) if body.strip() else {}
        if not isinstance(given, dict):
            raise ValueError("the body must be a JSON object")
        return as_reply(action(tenant, given))
    except KeyError as error:
        return as_reply({"error": f"not there: {error.args[0]}"}, 404)
    except (ValueError, TypeError) as error:
        return as_reply({"error": str(error)}, 400)


def _clock(tenant: Tenant, body: _Body) -> Any:
    unknown = set(body) - {"advance", "set", "run", "stop"}
    if unknown:
        raise ValueError(f"a clock takes advance, set, run or stop, not {', '.join(sorted(unknown))}")
    with tenant.lock:
        if "set" in body:
            tenant.clock.set(body["set"])
        if "advance" in body:
            tenant.clock.advance(float(body["advance"]))
        if "run" in body:
            tenant.clock.run(float(body["run"]))
        if body.get("stop"):
            tenant.clock.stop()
        now = tenant.now()
        return {"clock": iso_fraction(now), "ms": now, "speed": tenant.clock.speed}


def _variants(tenant: Tenant, body: _Body) -> Any:
    """`{name: value}`, `{name: {"value", "object", "endpoint", "every", "times"}}` or a list of such; null is off."""
    with tenant.lock:
        before = tenant.switches.snapshot()
        try:
            for name, given in body.items():
                _switch(tenant, name, given)
        except UnknownVariantError:
            tenant.switches.restore(before)  # all or nothing
            raise
        return tenant.switches.shown()


def _switch(tenant: Tenant, name: str, given: Any) -> None:
    if given is None:
        if name not in VARIANTS:
            tenant.set_variant(name, None)  # raises, naming close ones
        tenant.clear_variants(name)
        return
    for one in given if isinstance(given, list) and given and _is_setting(given[0]) else [given]:
        scope = dict(one) if _is_setting(one) else {"value": one}
        tenant.set_variant(name, scope.pop("value"), **_scope(name, scope))


def _is_setting(given: object) -> bool:
    return isinstance(given, dict) and "value" in given


def _scope(name: str, scope: dict[str, Any]) -> dict[str, Any]:
    unknown = set(scope) - {"object", "endpoint", "every", "times"}
    if unknown:
        raise UnknownVariantError(
            f"{name} is scoped by object, endpoint, every or times, not {', '.join(sorted(unknown))}"
        )
    return scope


def _change(tenant: Tenant, body: _Body) -> Any:
    op, delay = body.get("op"), float(body.get("visible_in", 0.0))
    fields = body.get("fields") or {}
    if op == "create":
        return tenant.create(fields, visible_in=delay)
    if op == "edit":
        return tenant.edit(str(body.get("id")), fields, visible_in=delay)
    if op == "delete":
        return tenant.delete(str(body.get("id")), visible_in=delay)
    raise ValueError(f"`op` is create, edit or delete, not {op!r}")


def _record(tenant: Tenant, body: _Body) -> Any:
    op, name, gsid = body.get("op"), str(body.get("object", "person")), str(body.get("id"))
    fields = body.get("fields") or {}
    if not isinstance(fields, dict):
        raise ValueError("`fields` is an object of field and value")
    if op == "add":
        gsid = tenant.add_record(name, fields)
    elif op == "edit":
        tenant.edit_record(name, gsid, fields)
    elif op == "delete":
        tenant.delete_record(name, gsid)
    elif op == "merge":
        tenant.merge_persons(gsid, str(body.get("into")))
    else:
        raise ValueError(f"`op` is add, edit, delete or merge, not {op!r}")
    return {"id": gsid}


def _reset_calls(tenant: Tenant, body: _Body) -> Any:
    tenant.reset_calls()
    return tenant.calls()


def _table(tenant: Tenant, body: _Body) -> Any:
    return {
        v.name: {"group": v.group, "what": v.what, "values": v.values.text, "touches": sorted(v.touches)}
        for v in VARIANTS.values()
    }


_ACTIONS: Mapping[tuple[str, str], _Action] = {
    ("GET", "truth"): lambda tenant, body: tenant.truth(),
    ("GET", "calls"): lambda tenant, body: tenant.calls(),
    ("GET", "calls/recent"): lambda tenant, body: tenant.recent_calls(),
    ("POST", "calls/reset"): _reset_calls,
    ("GET", "clock"): lambda tenant, body: _clock(tenant, {}),
    ("POST", "clock"): _clock,
    ("GET", "variants"): lambda tenant, body: _variants(tenant, {}),
    ("PUT", "variants"): _variants,
    ("GET", "variants/table"): _table,
    ("POST", "activities"): _change,
    ("POST", "records"): _record,
    ("POST", "key"): lambda tenant, body: {"access_key": tenant.reset_key()},
}
