"""The long storm, and what shows that its counting has teeth. Run by `./dev chaos`, not by `./dev test`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import pytest

from tests.chaos.storm import Plan, Storm

SEED = int(os.environ.get("CHAOS_SEED", "1"))


@pytest.mark.timeout(1800)
def test_each_version_comes_out_once_whatever_dies(storm: Callable[..., Storm]) -> None:
    activities = int(os.environ["CHAOS_ACTIVITIES"])
    plan = Plan(activities, rounds=12, workers=3, kills=40, leaves=6, freezes=3, broker_kills=3, seed=SEED, window=100)
    log = storm(plan).run()
    print(f"seed {SEED}: {log}")
    assert log.right, log
    assert log.kills >= plan.kills
    assert log.broker_kills >= plan.broker_kills
    assert log.versions + log.deleted >= plan.activities


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("broken", "fault"), [("offsets_apart", "duplicates"), ("offsets_first", "missing")])
def test_the_storm_finds_what_broken_workers_do(storm: Callable[..., Storm], broken: str, fault: str) -> None:
    """Workers whose position and outputs are not one transaction are found out."""
    plan = Plan(3000, rounds=4, workers=2, kills=15, seed=SEED, window=10)
    log = storm(plan, sys.executable, "-m", "tests.chaos.broken", broken).run()
    print(f"{broken}: {log}")
    assert getattr(log, fault), log
