"""Checks of a definition and its key against the tenant: every need one finding, within a bounded number of calls."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from frame_gainsight.connectors.columns import required as needs
from frame_gainsight.connectors.columns.timeline_selection import Selection
from frame_gainsight.connectors.definition.model import Definition
from frame_gainsight.connectors.onboarding.findings import (
    ALLOWANCE,
    Finding,
    State,
    ask_without_look_ups,
    connected,
    owner,
    unconnected,
    words_for,
)
from frame_gainsight.connectors.onboarding.time_zone import NEED as ZONE
from frame_gainsight.connectors.onboarding.time_zone import zone
from frame_gainsight.gainsight import (
    CallsSpentError,
    Condition,
    GainsightClient,
    GainsightError,
    Listed,
    ObjectDescription,
    Query,
    RefusedQueryError,
    ReplyTooLargeError,
    Row,
    ThrottledError,
    UnknownFieldError,
    value_of,
)
from frame_gainsight.gainsight.delete_log import LOGS

MOST_CALLS = 12
SKEW = 120.0  # seconds of a clock that somebody should look after
TYPES_SEEN = 1000  # activities, for which types there are
OPTIONAL = (needs.RELATIONSHIP, needs.COMPANY_PERSON)
NOT_TOLD_APART = 2  # objects whose description fails, one after the other, before it is taken for more than theirs
DESCRIPTION = "description of the objects"


async def check(client: GainsightClient, definition: Definition, most_calls: int = MOST_CALLS) -> list[Finding]:
    """One finding per need. No more than `most_calls` calls are made, retries among them: what is left unasked then
    says so."""
    return await Check(client, definition, most_calls).run()


class Check:
    """One checking. The most important calls come first."""

    def __init__(self, client: GainsightClient, definition: Definition, most_calls: int) -> None:
        self._client = client
        self._definition = definition
        self._most_calls = most_calls
        self._described: dict[str, ObjectDescription] = {}
        self._undescribed: dict[str, GainsightError] = {}
        self._undescribed_behind: GainsightError | None = None  # what look-ups lead to
        self._listed: Mapping[str, Listed] | None = None
        self._found: list[Finding] = []
        self._rows: list[Row] = []
        self._selection = Selection(definition)
        self._without: defaultdict[str, list[str]] = defaultdict(list)  # object → columns that queries do not find
        self._named: set[tuple[str, str]] = set()  # (object, path through a look-up) that a refusal named as unknown
        self._timeline_read = False
        self._used_up = False

    async def run(self) -> list[Finding]:
        """The findings, in the order in which one would read them."""
        self._client.max_calls = self._most_calls
        try:
            return await self._run()
        finally:
            self._client.max_calls = None

    async def _run(self) -> list[Finding]:
        secure = self._definition.host.startswith("https:")
        try:
            self._listed = await self._client.list_objects()
        except GainsightError as error:
            if not isinstance(error, RefusedQueryError) and error.status != 404:
                return unconnected(error, secure, self._oauth)
            # There is no such call here: the description tells.
        failed = await self._describe()
        if failed is not None and self._listed is None:
            return unconnected(failed, secure, self._oauth)
        self._found = connected(self._definition.host, secure)
        if failed is not None:
            words = words_for(failed, needs.objects_of(self._definition), self._oauth)
            self._tell(Finding(DESCRIPTION, "failed", str(failed), words))
            self._note_throttling(failed)
        else:
            self._objects()
            if self._is_readable(needs.ACTIVITY) and self._has_required():
                await self._reading()
        self._clock()
        self._allowance()
        return self._found

    async def _reading(self) -> None:
        await self._timeline()
        for name in self._others():
            await self._read(name)
        await self._dates()
        await self._deletions()
        await self._types()

    @property
    def _oauth(self) -> bool:
        return self._client.has_oauth_client

    @property
    def _left(self) -> int:
        return 0 if self._used_up else self._most_calls - sum(self._client.calls.values())

    @property
    def _unasked(self) -> str:
        if self._used_up:
            return "not asked: the allowance is used up"
        return f"not asked, to stay within {self._most_calls} calls"

    def _note_throttling(self, error: GainsightError) -> None:
        self._used_up = self._used_up or isinstance(error, ThrottledError)

    def _is_readable(self, name: str) -> bool:
        """As far as the list tells; without one the queries will."""
        if self._listed is None:
            return True
        listed = self._listed.get(name.lower())
        return listed is not None and listed.readable

    def _has_required(self) -> bool:
        activity = self._described.get(needs.ACTIVITY)
        return activity is not None and all(activity.field(column) for column in needs.ACTIVITY_REQUIRED)

    def _is_needed(self, name: str) -> bool:
        return name not in OPTIONAL or bool(needs.mapped_columns(self._definition, name))

    def _tell(self, finding: Finding) -> None:
        self._found.append(finding)

    # What there is

    async def _describe(self) -> GainsightError | None:
        """Describes the objects. Returns what that fails with, where it is no matter of some of them."""
        wanted = needs.objects_of(self._definition)
        names = [n for n in wanted if n.lower() in self._listed] if self._listed is not None else wanted
        try:
            self._described = await self._client.describe(names)
        except GainsightError as error:
            if self._listed is None or isinstance(error, ThrottledError | CallsSpentError):
                return error
            if not await self._describe_each(names):
                return error
        if further := needs.looked_up_objects(self._definition, self._described):
            try:
                self._described |= await self._client.describe(further)
            except GainsightError as error:
                self._undescribed_behind = error
        return None

    async def _describe_each(self, names: Sequence[str]) -> bool:
        """One by one, so that it is told which of them fail. False when all do, as far as they were tried."""
        for number, name in enumerate(names):
            if number == NOT_TOLD_APART and not self._described:
                return False
            try:
                self._described |= await self._client.describe([name])
            except GainsightError as error:
                self._undescribed[name] = error
        return bool(self._described)

    def _objects(self) -> None:
        for name in needs.objects_of(self._definition):
            mapped = needs.mapped_columns(self._definition, name)
            if (error := self._undescribed.get(name)) is not None:
                self._tell(self._failing(f"object {name}", name, error))
            elif name not in self._described or not self._is_readable(name):
                self._tell(
                    Finding(
                        f"object {name}",
                        "failed" if self._is_needed(name) else "missing",
                        "the tenant does not show it" + ("" if self._is_needed(name) else "; it is done without"),
                        f"Please let {owner(self._oauth)} read the object '{name}', with all its fields.",
                    )
                )
            else:
                self._fields(name, mapped)

    def _fields(self, name: str, mapped: Sequence[str]) -> None:
        custom = self._definition.objects.get(name)
        own = [*(needs.ACTIVITY_REQUIRED if name == needs.ACTIVITY else ()), *([custom.join_field] if custom else ())]
        for path in dict.fromkeys([*own, *mapped]):
            field = needs.field_at(path, name, self._described)
            if field is not None:
                through = " through a look-up" if "." in path else ""
                joins = " (join)" if custom is not None and path == custom.join_field else ""
                self._tell(Finding(f"field {name}.{path}", "ok", f"{field.data_type or 'described'}{through}{joins}"))
            elif "." in path and self._undescribed_behind is not None:
                why = f"the object that it leads to is not described: {self._undescribed_behind}"
                self._tell(Finding(f"field {name}.{path}", "unknown", why))
            else:
                self._tell(self._hidden(name, path, "no such field in the tenant's description, or it is hidden"))

    def _hidden(self, name: str, path: str, evidence: str) -> Finding:
        ask = f"Please check that '{path}' exists on '{name}' and is visible to {owner(self._oauth)}."
        return Finding(f"field {name}.{path}", "failed", evidence, ask)

    # Reading

    async def _timeline(self) -> None:
        """The query that every poll makes, of two rows; narrowed as polls narrow it."""
        selection = self._selection
        selection.take(self._described)

        def narrower(select: Sequence[str], error: GainsightError) -> list[str] | None:
            before = set(selection.absent)
            if not selection.drop(error):
                return self._narrower(needs.ACTIVITY, select, error)
            for column in selection.absent:
                if column not in before:
                    self._not_found(needs.ACTIVITY, column)
            return [c for c in select if c in set(selection.select)]

        rows = await self._answer(needs.ACTIVITY, self._known(needs.ACTIVITY, selection.select), self._newest, narrower)
        if rows is None:
            return
        selection.answered()
        self._timeline_read = True
        self._rows = rows
        if needs.COMPANY not in self._described:
            return
        without = "the tenant does not take them: one more call a window instead"
        if selection.takes_look_ups is False:
            without = "the tenant takes none: what they lead to is asked for by its id, in a few more calls a window"
        self._tell(
            Finding("look-ups from activities", "ok", "company and relationship come with the timeline's own query")
            if selection.rides
            else Finding("look-ups from activities", "missing", without)
        )

    async def _newest(self, select: Sequence[str]) -> list[Row]:
        """The two rows last modified: read as polls read, in one order."""
        order = {"LastModifiedDate": "desc", "Gsid": "desc"}
        return await self._client.query(Query(needs.ACTIVITY, select, order_by=order, limit=2))

    def _known(self, name: str, columns: Sequence[str]) -> list[str]:
        """Without those that are known to fail: the others' lines shall tell of themselves."""
        failed = {f.need.lower() for f in self._found if f.need.startswith("field ") and f.state != "ok"}
        return [c for c in columns if f"field {name}.{c}".lower() not in failed]

    async def _answer(
        self,
        name: str,
        select: Sequence[str],
        ask: Callable[[Sequence[str]], Awaitable[list[Row]]],
        narrower: Callable[[Sequence[str], GainsightError], list[str] | None],
    ) -> list[Row] | None:
        """What an object is read with, in one narrower query per refusal while calls remain; None when it is not.

        Tells of its reading, and of its fields where that brings something to light.
        """
        while True:
            try:
                rows = await ask(select)
            except GainsightError as error:
                self._note_throttling(error)
                left = narrower(select, error)
                if left and self._left > 0:
                    select = left
                    continue
                if left:  # refused for look-ups, it is for mapped ones
                    state: State = "failed" if isinstance(error, RefusedQueryError) else "unknown"
                    self._tell(Finding(f"reading {name}", state, f"{error} Without that: {self._unasked}"))
                else:
                    self._tell(self._failing(f"reading {name}", name, error))
                self._untried(name)
                return None
            self._settle(name, select)
            without = f"; without {', '.join(self._without[name])}, not found" if self._without[name] else ""
            self._tell(
                Finding(f"reading {name}", "ok", f"{len(select)} columns{without}" + ("" if rows else ", no row yet"))
            )
            return rows

    def _narrower(self, name: str, select: Sequence[str], error: GainsightError) -> list[str] | None:
        """The columns less those that a query was refused for; None where it is not for them, or needs them."""
        looked_up = [c for c in select if "." in c]
        if isinstance(error, UnknownFieldError):
            gone = (error.field or "").lower()
            hit = [c for c in select if c.lower() == gone] or [c for c in looked_up if c.lower().endswith(f".{gone}")]
            if "." in "".join(hit) and self._selection.takes_look_ups is False:
                hit = looked_up
            elif gone:
                for column in hit:
                    self._not_found(name, column)
        elif isinstance(error, RefusedQueryError) and not isinstance(error, ReplyTooLargeError):
            hit = looked_up
        else:
            return None
        custom = self._definition.objects.get(name)
        fixed = {c.lower() for c in (needs.ACTIVITY_REQUIRED if name == needs.ACTIVITY else ())}
        fixed |= {custom.join_field.lower()} if custom is not None else set()
        if not hit or any(c.lower() in fixed for c in hit):
            return None
        return [c for c in select if c not in hit]

    def _not_found(self, name: str, column: str) -> None:
        if "." in column:  # it may be that look-ups are not taken: what is answered in the end tells
            self._named.add((name, column.lower()))
        elif not self._amend(name, column, self._gone(name, column)):
            self._without[name].append(column)

    def _gone(self, name: str, path: str) -> Finding:
        return self._hidden(name, path, "described, but a query does not find it")

    def _settle(self, name: str, select: Sequence[str]) -> None:
        """A query was answered: what is mapped through look-ups and was not in it is what the others failed for."""
        taken = {c.lower() for c in select}
        for path in needs.mapped_columns(self._definition, name):
            if "." not in path or path.lower() in taken:
                continue
            if (name, path.lower()) in self._named and self._selection.takes_look_ups is not False:
                self._amend(name, path, self._gone(name, path))
                continue
            why = "the tenant takes no look-ups in such a query: map a field of the object itself"
            self._amend(name, path, Finding(f"field {name}.{path}", "failed", why, ask_without_look_ups(name, path)))

    def _amend(self, name: str, column: str, finding: Finding) -> bool:
        """Puts another finding in the place of a field's, unless that has failed already; whether there is one."""
        need = f"field {name}.{column}".lower()
        for number, known in enumerate(self._found):
            if known.need.lower() == need:
                if known.state == "ok":
                    self._found[number] = replace(finding, need=known.need)
                return True
        return False

    def _untried(self, name: str) -> None:
        """An object was not read: of its fields only the description is known."""
        for number, known in enumerate(self._found):
            if known.need.startswith(f"field {name}.") and known.state == "ok":
                why = f"described as {known.evidence}; not seen in a query, see: reading {name}"
                self._found[number] = replace(known, state="unknown", evidence=why)

    def _failing(self, need: str, name: str, error: GainsightError) -> Finding:
        if isinstance(error, CallsSpentError):
            return Finding(need, "unknown", self._unasked)
        return Finding(need, "failed", str(error), words_for(error, [name], self._oauth))

    def _others(self) -> list[str]:
        """The other objects, those first without which nothing works."""
        plain = [needs.PERSON, needs.GSUSER, needs.COMPANY_PERSON, *self._definition.objects]
        rides = self._timeline_read and self._selection.rides
        for name in (needs.COMPANY, needs.RELATIONSHIP):
            if not (rides and needs.riding(self._definition, name, self._described)):
                plain.append(name)
        return [name for name in plain if name in self._described and self._is_readable(name)]

    async def _read(self, name: str) -> None:
        # Of the last calls, dates and deletions are worth more than a custom object.
        if self._left < 1 or (self._left <= 2 and name in self._definition.objects):
            self._tell(Finding(f"reading {name}", "unknown", f"described; {self._unasked}"))
            return
        where = self._joined(name)

        async def ask(select: Sequence[str]) -> list[Row]:
            return await self._client.query(Query(name, select, where, limit=1))

        def narrower(select: Sequence[str], error: GainsightError) -> list[str] | None:
            return self._narrower(name, select, error)

        columns = needs.columns(self._definition, name, self._described[name])
        await self._answer(name, self._known(name, columns), ask, narrower)

    def _joined(self, name: str) -> list[Condition]:
        """A custom object is asked for as the enricher asks: by its join field, of a company that there is."""
        custom = self._definition.objects.get(name)
        if custom is None:
            return []
        id_field = "GsCompanyId" if custom.joined_to == "company" else "GsRelationshipId"
        ids = [str(value) for row in self._rows if (value := value_of(row, id_field))]
        return [Condition(custom.join_field, "IN", ids)] if ids else []

    # What else matters

    async def _dates(self) -> None:
        if self._left < 1:
            self._tell(Finding(ZONE, "unknown", self._unasked))
            return
        self._tell(await zone(self._client, self._rows))

    async def _deletions(self) -> None:
        need = "deleted activities are told"
        named = [log for log in LOGS if self._is_readable(log)]
        ask = f"Please let {owner(self._oauth)} read the object 'record_delete_log'."
        if not named:
            self._tell(Finding(need, "missing", "no delete log: their conversations stay", ask))
            return
        if self._left < 1:
            self._tell(Finding(need, "unknown", f"{named[0]} is listed; {self._unasked}"))
            return
        where = [Condition("ObjectName", "EQ", [needs.ACTIVITY])]
        try:
            rows = await self._client.query(Query(named[0], ["RecordId", "DeletedOn"], where, limit=1))
        except GainsightError as error:
            self._tell(Finding(need, "missing", f"their conversations stay: {error}", ask))
            return
        self._tell(Finding(need, "ok", f"{named[0]}, {'with' if rows else 'no'} activities of late"))

    async def _types(self) -> None:
        """Whether there are activities of the types that are asked for: a misspelt one would bring none."""
        if not self._definition.activity_types:
            return
        if self._left < 1:
            self._tell(Finding("activity types", "unknown", self._unasked))
            return
        order = {"LastModifiedDate": "desc", "Gsid": "desc"}
        query = Query(needs.ACTIVITY, ["TypeName", "LastModifiedDate", "Gsid"], order_by=order, limit=TYPES_SEEN)
        try:
            rows = await self._client.query(query)
        except GainsightError as error:
            self._tell(Finding("activity types", "unknown", str(error)))
            return
        seen = sorted({str(name) for row in rows if (name := value_of(row, "TypeName"))})
        for wanted in self._definition.activity_types:
            if wanted in seen:
                self._tell(Finding(f"activity type {wanted}", "ok", "seen of late"))
            else:
                there = f"of the last {len(rows)} activities none has it; there are: {', '.join(seen) or 'none at all'}"
                self._tell(Finding(f"activity type {wanted}", "missing", there))

    def _clock(self) -> None:
        skew = self._client.clock_skew
        if skew is None:
            self._tell(Finding("the tenant's clock", "failed", "not told: replies have no Date header"))
        elif abs(skew) > SKEW:
            side = "ahead of" if skew > 0 else "behind"
            self._tell(
                Finding("the tenant's clock", "missing", f"{_span(abs(skew))} {side} ours; polls go by the tenant's")
            )
        else:
            self._tell(Finding("the tenant's clock", "ok", "the same as ours, to two minutes"))

    def _allowance(self) -> None:
        limit, remaining, _ = self._client.allowance
        assumed = f"{self._definition.calls_per_minute} a minute, {self._definition.calls_per_day:,} a day"
        if limit is None and remaining is None:
            self._tell(Finding(ALLOWANCE, "ok", f"not told by the tenant; reckoned with: {assumed}"))
            return
        told = f"{limit if limit is not None else '?'} in a window, {remaining if remaining is not None else '?'} left"
        self._tell(Finding(ALLOWANCE, "ok", f"told: {told}; reckoned with: {assumed}"))


def _span(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
