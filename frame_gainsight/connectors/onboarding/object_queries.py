"""Queries of a check: each object is read as polls and the enricher read it, narrowed where the tenant refuses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from frame_gainsight.connectors.columns import required
from frame_gainsight.connectors.columns.timeline_selection import Selection
from frame_gainsight.connectors.onboarding.check_run import CheckRun
from frame_gainsight.connectors.onboarding.findings import Finding, State, ask_without_lookups
from frame_gainsight.gainsight import (
    Condition,
    GainsightError,
    Query,
    RefusedQueryError,
    ReplyTooLargeError,
    Row,
    UnknownFieldError,
    value_of,
)


class ObjectQueries:
    """Reads the described objects of a check, and adds what that shows of their fields to its findings.

    Attributes:
        rows: activities, where the timeline was read.
    """

    def __init__(self, run: CheckRun) -> None:
        self._run = run
        self._definition = run.definition
        self._selection = Selection(run.definition)
        self._without: defaultdict[str, list[str]] = defaultdict(list)  # object → columns that queries do not find
        self._named: set[tuple[str, str]] = set()  # (object, path through a look-up) that a refusal named as unknown
        self._timeline_read = False
        self.rows: list[Row] = []

    async def read_all(self) -> None:
        """Reads the timeline, and the others in the order of their weight while calls remain."""
        await self._timeline()
        for name in self._others():
            await self._read(name)

    async def _timeline(self) -> None:
        """Makes the query that every poll makes, of two rows; narrowed as polls narrow it."""
        selection = self._selection
        selection.take(self._run.described)

        def narrower(select: Sequence[str], error: GainsightError) -> list[str] | None:
            before = set(selection.absent)
            if not selection.drop(error):
                return self._narrower(required.ACTIVITY, select, error)
            for column in selection.absent:
                if column not in before:
                    self._not_found(required.ACTIVITY, column)
            return [c for c in select if c in set(selection.select)]

        columns = self._promising(required.ACTIVITY, selection.select)
        rows = await self._answer(required.ACTIVITY, columns, self._latest, narrower)
        if rows is None:
            return
        selection.answered()
        self._timeline_read = True
        self.rows = rows
        if required.COMPANY not in self._run.described:
            return
        need = "look-ups from activities"
        if selection.has_joined_columns:
            self._run.add(Finding(need, "ok", "company and relationship come with the timeline's own query"))
            return
        without = "the tenant does not take them: one more call a window instead"
        if selection.accepts_lookups is False:
            without = "the tenant takes none: what they lead to is looked up by its id, in a few more calls a window"
        self._run.add(Finding(need, "missing", without))

    async def _latest(self, select: Sequence[str]) -> list[Row]:
        """The two rows last modified: read as polls read, in one order."""
        order = {"LastModifiedDate": "desc", "Gsid": "desc"}
        return await self._run.client.query(Query(required.ACTIVITY, select, order_by=order, limit=2))

    def _others(self) -> list[str]:
        """The other objects, those first without which nothing works."""
        plain = [required.PERSON, required.GSUSER, required.COMPANY_PERSON, *self._definition.objects]
        joined = self._timeline_read and self._selection.has_joined_columns
        for name in (required.COMPANY, required.RELATIONSHIP):
            if not (joined and required.joined_columns(self._definition, name, self._run.described)):
                plain.append(name)
        return [name for name in plain if name in self._run.described and self._run.is_readable(name)]

    async def _read(self, name: str) -> None:
        # Of the last calls, dates and deletions are worth more than a custom object.
        left = self._run.calls_left
        if left < 1 or (left <= 2 and name in self._definition.objects):
            self._run.add(Finding(f"reading {name}", "unknown", f"described; {self._run.not_requested}"))
            return
        where = self._joined(name)

        async def query(select: Sequence[str]) -> list[Row]:
            return await self._run.client.query(Query(name, select, where, limit=1))

        def narrower(select: Sequence[str], error: GainsightError) -> list[str] | None:
            return self._narrower(name, select, error)

        columns = required.columns(self._definition, name, self._run.described[name])
        await self._answer(name, self._promising(name, columns), query, narrower)

    def _joined(self, name: str) -> list[Condition]:
        """A custom object's condition, as the enricher has it: by its join field, of a company that there is."""
        custom = self._definition.objects.get(name)
        if custom is None:
            return []
        id_field = required.JOINED_OBJECTS[custom.joined_to]
        ids = [str(value) for row in self.rows if (value := value_of(row, id_field))]
        return [Condition(custom.join_field, "IN", ids)] if ids else []

    def _promising(self, name: str, columns: Sequence[str]) -> list[str]:
        """The columns without those that are known to fail: these would hide what the others do."""
        failed = {f.need.lower() for f in self._run.findings if f.need.startswith("field ") and f.state != "ok"}
        return [c for c in columns if f"field {name}.{c}".lower() not in failed]

    async def _answer(
        self,
        name: str,
        select: Sequence[str],
        query: Callable[[Sequence[str]], Awaitable[list[Row]]],
        narrower: Callable[[Sequence[str], GainsightError], list[str] | None],
    ) -> list[Row] | None:
        """An object's rows, in one narrower query per refusal while calls remain; None when it cannot be read.

        Adds the finding of its reading, and amends those of its fields.
        """
        while True:
            try:
                rows = await query(select)
            except GainsightError as error:
                self._run.note_throttling(error)
                left = narrower(select, error)
                if left and self._run.calls_left > 0:
                    select = left
                    continue
                if left:  # refused for look-ups, it is for mapped ones
                    state: State = "failed" if isinstance(error, RefusedQueryError) else "unknown"
                    evidence = f"{error} Without that: {self._run.not_requested}"
                    self._run.add(Finding(f"reading {name}", state, evidence))
                else:
                    self._run.add_failure(f"reading {name}", name, error)
                self._unread(name)
                return None
            self._settle(name, select)
            without = f"; without {', '.join(self._without[name])}, not found" if self._without[name] else ""
            evidence = f"{len(select)} columns{without}" + ("" if rows else ", no row yet")
            self._run.add(Finding(f"reading {name}", "ok", evidence))
            return rows

    def _narrower(self, name: str, select: Sequence[str], error: GainsightError) -> list[str] | None:
        """The columns less those that a query was refused for; None where it is not for them, or needs them."""
        looked_up = [c for c in select if "." in c]
        if isinstance(error, UnknownFieldError):
            gone = (error.field or "").lower()
            hit = [c for c in select if c.lower() == gone] or [c for c in looked_up if c.lower().endswith(f".{gone}")]
            if "." in "".join(hit) and self._selection.accepts_lookups is False:
                hit = looked_up
            elif gone:
                for column in hit:
                    self._not_found(name, column)
        elif isinstance(error, RefusedQueryError) and not isinstance(error, ReplyTooLargeError):
            hit = looked_up
        else:
            return None
        custom = self._definition.objects.get(name)
        fixed = {c.lower() for c in (required.ACTIVITY_REQUIRED if name == required.ACTIVITY else ())}
        fixed |= {custom.join_field.lower()} if custom is not None else set()
        if not hit or any(c.lower() in fixed for c in hit):
            return None
        return [c for c in select if c not in hit]

    def _not_found(self, name: str, column: str) -> None:
        if "." in column:  # the tenant may take no look-ups: the query that is answered in the end shows that
            self._named.add((name, column.lower()))
        elif not self._run.amend(name, column, self._gone(name, column)):
            self._without[name].append(column)

    def _gone(self, name: str, path: str) -> Finding:
        return self._run.hidden(name, path, "described, but a query does not find it")

    def _settle(self, name: str, select: Sequence[str]) -> None:
        """Amends the findings of mapped look-ups that an answered query had not: refused ones failed for them."""
        taken = {c.lower() for c in select}
        for path in required.mapped_columns(self._definition, name):
            if "." not in path or path.lower() in taken:
                continue
            if (name, path.lower()) in self._named and self._selection.accepts_lookups is not False:
                self._run.amend(name, path, self._gone(name, path))
                continue
            why = "the tenant takes no look-ups in such a query: map a field of the object itself"
            ask = ask_without_lookups(name, path)
            self._run.amend(name, path, Finding(f"field {name}.{path}", "failed", why, ask))

    def _unread(self, name: str) -> None:
        """Amends the findings of an object that was not read: of its fields only the description is known."""
        for number, known in enumerate(self._run.findings):
            if known.need.startswith(f"field {name}.") and known.state == "ok":
                why = f"described as {known.evidence}; not seen in a query, see: reading {name}"
                self._run.findings[number] = replace(known, state="unknown", evidence=why)
