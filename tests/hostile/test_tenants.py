"""Hostile tenants beside a healthy one: each costs itself alone, and says so.

All light behaviours, and of the heavy ones a few. `HOSTILE_ALONE=1` runs all, one hostile tenant at a time, so that
the table's figures are its own.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import structlog

from tests.hostile.behaviours import BEHAVIOURS, Behaviour
from tests.hostile.rig import HEALTHY_PERIOD, Outcome, Run, Tenants, from_here, resident, table

ALONE = bool(os.environ.get("HOSTILE_ALONE"))
LIGHT, HEAVY = (1, 1) if ALONE else (40, 3)  # side by side
FEW = ("60 MB of backslashes", "60 MB of lone surrogates", "a row of 9 MB", "5 million keys in a row", "gzip bomb")
TRIED = tuple(b for b in BEHAVIOURS if ALONE or not b.heavy or b.name in FEW)
SLOW = 150  # tenants that drip: more than polls run at a time
MOST_MB, LONGEST_STALL = 400.0, 1.0


@dataclass(slots=True)
class Results:
    """Of the whole table: the outcomes by name, and what the process and the healthy connector came to."""

    outcomes: dict[str, Outcome]
    grown: float
    gap: float
    gap_of_slow: float
    missing: set[str]
    causes: list[str]
    doubles: int


async def _run_all() -> Results:
    with Tenants() as tenants:
        run = Run(tenants, TRIED)
        async with run.running():
            from_here()
            before, began = resident(), run.now()
            outcomes = await run.all([b for b in TRIED if not b.heavy], LIGHT)
            outcomes += await run.all([b for b in TRIED if b.heavy], HEAVY)
            grown, gap, began = run.largest - before, run.gap(began), run.now()
            await run.crowd(next(b for b in TRIED if b.name == "a byte now and then, 0"), SLOW)
            gap_of_slow = run.gap(began)
            created = await asyncio.to_thread(tenants.created)
        topics = run.healthy.topics
        doubles = sum(count > 1 for count in topics.written.values())
        missing = created - topics.gsids
        return Results(
            {o.behaviour.name: o for o in outcomes}, grown, gap, gap_of_slow, missing, run.healthy.causes, doubles
        )


@pytest.fixture(scope="module")
def results() -> Iterator[Results]:
    with structlog.testing.capture_logs():
        found = asyncio.run(_run_all())
    yield found
    print(*table(found.outcomes.values()), sep="\n")
    print(
        f"{len(found.outcomes)} behaviours: {found.grown:.0f} MB more at the most, {found.gap:.1f} s between two polls "
        f"of the healthy connector ({found.gap_of_slow:.1f} s beside {SLOW} slow ones)"
    )


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("behaviour", TRIED, ids=lambda b: b.name)
def test_a_hostile_tenant_comes_to_its_verdict(behaviour: Behaviour, results: Results) -> None:
    outcome = results.outcomes[behaviour.name]
    assert not outcome.fault, f"wanted: {behaviour.verdict.value}"


def test_the_healthy_connector_has_every_row_once(results: Results) -> None:
    assert (results.missing, results.causes, results.doubles) == (set(), [], 0)


def test_no_hostile_tenant_delays_the_healthy_connector_by_more_than_its_period(results: Results) -> None:
    assert results.gap < 2 * HEALTHY_PERIOD + LONGEST_STALL


def test_slow_tenants_that_outnumber_the_polls_at_a_time_delay_no_other(results: Results) -> None:
    assert results.gap_of_slow < 2 * HEALTHY_PERIOD + LONGEST_STALL


def test_no_hostile_tenant_blocks_the_event_loop_for_a_second(results: Results) -> None:
    worst = sorted(results.outcomes.values(), key=lambda o: -o.stall)[:3]
    assert worst[0].stall < LONGEST_STALL, [(o.behaviour.name, o.stall) for o in worst]


def test_all_hostile_tenants_together_add_little_to_the_process(results: Results) -> None:
    assert results.grown < MOST_MB
