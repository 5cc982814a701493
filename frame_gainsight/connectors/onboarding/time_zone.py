"""The zone probe: whether the tenant reads a filter's dates as they are meant.

The zone in which a date without offset is read is not documented, so that every filter has a `Z`. Of a tenant that did
not read the `Z`, the wrong hours would be requested day after day, unseen.
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
    """Queries an activity by its second, with `Z`, and another one without it, in one call (or two)."""
    if not known:
        return Finding(NEED, "unknown", "there is no activity to try it with")
    zoned, plain = known[0], known[-1]
    where = [*_within_its_second(zoned, "Z"), *_within_its_second(plain, "")]
    try:
        if zoned.gsid == plain.gsid:
            raise RefusedQueryError("There is but one activity.")
        rows = await client.query(_query(where, "(A AND B AND C) OR (D AND E AND F)"))
    except RefusedQueryError:  # some tenants take no OR
        rows = await client.query(_query(where[:3], "A AND B AND C"))
        return _with_z(zoned, rows)
    found = {str(value_of(row, "Gsid")) for row in rows}
    if zoned.gsid not in found:
        return _with_z(zoned, rows)
    if plain.gsid in found:
        return Finding(NEED, "ok", "with and without Z: the tenant's own zone is UTC")
    return Finding(NEED, "ok", "with Z, as we always write it; without it, in a zone of the tenant's own")


def _with_z(known: Known, rows: Sequence[Row]) -> Finding:
    if any(value_of(row, "Gsid") == known.gsid for row in rows):
        return Finding(NEED, "ok", "with Z, as we always write it")
    return Finding(
        NEED,
        "failed",
        f"the activity modified at {format_date(known.at)} is not found in that second: the Z is not read, and polls "
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
    """The finding of `probe` by these rows; an unknown one when the tenant fails."""
    try:
        return await probe(client, known_of(rows))
    except GainsightError as error:
        return Finding(NEED, "unknown", str(error))
