"""The columns that a connector reads of the tenant's objects: its own, and those that the mapping adds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import xxhash

from frame_gainsight.connectors.definition.model import Definition
from frame_gainsight.connectors.definition.paths import (
    ACTIVITY_OBJECT,
    LOOKUP_SUFFIX,
    MAX_LOOKUP_LEVELS,
    ORG_ROOTS,
    USER_ROOTS,
)
from frame_gainsight.gainsight import Field, ObjectDescription

ACTIVITY = ACTIVITY_OBJECT
PERSON, COMPANY_PERSON, GSUSER = USER_ROOTS
COMPANY, RELATIONSHIP = ORG_ROOTS

# Taken where the tenant has them: field sets differ, and one unknown name fails a whole query.
ACTIVITY_COLUMNS = (
    "Gsid",
    "Subject",
    "Notes",
    "NotesPlainText",
    "ActivityDate",
    "CreatedDate",
    "LastModifiedDate",
    "TypeName",
    "ContextName",
    "ContextId",
    "GsCompanyId",
    "GsRelationshipId",
    "AuthorId",
    "UserEmail",
    "UserName",
    "InternalAttendees",
    "ExternalAttendees",
    "From",
    "To",
    "Cc",
    "ConversationId",
    "ExternalId",
    "Source",
    "DurationInMins",
)
ACTIVITY_LOOKUPS = ("AuthorId__gr.Email", "AuthorId__gr.Name")
# Object → the activity's look-up by which the timeline query joins the object's columns: no call of their own.
JOINED_OBJECTS: Mapping[str, str] = {COMPANY: "GsCompanyId", RELATIONSHIP: "GsRelationshipId"}
ACTIVITY_REQUIRED = ("Gsid", "LastModifiedDate")
CUSTOM_PREFIX = "ant__"  # a tenant's own activity fields: Ant__<Label>__c
NAME = re.compile(r"[\w.]{1,256}")  # what a query can name

OWN_COLUMNS: Mapping[str, tuple[str, ...]] = {
    PERSON: ("Gsid", "Email", "Name", "FirstName", "LastName"),
    COMPANY_PERSON: ("Gsid", "Person_ID", "PersonId", "Company_ID", "CompanyId", "IsPrimaryCompany", "Active"),
    COMPANY: ("Gsid", "Name"),
    RELATIONSHIP: ("Gsid", "Name"),
    GSUSER: ("Gsid", "Email", "Name"),
}
# The objects that the producer describes: the timeline, and those that its query joins.
TIMELINE_OBJECTS = (ACTIVITY, *JOINED_OBJECTS)
# The tenant's public samples spell these two in two ways.
PERSON_OF = ("Person_ID", "PersonId")
COMPANY_OF = ("Company_ID", "CompanyId")


def objects_of(definition: Definition) -> list[str]:
    """Every object that the connector reads."""
    return [ACTIVITY, *OWN_COLUMNS, *definition.objects]


def is_custom(column: str) -> bool:
    """Whether a column is one of the tenant's own activity fields."""
    return column.lower().startswith(CUSTOM_PREFIX)


def mapped_columns(definition: Definition, object_name: str) -> list[str]:
    """The columns that the mapping takes from an object; activities are `activity` in a mapping."""
    return definition.columns_of("activity" if object_name == ACTIVITY else object_name)


def columns(definition: Definition, object_name: str, described: ObjectDescription) -> list[str]:
    """The columns to select from an object: its own as far as the tenant has them, and all that are mapped."""
    if object_name == ACTIVITY:
        own = [c for c in ACTIVITY_COLUMNS if described.field(c)]
        own += [f.name for f in described.fields.values() if is_custom(f.name) and NAME.fullmatch(f.name)]
        own += [path for path in ACTIVITY_LOOKUPS if described.by_lookup(path.partition(".")[0])]
    elif object_name in definition.objects:
        own = [c for c in ("Gsid", definition.objects[object_name].join_field, "ModifiedDate") if described.field(c)]
    else:
        own = [c for c in OWN_COLUMNS[object_name] if described.field(c)]
    return list(dict.fromkeys([*own, *mapped_columns(definition, object_name)]))


def joined_columns(
    definition: Definition, object_name: str, described: Mapping[str, ObjectDescription]
) -> dict[str, str]:
    """Column of an object → its path from the activity, where the timeline query can join all of the object's columns.

    Empty where the tenant has no such look-up, where a mapped column is not described, or where a path would be longer
    than the API documents.
    """
    activity, own = described.get(ACTIVITY), described.get(object_name)
    link = activity.field(JOINED_OBJECTS[object_name]) if activity else None
    if own is None or link is None or not link.lookup_objects:
        return {}
    lookup = link.lookup or f"{link.name}{LOOKUP_SUFFIX}"
    needed = columns(definition, object_name, own)
    for path in needed:
        if path.count(".") >= MAX_LOOKUP_LEVELS or ("." not in path and own.field(path) is None):
            return {}
    return {path: f"{lookup}.{path}" for path in needed}


def timeline_columns(definition: Definition, described: Mapping[str, ObjectDescription]) -> list[str]:
    """The columns to select from the timeline, the joined ones last."""
    own = columns(definition, ACTIVITY, described[ACTIVITY])
    joined = (joined_columns(definition, name, described).values() for name in JOINED_OBJECTS)
    return list(dict.fromkeys([*own, *(path for paths in joined for path in paths)]))


def columns_version(select: Sequence[str]) -> str:
    """The version of a list of columns, whatever their order and case."""
    return xxhash.xxh3_64_hexdigest("\n".join(sorted(c.lower() for c in select)).encode())


def first_described(described: ObjectDescription | None, names: tuple[str, ...]) -> str | None:
    """The first of some spellings of a field that this tenant uses."""
    return next((n for n in names if described and described.field(n)), None)


def field_at(path: str, object_name: str, described: Mapping[str, ObjectDescription]) -> Field | None:
    """The field at the end of a (dotted) path, as far as the describes reach; None when a step does not exist."""
    here = described.get(object_name)
    *steps, last = path.split(".")
    for step in steps:
        through = here.by_lookup(step) if here else None
        if through is None:
            return None
        here = next((d for name, d in described.items() if name.lower() in _lower(through.lookup_objects)), None)
    return here.field(last) if here else None


def looked_up_objects(definition: Definition, described: Mapping[str, ObjectDescription]) -> list[str]:
    """Objects behind the mapping's look-ups that are not described yet."""
    found = []
    for object_name in objects_of(definition):
        for path in mapped_columns(definition, object_name):
            here = described.get(object_name)
            for step in path.split(".")[:-1]:
                through = here.by_lookup(step) if here and step.endswith(LOOKUP_SUFFIX) else None
                names = through.lookup_objects if through else ()
                found += [n for n in names if n.lower() not in _lower(tuple(described))]
                here = next((d for name, d in described.items() if name.lower() in _lower(names)), None)
    return list(dict.fromkeys(found))


def _lower(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name.lower() for name in names)
