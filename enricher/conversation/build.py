"""Conversations: an activity and what was resolved for it, as Frame gets it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from enricher.activity.mentions import Mention, mentions
from enricher.activity.raw_record import DataError, Deletion, RawActivity
from enricher.conversation.html_text import bodies
from enricher.conversation.mapping import Rows, picked, profile
from enricher.resolution.participants import Participant, identify
from enricher.resolution.resolver import Reference, Resolved, Wanted
from frame_gainsight.connectors import Definition
from frame_gainsight.connectors.columns import required
from frame_gainsight.gainsight import Row, format_date, parse_date, value_of
from frame_gainsight.kafka import Headers, ProducerRecord
from frame_gainsight.runtime import Settings
from schemas import Codec

SOURCE = "gainsight"
TYPE = "ai.frame.gainsight.conversation"
DELETED_TYPE = "ai.frame.gainsight.conversation.deleted"


def wanted(activities: list[RawActivity]) -> Wanted:
    """Everything that these activities refer to."""
    return Wanted(
        [Reference(mentions(a), _text(a, "GsCompanyId"), _text(a, "GsRelationshipId"), a) for a in activities]
    )


def build(
    activity: RawActivity, definition: Definition, found: Resolved, named: Sequence[Mention] | None = None
) -> dict[str, Any]:
    """The conversation's value, by `schemas/conversation.avsc`. Raises DataError naming what cannot be read.

    Args:
        named: the activity's mentions, where they have been read out of it already.
    """
    company, relationship = _text(activity, "GsCompanyId"), _text(activity, "GsRelationshipId")
    rows = _rows(activity, definition, found, company, relationship)
    text, html = bodies(_text(activity, "Notes"), _text(activity, "NotesPlainText"))
    tags = profile(definition.tag_paths, rows, found.described)
    people = identify(mentions(activity) if named is None else named, company, found)
    return {
        "connector": activity.connector,
        "activity_id": activity.gsid,
        "source": SOURCE,
        "conversation_id": _text(activity, "ConversationId") or activity.gsid,
        "type": _text(activity, "TypeName"),
        "subject": _text(activity, "Subject"),
        "body_text": text,
        "body_html": html,
        "occurred_at": _date(activity, "ActivityDate"),
        "logged_at": _date(activity, "CreatedDate"),
        "version": activity.modified_at,
        "participants": [_participant(p, definition, found) for p in people],
        "account": _account(company, definition, rows, found),
        "relationship": _relationship(relationship, rows),
        "tags": [{"name": name, "value": value} for name, value in tags.items()],
        "mapping_version": definition.mapping_version,
    }


def record(codec: Codec, settings: Settings, activity: RawActivity, value: dict[str, Any]) -> ProducerRecord:
    """The conversation's record, with the headers of CloudEvents' Kafka binding, binary mode."""
    version = f"{activity.gsid}/{activity.modified_at}/{activity.fingerprint}"
    headers = _cloud_event(version, activity.connector, activity.gsid, TYPE, activity.modified_at)
    data = codec.encode("conversation", value)
    return ProducerRecord(settings.conversations_topic, activity.source.partition, _key(activity), data, headers)


def tombstone(settings: Settings, deletion: Deletion) -> ProducerRecord:
    """The record that a deleted activity's conversation is gone."""
    at = deletion.source.header("deleted_at")
    moment = int(at) if at and at.isdigit() else deletion.source.timestamp
    headers = _cloud_event(f"{deletion.gsid}/deleted/{moment}", deletion.connector, deletion.gsid, DELETED_TYPE, moment)
    return ProducerRecord(settings.conversations_topic, deletion.source.partition, _key(deletion), None, headers)


def _cloud_event(event: str, connector: str, gsid: str, kind: str, moment: int) -> Headers:
    return (
        ("ce_specversion", b"1.0"),
        ("ce_id", event.encode()),
        ("ce_source", f"/gainsight/{connector}".encode()),
        ("ce_type", kind.encode()),
        ("ce_subject", gsid.encode()),
        ("ce_time", format_date(moment).encode()),
        ("content-type", b"application/avro"),
    )


def _key(of: RawActivity | Deletion) -> bytes:
    return f"{of.connector}/{of.gsid}".encode()


def _rows(
    activity: RawActivity, definition: Definition, found: Resolved, company: str | None, relationship: str | None
) -> Rows:
    """What each root of a path means for this activity."""
    rows: dict[str, list[Row]] = {"activity": [activity.row]}
    if company and (row := found.ridden(required.COMPANY, activity) or found.companies.get(company)):
        rows["company"] = [row]
    if relationship and (row := found.ridden(required.RELATIONSHIP, activity) or found.relationships.get(relationship)):
        rows["relationship"] = [row]
    for name, custom in definition.objects.items():
        joined = company if custom.joined_to == "company" else relationship
        rows[name] = list(picked(definition, name, found.custom.get(name, {}).get(joined or "", [])))
    return rows


def _participant(participant: Participant, definition: Definition, found: Resolved) -> dict[str, Any]:
    return {
        "email": participant.email,
        "name": participant.name,
        "role": participant.role,
        "user_id": participant.user_id,
        "account_id": participant.account_id,
        "profile": profile(definition.user_paths, participant.rows, found.described),
    }


def _account(company: str | None, definition: Definition, rows: Rows, found: Resolved) -> dict[str, Any] | None:
    if company is None:
        return None
    return {
        "id": company,
        "name": _name(rows, "company"),
        "profile": profile(definition.org_paths, rows, found.described),
    }


def _relationship(relationship: str | None, rows: Rows) -> dict[str, Any] | None:
    return {"id": relationship, "name": _name(rows, "relationship")} if relationship is not None else None


def _name(rows: Rows, root: str) -> str | None:
    name = next((value_of(row, "Name") for row in rows.get(root, ())), None)
    return str(name) if name else None


def _text(activity: RawActivity, field: str) -> str | None:
    value = activity.get(field)
    return None if value is None else str(value)


def _date(activity: RawActivity, field: str) -> int | None:
    try:
        return parse_date(activity.get(field))
    except ValueError as error:
        raise DataError(f"{field} of activity {activity.gsid} cannot be read: {error}.") from error
