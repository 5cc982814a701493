"""Previews read as polls do, within few calls."""

from __future__ import annotations

from typing import Any

import pytest

from enricher.preview import preview
from frame_gainsight.connectors.onboarding.propose import propose
from frame_gainsight.gainsight import UnknownFieldError
from frame_gainsight.sandbox.scenarios.tenant_profiles import apply_profile
from tests.unit.enricher.conftest import TenantRig

MAPPED = {"user_profile": {"first_name": "person.FirstName"}, "org_profile": {"arr": "company.Arr"}}


@pytest.fixture(autouse=True)
def activities(tenant: Any) -> None:
    for _ in range(3):
        tenant.create({"Subject": "hello"})


async def test_a_column_that_polls_do_without_is_done_without(rig: TenantRig) -> None:
    rig.tenant.set_variant("gone_fields", ["Source"], object="activity_timeline")
    result = await preview(rig.client, rig.clock, [rig.definition(**MAPPED)], 3)
    assert [one.causes for one in result.shown] == [[], [], []]


@pytest.mark.parametrize("code", ["P_5005", "P_5068"])
async def test_a_tenant_without_look_ups_is_shown(rig: TenantRig, code: str) -> None:
    rig.tenant.set_variant("dotted_select", code)
    result = await preview(rig.client, rig.clock, [rig.definition(**MAPPED)], 3)
    assert len(result.shown) == 3
    assert all(value["account"]["profile"]["arr"] is not None for one in result.shown for value in one.values)


async def test_a_mapped_column_that_is_gone_is_named(rig: TenantRig) -> None:
    rig.tenant.set_variant("gone_fields", ["Ant__Sentiment__c"], object="activity_timeline")
    with pytest.raises(UnknownFieldError, match="Ant__Sentiment__c"):
        await preview(rig.client, rig.clock, [rig.definition(tags={"mood": "activity.Ant__Sentiment__c"})], 3)


@pytest.mark.parametrize(("implementation", "most"), [("relationships", 4), ("plain", 10)])
async def test_it_costs_few_calls_and_fewer_once_the_objects_are_known(
    rig: TenantRig, implementation: str, most: int
) -> None:
    apply_profile(rig.tenant, implementation)
    definition = rig.definition(**MAPPED)
    result = await preview(rig.client, rig.clock, [definition], 3)
    assert len(result.shown) == 3
    assert result.count == rig.total() <= most
    known = (await propose(rig.client, definition)).described
    rig.client.calls.clear()
    again = await preview(rig.client, rig.clock, [definition], 3, known)
    assert again.shown == result.shown
    assert again.count == result.count - sum(n for name, n in result.calls.items() if name in ("list", "describe"))
