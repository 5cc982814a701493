"""Tenant capabilities and scan progress are read from rows persisted by earlier releases, and written alike."""

from __future__ import annotations

from typing import Any

import pytest

from enricher.resolution.full_scan import ScanProgress
from enricher.resolution.tenant_capabilities import TenantCapabilities

PERSISTED = {"page": 5000, "in": {"person": 250}, "dotted": True, "dotted_in": False, "either": None, "named": True}


def test_a_persisted_row_of_capabilities_is_read_and_written_alike() -> None:
    found = TenantCapabilities.of(PERSISTED)
    assert (found.page_cap.rows, found.chunking["person"].size) == (5000, 250)
    forms = (found.joins_person, found.filters_by_person, found.allows_or, found.filters_users_by_name)
    assert forms == (True, False, None, True)
    row = found.row()
    assert row == PERSISTED
    assert list(row) == list(PERSISTED), "the order of the keys is part of the bytes"


def test_a_persisted_row_may_lack_capabilities() -> None:
    assert TenantCapabilities.of({}) == TenantCapabilities()


SCANNED = {"begun": 7, "rows": 12, "last": "P9", "ended": True, "surely": False, "too_large": False}


@pytest.mark.parametrize("missing", [(), ("rows", "ended", "too_large")], ids=["today's", "the oldest"])
def test_a_persisted_row_of_a_scan_is_read_and_written_alike(missing: Any) -> None:
    progress = ScanProgress.of(("Gsid",), {key: value for key, value in SCANNED.items() if key not in missing})
    assert progress == ScanProgress(("Gsid",), 7, 0 if missing else 12, "P9", exhausted=True)
    assert list(progress.row().items()) == list((SCANNED | ({"rows": 0} if missing else {})).items())
