"""How the integration tests are spread over workers. They mostly wait, so more of them run than there are cores.

xdist's own `loadgroup` would do, but its 3.8 does not name groups so that pytest 9.2 sees it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePath
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

FIRST = (
    "test_hostile_tenants",
    "test_connector_life",
    "test_secrets",
    "test_short_storm",
    "test_replay",
    "test_commands",
    "test_timeline_model",
    "test_tenant_failures",
    "test_bad_records",
    "test_concurrent_commands",
    "test_main_job",
    "test_kafka",
)
"""Modules that begin first, because they take the longest."""

APART = {
    "test_backfill",
    "test_bad_records",
    "test_bulkhead",
    "test_concurrent_commands",
    "test_dead_letters",
    "test_demo",
    "test_enricher_kill",
    "test_kms_unavailable",
    "test_lost_records",
    "test_producer_hand_over",
    "test_producer_isolation",
    "test_producer_kill",
    "test_purge",
    "test_status_of_late_connectors",
    "test_tenant_changes",
    "test_tenant_failures",
    "test_timeline_model",
}
"""Modules whose tests share nothing, so that they need not run in one worker."""


class Spread(LoadScopeScheduling):  # type: ignore[misc]
    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return nodeid if PurePath(path).stem in APART else path

    def _pending_of(self, workload: dict[str, dict[str, bool]]) -> int:
        pending = int(super()._pending_of(workload))
        return pending + 1 if pending else 0  # so that a worker has one test waiting, instead of two


def pytest_xdist_make_scheduler(config: pytest.Config, log: Callable[..., Any]) -> LoadScopeScheduling | None:
    return Spread(config, log) if config.getoption("dist") == "loadscope" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))
