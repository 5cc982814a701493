"""Proposing a mapping: what is well known and has values, what a tenant's own fields hold, and what joins."""

from __future__ import annotations

import pytest

from frame_gainsight.connectors import Definition
from frame_gainsight.connectors.onboarding.propose import Proposal, Proposed, _name, filled, propose
from frame_gainsight.gainsight import AccessKey, CallBudget, GainsightClient, HttpTransport
from frame_gainsight.runtime import SystemClock
from frame_gainsight.sandbox import Limits, Morning, Sandbox, Tenant, apply_profile


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("Value__gc", "value"),
        ("Ant__Deal_Size__c", "deal_size"),
        ("RenewalDate__gc", "renewal_date"),
        ("ARR__gc", "arr"),
        ("2nd_Tier__gc", "field_2nd_tier"),
    ],
)
def test_a_tenant_s_field_gets_a_name_of_frame_s(column: str, name: str) -> None:
    assert _name(column) == name
    Definition.model_validate({"id": "a", "host": "https://a.example", "tags": {name: "company.X"}})


def test_the_share_of_rows_with_a_value_is_counted() -> None:
    assert filled([], "Arr") is None
    assert filled([{"Arr": 0}, {"Arr": None}, {"Arr": ""}, {"arr": 5}], "Arr") == 0.5


def test_only_the_objects_of_fields_that_are_taken_are_joined() -> None:
    value = Proposed("org_profile", "value", "contract__gc.Value__gc", "CURRENCY", 1.0)
    arr = Proposed("org_profile", "arr", "company.Arr", "CURRENCY", 1.0)
    proposal = Proposal([value, arr], {"contract__gc": {"join": {"Company_ID__gc": "company"}}})
    assert proposal.parts()["objects"] == proposal.objects
    assert proposal.parts([arr]) == {
        "objects": {},
        "user_profile": {},
        "org_profile": {"arr": "company.Arr"},
        "tags": {},
    }


async def test_what_is_proposed_is_there_and_filled_and_the_calls_are_few() -> None:
    tenant = Tenant(seed=3, scenario=Morning(emails=40), size=10, limits=Limits(None, None))
    clock = SystemClock()
    with Sandbox(tenant) as sandbox:
        definition = Definition.model_validate({"id": "acme", "host": sandbox.url})
        budget = CallBudget(clock, 1.0, per_minute=10_000)
        async with GainsightClient(HttpTransport(sandbox.url, AccessKey(tenant.access_key), budget, clock)) as client:
            proposal = await propose(client, definition)
            assert tenant.calls()["total"] == sum(client.calls.values()) == 7
            names = {(p.part, p.name): p for p in proposal.fields}
            assert names["org_profile", "contract_value"].path == "contract__gc.Value__gc"
            assert names["org_profile", "csm_email"].path == "company.Csm__gr.Email"
            assert names["tags", "sentiment"].filled
            assert proposal.types["Email"] > 0
            tenant.set_variant("missing_object", True, object="company_person")
            without = await propose(client, definition)
            apply_profile(tenant, "plain")
            plain = await propose(client, definition)
    assert {p.name for p in without.fields} == {name for _, name in names} - {"title", "role"}
    paths = {p.path for p in plain.fields}
    assert "company.Arr" in paths
    assert not [path for path in paths if "__gr" in path or "contract__gc" in path], "what that tenant refuses"
