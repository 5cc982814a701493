"""How tests are spread over workers: most integration tests wait, so more of them run than there are cores."""

from __future__ import annotations

import pytest

LONGEST = ("test_chaos", "test_connector_life", "test_secrets", "test_replay", "test_commands", "test_hand_over")
"""Modules that begin first, because their tests or the sum of their tests take the longest."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keeps together what shares something of its module, and orders the rest so that no long test begins last."""
    for item in items:
        definitions = item._fixtureinfo.name2fixturedefs if isinstance(item, pytest.Function) else {}
        if any(d.scope == "module" and not name.startswith("_") for name, ds in definitions.items() for d in ds):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))
