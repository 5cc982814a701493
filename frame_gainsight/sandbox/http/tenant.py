"""A tenant as its API's callers meet it: world, timeline, clock, key, allowance and variants.

All methods may be called from any thread.
"""

import base64
import hmac
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from heapq import merge
from random import Random
from threading import RLock
from typing import Any, Literal
from uuid import UUID

from frame_gainsight.sandbox.http.calls import CallLog
from frame_gainsight.sandbox.http.limits import Limits, Windows
from frame_gainsight.sandbox.http.switches import Switches
from frame_gainsight.sandbox.query.dates import DAY, SECOND, iso, moment
from frame_gainsight.sandbox.query.schema import ACTIVITY, DELETE_LOG, DELETE_LOG_HIGH, SCHEMAS, Row
from frame_gainsight.sandbox.query.tables import RowTable, Table
from frame_gainsight.sandbox.tenant import manual_edits
from frame_gainsight.sandbox.tenant.activity import Activity
from frame_gainsight.sandbox.tenant.clock import Clock, Wall, system_wall
from frame_gainsight.sandbox.tenant.email_generator import EmailGenerator
from frame_gainsight.sandbox.tenant.expected_conversations import expected_conversations
from frame_gainsight.sandbox.tenant.gsid import digest
from frame_gainsight.sandbox.tenant.records import Records, Removal
from frame_gainsight.sandbox.tenant.scenario import Change, Op, Quiet, Scenario
from frame_gainsight.sandbox.tenant.timeline import Timeline
from frame_gainsight.sandbox.tenant.timeline_table import TimelineTable
from frame_gainsight.sandbox.tenant.world import build

DELETE_LOG_DAYS = 15
TOKEN_SECONDS = 86_400


class Tenant:
    """A simulated Gainsight tenant.

    `seed` and `size` (companies) make its world and its key; `scenario` (one or several) is what happens in its
    timeline; `clock` decides how far it has happened (default: the scenario's own choice).  `limits` is the API
    allowance, counted on `wall`.  `resolution` is that of changes made through the control API: "s" or "ms".
    """

    def __init__(
        self,
        seed: int = 1,
        scenario: Scenario | Sequence[Scenario] = (),
        clock: Clock | None = None,
        *,
        size: int = 60,
        limits: Limits | None = None,
        wall: Wall = system_wall,
        resolution: Literal["s", "ms"] = "s",
    ) -> None:
        scenarios: Sequence[Scenario] = scenario if isinstance(scenario, Sequence) else [scenario]
        scenarios = scenarios or [Quiet()]
        self.lock = RLock()
        self.seed = seed
        self.world = build(seed, size)
        for one in scenarios:
            one.populate(self.world)
        self.world.index()
        # Who writes emails is settled here: the timeline is the same whatever happens to records later.
        self._writers_world = self.world.copy()
        self.clock = clock or scenarios[0].clock()
        self.limits = limits or Limits()
        self.windows = Windows(wall)
        self.switches = Switches()
        self.log = CallLog()
        self.wall = wall
        self._resolution_ms = SECOND if resolution == "s" else 1
        began = self.clock.now()
        self._timeline = Timeline(self._stream(scenarios, began))
        self._manual = EmailGenerator(self._writers_world, Random(f"by hand:{seed}"), "by hand")
        self._chance = Random(f"chance:{seed}")
        self._numbers = 0
        self._keys = 0
        self._tokens: dict[str, int] = {}
        self.access_key = self._new_key()
        self.client_id = str(UUID(int=digest(seed, "client") % (1 << 128), version=4))
        self.client_secret = f"{digest(seed, 'client secret'):048x}"
        rows = {name.lower(): RowTable(SCHEMAS[name], rows) for name, rows in self.world.tables.items()}
        self._records = Records(self.world, rows)
        self._tables: dict[str, Table] = {**rows, ACTIVITY.name: TimelineTable(self._timeline, self.world)}

    def __repr__(self) -> str:
        return f"Tenant(seed={self.seed}, clock={iso(self.clock.now())})"

    def _stream(self, scenarios: Sequence[Scenario], began: int) -> Callable[[], Iterator[Change]]:
        def open_stream() -> Iterator[Change]:
            streams = [one.changes(self._writers_world, began) for one in scenarios]
            return streams[0] if len(streams) == 1 else merge(*streams, key=lambda c: c.visible_ms)

        return open_stream

    # The state at the clock

    @property
    def timeline(self) -> Timeline:
        """The timeline at the tenant's present time."""
        self._timeline.catch_up(self.clock.now())
        return self._timeline

    def tables(self, high_volume: Collection[str] = ()) -> Mapping[str, Table]:
        """Every object's table at the present time, by lower-case name.

        The delete logs have the same entries; with `high_volume` objects, those have theirs in the one and the others
        in the other.
        """
        timeline, now = self.timeline, self.clock.now()
        removed = [Removal(ACTIVITY.name, d.gsid, d.deleted_ms) for d in timeline.deleted.values()]
        first = now - DELETE_LOG_DAYS * DAY
        log: list[Row] = [
            {"RecordId": r.gsid, "DeletedOn": r.deleted_ms, "ObjectName": r.object}
            for r in (*removed, *self._records.removed)
            if first <= r.deleted_ms <= now
        ]
        low = [row for row in log if row["ObjectName"] not in high_volume]
        high = [row for row in log if row["ObjectName"] in high_volume] if high_volume else log
        logs = {schema.name: RowTable(schema, rows) for schema, rows in ((DELETE_LOG, low), (DELETE_LOG_HIGH, high))}
        return self._tables | logs

    def truth(self) -> dict[str, Any]:
        """The conversations that a perfect connector must have produced by now; see `expected_conversations`."""
        with self.lock:  # only as long as needed: a large tenant's takes seconds
            now, timeline = self.clock.now(), self.timeline
            activities = [timeline.current[gsid] for _, gsid in timeline.order]
            deleted = list(timeline.deleted.values())
            world = self.world.copy()
        return expected_conversations(world, activities, deleted, now)

    # Time

    def now(self) -> int:
        """The tenant's time, epoch milliseconds."""
        return self.clock.now()

    def advance(self, seconds: float) -> int:
        """Move the clock on; returns the new time in epoch milliseconds."""
        with self.lock:
            return self.clock.advance(seconds)

    def set_clock(self, at: str | int | datetime) -> int:
        """Put the clock at `at`, also backwards; returns the new time in epoch milliseconds."""
        with self.lock:
            return self.clock.set(at)

    # Variants

    def set_variant(
        self,
        name: str,
        value: Any,
        *,
        object: str | None = None,
        endpoint: str | None = None,
        every: int = 1,
        times: int | None = None,
    ) -> None:
        """Switch a variant on, or off with None; see `http.variants` for the table, `Switches.set` for scopes."""
        with self.lock:
            self.switches.set(name, value, object=object, endpoint=endpoint, every=every, times=times)

    def clear_variants(self, name: str | None = None) -> None:
        """Switch one variant off in all its scopes, or all variants."""
        with self.lock:
            self.switches.clear(name)

    # Calls

    def calls(self) -> dict[str, Any]:
        """API calls so far: `{"total", "by_endpoint", "throttled", "rejected"}`."""
        with self.lock:
            return self.log.summary()

    def recent_calls(self) -> list[dict[str, Any]]:
        """The latest API calls, one by one."""
        with self.lock:
            return self.log.recent()

    def reset_calls(self) -> None:
        """Start counting calls anew (the allowance is not given back)."""
        with self.lock:
            self.log.reset()

    def next_number(self) -> int:
        """A number for the next request's id and order."""
        self._numbers += 1
        return self._numbers

    # Keys

    def reset_key(self) -> str:
        """Make a new access key; the old one is refused from then on."""
        with self.lock:
            self.access_key = self._new_key()
            return self.access_key

    def _new_key(self) -> str:
        self._keys += 1
        return str(UUID(int=digest(self.seed, "access key", self._keys) % (1 << 128), version=4))

    def grant_token(self, authorization: str) -> dict[str, Any] | None:
        """The reply of the OAuth call for `Basic <credentials>`; None when they are wrong."""
        expected = base64.b64encode(f"{self.client_id}:{self.client_secret}".encode()).decode()
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() != "basic" or not _same(given.strip(), expected):
            return None
        token = f"{digest(self.seed, 'token', len(self._tokens)):048x}"
        self._tokens[token] = self.wall() + TOKEN_SECONDS * SECOND
        return {"access_token": token, "token_type": "Bearer", "expires_in": TOKEN_SECONDS}

    def admits(self, headers: Mapping[str, str]) -> bool:
        """Whether a call with these (lower-case) headers has a valid key or token."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._tokens.get(token.strip(), 0) > self.wall():
            return True
        return _same(headers.get("accesskey", ""), self.access_key)

    def granted_tokens(self) -> list[str]:
        """Every OAuth token granted so far."""
        with self.lock:
            return list(self._tokens)

    # Manual edits

    def create(self, fields: Mapping[str, Any] | None = None, *, visible_in: float = 0.0) -> dict[str, Any]:
        """Log an email (or, with `TypeName`, another activity) now; fields not given are made up.

        It shows after `visible_in` seconds of tenant time.  Returns `{"id", "version_ms"}`.  Raises ValueError for a
        field that cannot be set.
        """
        with self.lock:
            activity = manual_edits.filled(self._manual.email(self.stamp()), fields or {}, self.world, created=True)
            if activity.gsid in self.timeline.current:
                raise ValueError(f"there is an activity {activity.gsid} already")
            return self._change("create", activity, activity.modified_ms, visible_in)

    def edit(
        self,
        id: str,
        fields: Mapping[str, Any] | None = None,
        *,
        visible_in: float = 0.0,
    ) -> dict[str, Any]:
        """Edit an activity now: the given fields, or one more line.  Raises KeyError for an id that is not there."""
        with self.lock:
            activity = self.timeline.current[id]
            at = max(self.stamp(), activity.modified_ms)
            edited = manual_edits.filled(self._manual.edited(activity, at), {}, self.world)
            if fields:
                edited = manual_edits.filled(activity, fields, self.world, modified_ms=at)
            return self._change("edit", edited, at, visible_in)

    def delete(self, id: str, *, visible_in: float = 0.0) -> dict[str, Any]:
        """Delete an activity now.  Raises KeyError for an id that is not there."""
        with self.lock:
            activity = self.timeline.current[id]
            return self._change("delete", activity, max(self.stamp(), activity.modified_ms), visible_in)

    def add_record(self, object: str, fields: Mapping[str, Any]) -> str:
        """Add a company, person, company_person, relationship, gsuser or contract__gc now; its Gsid.

        See `Records` for the fields' values, for what is made up, and for what all of these raise.
        """
        with self.lock:
            return self._records.add(object, fields, self.stamp())

    def edit_record(self, object: str, gsid: str, fields: Mapping[str, Any]) -> None:
        """Change a record now."""
        with self.lock:
            self._records.edit(object, gsid, fields, self.stamp())

    def delete_record(self, object: str, gsid: str) -> None:
        """Delete a record now, and what belongs to it; all of it is in the delete logs."""
        with self.lock:
            self._records.delete(object, gsid, self.stamp())

    def merge_persons(self, loser: str, winner: str) -> None:
        """Merge a person into another now."""
        with self.lock:
            self._records.merge(loser, winner, self.stamp())

    def _change(self, op: Op, activity: Activity, at_ms: int, visible_in: float) -> dict[str, Any]:
        visible = max(at_ms, self.clock.now()) + round(visible_in * SECOND)
        self.timeline.insert(Change(visible, at_ms, op, activity))
        return {"id": activity.gsid, "version_ms": at_ms}

    def stamp(self) -> int:
        """The present time as dates are stored."""
        return self.clock.now() // self._resolution_ms * self._resolution_ms

    # The edits of the timeline variants

    def edit_some(self, seen: Sequence[Activity], count: int) -> None:
        """Edit up to `count` of `seen` or of the rows behind them, as others do while a client pages."""
        for activity in self._some(seen, count):
            self.edit(activity.gsid)

    def delete_some(self, seen: Sequence[Activity], count: int) -> None:
        """Delete up to `count` of `seen` or of the rows behind them."""
        for activity in self._some(seen, count):
            self.delete(activity.gsid)

    def create_some(self, count: int, visible_in: float) -> None:
        """Create `count` emails in this second, visible after `visible_in` seconds."""
        for _ in range(count):
            self.create(visible_in=visible_in)

    def _some(self, seen: Sequence[Activity], count: int) -> list[Activity]:
        """Half from the page, half from what lies behind it; none that changed in the present second."""
        timeline, now = self.timeline, self.stamp()
        page = [a for a in seen if a.modified_ms < now and a.gsid in timeline.current]
        behind: list[Activity] = []
        if seen:
            last = max(a.modified_ms for a in seen)
            for activity in timeline.between(last + 1, now - 1):
                behind.append(activity)
                if len(behind) >= 10 * count:
                    break
        near = self._chance.sample(page, min(len(page), count))
        far = self._chance.sample(behind, min(len(behind), count // 2))
        return [*far, *near][:count]


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(errors="surrogateescape"), expected.encode())


def moments_of(body: Mapping[str, Any]) -> tuple[int, int] | None:
    """The time range in the body of the deleted-activities call, whose real field names are unknown.

    Any field whose name begins with `from` or `start` is the beginning, with `to`, `until` or `end` the end.
    """
    low = next((v for k, v in body.items() if k.lower().startswith(("from", "start"))), None)
    high = next((v for k, v in body.items() if k.lower().startswith(("to", "until", "end"))), None)
    if low is None or high is None:
        return None
    try:
        return moment(low), moment(high)
    except (ValueError, TypeError):
        return None
