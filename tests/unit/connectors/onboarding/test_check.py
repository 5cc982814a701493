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

from frame_gainsight.connectors import Definition, Finding, check, parse_yaml
from frame_gainsight.connectors.onboarding import other_needs
from frame_gainsight.embedded_kafka.node import LOOPBACK
from frame_gainsight.gainsight import AccessKey, CallBudget, GainsightClient, HttpTransport, OAuthClient
from frame_gainsight.runtime import SystemClock
from frame_gainsight.sandbox import Limits, Morning, Sandbox, Tenant
from frame_gainsight.sandbox.scenarios.tenant_profiles import apply_profile

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
    async with GainsightClient(
        HttpTransport(sandbox.url, AccessKey(tenant.access_key), budget, clock, retry_seconds=0)
    ) as opened:
        yield opened


@pytest.fixture
def definition(sandbox: Sandbox) -> Definition:
    return parse_yaml(YAML.format(url=sandbox.url))


def other(definition: Definition, **changes: object) -> Definition:
    return Definition.model_validate(definition.model_dump(exclude_defaults=True) | changes)


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
        "deleted activities are reported",
        "the tenant's clock",
        "allowance of calls",
    ):
        assert need in needs
    assert tenant.calls()["total"] == 9


@pytest.mark.parametrize("code", ["GS_APIG_2401", "GSOBJ_1024"])
async def test_a_wrong_key_is_one_line_with_the_request_to_the_admin(
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
    findings = await check(client, definition)
    finding = find(findings, "field company.Arr")
    assert finding.blocks and "query does not find it" in finding.evidence
    assert finding.ask == "Please check that 'Arr' exists on 'company' and is visible to the user who owns the API key."
    assert find(findings, "reading company").state == "ok", "without it"
    assert [f.need for f in findings if f.blocks] == ["field company.Arr"]
    assert tenant.calls()["total"] <= 12


MANY = {"arr": "company.Arr", "employees": "company.Employees", "stage": "company.Stage", "status": "company.Status"}


async def test_of_several_that_only_queries_miss_each_is_named_and_the_others_are_fine(
    client: GainsightClient, definition: Definition, tenant: Tenant
) -> None:
    tenant.set_variant("gone_fields", ["Arr", "Status"], object="company")
    findings = await check(client, other(definition, org_profile=MANY, objects={}))
    states = {f.need: f.state for f in findings if f.need.startswith("field company.")}
    assert states == {
        "field company.Arr": "failed",
        "field company.Employees": "ok",
        "field company.Stage": "ok",
        "field company.Status": "failed",
    }
    assert tenant.calls()["total"] <= 12


async def test_what_could_not_be_tried_for_want_of_calls_says_so(
    client: GainsightClient, definition: Definition, tenant: Tenant
) -> None:
    tenant.set_variant("gone_fields", ["Arr", "Status", "Stage"], object="company")
    plain = other(definition, org_profile=MANY, objects={})
    findings = await check(client, plain, max_calls=9)
    assert tenant.calls()["total"] == 9
    states = [find(findings, f"field company.{name}").state for name in ("Arr", "Employees", "Stage", "Status")]
    assert states == ["failed", "unknown", "failed", "unknown"]
    assert "reading company" in find(findings, "field company.Employees").evidence
    assert "to stay within 9 calls" in find(findings, "reading company").evidence


async def test_an_unmapped_column_is_left_out_as_polls_do(
    client: GainsightClient, definition: Definition, tenant: Tenant
) -> None:
    tenant.set_variant("gone_fields", ["Source"], object="activity_timeline")
    findings = await check(client, definition)
    assert "without Source" in find(findings, "reading activity_timeline").evidence
    assert not any(f.blocks for f in findings)


@pytest.mark.parametrize("code", ["P_5005", "P_5068"])
async def test_mapped_look_ups_that_a_tenant_does_not_take_are_no_matter_of_permissions(
    client: GainsightClient, definition: Definition, tenant: Tenant, code: str
) -> None:
    tenant.set_variant("dotted_select", code)
    changed = {"org_profile": {"arr": "company.Arr", "csm": "company.Csm__gr.Email"}, "objects": {}}
    findings = await check(client, other(definition, **changed))
    assert [f.need for f in findings if f.blocks] == ["field company.Csm__gr.Email"]
    finding = find(findings, "field company.Csm__gr.Email")
    assert "takes no look-ups" in finding.evidence and "takes no look-ups" in finding.ask
    assert not any("read the object" in f.ask for f in findings)
    assert find(findings, "field company.Arr").state == find(findings, "reading company").state == "ok"
    author = {"tags": {"author": "activity.AuthorId__gr.Name"}, "org_profile": {}, "objects": {}}
    findings = await check(client, other(definition, **author), max_calls=30)
    assert [f.need for f in findings if f.blocks] == ["field activity_timeline.AuthorId__gr.Name"]
    assert "takes no look-ups" in find(findings, "field activity_timeline.AuthorId__gr.Name").ask


async def test_a_field_behind_a_look_up_that_only_queries_miss_is_named(
    client: GainsightClient, definition: Definition, tenant: Tenant
) -> None:
    tenant.set_variant("gone_fields", ["LicenseType"], object="gsuser")
    changed = {"org_profile": {"arr": "company.Arr", "csm": "company.Csm__gr.LicenseType"}, "objects": {}}
    findings = await check(client, other(definition, **changed))
    assert "query does not find" in find(findings, "field company.Csm__gr.LicenseType").evidence
    assert [f.need for f in findings if f.blocks] == ["field company.Csm__gr.LicenseType"]


async def test_the_plain_implementation_is_fine_within_the_calls(
    client: GainsightClient, definition: Definition, tenant: Tenant
) -> None:
    apply_profile(tenant, "plain")
    changed = {"org_profile": {"arr": "company.Arr"}, "objects": {}, "tags": {}, "activity_types": ("Email",)}
    findings = await check(client, other(definition, **changed))
    assert {f.need for f in findings if f.state != "ok"} == {
        "object relationship",
        "look-ups from activities",
        "the tenant's clock",
    }
    assert tenant.calls()["total"] == 12


# What fails, by its cause


def states(findings: list[Finding]) -> dict[str, str]:
    return {f.need: f.state for f in findings}


@pytest.fixture
async def oauth(sandbox: Sandbox, tenant: Tenant) -> AsyncIterator[GainsightClient]:
    clock = SystemClock()
    budget = CallBudget(clock, 1.0, per_minute=10_000)
    client = OAuthClient(tenant.client_id, tenant.client_secret, clock)
    async with GainsightClient(HttpTransport(sandbox.url, client, budget, clock, retry_seconds=0)) as opened:
        yield opened


async def test_a_tenant_that_throttles_has_answered(
    client: GainsightClient, definition: Definition, tenant: Tenant
) -> None:
    tenant.set_variant("throttled", True)
    findings = await check(client, definition)
    assert states(findings) == {
        "the host answers": "ok",
        "it takes the key": "unknown",
        "it allows this address": "unknown",
        "allowance of calls": "failed",
    }
    assert [f.ask for f in findings if f.ask] == [findings[-1].ask] and "allowance of API calls" in findings[-1].ask


@pytest.mark.parametrize(
    ("variant", "value", "evidence"),
    [("dropped", "before", "cannot be reached"), ("html_page", 200, "not its API"), ("slow", 1.0, "in time")],
)
async def test_a_host_that_breaks_off_or_shows_a_page_is_in_doubt_and_not_its_address(
    sandbox: Sandbox, definition: Definition, tenant: Tenant, variant: str, value: object, evidence: str
) -> None:
    tenant.set_variant(variant, value)
    clock = SystemClock()
    budget, key = CallBudget(clock, 1.0), AccessKey(tenant.access_key)
    async with GainsightClient(HttpTransport(sandbox.url, key, budget, clock, retry_seconds=0, timeout=0.3)) as client:
        findings = await check(client, definition)
    assert findings[0].state == "failed" and evidence in findings[0].evidence
    assert "available at the moment" in findings[0].ask and "proxy" in findings[0].ask


async def test_an_oauth_client_that_is_refused_is_requested_as_such(
    oauth: GainsightClient, sandbox: Sandbox, definition: Definition, tenant: Tenant
) -> None:
    assert not [f for f in await check(oauth, definition) if f.blocks]
    clock = SystemClock()
    wrong = OAuthClient(tenant.client_id, "wrong", clock)
    async with GainsightClient(
        HttpTransport(sandbox.url, wrong, CallBudget(clock, 1.0), clock, retry_seconds=0)
    ) as client:
        refused = await check(client, definition)
    tenant.set_variant("token_expired", True)
    for findings in (refused, await check(oauth, definition, max_calls=30)):
        finding = find(findings, "it takes the key")
        assert finding.blocks and "OAuth client" in finding.evidence and "OAuth client" in finding.ask
        assert "API access key" not in finding.ask and "rotate-key" not in finding.evidence


async def test_a_description_that_is_forbidden_is_a_matter_of_permissions(
    client: GainsightClient, oauth: GainsightClient, definition: Definition, tenant: Tenant
) -> None:
    tenant.set_variant("failure", {"code": "FORBIDDEN", "status": 403}, endpoint="describe")
    for asking, whose in ((client, "the user who owns the API key"), (oauth, "the OAuth client")):
        findings = await check(asking, definition)
        assert states(findings)["it takes the key"] == states(findings)["it allows this address"] == "ok"
        (finding,) = [f for f in findings if f.blocks]
        assert finding.need == "description of the objects"
        assert finding.ask.startswith(f"Please let {whose} read the objects 'activity_timeline', ")


@pytest.mark.parametrize(
    ("variant", "value", "ask"),
    [
        ("server_error", 500, "Is your Gainsight tenant available at the moment?"),
        ("failure", {"code": "FORBIDDEN", "status": 403}, "Please let the user who owns the API key read the object"),
        ("ip_not_allowed", True, "Please add the addresses"),
        ("unauthorized", "GS_APIG_2401", "Please let the user who owns the API key read the object"),
    ],
)
async def test_one_object_whose_description_fails_is_named_and_the_others_are_checked(
    client: GainsightClient, definition: Definition, tenant: Tenant, variant: str, value: object, ask: str
) -> None:
    tenant.set_variant(variant, value, object="company", endpoint="describe")
    findings = await check(client, definition)
    assert states(findings)["the host answers"] == states(findings)["it takes the key"] == "ok"
    (finding,) = [f for f in findings if f.blocks]
    assert finding.need == "object company" and finding.ask.startswith(ask)
    assert states(findings)["reading activity_timeline"] == "ok"
    assert tenant.calls()["total"] <= 12


async def test_tries_of_a_failing_call_are_within_the_twelve(
    sandbox: Sandbox, definition: Definition, tenant: Tenant
) -> None:
    tenant.set_variant("server_error", 503, every=2)
    clock = SystemClock()
    budget, key = CallBudget(clock, 1.0, per_minute=10_000), AccessKey(tenant.access_key)
    async with GainsightClient(HttpTransport(sandbox.url, key, budget, clock, retry_seconds=5)) as client:
        findings = await check(client, definition)
        assert sum(client.calls.values()) == tenant.calls()["total"] == 12
    assert not [f for f in findings if f.blocks]
    assert [f.need for f in findings if f.state == "unknown"]


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


async def test_a_tenant_that_is_down_differs_from_one_that_refuses(
    client: GainsightClient, definition: Definition, tenant: Tenant
) -> None:
    tenant.set_variant("server_error", 503)
    findings = await check(client, definition)
    assert [f.state for f in findings] == ["failed", "unknown", "unknown"]
    assert "server failed" in findings[0].evidence


@pytest.mark.parametrize(("minutes", "says"), [(0, "zone is UTC"), (-480, "zone of the tenant's own"), (330, "own")])
async def test_a_tenant_with_a_local_zone_is_recognised(
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
    findings = await check(client, other(definition, org_profile={"arr": "company.Arr"}, objects={}))
    assert find(findings, "look-ups from activities").state == "missing"
    assert find(findings, "reading relationship").state == "ok"
    assert tenant.calls()["total"] <= 12


async def test_a_misspelt_activity_type_is_listed_with_those_that_there_are(
    client: GainsightClient, definition: Definition, tenant: Tenant
) -> None:
    findings = await check(client, definition.model_copy(update={"activity_types": ("Email", "Emial")}))
    assert find(findings, "activity type Email").state == "ok"
    finding = find(findings, "activity type Emial")
    assert finding.state == "missing" and "Is 'Email' meant?" in finding.evidence


@pytest.mark.parametrize("name", ["Emails", "e-mail", "Newsletter"])
async def test_a_definition_of_whose_types_the_tenant_has_none_is_refused_with_those_that_there_are(
    client: GainsightClient, definition: Definition, name: str
) -> None:
    findings = await check(client, definition.model_copy(update={"activity_types": (name,)}))
    finding = find(findings, f"activity type {name}")
    assert finding.blocks and "there are: " in finding.evidence and "'Email'" in finding.evidence
    assert ("Is 'Email' meant?" in finding.evidence) == (name != "Newsletter")


async def test_a_type_that_is_only_rare_is_found(
    client: GainsightClient, definition: Definition, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(other_needs, "TYPES_SEEN", 1)
    both = ("Email", "Meeting")
    findings = await check(client, definition.model_copy(update={"activity_types": both}))
    found = {find(findings, f"activity type {name}").evidence for name in both}
    assert found == {"seen of late", "seen, though not of late"}


async def test_a_type_of_a_tenant_without_any_activity_is_no_reason_to_refuse(definition: Definition) -> None:
    with Sandbox(Tenant(seed=4, size=3, limits=Limits(None, None))) as running:
        clock = SystemClock()
        key = AccessKey(running.tenant.access_key)
        transport = HttpTransport(running.url, key, CallBudget(clock, 1.0), clock, retry_seconds=0)
        async with GainsightClient(transport) as opened:
            findings = await check(opened, other(definition, host=running.url, activity_types=["Email"]))
    assert find(findings, "activity type Email").state == "missing"


async def test_a_start_in_the_future_is_said_with_what_to_do(
    client: GainsightClient, definition: Definition, tenant: Tenant
) -> None:
    """By the tenant's clock, which is months behind ours here."""
    ours = datetime.now(UTC)
    findings = await check(client, definition.model_copy(update={"start": ours + timedelta(days=365 * 100)}))
    finding = find(findings, "its start has been reached")
    assert finding.state == "missing" and "ahead of the tenant's clock" in finding.evidence
    assert "correct `start`" in finding.evidence
    findings = await check(client, definition.model_copy(update={"start": ours - timedelta(days=1)}))
    assert "behind ours: it begins at once" in find(findings, "its start has been reached").evidence
    reached = datetime.fromtimestamp(tenant.now() / 1000 - 60, UTC)
    findings = await check(client, definition.model_copy(update={"start": reached}))
    assert not [f for f in findings if f.need == "its start has been reached"]


async def test_without_a_delete_log_it_works_and_says_what_that_means(
    client: GainsightClient, definition: Definition, tenant: Tenant
) -> None:
    tenant.set_variant("delete_log", "missing")
    finding = find(await check(client, definition), "deleted activities are reported")
    assert finding.state == "missing" and "conversations stay" in finding.evidence


async def test_the_allowance_that_the_tenant_reports_is_shown(
    client: GainsightClient, definition: Definition, tenant: Tenant
) -> None:
    assert "not reported" in find(await check(client, definition), "allowance of calls").evidence
    tenant.set_variant("rate_headers", True)
    assert "reported: " in find(await check(client, definition), "allowance of calls").evidence


async def test_a_tenant_whose_clock_is_wrong_is_reported(
    client: GainsightClient, definition: Definition, tenant: Tenant
) -> None:
    ahead = SystemClock().now() - tenant.now()
    finding = find(await check(client, definition), "the tenant's clock")
    assert finding.evidence.startswith(f"{ahead / 86_400_000:.0f} days behind ours")


async def test_the_calls_are_bounded_also_with_many_custom_objects(
    client: GainsightClient, definition: Definition, tenant: Tenant
) -> None:
    changed = definition.model_copy(update={"activity_types": ("Email",)})
    findings = await check(client, changed, max_calls=8)
    assert tenant.calls()["total"] == 8
    assert [f.need for f in findings if f.state == "unknown"] == ["reading contract__gc", "activity types"]


@pytest.mark.parametrize("host", ["https://nobody.invalid", "http://127.0.0.1:1"])
async def test_a_host_that_does_not_answer_comes_before_its_key(host: str) -> None:
    clock = SystemClock()
    definition = parse_yaml(f"id: acme\nhost: {host}")
    async with GainsightClient(
        HttpTransport(host, AccessKey("k"), CallBudget(clock, 1.0), clock, retry_seconds=0)
    ) as client:
        findings = await check(client, definition)
        assert sum(client.calls.values()) == 0, "none has left this machine"
    assert (findings[0].need, findings[0].state) == ("the host answers", "failed")
    assert "https://acme.gainsightcloud.com" in findings[0].ask


@pytest.fixture
def untrusted(tmp_path: Path) -> Iterator[str]:
    """The address of a server whose certificate no authority vouches for."""
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


async def test_an_untrusted_certificate_comes_before_the_key(untrusted: str) -> None:
    clock = SystemClock()
    definition = parse_yaml(f"id: acme\nhost: {untrusted}")
    async with GainsightClient(
        HttpTransport(untrusted, AccessKey("k"), CallBudget(clock, 1.0), clock, retry_seconds=0)
    ) as client:
        findings = await check(client, definition)
    assert [(f.need, f.state) for f in findings] == [
        ("the host answers", "ok"),
        ("its certificate is good", "failed"),
        ("it takes the key", "unknown"),
        ("it allows this address", "unknown"),
    ]
    assert "certificate was refused" in findings[1].evidence and "proxy" in findings[1].ask
