"""How many rows a span has, from a few questions."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from frame_gainsight.connectors import Definition
from frame_gainsight.gainsight import GainsightError, Priority, Query, RefusedQueryError, TransientError, format_date
from producer.backfilling.estimate import estimate
from tests.unit.producer.rig import Rig

T0 = 1_700_000_000_000
UNTIL = T0 + 864_000_000
DEFINITION = Definition.model_validate({"id": "acme", "host": "https://acme.gainsightcloud.com"})


@dataclass
class Counted:
    """A tenant with so many rows, evenly spread, that refuses offsets above `most`."""

    rows: int
    most: int | None = None
    queries: list[Query] = field(default_factory=list)
    priorities: list[Priority] = field(default_factory=list)

    async def fetch(self, query: Query, *, priority: Priority = Priority.LIVE) -> Any:
        self.queries.append(query)
        self.priorities.append(priority)
        if self.most is not None and query.offset > self.most:
            raise RefusedQueryError("offset too large")
        found = [self.row(n) for n in range(query.offset, min(self.rows, query.offset + query.limit))]
        return SimpleNamespace(rows=found)

    def row(self, number: int) -> dict[str, Any]:
        at = T0 + (UNTIL - T0) * number // self.rows
        return {"Gsid": f"G{number}", "LastModifiedDate": format_date(at // 1000 * 1000)}


def found_by(tenant: Any, page_rows: int = 5000, **definition: Any) -> Any:
    return estimate(tenant, DEFINITION.model_copy(update=definition), T0, UNTIL, page_rows)


@pytest.mark.parametrize("rows", [5_000, 5_001, 6_000, 19_999, 20_001, 30_000, 250_000, 1_000_000, 60_000_000])
async def test_the_estimated_rows_are_right_to_about_a_sixth_after_a_dozen_queries(rows: int) -> None:
    tenant = Counted(rows)
    found = await found_by(tenant)
    assert found.rows == pytest.approx(rows, rel=0.19)
    assert found.probes == len(tenant.queries) <= 12
    assert set(tenant.priorities) == {Priority.BACKFILL}
    assert {(tuple(q.select), q.limit) for q in tenant.queries} == {(("Gsid", "LastModifiedDate"), 1)}


@pytest.mark.parametrize("rows", [0, 1, 4_999])
async def test_less_than_a_page_is_estimated_as_a_page_with_one_query(rows: int) -> None:
    tenant = Counted(rows)
    found = await found_by(tenant)
    assert (found.rows, found.calls, found.probes) == (5000, 1, 1)


@pytest.mark.parametrize("rows", [0, 5_001, 30_000, 1_000_000])
async def test_the_marks_lie_where_the_rows_do_and_end_with_the_span(rows: int) -> None:
    tenant = Counted(rows)
    found = await found_by(tenant)
    assert found.marks[-1].rows == found.rows
    assert found.marks[-1].at == UNTIL
    assert list(found.marks) == sorted(found.marks, key=lambda m: (m.rows, m.at))
    for mark in found.marks[:-1]:
        assert format_date(mark.at) == tenant.row(mark.rows)["LastModifiedDate"]


async def test_the_estimated_calls_are_one_a_page_and_half_a_one_a_slice() -> None:
    found = await found_by(Counted(400_000))
    assert found.rows / 5000 <= found.calls <= found.rows / 5000 + found.rows / 40_000 + 2
    assert found.minutes(100) == found.calls / 100
    assert found.days_share(50_000) == found.calls / 50_000


async def test_the_estimates_queries_cover_the_span_and_the_defined_types_alone() -> None:
    tenant = Counted(3)
    await found_by(tenant, activity_types=["Email"])
    conditions = {(c.name, c.operator): list(c.values) for c in tenant.queries[0].where}
    assert conditions == {
        ("LastModifiedDate", "GTE"): [format_date(T0)],
        ("LastModifiedDate", "LT"): [format_date(UNTIL)],
        ("TypeName", "IN"): ["Email"],
    }


async def test_refused_offsets_make_an_estimate_coarser() -> None:
    tenant = Counted(1_000_000, most=100_000)
    found = await found_by(tenant)
    assert 80_000 <= found.rows <= 100_001, "as far as it could see"
    assert len(tenant.queries) <= 12


async def test_an_estimate_raises_the_error_of_a_tenant_that_does_not_answer() -> None:
    class Down:
        async def fetch(self, query: Query, *, priority: Priority) -> Any:
            raise TransientError("down")

    with pytest.raises(TransientError, match="down"):
        await found_by(Down())


async def test_an_estimate_raises_for_a_date_that_cannot_be_read() -> None:
    class Odd:
        async def fetch(self, query: Query, *, priority: Priority) -> Any:
            return SimpleNamespace(rows=[{"Gsid": "A", "LastModifiedDate": "yesterday"}])

    with pytest.raises(GainsightError, match="yesterday"):
        await found_by(Odd())


async def test_an_estimate_of_an_endless_tenant_takes_a_dozen_queries() -> None:
    class Endless(Counted):
        def row(self, number: int) -> dict[str, Any]:
            return {"Gsid": f"G{number}", "LastModifiedDate": format_date(T0)}

    tenant = Endless(10**15)
    found = await found_by(tenant)
    assert found.rows >= 100_000_000
    assert len(tenant.queries) <= 13


async def test_an_estimate_of_a_tenant_over_http(rig: Rig) -> None:
    rig.define(start=None)
    begun = rig.clock.now()
    for number in range(150):
        rig.create()
        rig.tenant.advance(2 if number < 100 else 0.1)
    rig.tenant.advance(5)
    await rig.poll()
    before = rig.calls()
    found = await estimate(rig.feed.client, rig.feed.definition, begun, rig.clock.now(), 10)
    assert found.rows == pytest.approx(150, rel=0.19)
    assert found.probes == rig.calls() - before
