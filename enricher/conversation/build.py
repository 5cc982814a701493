"""Conversations: an activity and the rows resolved for it, as Frame receives them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from enricher.activity.raw_record import DataError, Deletion, RawActivity
from enricher.conversation.html_text import bodies
from enricher.conversation.mapping import Rows, picked, profile
from enricher.resolution.model import Reference, Resolved
from enricher.resolution.participants import Participant, identify
from frame_gainsight.connectors import Definition
from frame_gainsight.connectors.columns import required
from frame_gainsight.gainsight import Row, format_date, parse_date, value_of
from frame_gainsight.kafka import Headers, ProducerRecord
from frame_gainsight.runtime import Settings
from schemas import Codec

SOURCE = "gainsight"
TYPE = "ai.frame.gainsight.conversation"
DELETED_TYPE = "ai.frame.gainsight.conversation.deleted"


def build(reference: Reference, definition: Definition, found: Resolved) -> dict[str, Any]:
    """The conversation's value, by `schemas/conversation.avsc`. Raises DataError naming the part that cannot be read.

    Args:
        found: the batch that was resolved with this reference in it.
    """
    activity, rows = reference.activity, _rows(reference, definition, found)
    text, html = bodies(activity.text("Notes"), activity.text("NotesPlainText"))
    tags = profile(definition.tag_paths, rows, found.described)
    return {
        "connector": activity.connector,
        "activity_id": activity.gsid,
        "source": SOURCE,
        "conversation_id": activity.text("ConversationId") or activity.gsid,
        "type": activity.text("TypeName"),
        "subject": activity.text("Subject"),
        "body_text": text,
        "body_html": html,
        "occurred_at": _date(activity, "ActivityDate"),
        "logged_at": _date(activity, "CreatedDate"),
        "version": activity.modified_at,
        "participants": [_participant(p, definition, found) for p in identify(reference, found)],
        "account": _account(reference.company, definition, rows, found),
        "relationship": _relationship(reference.relationship, rows),
        "tags": [{"name": name, "value": value} for name, value in tags.items()],
        "mapping_version": definition.mapping_version,
    }


def record(codec: Codec, settings: Settings, activity: RawActivity, value: dict[str, Any]) -> ProducerRecord:
    """The conversation's record, with the headers of CloudEvents' Kafka binding, binary mode."""
    version = f"{activity.gsid}/{activity.modified_at}/{activity.fingerprint}"
    headers = _cloud_event(version, activity.connector, activity.gsid, TYPE, activity.modified_at)
    data, source = codec.encode("conversation", value), activity.source
    return ProducerRecord(settings.conversations_topic, source.partition, source.key or b"", data, headers)


def tombstone(settings: Settings, deletion: Deletion) -> ProducerRecord:
    """The tombstone of a deleted activity's conversation."""
    source, moment = deletion.source, deletion.moment
    headers = _cloud_event(f"{deletion.gsid}/deleted/{moment}", deletion.connector, deletion.gsid, DELETED_TYPE, moment)
    return ProducerRecord(settings.conversations_topic, source.partition, source.key or b"", None, headers)


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


def _rows(reference: Reference, definition: Definition, found: Resolved) -> Rows:
    """Root of a path → the rows that it stands for in this activity."""
    rows: dict[str, Sequence[Row]] = {"activity": [reference.activity.row]}
    for name in required.JOINED_OBJECTS:
        if row := found.row(name, reference):
            rows[name] = [row]
    for name, custom in definition.objects.items():
        gsid = reference.gsid_of(custom.joined_to) or ""
        rows[name] = picked(definition, name, found.custom.get(name, {}).get(gsid, []))
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


def _date(activity: RawActivity, field: str) -> int | None:
    try:
        return parse_date(activity.get(field))
    except ValueError as error:
        raise DataError(f"{field} of activity {activity.gsid} cannot be read: {error}.") from error
