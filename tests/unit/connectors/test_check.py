"""Checking a definition against its tenant: every need a line, with the words for the Gainsight admin."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from connectors import Definition, Finding, check, parse_yaml
from gainsight import AccessKey, CallBudget, GainsightClient, SystemClock
from sandbox import Limits, Morning, Sandbox, Tenant

YAML = """
id: acme
host: {url}
objects:
  contract__gc: {{join: {{Company_ID__gc: company}}}}
user_profile: {{first_name: person.FirstName, title: company_person.Title}}
org_profile: {{arr: company.Arr, csm: company.Csm__gr.Email, value: contract__gc.Value__gc}}
tags: {{sentiment: activity.Ant__Sentiment__c}}
"""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(Tenant(seed=3, scenario=Morning(emails=20), size=8, limits=Limits(None, None))) as running:
        yield running


@pytest.fixture
def tenant(sandbox: Sandbox) -> Iterator[Tenant]:
    sandbox.tenant.reset_calls()
    yield sandbox.tenant
    sandbox.tenant.clear_variants()


@pytest.fixture
async def client(sandbox: Sandbox, tenant: Tenant) -> AsyncIterator[GainsightClient]:
    clock = SystemClock()
    budget = CallBudget(clock, 1.0, per_minute=10_000)
    async with GainsightClient(sandbox.url, AccessKey(tenant.access_key), budget, clock, retry_seconds=0) as opened:
        yield opened


@pytest.fixture
def definition(sandbox: Sandbox) -> Definition:
    return parse_yaml(YAML.format(url=sandbox.url))


def find(findings: list[Finding], need: str) -> Finding:
    (found,) = [finding for finding in findings if finding.need == need]
    return found


async def test_all_is_well(client: GainsightClient, definition: Definition, tenant: Tenant) -> None:
    findings = await check(client, definition)
    assert {finding.state for finding in findings} == {"ok"}
    needs = [finding.need for finding in findings]
    assert len(set(needs)) == len(needs)
    for need in (
        "the tenant answers and takes the key",
        "field company.Arr",
        "field company.Csm__gr.Email",
        "field contract__gc.Value__gc",
        "field contract__gc.Company_ID__gc",
        "field activity_timeline.Ant__Sentiment__c",
        "field activity_timeline.LastModifiedDate",
        *(f"reading {name}" for name in ("activity_timeline", "person", "company", "gsuser", "contract__gc")),
    ):
        assert need in needs
    assert tenant.calls()["total"] <= 2 + 7


@pytest.mark.parametrize("code", ["GS_APIG_2401", "GSOBJ_1024"])
async def test_a_wrong_key_is_one_line_with_what_to_ask_for(
    client: GainsightClient, definition: Definition, tenant: Tenant, code: str
) -> None:
    tenant.set_variant("unauthorized", code)
    (finding,) = await check(client, definition)
    assert finding.blocks
    assert finding.ask.startswith("Please send us the current API access key")
    assert tenant.access_key not in repr(finding)


async def test_an_address_that_is_not_allowed(client: GainsightClient, definition: Definition, tenant: Tenant) -> None:
    tenant.set_variant("ip_not_allowed", True)
    (finding,) = await check(client, definition)
    assert finding.blocks and finding.ask == "Please add Frame's addresses to the API allowlist."


@pytest.mark.parametrize("variant", ["missing_fields", "hidden_fields"])
async def test_a_mapped_field_that_is_not_there_or_hidden_is_named_with_words_for_the_admin(
    client: GainsightClient, definition: Definition, tenant: Tenant, variant: str
) -> None:
    tenant.set_variant(variant, ["Arr"], object="company")
    findings = await check(client, definition)
    finding = find(findings, "field company.Arr")
    assert finding.blocks
    assert finding.ask == "Please check that 'Arr' exists on 'company' and is visible to the key's owner."
    assert [f.need for f in findings if f.blocks] == ["field company.Arr"]


@pytest.mark.parametrize("variant", ["missing_fields", "hidden_fields"])
async def test_also_behind_a_look_up(
    client: GainsightClient, definition: Definition, tenant: Tenant, variant: str
) -> None:
    tenant.set_variant(variant, ["Email"], object="gsuser")
    assert find(await check(client, definition), "field company.Csm__gr.Email").blocks


async def test_a_field_that_only_the_query_misses_is_named(
    client: GainsightClient, definition: Definition, tenant: Tenant
) -> None:
    tenant.set_variant("gone_fields", ["Arr"], object="company")
    finding = find(await check(client, definition), "reading company")
    assert finding.blocks
    assert "'Arr' on company" in finding.evidence


async def test_a_mapped_object_that_is_not_there_is_named_alone(
    client: GainsightClient, definition: Definition, tenant: Tenant
) -> None:
    tenant.set_variant("missing_object", True, object="contract__gc")
    findings = await check(client, definition)
    finding = find(findings, "object contract__gc")
    assert finding.blocks
    assert finding.ask == "Please let the key's owner read the object 'contract__gc'."
    assert [f.need for f in findings if f.state != "ok"] == ["object contract__gc"]


async def test_an_object_that_nothing_is_mapped_from_may_be_missing(
    client: GainsightClient, definition: Definition, tenant: Tenant
) -> None:
    tenant.set_variant("missing_object", True, object="relationship")
    findings = await check(client, definition)
    assert find(findings, "object relationship").state == "missing"
    assert not any(finding.blocks for finding in findings)


async def test_a_tenant_that_is_down_is_told_from_one_that_refuses(
    client: GainsightClient, definition: Definition, tenant: Tenant
) -> None:
    tenant.set_variant("server_error", 503)
    (finding,) = await check(client, definition)
    assert finding.blocks and "server failed" in finding.evidence
