"""Mapping: values of described fields, typed as Frame gets them."""

from __future__ import annotations

from typing import Any

import pytest

from enricher.activity.raw_record import DataError
from enricher.conversation.mapping import picked, profile
from frame_gainsight.connectors import Definition
from frame_gainsight.connectors.definition.paths import parse_path
from frame_gainsight.gainsight import Field, ObjectDescription

FIELDS = {
    "Text": "STRING",
    "Flag": "BOOLEAN",
    "Number": "NUMBER",
    "Money": "CURRENCY",
    "Share": "PERCENTAGE",
    "Day": "DATE",
    "Moment": "DATETIME",
    "Mail": "EMAIL",
    "Any": "JSON",
}
OPTIONS = {"1I01": "Positive", "1I02": "Billing; invoices"}
COMPANY = ObjectDescription(
    "company",
    {n.lower(): Field(n, t) for n, t in FIELDS.items()}
    | {
        "pick": Field("Pick", "PICKLIST", options=OPTIONS),
        "many": Field("Many", "MULTISELECTDROPDOWNLIST", options=OPTIONS),
        "csm": Field("Csm", "LOOKUP", "Csm__gr", ("gsuser",)),
    },
)
GSUSER = ObjectDescription(
    "gsuser", {"stage": Field("Stage", "PICKLIST", options=OPTIONS), "seats": Field("Seats", "NUMBER")}
)
DESCRIBED = {"company": COMPANY, "gsuser": GSUSER}


def mapped(field: str, *values: Any) -> Any:
    path = parse_path(f"company.{field}", ("company",), "here")
    return profile({"x": path}, {"company": [{field: v} for v in values]}, DESCRIBED).get("x", "absent")


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("Text", "Retail", "Retail"),
        ("Mail", "a@x.example", "a@x.example"),
        ("Text", 5, 5),
        ("Flag", True, True),
        ("Flag", False, False),
        ("Flag", "true", True),
        ("Flag", "False", False),
        ("Flag", 1, True),
        ("Flag", 0, False),
        ("Flag", 1.0, True),
        ("Flag", "1", True),
        ("Flag", " No ", False),
        ("Number", 0, 0),
        ("Number", "12", 12),
        ("Number", "-1.5", -1.5),
        ("Money", 48000.5, 48000.5),
        ("Share", "1e3", 1000.0),
        ("Number", 2**63 - 1, 2**63 - 1),
        ("Number", 2**63, float(2**63)),
        ("Number", "1" + "0" * 30, 1e30),
        ("Day", 1790726400000, "2026-09-30"),
        ("Day", "2026-09-30", "2026-09-30"),
        ("Moment", "2026-03-02T09:41:00+0000", "2026-03-02T09:41:00Z"),
        ("Moment", 1772445737001, "2026-03-02T10:02:17.001Z"),
        ("Pick", "1I01", "Positive"),
        ("Pick", "Positive", "Positive"),
        ("Pick", "1I99", "1I99"),
        ("Many", ["1I01", "1I02"], "Positive; Billing; invoices"),
        ("Many", "1I01;1I02", "Positive; Billing; invoices"),
        ("Many", "1I02", "Billing; invoices"),
        ("Many", ["1I01", None, " ", "a"], "Positive; a"),
        ("Many", ";1I01; ;", "Positive"),
        ("Any", ["a", 1], "a; 1"),
        ("Any", [None, "a", True, ""], "a; true"),
        ("Csm__gr.Stage", "1I01", "Positive"),
        ("Csm__gr.Seats", "7", 7),
        ("Undescribed", "as it is", "as it is"),
        ("Text", None, "absent"),
        ("Text", "", "absent"),
        ("Flag", "", "absent"),
        ("Flag", " ", "absent"),
        ("Flag", None, "absent"),
        ("Many", [], "absent"),
        ("Many", [None], "absent"),
        ("Many", [None, "", " "], "absent"),
        ("Many", ";", "absent"),
        ("Many", " ", "absent"),
        ("Pick", " ", "absent"),
        ("Any", [None], "absent"),
        ("Number", None, "absent"),
        ("Day", "", "absent"),
    ],
)
def test_values(field: str, value: Any, expected: Any) -> None:
    found = mapped(field, value)
    assert found == expected
    assert type(found) is type(expected)


def test_no_row_is_no_value() -> None:
    assert mapped("Text") == "absent"
    path = parse_path("company.Text", ("company",), "here")
    assert profile({"x": path}, {}, {}) == {}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("Number", "many"),
        ("Money", "12,000"),
        ("Number", "1_000"),
        ("Number", "nan"),
        ("Number", "Infinity"),
        ("Number", "1e999"),
        ("Number", "9" * 400),
        ("Number", "9" * 5000),
        ("Flag", "maybe"),
        ("Flag", 2),
        ("Flag", [True]),
        ("Day", "tomorrow"),
        ("Moment", True),
        ("Csm__gr.Seats", "?"),
    ],
)
def test_a_wrong_value_is_a_data_error_that_names_the_path(field: str, value: Any) -> None:
    with pytest.raises(DataError, match=f"company.{field}"):
        mapped(field, value)


def test_several_rows_join_what_differs() -> None:
    assert mapped("Text", "b", "a", "b", None) == "b; a"
    assert mapped("Number", 1, 2) == "1; 2"
    assert mapped("Flag", True, False) == "true; false"


def test_the_mapping_s_order_is_kept_whatever_the_case_of_the_rows_keys() -> None:
    paths = {n: parse_path(f"company.{f}", ("company",), "") for n, f in (("z", "Text"), ("a", "Number"))}
    found = profile(paths, {"company": [{"NUMBER": 1, "text": "t"}]}, DESCRIBED)
    assert list(found.items()) == [("z", "t"), ("a", 1)]


ROWS = [
    {"Gsid": "C", "ModifiedDate": "2026-01-01T00:00:00Z"},
    {"Gsid": "A", "ModifiedDate": 1767225600001},
    {"Gsid": "B", "ModifiedDate": None},
]


@pytest.mark.parametrize(("pick", "expected"), [("latest", ["A"]), ("first", ["A"]), ("all", ["A", "B", "C"])])
def test_picking(pick: str, expected: list[str]) -> None:
    objects = {"c__gc": {"join": {"X__gc": "company"}, "pick": pick}}
    definition = Definition.model_validate({"id": "a", "host": "https://x.example", "objects": objects})
    for rows in (ROWS, ROWS[::-1]):
        assert [r["Gsid"] for r in picked(definition, "c__gc", rows)] == expected
    assert picked(definition, "c__gc", []) == []


def test_the_latest_is_by_date_not_by_gsid_and_needs_one_that_reads() -> None:
    objects = {"c__gc": {"join": {"X__gc": "company"}}}
    definition = Definition.model_validate({"id": "a", "host": "https://x.example", "objects": objects})
    assert picked(definition, "c__gc", [ROWS[0], ROWS[2]])[0]["Gsid"] == "C"
    with pytest.raises(DataError, match="ModifiedDate"):
        picked(definition, "c__gc", [{"Gsid": "A", "ModifiedDate": "?"}, ROWS[0]])
