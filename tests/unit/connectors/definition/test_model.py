"""A connector's definition: the design's example, its defaults, its stored form and its mapping's version."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from frame_gainsight.connectors import CustomObject, Definition, DefinitionError, parse_canonical, parse_yaml

EXAMPLE = """
id: acme                                  # [a-z0-9][a-z0-9-]{0,63}
host: https://acme.gainsightcloud.com     # http only towards a loopback address
period: 10m                               # down to 1s (tests)
overlap: 10m
deletions_every: 1h                       # how often deletions are looked for
start: 2026-11-01T00:00:00Z               # where processing starts; default: now; in the past = backfill
activity_types: [Email]                   # TypeName values; left out = all
api_share: 0.5                            # of the tenant's allowance
objects:                                  # custom objects beside person, company, relationship
  contract__gc: {join: {Company_ID__gc: company}, pick: latest}
user_profile:                             # Frame's field: Gainsight path
  first_name: person.FirstName
  title: company_person.Title
org_profile:
  arr: company.Arr
  csm_email: company.Csm__gr.Email
  contract_value: contract__gc.Value__gc
tags:
  industry: company.Industry
  sentiment: activity.Ant__Sentiment__c   # picklist ids become labels
"""
BASE: dict[str, Any] = {"id": "acme", "host": "https://acme.gainsightcloud.com"}


def parse(**more: Any) -> Definition:
    return parse_yaml(yaml.safe_dump(BASE | more))


def test_the_design_s_example_reads_exactly() -> None:
    assert parse_yaml(EXAMPLE) == Definition(
        id="acme",
        host="https://acme.gainsightcloud.com",
        period=600,
        overlap=600,
        deletions_every=3600,
        start=datetime(2026, 11, 1, tzinfo=UTC),
        activity_types=("Email",),
        api_share=0.5,
        objects={"contract__gc": CustomObject(join={"Company_ID__gc": "company"}, pick="latest")},
        user_profile={"first_name": "person.FirstName", "title": "company_person.Title"},
        org_profile={
            "arr": "company.Arr",
            "csm_email": "company.Csm__gr.Email",
            "contract_value": "contract__gc.Value__gc",
        },
        tags={"industry": "company.Industry", "sentiment": "activity.Ant__Sentiment__c"},
    )


def test_what_is_left_out_has_the_design_s_defaults() -> None:
    definition = parse()
    assert (definition.period, definition.overlap, definition.deletions_every) == (600, 600, 3600)
    assert (definition.api_share, definition.start, definition.activity_types) == (0.5, None, ())


def test_what_is_fetched_follows_from_the_mapping() -> None:
    definition = parse_yaml(EXAMPLE)
    assert definition.columns_of("company") == ["Arr", "Csm__gr.Email", "Industry"]
    assert definition.columns_of("contract__gc") == ["Value__gc"]
    assert definition.columns_of("activity") == ["Ant__Sentiment__c"]
    assert definition.columns_of("relationship") == []
    assert definition.objects["contract__gc"].join_field == "Company_ID__gc"
    assert definition.objects["contract__gc"].joined_to == "company"


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("1s", 1), ("90s", 90), ("10m", 600), ("10 m", 600), ("1h", 3600), ("1d", 86_400), (30, 30)],
)
def test_durations(written: Any, seconds: int) -> None:
    assert parse(period=written).period == seconds


@pytest.mark.parametrize(
    "host",
    [
        "https://acme.us2.gainsightcloud.com",
        "https://success.acme.com:8443",
        "http://127.0.0.1:8080",
        "http://127.1.2.3",
        "http://localhost:1",
        "http://[::1]:8080",
    ],
)
def test_hosts(host: str) -> None:
    assert parse(host=host).host == host
    assert parse(host=f"{host}/").host == host


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("https://g\u0430insightcloud.com", "xn--ginsightcloud-w1k.com"),
        ("https://acme.gainsightcl\u00f6ud.com", "xn--gainsightclud-smb.com"),
        ("https://" + "a" * 64 + ".com", "63 characters"),
        ("https://acme..com", "63 characters"),
        ("https://xn--99999999999.com", "not a host name"),
        ("https://1.2.3.4.5", "neither a name nor an address"),
    ],
)
def test_hosts_that_are_no_names_or_look_like_others_are_refused(host: str, words: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        parse(host=host)
    assert words in str(caught.value)


def test_a_host_of_another_script_is_shown_in_punycode() -> None:
    assert parse(host="https://erfolg.m\u00fcller.de").host == "https://erfolg.xn--mller-kva.de"
    assert parse(host="https://erfolg.M\u00dcLLER.de:8443").host == "https://erfolg.xn--mller-kva.de:8443"


def test_a_stored_host_that_a_new_definition_may_not_have_still_reads() -> None:
    """Its key was encrypted for it, and its polls say what is wrong."""
    host = "https://g\u0430insightcloud.com"
    stored = parse().canonical().replace("https://acme.gainsightcloud.com", host)
    assert parse_canonical(stored).host == host


# ---- start, canonical form, mapping version -----------------------------------------------------------------------


def test_start_is_filled_in_where_it_was_left_out_in_whole_seconds() -> None:
    definition = parse(tags={"a": "activity.X"})
    started = definition.started(1_772_445_600_999)
    assert started.start == datetime(2026, 3, 2, 10, tzinfo=UTC)
    assert started.mapping_version == definition.mapping_version
    assert definition.start is None
    assert started.started(0) == started


NAME = st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_]{0,10}\Z")
FIELD = st.from_regex(r"\A[A-Z][A-Za-z0-9]{0,8}(__gc)?\Z")


def mapping(*roots: str) -> st.SearchStrategy[dict[str, str]]:
    return st.dictionaries(NAME, st.builds(lambda r, f: f"{r}.{f}", st.sampled_from(roots), FIELD), max_size=3)


DEFINITIONS = st.builds(
    Definition,
    id=st.from_regex(r"\A[a-z0-9][a-z0-9-]{0,63}\Z"),
    host=st.just("https://acme.gainsightcloud.com"),
    period=st.integers(1, 86_400),
    overlap=st.integers(0, 604_800) | st.just("auto"),
    deletions_every=st.integers(1, 604_800),
    start=st.none() | st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
    activity_types=st.lists(st.text(max_size=8).filter(str.strip), max_size=2).map(tuple),
    api_share=st.floats(0.001, 1),
    calls_per_minute=st.integers(1, 10_000),
    calls_per_day=st.integers(1, 10_000_000),
    objects=st.just({"c__gc": {"join": {"Company__gc": "company"}}}) | st.just({}),
    user_profile=mapping("person", "company_person", "gsuser"),
    org_profile=mapping("company", "relationship"),
    tags=mapping("activity", "company"),
)


@given(DEFINITIONS)
def test_the_canonical_form_is_read_back_and_is_the_same_again(definition: Definition) -> None:
    again = parse_canonical(definition.canonical())
    assert again == definition
    assert again.canonical() == definition.canonical()
    assert again.mapping_version == definition.mapping_version


@pytest.mark.parametrize(
    ("written", "stored", "fixed"),
    [("auto", "auto", None), (" AUTO ", "auto", None), ("10m", 600, 600), (0, 0, 0), ("7d", 604_800, 604_800)],
)
def test_an_overlap_is_a_duration_or_follows_the_measurement(written: Any, stored: Any, fixed: int | None) -> None:
    definition = parse(overlap=written)
    assert (definition.overlap, definition.fixed_overlap) == (stored, fixed)
    assert parse_canonical(definition.canonical()) == definition


def test_a_definition_stored_before_the_tenant_s_allowance_was_a_field_still_reads() -> None:
    stored = (
        '{"id":"acme","host":"https://acme.gainsightcloud.com","period":600,"overlap":600,"deletions_every":3600,'
        '"start":"2026-11-01T00:00:00Z","activity_types":["Email"],"api_share":0.5,"objects":{},"user_profile":{},'
        '"org_profile":{},"tags":{"industry":"company.Industry"}}'
    )
    definition = parse_canonical(stored)
    assert (definition.calls_per_minute, definition.calls_per_day, definition.fixed_overlap) == (100, 50_000, 600)
    assert definition.mapping_version == parse(tags={"industry": "company.Industry"}).mapping_version
    assert definition.mapping_version == "1a562f0a88c1d949"


@pytest.mark.parametrize("id_", ["-", "--purge"])
def test_an_id_from_before_it_had_to_begin_with_a_letter_or_a_digit_still_reads(id_: str) -> None:
    stored = parse().model_copy(update={"id": id_}).canonical()
    assert parse_canonical(stored).id == id_
    with pytest.raises(DefinitionError, match="id: write lower-case"):
        parse_canonical(stored.replace(f'"{id_}"', '"-/"'))


def test_a_stored_definition_that_does_not_read_is_refused() -> None:
    for text in ("", "{}", "[]", '{"id": "a"}', '{"id": "a", "host": "x", "zz": 1}'):
        with pytest.raises(DefinitionError, match="the stored definition is not valid"):
            parse_canonical(text)


@pytest.mark.parametrize(
    "change",
    [
        {"tags": {}},
        {"tags": {"industry": "company.Industry", "other": "activity.Ant__Sentiment__c"}},
        {"tags": {"sentiment": "activity.Ant__Sentiment__c", "industry": "company.Industry"}},  # the order of tags
        {"user_profile": {"first_name": "person.FirstName", "title": "company_person.Role"}},
        {"org_profile": {"arr": "company.Arr"}},
        {"objects": {"contract__gc": {"join": {"Company_ID__gc": "company"}, "pick": "all"}}},
        {"objects": {"contract__gc": {"join": {"Company_ID__gc": "relationship"}}}},
    ],
    ids=str,
)
def test_the_mapping_s_version_changes_with_the_mapping(change: dict[str, Any]) -> None:
    example = yaml.safe_load(EXAMPLE)
    assert parse_yaml(yaml.safe_dump(example | change, sort_keys=False)).mapping_version != version()


@pytest.mark.parametrize(
    "change",
    [
        {"id": "other"},
        {"host": "https://other.example"},
        {"period": "1h"},
        {"overlap": "1h"},
        {"overlap": "auto"},
        {"calls_per_minute": 30},
        {"calls_per_day": 9},
        {"deletions_every": "1d"},
        {"start": "2020-01-01T00:00:00Z"},
        {"activity_types": []},
        {"api_share": 0.1},
        {"objects": {"contract__gc": {"join": {"Company_ID__gc": "company"}}}},  # pick: latest is the default
    ],
    ids=str,
)
def test_and_with_nothing_else(change: dict[str, Any]) -> None:
    example = yaml.safe_load(EXAMPLE)
    assert parse_yaml(yaml.safe_dump(example | change, sort_keys=False)).mapping_version == version()


def version() -> str:
    return parse_yaml(EXAMPLE).mapping_version
