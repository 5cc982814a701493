"""Exactly one conversation per version, whoever dies. `./dev chaos` has a storm that is twenty times as long."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.chaos.storm import Plan, Storm


@pytest.mark.timeout(300)
def test_each_version_comes_out_once_whatever_dies(storm: Callable[..., Storm]) -> None:
    plan = Plan(1500, rounds=4, workers=2, kills=4, leaves=1, window=25)
    log = storm(plan).run()
    print(log)
    assert log.right, log
    assert log.kills >= plan.kills
    assert log.versions + log.deleted >= plan.activities
