"""Checking a definition against its tenant: every need a line, with the words for the Gainsight admin."""

from __future__ import annotations

import socketserver
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bus.node import LOOPBACK
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
    assert {f.need for f in findings if f.state != "ok"} == {"the tenant's clock"}  # it lives in its own time
    needs = [finding.need for finding in findings]
    assert len(set(needs)) == len(needs)
    for need in (
        "the host answers",
        "it takes the key",
        "it allows this address",
        "field company.Arr",
        "field company.Csm__gr.Email",
        "field contract__gc.Value__gc",
        "field contract__gc.Company_ID__gc",
        "field activity_timeline.Ant__Sentiment__c",
        "field activity_timeline.LastModifiedDate",
        *(f"reading {name}" for name in ("activity_timeline", "person", "company_person", "gsuser", "contract__gc")),
        "look-ups from activities",
        "dates of filters are read as UTC",
        "deleted activities are told",
        "the tenant's clock",
        "allowance of calls",
    ):
        assert need in needs
    assert tenant.calls()["total"] == 9


@pytest.mark.parametrize("code", ["GS_APIG_2401", "GSOBJ_1024"])
async def test_a_wrong_key_is_one_line_with_what_to_ask_for(
    client: GainsightClient, definition: Definition, tenant: Tenant, code: str
) -> None:
    tenant.set_variant("unauthorized", code)
    findings = await check(client, definition)
    assert [(f.need, f.state) for f in findings] == [
        ("the host answers", "ok"),
        ("it takes the key", "failed"),
        ("it allows this address", "unknown"),
    ]
    assert "Please send us the current one" in findings[1].ask
    assert tenant.access_key not in repr(findings)
    assert tenant.calls()["total"] == 1


async def test_an_address_that_is_not_allowed(client: GainsightClient, definition: Definition, tenant: Tenant) -> None:
    tenant.set_variant("ip_not_allowed", True)
    findings = await check(client, definition)
    assert [f.state for f in findings] == ["ok", "ok", "failed"]
    assert "IP allowlist" in findings[2].ask


@pytest.mark.parametrize("variant", ["missing_fields", "hidden_fields"])
async def test_a_mapped_field_that_is_not_there_or_hidden_is_named_with_words_for_the_admin(
    client: GainsightClient, definition: Definition, tenant: Tenant, variant: str
) -> None:
    tenant.set_variant(variant, ["Arr"], object="company")
    findings = await check(client, definition)
    finding = find(findings, "field company.Arr")
    assert finding.blocks
    assert finding.ask == "Please check that 'Arr' exists on 'company' and is visible to the user who owns the API key."
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
    assert tenant.calls()["total"] <= 12


async def test_a_mapped_object_that_is_not_there_is_named_alone(
    client: GainsightClient, definition: Definition, tenant: Tenant
) -> None:
    tenant.set_variant("missing_object", True, object="contract__gc")
    findings = await check(client, definition)
    finding = find(findings, "object contract__gc")
    assert finding.blocks
    assert finding.ask.startswith("Please let the user who owns the API key read the object 'contract__gc'")
    assert [f.need for f in findings if f.blocks] == ["object contract__gc"]


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
    findings = await check(client, definition)
    assert [f.state for f in findings] == ["failed", "unknown", "unknown"]
    assert "server failed" in findings[0].evidence


@pytest.mark.parametrize(("minutes", "says"), [(0, "zone is UTC"), (-480, "zone of the tenant's own"), (330, "own")])
async def test_a_tenant_with_a_local_zone_is_told_apart(
    client: GainsightClient, definition: Definition, tenant: Tenant, minutes: int, says: str
) -> None:
    tenant.set_variant("filter_zone", minutes)
    finding = find(await check(client, definition), "dates of filters are read as UTC")
    assert finding.state == "ok" and says in finding.evidence
    assert ("tenant's own zone is UTC" in finding.evidence) == (minutes == 0)


@pytest.mark.parametrize("no_or", [False, True])
async def test_a_tenant_that_does_not_read_the_z_cannot_be_polled(
    client: GainsightClient, definition: Definition, tenant: Tenant, no_or: bool
) -> None:
    tenant.set_variant("filter_zone", -480)
    tenant.set_variant("offset_ignored", True)
    tenant.set_variant("no_or", no_or or None)
    findings = await check(client, definition)
    assert [f.need for f in findings if f.blocks] == ["dates of filters are read as UTC"]
    assert tenant.calls()["total"] <= 12


async def test_a_tenant_without_look_ups_needs_a_call_more_and_is_fine(
    client: GainsightClient, definition: Definition, tenant: Tenant
) -> None:
    tenant.set_variant("dotted_select", "P_5068")
    findings = await check(client, definition.model_copy(update={"org_profile": {"arr": "company.Arr"}}))
    assert find(findings, "look-ups from activities").state == "missing"
    assert find(findings, "reading relationship").state == "ok"
    assert tenant.calls()["total"] <= 12


async def test_a_misspelt_activity_type_is_told_with_those_that_there_are(
    client: GainsightClient, definition: Definition, tenant: Tenant
) -> None:
    findings = await check(client, definition.model_copy(update={"activity_types": ("Email", "Emial")}))
    assert find(findings, "activity type Email").state == "ok"
    finding = find(findings, "activity type Emial")
    assert finding.state == "missing" and "Email" in finding.evidence


async def test_without_a_delete_log_it_works_and_says_what_that_means(
    client: GainsightClient, definition: Definition, tenant: Tenant
) -> None:
    tenant.set_variant("delete_log", "missing")
    finding = find(await check(client, definition), "deleted activities are told")
    assert finding.state == "missing" and "conversations stay" in finding.evidence


async def test_the_allowance_that_the_tenant_tells_is_shown(
    client: GainsightClient, definition: Definition, tenant: Tenant
) -> None:
    assert "not told" in find(await check(client, definition), "allowance of calls").evidence
    tenant.set_variant("rate_headers", True)
    assert "told: " in find(await check(client, definition), "allowance of calls").evidence


async def test_a_tenant_whose_clock_is_wrong_is_told(
    client: GainsightClient, definition: Definition, tenant: Tenant
) -> None:
    ahead = SystemClock().now() - tenant.now()
    finding = find(await check(client, definition), "the tenant's clock")
    assert finding.evidence.startswith(f"{ahead / 86_400_000:.0f} days behind ours")


async def test_the_calls_are_bounded_also_with_many_custom_objects(
    client: GainsightClient, definition: Definition, tenant: Tenant
) -> None:
    changed = definition.model_copy(update={"activity_types": ("Email",)})
    findings = await check(client, changed, most_calls=8)
    assert tenant.calls()["total"] == 8
    assert [f.need for f in findings if f.state == "unknown"] == ["reading contract__gc", "activity types"]


@pytest.mark.parametrize("host", ["https://nobody.invalid", "http://127.0.0.1:1"])
async def test_a_host_that_does_not_answer_is_told_before_its_key(host: str) -> None:
    clock = SystemClock()
    definition = parse_yaml(f"id: acme\nhost: {host}")
    async with GainsightClient(host, AccessKey("k"), CallBudget(clock, 1.0), clock, retry_seconds=0) as client:
        findings = await check(client, definition)
    assert (findings[0].need, findings[0].state) == ("the host answers", "failed")
    assert "https://acme.gainsightcloud.com" in findings[0].ask


@pytest.fixture
def untrusted(tmp_path: Path) -> Iterator[str]:
    """The address of a server whose certificate nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "server.pem"
    file.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + certificate.public_bytes(Encoding.PEM)
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)
    with socketserver.ThreadingTCPServer((LOOPBACK, 0), socketserver.BaseRequestHandler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"https://localhost:{server.server_address[1]}"
        server.shutdown()
        thread.join()


async def test_a_certificate_that_nobody_vouches_for_is_told_before_the_key(untrusted: str) -> None:
    clock = SystemClock()
    definition = parse_yaml(f"id: acme\nhost: {untrusted}")
    async with GainsightClient(untrusted, AccessKey("k"), CallBudget(clock, 1.0), clock, retry_seconds=0) as client:
        findings = await check(client, definition)
    assert [(f.need, f.state) for f in findings] == [
        ("the host answers", "ok"),
        ("its certificate is good", "failed"),
        ("it takes the key", "unknown"),
        ("it allows this address", "unknown"),
    ]
    assert "certificate was refused" in findings[1].evidence and "proxy" in findings[1].ask
