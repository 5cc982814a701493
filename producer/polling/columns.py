"""The columns of the timeline's queries, as one tenant takes them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from frame_gainsight.connectors import Definition, Selection
from frame_gainsight.connectors.columns import required
from frame_gainsight.gainsight import (
    GainsightClient,
    GainsightError,
    ObjectDescription,
    RefusedQueryError,
    UnknownFieldError,
    UnknownObjectError,
)
from frame_gainsight.runtime import Clock

log = structlog.get_logger(__name__)

LOGGED = 20  # fields that one line of the log names
DESCRIBE_EVERY = 86_400.0  # seconds: field sets change rarely, and a describe is a call


def is_refusal(error: BaseException) -> bool:
    """Whether a query failed by what it asks for, so that other columns may help."""
    return isinstance(error, UnknownFieldError | RefusedQueryError)


class Columns:
    """The columns that are selected: see `Selection`. All readers of the tenant share them, and what one has learnt.

    Attributes:
        version: of the column list, "" before the first `ensure`.
        missing: mapped or once selected column → what to do about its absence.
    """

    def __init__(self, definition: Definition, client: GainsightClient, clock: Clock) -> None:
        self._definition = definition
        self._client = client
        self._clock = clock
        self._selection = Selection(definition)
        self._described_at: float | None = None
        self._refused = False  # a query with the present columns
        self._learnt = asyncio.Event()
        self.version = ""
        self.missing: dict[str, str] = {}

    @property
    def select(self) -> list[str]:
        return self._selection.select

    async def ensure(self) -> None:
        """Fetches the field list once a day: one unknown name would fail every query.

        Raises UnknownObjectError, and UnknownFieldError for a column without which nothing can be read.
        """
        now = self._clock.monotonic()
        if self._described_at is not None and now - self._described_at < DESCRIBE_EVERY:
            return
        objects = await self._describe()
        described = objects.get(required.ACTIVITY)
        if described is None:
            raise UnknownObjectError(
                f"The tenant does not describe {required.ACTIVITY} to this key. Ask the Gainsight admin to let the "
                "key's owner read Timeline activities."
            )
        for column in required.ACTIVITY_REQUIRED:
            if described.field(column) is None:
                raise UnknownFieldError(required.ACTIVITY, column, None)
        self._selection.take(objects)
        self.missing.clear()
        self._selected()
        self._described_at = now

    async def _describe(self) -> dict[str, ObjectDescription]:
        """The timeline's fields and those of the objects joined to it; without the latter where these are refused."""
        try:
            return await self._client.describe(required.TIMELINE_OBJECTS)
        except GainsightError as error:
            described = await self._client.describe([required.ACTIVITY])
            log.info("joined_objects_not_described", connector=self._definition.id, cause=str(error))
            return described

    def answered(self, select: Sequence[str]) -> None:
        """Learns that the tenant takes a query with the columns `select`."""
        if not set(select) >= set(self.select):
            return
        self._selection.answered()
        if self._refused:
            self._refused = False
            self._tell()

    def drop(self, error: BaseException, select: Sequence[str]) -> bool:
        """Drops the columns for which a query of `select` was refused; False when that is not possible.

        Nothing more is dropped where another reader's refusal has changed the columns meanwhile: the query is worth
        another try with the present ones.
        """
        before = set(self.select)
        if before != set(select):
            return is_refusal(error)
        if not self._selection.drop(error):
            self._refused = self._refused or is_refusal(error)
            return False
        if joined := sorted(before - set(self.select) - set(self._selection.absent)):
            log.info("joined_columns_refused", connector=self._definition.id, columns=joined, cause=str(error))
        self._selected()
        self._tell()
        return True

    async def learnt(self) -> None:
        """Waits until another reader has learnt something for which a refused query is worth another try."""
        await self._learnt.wait()

    def _tell(self) -> None:
        self._learnt.set()
        self._learnt = asyncio.Event()

    def _selected(self) -> None:
        self.version = required.columns_version(self.select)
        doubted = [c for c in self._selection.absent if c in self._selection.doubted and c not in self.missing]
        for column in doubted:
            self.missing[column] = (
                f"The tenant refuses queries of {required.ACTIVITY} for a field that it does not know, and does not "
                f"say which: '{column}' is left out, as it may be the one. Ask the Gainsight admin which of the fields "
                "that the key's owner is shown cannot be queried. They are tried again once a day."
            )
        if doubted:
            hint = self.missing[doubted[0]]
            log.warning(
                "fields_left_out", connector=self._definition.id, fields=doubted[:LOGGED], count=len(doubted), hint=hint
            )
        for column in self._selection.absent:
            if column in self.missing:
                continue
            mapped = self._selection.is_mapped(column)
            use = "it is in the mapping, whose value stays empty" if mapped else "it is left out"
            self.missing[column] = (
                f"The tenant has no field '{column}' on {required.ACTIVITY} (any more): {use}. Ask the Gainsight admin "
                "whether it was renamed or hidden from the key's owner, and correct the mapping."
            )
            log.warning("field_missing", connector=self._definition.id, field=column, hint=self.missing[column])
