"""The error table: every documented code has the right class of failure, whatever wraps it."""

from __future__ import annotations

from typing import Any

import pytest

from frame_gainsight.gainsight import (
    BadKeyError,
    ConfigError,
    GainsightError,
    RefusedQueryError,
    ThrottledError,
    TransientError,
    UnknownFieldError,
    UnknownObjectError,
)
from frame_gainsight.gainsight.errors import RULES, Action, code_of, error_for, is_empty_result, rule_for
from frame_gainsight.runtime import Failure, cause_of

DATA_CODES = [f"GSOBJ_{n}" for n in (1001, 1002, 1004, 1005, 1006, 1007, 1008, 1009, 1010, 1012, *range(1013, 1024))]
PEOPLE = ["GSOBJ_PEOPLE1001", "GSOBJ_VQP1001", "GSOBJ_VDTX1001", "GSOBJ_VCRUDR1001", "GSOBJ_VCRUDR1002"]
USERS = ["GU_2401", "GU_2402", "GU_2403", "GU_2409", "GU_2410", "GU_2411"]

# Gainsight API reference, 5.3; a status in doubt is tried as 200 and 400 (and 500 for the query parser's own codes).
TABLE: list[tuple[int, str | None, type[GainsightError]]] = [
    *((status, "GS_APIG_2401", BadKeyError) for status in (200, 400, 401, 403)),
    *((status, "GS_APIG_2402", ConfigError) for status in (200, 400, 401, 403)),
    *((status, "GS_APIG_2404", ThrottledError) for status in (200, 400, 429, 503)),
    (404, "GS_APIG_1000", ConfigError),
    *((status, code, RefusedQueryError) for status in (200, 400) for code in DATA_CODES),
    (500, "GSOBJ_1003", TransientError),
    *((status, "GSOBJ_1024", BadKeyError) for status in (200, 400, 401)),
    *((status, "OBJECT_NOT_FOUND", UnknownObjectError) for status in (200, 400, 404)),
    *((status, "P_5005", UnknownFieldError) for status in (200, 400, 500)),
    *((status, "P_5068", RefusedQueryError) for status in (200, 400, 500)),
    *((status, "P_5026", RefusedQueryError) for status in (200, 400, 500)),
    *((400, code, RefusedQueryError) for code in (*PEOPLE, *USERS, "GSOBJ_ESS_9104", "GSOBJ_ESS_9150", "COCKPIT_5101")),
    (500, "GU_1101", TransientError),
    (429, "GU_2400", ThrottledError),
    # no code at all, or one that nobody has seen
    (429, None, ThrottledError),
    (401, None, BadKeyError),
    (402, None, RefusedQueryError),
    (403, None, ConfigError),
    (404, None, ConfigError),
    *((status, None, ConfigError) for status in (301, 302, 303, 307, 308)),
    *((status, None, RefusedQueryError) for status in (400, 413, 414, 422)),
    *((status, None, TransientError) for status in (408, 500, 502, 503, 504, 599)),
    (200, "NEVER_SEEN", TransientError),
    (200, None, TransientError),
    (100, None, TransientError),
]


@pytest.mark.parametrize(("status", "code", "expected"), TABLE)
def test_a_failing_reply_has_its_class(status: int, code: str | None, expected: type[GainsightError]) -> None:
    body = {"result": False, "errorCode": code, "errorDesc": "text"}
    error = error_for(rule_for(status, code), "company", status, body)
    assert type(error) is expected
    assert (error.code, error.status) == (code, status)
    assert "company" in str(error)
    retried = rule_for(status, code).action in (Action.RETRY, Action.THROTTLED)
    assert retried == isinstance(error, TransientError) == (error.failure is Failure.TRANSIENT)


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("code", ["GSOBJ_1011", "GSOBJ_1XXX"])
def test_no_match_is_no_failure(status: int, code: str) -> None:
    assert rule_for(status, code).action is Action.EMPTY


def test_every_line_of_the_table_is_the_first_that_matches_something() -> None:
    """A line behind a wider one would never speak."""
    statuses = [100, 200, 204, 301, 400, 401, 403, 404, 408, 413, 418, 429, 500]
    codes = [None, "X", *(rule.code for rule in RULES if rule.code)]
    assert {id(rule_for(s, c)) for s in statuses for c in codes} >= {id(rule) for rule in RULES}


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (401, "GS_APIG_2401", "Ask the Gainsight admin for the current key"),
        (403, "GS_APIG_2402", "add Frame's addresses to the API allowlist"),
        (302, None, "Set the connector's host to the tenant's own address"),
        (404, None, "Check the connector's host"),
        (400, "OBJECT_NOT_FOUND", "Correct its name, or ask the Gainsight admin"),
        (400, "P_5068", "Correct the mapping's path"),
        (400, "GSOBJ_1005", "Correct the mapping"),
    ],
)
def test_the_text_says_who_must_do_what(status: int, code: str | None, words: str) -> None:
    assert words in str(error_for(rule_for(status, code), "person", status, {"errorCode": code}))


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("Column t1.Sentiment does not exist", "Sentiment"),
        ("<Column t1.X__gc does not exist>", "X__gc"),
        ("column Csm__gr.Mail does not exist", "Mail"),
        ("something else", None),
        (None, None),
    ],
)
def test_an_unknown_field_is_named_when_the_tenant_names_it(text: str | None, field: str | None) -> None:
    error = error_for(rule_for(400, "P_5005"), "company", 400, {"errorCode": "P_5005", "errorDesc": text})
    assert isinstance(error, UnknownFieldError)
    assert (error.object_name, error.field) == ("company", field)
    assert f"'{field or '?'}' on company" in str(error)


def test_a_description_is_never_repeated_since_it_can_quote_records() -> None:
    for status, code, _ in TABLE:
        body = {
            "errorCode": code,
            "errorDesc": "dana.osei@northwind.example",
            "message": "dana.osei@x",
            "detail": "dana",
        }
        assert "dana" not in str(error_for(rule_for(status, code), "person", status, body))


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"errorCode": "P_5005"}, "P_5005"),
        ({"title": "OBJECT_NOT_FOUND", "errorDesc": "Requested object not found."}, "OBJECT_NOT_FOUND"),
        ({"errorCode": 2404}, "2404"),
        ({"errorCode": None}, None),
        ({"errorCode": "INVALID_KEY 3f2b1c9a-0000-the-key"}, None),
        ({"title": "accessKey: 3f2b1c9a"}, None),
        ({"errorCode": "x" * 33}, None),
        ({}, None),
        ([], None),
        (None, None),
        ("text", None),
    ],
    ids=str,
)
def test_a_code_stands_in_error_code_or_title(body: Any, code: str | None) -> None:
    assert code_of(body) == code


@pytest.mark.parametrize(
    ("body", "empty"),
    [
        ({"errorDesc": "No data found for given criteria"}, True),
        ({"message": "NO DATA FOUND"}, True),
        ({"localizedErrorDesc": "no data found"}, True),
        ({"errorDesc": "No such thing"}, False),
        ({"errorDesc": None}, False),
        (None, False),
        ([], False),
    ],
    ids=str,
)
def test_no_data_found_is_recognised_by_its_words(body: Any, empty: bool) -> None:
    assert is_empty_result(body) is empty


def test_a_refused_key_s_cause_has_the_command_for_that_connector() -> None:
    error = error_for(rule_for(401, "GS_APIG_2401"), "company", 401, None)
    assert "rotate-key" not in str(error)
    assert cause_of(error, "acme") == f"{error} Then store it: frame-gainsight connector rotate-key acme"
    other = error_for(rule_for(503, None), "company", 503, None)
    assert cause_of(other, "acme") == str(other)
