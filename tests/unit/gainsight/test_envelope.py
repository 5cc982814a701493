"""Rows out of every documented shape of a reply."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from frame_gainsight.gainsight import TransientError, UnreadableRow, parse_flag, value_of
from frame_gainsight.gainsight.envelope import normalised, rows_of

ROW = {"Gsid": "1"}


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


@pytest.mark.parametrize(
    "data", [[ROW], {"records": [ROW]}, {"records": [ROW], "total": 1}], ids=["list", "records", "more"]
)
def test_rows_come_as_a_list_or_as_records(data: Any) -> None:
    assert rows_of({"result": True, "data": data}, "company") == [ROW]


@pytest.mark.parametrize("body", [{"data": None}, {}, {"data": []}, {"data": {}}, {"data": {"records": None}}], ids=str)
def test_every_form_of_no_data_is_no_rows(body: Any) -> None:
    assert rows_of(body, "company") == []


@pytest.mark.parametrize("data", ["text", 5, True, {"records": "x"}, {"records": {"1": ROW}}], ids=str)
def test_data_of_another_shape_is_a_broken_reply_that_names_its_object(data: Any) -> None:
    with pytest.raises(TransientError, match="company"):
        rows_of({"data": data}, "company")


@pytest.mark.parametrize(
    ("item", "cause"),
    [
        (None, "no row but null"),
        (7, "no row but a number"),
        (True, "no row but true or false"),
        ("text", "no row but a text"),
        ([ROW], "no row but a list"),
        (nested(5000), "no row but a list"),
        (ROW | {"Deep": nested(101)}, "of 1 cannot be read: Deep is nested more than 100 deep"),
        ({"Deep": nested(5000), "Deeper": {"a": nested(5000)}}, "The row cannot be read: Deep, Deeper"),
    ],
)
def test_an_item_that_is_no_row_costs_that_item_and_can_be_written(item: Any, cause: str) -> None:
    first, second, third = rows_of({"data": {"records": [ROW, item, ROW]}}, "company")
    assert first == third == ROW and not isinstance(first, UnreadableRow)
    assert isinstance(second, UnreadableRow) and cause in second.cause
    assert value_of(second, "Gsid") is None
    assert orjson.loads(orjson.dumps(second)) == {"unreadable": second["unreadable"]}
    assert normalised(second, ["Gsid"]) is second


def test_a_row_nested_a_hundred_deep_is_a_row() -> None:
    row = ROW | {"Deep": nested(100)}
    assert rows_of({"data": [row]}, "company") == [row]
    assert not isinstance(rows_of({"data": [row]}, "company")[0], UnreadableRow)


def test_twice_the_most_rows_that_are_requested_are_read_and_no_more() -> None:
    assert len(rows_of({"data": [ROW] * 10_000}, "company")) == 10_000
    with pytest.raises(TransientError, match=r"company has 10,001 rows, and 5,000 are requested at the most"):
        rows_of({"data": [ROW] * 10_001}, "company")


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
