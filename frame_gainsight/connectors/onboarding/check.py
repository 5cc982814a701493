"""Checks of a definition and its key against the tenant: every need one finding, within a bounded number of calls."""

from __future__ import annotations

from collections.abc import Sequence

from frame_gainsight.connectors.columns import required
from frame_gainsight.connectors.definition.model import Definition
from frame_gainsight.connectors.onboarding import other_needs
from frame_gainsight.connectors.onboarding.check_run import CheckRun
from frame_gainsight.connectors.onboarding.findings import Finding, connected, owner, unconnected, words_for
from frame_gainsight.connectors.onboarding.object_queries import ObjectQueries
from frame_gainsight.gainsight import (
    CallsSpentError,
    GainsightClient,
    GainsightError,
    RefusedQueryError,
    ThrottledError,
)

MAX_CALLS = 12
OPTIONAL = (required.RELATIONSHIP, required.COMPANY_PERSON)
GENERAL_FAILURE = 2  # objects whose description fails, one after the other, before that is taken for all objects'
DESCRIPTION = "description of the objects"


async def check(client: GainsightClient, definition: Definition, max_calls: int = MAX_CALLS) -> list[Finding]:
    """One finding per need, the most important calls first. No more than `max_calls` calls are made, retries among
    them: the findings of needs that were left out then say so."""
    client.max_calls = max_calls
    try:
        return await _Check(CheckRun(client, definition, max_calls)).run()
    finally:
        client.max_calls = None


class _Check:
    """One check: connects, describes the objects and, where that goes well, reads them and sees to the other needs."""

    def __init__(self, run: CheckRun) -> None:
        self._run = run
        self._definition = run.definition
        self._undescribed: dict[str, GainsightError] = {}
        self._undescribed_behind: GainsightError | None = None  # objects that look-ups lead to

    async def run(self) -> list[Finding]:
        run, secure = self._run, self._definition.host.startswith("https:")
        try:
            run.listed = await run.client.list_objects()
        except GainsightError as error:
            if not isinstance(error, RefusedQueryError) and error.status != 404:
                return unconnected(error, secure, run.oauth)
            # The tenant has no such call: the description shows what there is.
        failed = await self._describe()
        if failed is not None and run.listed is None:
            return unconnected(failed, secure, run.oauth)
        run.findings = connected(self._definition.host, secure)
        if failed is not None:
            words = words_for(failed, required.objects_of(self._definition), run.oauth)
            run.add(Finding(DESCRIPTION, "failed", str(failed), words))
            run.note_throttling(failed)
        else:
            self._objects()
            if run.is_readable(required.ACTIVITY) and self._has_required():
                await self._reading()
        run.add(other_needs.clock(run))
        run.findings += other_needs.start(run)
        run.add(other_needs.allowance(run))
        return run.findings

    async def _reading(self) -> None:
        run, queries = self._run, ObjectQueries(self._run)
        await queries.read_all()
        run.add(await other_needs.dates(run, queries.rows))
        run.add(await other_needs.deletions(run))
        run.findings += await other_needs.activity_types(run)

    def _has_required(self) -> bool:
        activity = self._run.described.get(required.ACTIVITY)
        return activity is not None and all(activity.field(column) for column in required.ACTIVITY_REQUIRED)

    def _is_needed(self, name: str) -> bool:
        return name not in OPTIONAL or bool(required.mapped_columns(self._definition, name))

    async def _describe(self) -> GainsightError | None:
        """Describes the objects. Returns the failure, where it is not one of some objects only."""
        run, wanted = self._run, required.objects_of(self._definition)
        names = [n for n in wanted if n.lower() in run.listed] if run.listed is not None else wanted
        try:
            run.described = await run.client.describe(names)
        except GainsightError as error:
            if run.listed is None or isinstance(error, ThrottledError | CallsSpentError):
                return error
            if not await self._describe_each(names):
                return error
        if further := required.looked_up_objects(self._definition, run.described):
            try:
                run.described |= await run.client.describe(further)
            except GainsightError as error:
                self._undescribed_behind = error
        return None

    async def _describe_each(self, names: Sequence[str]) -> bool:
        """Describes objects one by one, to find which of them fail. False when all do, as far as they were tried."""
        for number, name in enumerate(names):
            if number == GENERAL_FAILURE and not self._run.described:
                return False
            try:
                self._run.described |= await self._run.client.describe([name])
            except GainsightError as error:
                self._undescribed[name] = error
        return bool(self._run.described)

    def _objects(self) -> None:
        run = self._run
        for name in required.objects_of(self._definition):
            if (error := self._undescribed.get(name)) is not None:
                run.add_failure(f"object {name}", name, error)
            elif name not in run.described or not run.is_readable(name):
                needed = self._is_needed(name)
                run.add(
                    Finding(
                        f"object {name}",
                        "failed" if needed else "missing",
                        "the tenant does not show it" + ("" if needed else "; it is done without"),
                        f"Please let {owner(run.oauth)} read the object '{name}', with all its fields.",
                    )
                )
            else:
                self._fields(name)

    def _fields(self, name: str) -> None:
        run, custom = self._run, self._definition.objects.get(name)
        own = list(required.ACTIVITY_REQUIRED) if name == required.ACTIVITY else []
        own += [custom.join_field] if custom is not None else []
        for path in dict.fromkeys([*own, *required.mapped_columns(self._definition, name)]):
            field = required.field_at(path, name, run.described)
            if field is not None:
                through = " through a look-up" if "." in path else ""
                joins = " (join)" if custom is not None and path == custom.join_field else ""
                run.add(Finding(f"field {name}.{path}", "ok", f"{field.data_type or 'described'}{through}{joins}"))
            elif "." in path and self._undescribed_behind is not None:
                why = f"the object that it leads to is not described: {self._undescribed_behind}"
                run.add(Finding(f"field {name}.{path}", "unknown", why))
            else:
                run.add(run.hidden(name, path, "no such field in the tenant's description, or it is hidden"))
