"""Describe replies, in the documented shape and with parts missing."""

from __future__ import annotations

from typing import Any

import pytest

from frame_gainsight.gainsight import parse_object

LOOKUP = {
    "fieldName": "GsCompanyId",
    "dataType": "LOOKUP",
    "meta": {
        "hidden": False,
        "hasLookup": True,
        "lookupDetail": {"lookupName": "GsCompanyId__gr", "lookupObjects": [{"objectName": "company"}]},
    },
}
PICKLIST = {
    "fieldName": "Ant__Sentiment__c",
    "dataType": "PICKLIST",
    "meta": {},
    "options": [{"label": "Positive", "value": "1I001"}, {"value": "1I002"}, {"label": "no value"}],
}


def test_fields_are_found_whatever_their_case() -> None:
    described = parse_object({"objectName": "activity_timeline", "fields": [LOOKUP]})
    field = described.field("gscompanyid")
    assert described.name == "activity_timeline"
    assert field is not None and field.name == "GsCompanyId" and field.data_type == "LOOKUP"
    assert described.field("GsCompany") is None


def test_a_look_up_is_found_by_the_name_of_its_paths() -> None:
    described = parse_object({"fields": [LOOKUP]})
    field = described.by_lookup("gscompanyid__GR")
    assert field is not None and field.lookup_objects == ("company",)
    assert described.by_lookup("GsCompanyId") is None


def test_a_look_up_without_a_name_of_its_own_is_its_field_s_with_a_suffix() -> None:
    unnamed = LOOKUP | {"meta": {"hasLookup": True, "lookupDetail": {"lookupObjects": [{"objectName": "company"}]}}}
    assert parse_object({"fields": [unnamed]}).by_lookup("GsCompanyId__gr") is not None


@pytest.mark.parametrize("meta", [{"hasLookup": False, "lookupDetail": LOOKUP["meta"]["lookupDetail"]}, {}, None])  # type: ignore[index]
def test_a_field_that_is_no_look_up_leads_nowhere(meta: Any) -> None:
    assert parse_object({"fields": [LOOKUP | {"meta": meta}]}).by_lookup("GsCompanyId__gr") is None


def test_a_picklist_s_items_have_labels_or_else_their_own_ids() -> None:
    field = parse_object({"fields": [PICKLIST]}).field("ant__sentiment__c")
    assert field is not None
    assert field.options == {"1I001": "Positive", "1I002": "1I002"}


def test_hidden_fields_are_left_out_since_they_cannot_be_queried() -> None:
    assert parse_object({"fields": [LOOKUP | {"meta": {"hidden": True}}]}).fields == {}


@pytest.mark.parametrize("data", [{}, {"fields": None}, {"fields": [{}]}, {"fields": [{"fieldName": None}]}], ids=str)
def test_missing_parts_are_absent_and_not_an_error(data: dict[str, Any]) -> None:
    assert parse_object(data).fields == {}
