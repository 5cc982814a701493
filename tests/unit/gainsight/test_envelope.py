"""Rows out of every documented shape of a reply."""

from __future__ import annotations

from typing import Any

import pytest

from frame_gainsight.gainsight import TransientError, parse_flag, value_of
from frame_gainsight.gainsight.envelope import normalised, rows_of

ROW = {"Gsid": "1"}


@pytest.mark.parametrize(
    "data", [[ROW], {"records": [ROW]}, {"records": [ROW], "total": 1}], ids=["list", "records", "more"]
)
def test_rows_come_as_a_list_or_as_records(data: Any) -> None:
    assert rows_of({"result": True, "data": data}, "company") == [ROW]


@pytest.mark.parametrize("body", [{"data": None}, {}, {"data": []}, {"data": {}}, {"data": {"records": None}}], ids=str)
def test_every_form_of_no_data_is_no_rows(body: Any) -> None:
    assert rows_of(body, "company") == []


@pytest.mark.parametrize("data", ["text", 5, [1], [ROW, None], {"records": "x"}, {"records": [[]]}], ids=str)
def test_data_of_another_shape_is_a_broken_reply_that_names_its_object(data: Any) -> None:
    with pytest.raises(TransientError, match="company"):
        rows_of({"data": data}, "company")


def test_a_value_is_found_whatever_the_case_of_its_key() -> None:
    row = {"csm__gr.email": "a", "CSM": None}
    assert value_of(row, "Csm__gr.Email") == "a"
    assert value_of(row, "Csm") is None
    assert value_of(row, "Arr") is None


def test_the_exact_key_wins_over_another_case() -> None:
    assert value_of({"ARR": 1, "Arr": 2}, "Arr") == 2


def test_keys_are_spelled_as_requested_and_others_kept() -> None:
    assert normalised({"GSID": "1", "extra": 2}, ["Gsid", "Name"]) == {"Gsid": "1", "extra": 2}


@pytest.mark.parametrize(
    ("flag", "forms"),
    [
        (True, [True, 1, 1.0, "1", "true", "TRUE", " True ", "yes"]),
        (False, [False, 0, 0.0, "0", "false", "False", "no"]),
        (None, [None, "", " ", "maybe", 2, -1, 10**5000, float("nan"), [], [True], {}]),
    ],
)
def test_a_boolean_in_every_form(flag: bool | None, forms: list[Any]) -> None:
    for form in forms:
        assert parse_flag(form) is flag
