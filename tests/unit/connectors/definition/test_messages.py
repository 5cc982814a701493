"""Faults of a definition: each with its place and the way out, all in one error, and no password in it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from frame_gainsight.connectors import DefinitionError, parse_yaml
from frame_gainsight.connectors.definition.messages import MAX_FAULTS
from frame_gainsight.connectors.definition.model import MAX_FIELDS

BASE: dict[str, Any] = {"id": "acme", "host": "https://acme.gainsightcloud.com"}


def fault(text: str) -> str:
    with pytest.raises(DefinitionError) as caught:
        parse_yaml(text, "acme.yaml")
    return str(caught.value)


def fault_of(**more: Any) -> str:
    return fault(yaml.safe_dump(BASE | more))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"peroid": "5m"}, "peroid: unknown; did you mean 'period'?"),
        ({"colour": 1}, "colour: unknown; known: id, host, period"),
        ({"objects": {"c__gc": {"joint": {"A": "company"}}}}, "objects.c__gc.joint: unknown; did you mean 'join'?"),
        ({"objects": {"c__gc": {"join": {"A": "company"}, "zz": 1}}}, "objects.c__gc.zz: unknown; known: join, pick"),
        ({"period": "1.5h"}, "period: '1.5h' is not a duration; write a number and a unit: 30s, 10m, 1h or 1d"),
        ({"period": "10"}, "period: '10' is not a duration"),
        ({"period": "0s"}, "period: "),
        ({"period": "2d"}, "period: "),
        ({"period": True}, "period: yes and no, on and off are not numbers"),
        ({"overlap": "-5m"}, "overlap: '-5m' is not a duration; write a duration such as 10m, or auto"),
        ({"overlap": "automatic"}, "overlap: 'automatic' is not a duration; write a duration such as 10m, or auto"),
        ({"overlap": True}, "overlap: yes and no"),
        ({"overlap": [1]}, "overlap: write a duration such as 10m, or auto"),
        ({"overlap": 1.5}, "overlap: write a duration such as 10m, or auto"),
        ({"overlap": None}, "overlap: write a duration such as 10m, or auto"),
        ({"overlap": -1}, "overlap: it must be between 0s and 7d"),
        ({"overlap": "8d"}, "overlap: it must be between 0s and 7d"),
        ({"calls_per_minute": 0}, "calls_per_minute: "),
        ({"calls_per_minute": 10_001}, "calls_per_minute: "),
        ({"calls_per_minute": True}, "calls_per_minute: yes and no"),
        ({"calls_per_minute": 1.5}, "calls_per_minute: "),
        ({"calls_per_day": 0}, "calls_per_day: "),
        ({"calls_per_day": 10_000_001}, "calls_per_day: "),
        ({"api_share": 0}, "api_share: "),
        ({"api_share": 1.5}, "api_share: "),
        ({"api_share": True}, "api_share: yes and no"),
        ({"id": "Acme"}, "id: "),
        ({"id": "a" * 65}, "id: "),
        ({"id": ""}, "id: "),
        ({"id": "a/b"}, "id: "),
        ({"id": 5}, "id: "),
        (
            {"id": "-"},
            "id: write lower-case letters, digits and hyphens, 64 at most, beginning with a letter or a digit",
        ),
        ({"id": "--purge"}, "id: "),
        ({"id": "acme\n"}, "id: "),
        ({"start": "2026-11-01T00:00:00"}, "start: "),
        ({"start": "soon"}, "start: "),
        ({"activity_types": "Email"}, "activity_types: "),
        ({"activity_types": [""]}, "activity_types.0: is empty; leave activity_types out to take all types"),
        ({"activity_types": ["Email", " "]}, "activity_types.1: is empty"),
        ({"host": "http://acme.gainsightcloud.com"}, "host: the API key would travel readable over http; write https"),
        ({"host": "http://127.0.0.1.evil.example"}, "host: the API key would travel readable"),
        ({"host": "http://0.0.0.0"}, "host: the API key would travel readable"),
        ({"host": "acme.gainsightcloud.com"}, "write it as https://tenant.gainsightcloud.com"),
        ({"host": "ftp://acme.example"}, "write it as https://tenant.gainsightcloud.com"),
        ({"host": "https://"}, "write it as https://tenant.gainsightcloud.com"),
        ({"host": "https://ac me.example"}, "write it as https://tenant.gainsightcloud.com"),
        ({"host": "https://acme.example\\@evil.example"}, "host: "),
        ({"host": "https://[::1"}, "write it as https://tenant.gainsightcloud.com"),
        ({"host": "https://a.example:port"}, "has a port that is not a number"),
        ({"host": "https://a.example/v1"}, "without a path"),
        ({"host": "https://a.example?x=1"}, "without a path"),
        ({"host": "https://user:pw@a.example"}, "write only the tenant's address"),
        ({"host": "https://:pw@a.example"}, "write only the tenant's address"),
        ({"user_profile": {"n": "company.Name"}}, "user_profile.n: 'company.Name' begins with 'company'"),
        ({"org_profile": {"n": "Company.Name"}}, "one of: company, relationship. Write it as 'company'."),
        ({"org_profile": {"n": "company.Csm__GR.Email"}}, "look-ups end in '__gr'"),
        ({"org_profile": {"n": "other__gc.X"}}, "A custom object must be named under 'objects' first"),
        ({"org_profile": {"n": "company.Csm.Email"}}, "look-ups end in '__gr'"),
        ({"tags": {"n": "person.Email"}}, "tags.n: "),
        ({"tags": {"bad name!": "activity.X"}}, "tags.bad name!: "),
        ({"objects": {"company": {"join": {"A": "company"}}}}, "'company' is always there"),
        ({"objects": {"Person": {"join": {"A": "company"}}}}, "'Person' is always there"),
        ({"objects": {"x/../y": {"join": {"A": "company"}}}}, "objects.x/../y: "),
        ({"objects": {"c__gc": {"join": {"A b": "company"}}}}, "objects.c__gc.join.A b: "),
        ({"objects": {"c__gc": {"join": {"A": "person"}}}}, "objects.c__gc.join.A: "),
        ({"objects": {"c__gc": {"join": {}}}}, "objects.c__gc.join: "),
        ({"objects": {"c__gc": {"join": {"A": "company", "B": "company"}}}}, "objects.c__gc.join: "),
        ({"objects": {"c__gc": {"join": {"A": "company"}, "pick": "last"}}}, "objects.c__gc.pick: "),
    ],
    ids=str,
)
def test_a_fault_names_its_place_and_the_way_out(given: dict[str, Any], words: str) -> None:
    text = fault_of(**given)
    assert text.startswith("acme.yaml is not valid:\n")
    assert words in text
    assert "pydantic" not in text and "http://errors" not in text


def test_every_fault_is_in_one_error() -> None:
    text = fault("period: soon\noverlp: 5m")
    assert "id: is missing" in text and "host: is missing" in text
    assert "period: 'soon'" in text and "did you mean 'overlap'?" in text


def test_faulty_paths_are_in_it_whatever_else_is_wrong() -> None:
    text = fault_of(
        period="soon",
        objects={"c__gc": {"join": {"A": "company"}, "pick": "last"}},
        user_profile={"a": "company.Name", "b": 5},
        org_profile={"c": "company", "bad name!": "company.Name", "fine": "c__gc.Value", "d": "other__gc.X"},
        tags={"e": "person.Email"},
    )
    wrong = ("period", "objects.c__gc.pick", "user_profile.a", "user_profile.b", "org_profile.c", "org_profile.d")
    for place in (*wrong, "org_profile.bad name!", "tags.e"):
        assert text.count(f"\n  {place}: ") == 1, place
    assert "org_profile.fine" not in text
    assert "\n  user_profile.a: 'company.Name' begins with" in fault_of(user_profile={"a": "company.Name"})


def test_a_custom_object_is_only_advised_where_one_can_stand() -> None:
    assert "under 'objects'" not in fault_of(user_profile={"n": "contract__gc.Value__gc"})
    assert "under 'objects'" in fault_of(tags={"n": "contract__gc.Value__gc"})


@pytest.mark.parametrize(
    "host",
    ["https://u:SECRETPW@a.example", "https://u:SECRETPW@a.example:port", "https:/u:SECRETPW@a", "u:SECRETPW@a b"],
)
def test_a_password_in_an_address_is_never_quoted(host: str) -> None:
    assert "SECRETPW" not in fault_of(host=host)
    assert "without a user or a password" in fault_of(host=host)


def test_a_mapping_is_bounded_and_so_is_the_list_of_faults() -> None:
    fields = {f"f{number}": "company.Name" for number in range(MAX_FIELDS)}
    assert len(parse_yaml(yaml.safe_dump(BASE | {"org_profile": fields})).org_profile) == MAX_FIELDS
    assert "has 501 fields and objects in all; 500 are the most" in fault_of(
        org_profile=fields, tags={"a": "company.X"}
    )
    text = fault_of(**{f"unknown{number}": 1 for number in range(60)})
    assert text.count("\n") == MAX_FAULTS + 1 == 51 and text.endswith("and 10 more")
