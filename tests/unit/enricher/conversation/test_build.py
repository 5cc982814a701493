"""Conversations: the contract's fields, its headers, and the same bytes for the same inputs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from enricher.activity.mentions import Mention
from enricher.activity.raw_record import DataError, Deletion, RawActivity
from enricher.conversation.build import build, record, tombstone
from enricher.resolution.model import Reference, Resolved, distinct_mentions
from frame_gainsight.connectors import Definition
from frame_gainsight.kafka import ConsumedRecord
from frame_gainsight.runtime import Settings
from schemas import Codec

ROW = {
    "Gsid": "G1",
    "Subject": "Renewal",
    "Notes": "<p>Hi 🔥</p>",
    "NotesPlainText": "",
    "ActivityDate": "2026-03-02T09:41:00Z",
    "CreatedDate": 1772445737000,
    "LastModifiedDate": 1772445737000,
    "TypeName": "Email",
    "GsCompanyId": "C1",
    "GsRelationshipId": "R1",
    "From": "Dana Osei <dana@x.example>",
    "ConversationId": "T1",
}


@pytest.fixture
def definition() -> Definition:
    return Definition.model_validate({"id": "acme", "host": "https://x.example", "org_profile": {"n": "company.Name"}})


@pytest.fixture
def found() -> Resolved:
    resolved = Resolved({})
    resolved.related = {
        "company": {"C1": {"Gsid": "C1", "Name": "Northwind"}},
        "relationship": {"R1": {"Gsid": "R1", "Name": "EMEA"}},
    }
    return resolved


def built(activity: RawActivity, definition: Definition, found: Resolved) -> dict[str, Any]:
    """The conversation of an activity that mentions nobody by name alone."""
    reference = Reference.of(activity)
    found.bare_names[reference] = ()
    return build(reference, definition, found)


def test_its_fields(of: Any, definition: Definition, found: Resolved) -> None:
    assert built(of(ROW), definition, found) == {
        "connector": "acme",
        "activity_id": "G1",
        "source": "gainsight",
        "conversation_id": "T1",
        "type": "Email",
        "subject": "Renewal",
        "body_text": "Hi 🔥",
        "body_html": "<p>Hi 🔥</p>",
        "occurred_at": 1772444460000,
        "logged_at": 1772445737000,
        "version": 1772438400000,
        "participants": [
            {
                "email": "dana@x.example",
                "name": "Dana Osei",
                "role": "unknown",
                "user_id": None,
                "account_id": None,
                "profile": {},
            }
        ],
        "account": {"id": "C1", "name": "Northwind", "profile": {"n": "Northwind"}},
        "relationship": {"id": "R1", "name": "EMEA"},
        "tags": [],
        "mapping_version": definition.mapping_version,
    }


def test_an_almost_empty_activity_is_a_conversation_all_the_same(
    of: Any, definition: Definition, found: Resolved, codec: Codec, settings: Settings
) -> None:
    activity = of({"Gsid": "G1"})
    value = built(activity, definition, found)
    assert value["conversation_id"] == "G1"
    assert [value[k] for k in ("subject", "body_text", "occurred_at", "account", "relationship", "type")] == [None] * 6
    assert codec.decode_as("conversation", record(codec, settings, activity, value).value or b"") == value


def test_a_company_that_is_not_found_keeps_its_id(of: Any, definition: Definition) -> None:
    value = built(of(ROW), definition, Resolved({}))
    assert value["account"] == {"id": "C1", "name": None, "profile": {}}
    assert value["relationship"] == {"id": "R1", "name": None}


@pytest.mark.parametrize("field", ["ActivityDate", "CreatedDate"])
def test_a_date_that_does_not_read_is_named_with_its_activity(
    of: Any, definition: Definition, found: Resolved, field: str
) -> None:
    with pytest.raises(DataError, match=rf"{field} of activity G1.*'soon'"):
        built(of(ROW | {field: "soon"}), definition, found)


def test_the_record_is_a_cloud_event(
    of: Any, definition: Definition, found: Resolved, codec: Codec, settings: Settings
) -> None:
    activity = of(ROW)
    activity = replace(activity, source=replace(activity.source, partition=3))
    value = built(activity, definition, found)
    written = record(codec, settings, activity, value)
    assert (written.topic, written.partition, written.key) == (settings.conversations_topic, 3, b"acme/G1")
    assert dict(written.headers) == {
        "ce_specversion": b"1.0",
        "ce_id": b"G1/1772438400000/f1",
        "ce_source": b"/gainsight/acme",
        "ce_type": b"ai.frame.gainsight.conversation",
        "ce_subject": b"G1",
        "ce_time": b"2026-03-02T08:00:00Z",
        "content-type": b"application/avro",
    }
    assert codec.decode_as("conversation", written.value or b"") == value


def test_a_deletion_is_a_tombstone_with_the_time_of_deletion(settings: Settings) -> None:
    source = ConsumedRecord("raw", 2, 0, b"acme/G1", None, (("deleted_at", b"1772438400000"),), 5)
    written = tombstone(settings, Deletion(source, "acme", "G1"))
    assert (written.key, written.value, written.partition) == (b"acme/G1", None, 2)
    headers = dict(written.headers)
    assert headers["ce_id"] == b"G1/deleted/1772438400000"
    assert headers["ce_time"] == b"2026-03-02T08:00:00Z"
    assert headers["ce_type"].endswith(b".deleted")
    for headers_of in ((), (("deleted_at", b"soon"),)):
        bare = tombstone(settings, Deletion(replace(source, headers=headers_of), "acme", "G1"))
        assert dict(bare.headers)["ce_id"] == b"G1/deleted/5"


def test_the_same_inputs_give_the_same_bytes(
    of: Any, definition: Definition, found: Resolved, codec: Codec, settings: Settings
) -> None:
    def made(row: dict[str, Any]) -> Any:
        return record(codec, settings, of(row), built(of(row), definition, found))

    assert made(ROW) == made(dict(reversed(ROW.items()))) == made(dict(ROW))
    assert made(ROW) == made({k.upper(): v for k, v in ROW.items()}), "reply keys may come in another case"
    assert made(ROW) == made(ROW | {"NotesPlainText": None, "Ant__New__c": None})


def test_what_activities_refer_to_each_once(of: Any) -> None:
    rows = [ROW, ROW | {"GsCompanyId": "C2", "GsRelationshipId": ""}, ROW]
    references = [Reference.of(of(row)) for row in rows]
    assert [(r.company, r.relationship) for r in references] == [("C1", "R1"), ("C2", None), ("C1", "R1")]
    assert distinct_mentions(references) == [Mention("dana@x.example", "Dana Osei")]
