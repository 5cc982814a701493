"""The zone probe: whether the tenant reads a filter's dates as they are meant.

Which zone a date without offset is read in is not documented, so that every filter of ours says `Z`. A tenant that did
not read the `Z` would be asked for the wrong hours, day after day, and nobody would see it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from frame_gainsight.connectors.columns import required
from frame_gainsight.connectors.onboarding.findings import Finding
from frame_gainsight.gainsight import (
    Condition,
    GainsightClient,
    GainsightError,
    Query,
    RefusedQueryError,
    Row,
    format_date,
    parse_date,
    value_of,
    whole_second,
)

NEED = "dates of filters are read as UTC"
MODIFIED = "LastModifiedDate"


@dataclass(frozen=True, slots=True)
class Known:
    """An activity whose LastModifiedDate (milliseconds) is known."""

    gsid: str
    at: int


def known_of(rows: Sequence[Row]) -> list[Known]:
    """The activities among these rows whose date reads."""
    found = []
    for row in rows:
        try:
            at = parse_date(value_of(row, MODIFIED))
        except ValueError:
            continue
        if at is not None and (gsid := value_of(row, "Gsid")):
            found.append(Known(str(gsid), at))
    return found


async def probe(client: GainsightClient, known: Sequence[Known]) -> Finding:
    """Asks for an activity by its second, with `Z`, and for another one without it, in one call (or two)."""
    if not known:
        return Finding(NEED, "unknown", "there is no activity to try it with")
    said, unsaid = known[0], known[-1]
    where = [*_within_its_second(said, "Z"), *_within_its_second(unsaid, "")]
    try:
        if said.gsid == unsaid.gsid:
            raise RefusedQueryError("There is but one activity.")
        rows = await client.query(_query(where, "(A AND B AND C) OR (D AND E AND F)"))
    except RefusedQueryError:  # some tenants take no OR
        rows = await client.query(_query(where[:3], "A AND B AND C"))
        return _said(said, rows)
    found = {str(value_of(row, "Gsid")) for row in rows}
    if said.gsid not in found:
        return _said(said, rows)
    if unsaid.gsid in found:
        return Finding(NEED, "ok", "with and without Z: the tenant's own zone is UTC")
    return Finding(NEED, "ok", "with Z, as we always write it; without it, in a zone of the tenant's own")


def _said(said: Known, rows: Sequence[Row]) -> Finding:
    if any(value_of(row, "Gsid") == said.gsid for row in rows):
        return Finding(NEED, "ok", "with Z, as we always write it")
    return Finding(
        NEED,
        "failed",
        f"the activity modified at {format_date(said.at)} is not found in that second: the Z is not read, and polls "
        "would look at the wrong hours",
        "In which time zone does your tenant's API read dates that end in Z, such as 2026-01-31T12:00:00Z?",
    )


def _within_its_second(known: Known, zone: str) -> list[Condition]:
    begin = whole_second(known.at)
    texts = [format_date(at).removesuffix("Z") + zone for at in (begin, begin + 1000)]
    return [
        Condition("Gsid", "EQ", [known.gsid]),
        Condition(MODIFIED, "GTE", [texts[0]]),
        Condition(MODIFIED, "LT", [texts[1]]),
    ]


def _query(where: Sequence[Condition], expression: str) -> Query:
    return Query(required.ACTIVITY, ["Gsid", MODIFIED], where, limit=2, expression=expression)


async def zone(client: GainsightClient, rows: Sequence[Row]) -> Finding:
    """As `probe`, with what the tenant fails with told."""
    try:
        return await probe(client, known_of(rows))
    except GainsightError as error:
        return Finding(NEED, "unknown", str(error))
