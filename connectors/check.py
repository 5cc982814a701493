"""Checks of a definition and its key against the tenant: every need one finding, within a bounded number of calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from connectors import needs
from connectors.definition import Definition
from connectors.findings import Finding, State, connected, unconnected, words_for
from connectors.zone import NEED as ZONE
from connectors.zone import zone
from gainsight import (
    Condition,
    ConfigError,
    GainsightClient,
    GainsightError,
    Listed,
    ObjectDescription,
    Query,
    RefusedQueryError,
    Row,
    value_of,
)
from gainsight.deleted import LOGS

MOST_CALLS = 12
SKEW = 120.0  # seconds of a clock that somebody should look after
TYPES_SEEN = 1000  # activities, for which types there are
OPTIONAL = (needs.RELATIONSHIP, needs.COMPANY_PERSON)


async def check(client: GainsightClient, definition: Definition, most_calls: int = MOST_CALLS) -> list[Finding]:
    """One finding per need. No more than `most_calls` calls are made, but for repeated ones: what is left unasked then
    says so."""
    return await Check(client, definition, most_calls).run()


class Check:
    """One checking. The most important calls come first."""

    def __init__(self, client: GainsightClient, definition: Definition, most_calls: int) -> None:
        self._client = client
        self._definition = definition
        self._most_calls = most_calls
        self._described: Mapping[str, ObjectDescription] = {}
        self._listed: Mapping[str, Listed] | None = None
        self._found: list[Finding] = []
        self._rows: list[Row] = []
        self._rides = False

    async def run(self) -> list[Finding]:
        """The findings, in the order in which one would read them."""
        secure = self._definition.host.startswith("https:")
        try:
            await self._look_around()
        except GainsightError as error:
            return unconnected(error, secure)
        self._found = connected(self._definition.host, secure)
        self._objects()
        if not any(finding.blocks for finding in self._found):
            await self._timeline()
            for name in self._others():
                await self._read(name)
            await self._dates()
            await self._deletions()
            await self._types()
        self._clock()
        self._allowance()
        return self._found

    @property
    def _left(self) -> int:
        return self._most_calls - sum(self._client.calls.values())

    @property
    def _unasked(self) -> str:
        return f"not asked, to stay within {self._most_calls} calls"

    def _is_readable(self, name: str) -> bool:
        """As far as the list tells; without one the queries will."""
        if self._listed is None:
            return True
        listed = self._listed.get(name.lower())
        return listed is not None and listed.readable

    def _tell(self, finding: Finding) -> None:
        self._found.append(finding)

    # What there is

    async def _look_around(self) -> None:
        wanted = needs.objects_of(self._definition)
        try:
            self._listed = await self._client.list_objects()
        except (ConfigError, RefusedQueryError) as error:
            if error.status != 404 and isinstance(error, ConfigError):
                raise
            names = wanted  # no such call here: the describe tells, at a call for each when one is missing
        else:
            names = [name for name in wanted if name.lower() in self._listed]
        described = await self._client.describe(names)
        if further := needs.looked_up_objects(self._definition, described):
            described = described | await self._client.describe(further)
        self._described = described

    def _objects(self) -> None:
        for name in needs.objects_of(self._definition):
            mapped = needs.mapped_columns(self._definition, name)
            if name not in self._described or not self._is_readable(name):
                needed = name not in OPTIONAL or bool(mapped)
                self._tell(
                    Finding(
                        f"object {name}",
                        "failed" if needed else "missing",
                        "the tenant does not show it to this key" + ("" if needed else "; it is done without"),
                        f"Please let the user who owns the API key read the object '{name}', with all its fields.",
                    )
                )
                continue
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
                continue
            self._tell(
                Finding(
                    f"field {name}.{path}",
                    "failed",
                    "no such field in the tenant's description, or it is hidden",
                    f"Please check that '{path}' exists on '{name}' and is visible to the user who owns the API key.",
                )
            )

    # Reading

    async def _timeline(self) -> None:
        """The query that every poll makes, of two rows."""
        select = needs.timeline_columns(self._definition, self._described)
        mapped = needs.mapped_columns(self._definition, needs.ACTIVITY)
        own = needs.columns(self._definition, needs.ACTIVITY, self._described[needs.ACTIVITY])
        plain = [column for column in own if "." not in column or column in mapped]
        try:
            self._rows = await self._newest(select)
            self._rides = len(select) > len(own)
        except (ConfigError, RefusedQueryError):
            try:
                self._rows = await self._newest(plain)
            except GainsightError as again:
                self._tell(_unread(needs.ACTIVITY, again))
                return
        except GainsightError as error:
            self._tell(_unread(needs.ACTIVITY, error))
            return
        self._tell(_read(needs.ACTIVITY, self._rows, len(own)))
        if needs.COMPANY not in self._described:
            return
        self._tell(
            Finding("look-ups from activities", "ok", "company and relationship come with the timeline's own query")
            if self._rides
            else Finding(
                "look-ups from activities", "missing", "the tenant does not take them: one more call a window instead"
            )
        )

    async def _newest(self, select: Sequence[str]) -> list[Row]:
        """The two rows last modified: read as polls read, in one order."""
        order = {"LastModifiedDate": "desc", "Gsid": "desc"}
        return await self._client.query(Query(needs.ACTIVITY, select, order_by=order, limit=2))

    def _others(self) -> list[str]:
        """The other objects, those first without which nothing works."""
        plain = [needs.PERSON, needs.GSUSER, needs.COMPANY_PERSON, *self._definition.objects]
        for name in (needs.COMPANY, needs.RELATIONSHIP):
            if not (self._rides and needs.riding(self._definition, name, self._described)):
                plain.append(name)
        return [name for name in plain if name in self._described]

    async def _read(self, name: str) -> None:
        select = needs.columns(self._definition, name, self._described[name])
        if self._left <= 2 and name in self._definition.objects:  # dates and deletions matter more
            self._tell(Finding(f"reading {name}", "unknown", f"described; {self._unasked}"))
            return
        try:
            rows = await self._client.query(Query(name, select, self._joined(name), limit=1))
        except GainsightError as error:
            self._tell(_unread(name, error))
            return
        self._tell(_read(name, rows, len(select)))

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
        ask = "Please let the user who owns the API key read the object 'record_delete_log'."
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
            self._tell(Finding("allowance of calls", "ok", f"not told by the tenant; reckoned with: {assumed}"))
            return
        told = f"{limit if limit is not None else '?'} in a window, {remaining if remaining is not None else '?'} left"
        self._tell(Finding("allowance of calls", "ok", f"told: {told}; reckoned with: {assumed}"))


def _span(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def _read(name: str, rows: Sequence[Row], columns: int) -> Finding:
    return Finding(f"reading {name}", "ok", f"{columns} columns" + ("" if rows else ", no row yet"))


def _unread(name: str, error: GainsightError) -> Finding:
    state: State = (
        "missing" if name in OPTIONAL and isinstance(error, ConfigError) and error.status == 403 else "failed"
    )
    return Finding(f"reading {name}", state, str(error), words_for(error, name))
