"""The request's body, as the vendor's pages have it."""

from __future__ import annotations

import pytest

from frame_gainsight.gainsight import Condition, Query


def test_the_body_is_that_of_the_reference_s_sample_query() -> None:
    query = Query(
        "activity_timeline",
        ["Gsid", "AuthorId__gr.Email"],
        [
            Condition("LastModifiedDate", "GTE", ["2026-03-02T09:50:00Z"]),
            Condition("LastModifiedDate", "LT", ["2026-03-02T10:10:00Z"]),
            Condition("TypeName", "IN", ("Email", "Call")),
        ],
        {"LastModifiedDate": "asc", "Gsid": "asc"},
    )
    assert query.body() == {
        "select": ["Gsid", "AuthorId__gr.Email"],
        "where": {
            "conditions": [
                {"name": "LastModifiedDate", "alias": "A", "operator": "GTE", "value": ["2026-03-02T09:50:00Z"]},
                {"name": "LastModifiedDate", "alias": "B", "operator": "LT", "value": ["2026-03-02T10:10:00Z"]},
                {"name": "TypeName", "alias": "C", "operator": "IN", "value": ["Email", "Call"]},
            ],
            "expression": "A AND B AND C",
        },
        "orderBy": {"LastModifiedDate": "asc", "Gsid": "asc"},
        "limit": 5000,
        "offset": 0,
    }


def test_the_order_s_keys_are_in_their_order_since_it_is_the_sort_order() -> None:
    assert list(Query("x", ["a"], order_by={"b": "asc", "a": "desc"}).body()["orderBy"]) == ["b", "a"]


def test_a_query_without_conditions_has_no_where_and_one_without_order_no_order_by() -> None:
    assert Query("x", ["a"], limit=1, offset=3).body() == {"select": ["a"], "limit": 1, "offset": 3}


@pytest.mark.parametrize("values", [[], [True], [None]])
def test_values_are_sent_as_they_are_in_a_list(values: list[object]) -> None:
    (condition,) = Query("x", ["a"], [Condition("a", "EQ", values)]).body()["where"]["conditions"]
    assert condition["value"] == values


@pytest.mark.parametrize("count", [1, 26, 27, 60])
def test_no_condition_is_left_out_of_the_expression_since_it_would_silently_not_apply(count: int) -> None:
    where = Query("x", ["a"], [Condition("a", "EQ", [n]) for n in range(count)]).body()["where"]
    aliases = [condition["alias"] for condition in where["conditions"]]
    assert len(set(aliases)) == count
    assert where["expression"].split(" AND ") == aliases
