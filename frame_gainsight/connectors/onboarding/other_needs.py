"""Needs beside the objects: the zone of dates, deletions, activity types, the tenant's clock and its allowance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches

from frame_gainsight.connectors.columns import required
from frame_gainsight.connectors.onboarding.check_run import CheckRun
from frame_gainsight.connectors.onboarding.findings import ACTIVITY_TYPE, ALLOWANCE, Finding, owner
from frame_gainsight.connectors.onboarding.time_zone import NEED as ZONE
from frame_gainsight.connectors.onboarding.time_zone import zone
from frame_gainsight.gainsight import Condition, GainsightError, Query, Row, value_of
from frame_gainsight.gainsight.delete_log import LOGS
from frame_gainsight.gainsight.tenant_clock import ABSURD, MAX_AHEAD, span

SKEW = 120.0  # seconds of a clock's difference that somebody should see to
TYPES_SEEN = 1000  # activities, for which types there are
DELETIONS = "deleted activities are reported"
CLOCK = "the tenant's clock"
START = "its start has been reached"
ASK_CLOCK = (
    "The Date header of your API's replies does not show the time as it is. Is there a proxy before your tenant that "
    "sets or keeps it, or is a clock wrong?"
)


async def dates(run: CheckRun, rows: Sequence[Row]) -> Finding:
    """Whether filters' dates are read as they are meant, by activities that were read."""
    return await zone(run.client, rows) if run.calls_left >= 1 else Finding(ZONE, "unknown", run.not_requested)


async def deletions(run: CheckRun) -> Finding:
    """Whether the tenant has a delete log."""
    named = [log for log in LOGS if run.is_readable(log)]
    ask = f"Please let {owner(run.oauth)} read the object 'record_delete_log'."
    if not named:
        return Finding(DELETIONS, "missing", "no delete log: their conversations stay", ask)
    if run.calls_left < 1:
        return Finding(DELETIONS, "unknown", f"{named[0]} is listed; {run.not_requested}")
    where = [Condition("ObjectName", "EQ", [required.ACTIVITY])]
    try:
        rows = await run.client.query(Query(named[0], ["RecordId", "DeletedOn"], where, limit=1))
    except GainsightError as error:
        return Finding(DELETIONS, "missing", f"their conversations stay: {error}", ask)
    return Finding(DELETIONS, "ok", f"{named[0]}, {'with' if rows else 'no'} activities of late")


async def activity_types(run: CheckRun) -> list[Finding]:
    """Whether there are activities of the definition's types: a misspelt one would bring none, and nobody would notice.

    A type that none of the latest activities has is queried for by itself: it may only be rare.
    """
    if not run.definition.activity_types:
        return []
    if run.calls_left < 1:
        return [Finding("activity types", "unknown", run.not_requested)]
    order = {"LastModifiedDate": "desc", "Gsid": "desc"}
    query = Query(required.ACTIVITY, ["TypeName", "LastModifiedDate", "Gsid"], order_by=order, limit=TYPES_SEEN)
    try:
        rows = await run.client.query(query)
    except GainsightError as error:
        return [Finding("activity types", "unknown", str(error))]
    seen = sorted({str(name) for row in rows if (name := value_of(row, "TypeName"))})
    found = [await _activity_type(run, name, seen) for name in run.definition.activity_types]
    if any(finding.state in ("ok", "unknown") for finding in found):  # then it reads something
        found = [replace(finding, state="missing") if finding.blocks else finding for finding in found]
    return found


async def _activity_type(run: CheckRun, name: str, seen: Sequence[str]) -> Finding:
    need = f"{ACTIVITY_TYPE}{name}"
    if name in seen:
        return Finding(need, "ok", "seen of late")
    if not seen:
        return Finding(need, "missing", "there are no activities at all yet, of any type")
    there = ", ".join(f"'{one}'" for one in seen)
    unknown = f"none of the latest activities has it; there are: {there}"
    if run.calls_left < 1:
        return Finding(need, "unknown", f"{unknown}; {run.not_requested}")
    try:
        query = Query(required.ACTIVITY, ["TypeName", "Gsid"], [Condition("TypeName", "EQ", [name])], limit=1)
        rows = await run.client.query(query)
    except GainsightError as error:
        return Finding(need, "unknown", f"{unknown}; {error}")
    if rows:
        return Finding(need, "ok", "seen, though not of late")
    alike = get_close_matches(name.casefold(), {one.casefold(): one for one in seen}, n=1)
    meant = next((f"Is '{one}' meant? " for one in seen if one.casefold() in alike), "")
    return Finding(need, "failed", f"{meant}No activity has it; there are: {there}")


def clock(run: CheckRun) -> Finding:
    """Whether the tenant's clock differs from this machine's."""
    skew = run.client.clock_skew
    if skew is None:
        return Finding(CLOCK, "failed", "not reported: replies have no Date header", ASK_CLOCK)
    side = f"{span(abs(skew))} {'ahead of' if skew > 0 else 'behind'} ours"
    if abs(skew) > ABSURD:
        return Finding(CLOCK, "failed", f"{side}: by such a Date nothing can be read", ASK_CLOCK)
    if skew > MAX_AHEAD:
        limit = f"more than the {span(MAX_AHEAD)} for which it is followed: activities come that much late"
        return Finding(CLOCK, "missing", f"{side}, {limit}", ASK_CLOCK)
    if skew < -MAX_AHEAD:
        return Finding(CLOCK, "missing", f"{side}; polls go by the tenant's, and read nothing that is later", ASK_CLOCK)
    if abs(skew) > SKEW:
        return Finding(CLOCK, "missing", f"{side}; polls go by the tenant's")
    return Finding(CLOCK, "ok", "the same as ours, to two minutes")


def start(run: CheckRun) -> list[Finding]:
    """Whether processing starts in the future, by the tenant's clock: it may be meant, or the wrong year."""
    begins, now = run.definition.start, run.client.tenant_now()
    if begins is None or now is None or begins.timestamp() * 1000 <= now:
        return []
    ahead = begins.timestamp() - now / 1000
    by_ours = ahead - max(0.0, -(run.client.clock_skew or 0.0))
    if by_ours <= 0:
        evidence = f"{begins} is not reached yet by the tenant's clock, which is behind ours: it begins at once"
    else:
        evidence = (
            f"{begins} is {span(ahead)} ahead of the tenant's clock: nothing is read before that moment. If another "
            "date was meant, correct `start` and add the definition again (connector add FILE)"
        )
    return [Finding(START, "missing", evidence)]


def allowance(run: CheckRun) -> Finding:
    """The tenant's allowance of calls, as its replies report it and as the definition assumes it."""
    limit, remaining, _ = run.client.allowance
    assumed = f"{run.definition.calls_per_minute} a minute, {run.definition.calls_per_day:,} a day"
    if limit is None and remaining is None:
        return Finding(ALLOWANCE, "ok", f"not reported by the tenant; reckoned with: {assumed}")
    reported = f"a limit of {limit if limit is not None else '?'}, {remaining if remaining is not None else '?'} left"
    return Finding(ALLOWANCE, "ok", f"reported: {reported}; reckoned with: {assumed}")
