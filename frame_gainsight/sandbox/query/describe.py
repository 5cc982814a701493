"""Metadata: objects and their fields in the shape of the describe calls (gainsight-api reference, section 4)."""

from collections.abc import Mapping
from typing import Any

from frame_gainsight.sandbox.query.dialect import Dialect
from frame_gainsight.sandbox.query.schema import SCHEMAS, Field, ObjectSchema, Picklist


def listed(schema: ObjectSchema, dialect: Dialect) -> dict[str, Any]:
    """An object as the list calls show it."""
    return {
        "objectName": schema.name,
        "label": schema.label,
        "objectType": schema.kind,
        "keyPrefix": schema.prefix,
        "transactional": True,
        "readable": dialect.readable,
        "createable": schema.kind != "SYSTEM",
        "schemaUpdateable": schema.kind == "CUSTOM",
    }


def described(
    schema: ObjectSchema,
    dialect: Dialect,
    picklists: Mapping[str, Picklist],
    *,
    options: bool = True,
    remove_hidden: bool = False,
) -> dict[str, Any]:
    """An object with its fields.  Fields gone from queries are still here: describes are cached, fields vanish."""
    fields = [
        _field(f, dialect, picklists, options)
        for f in schema.fields
        if not _is_in(dialect.missing, f, dialect) and not (remove_hidden and _is_in(dialect.hidden, f, dialect))
    ]
    fields += _padding(dialect.padding)
    return {**listed(schema, dialect), "fields": fields}


def dropdown(picklist: Picklist, name: str) -> dict[str, Any]:
    """A picklist's category with its items."""
    return {
        "gsid": picklist.gsid,
        "name": name,
        "childItems": [{"gsid": item, "name": label} for item, label in picklist.items],
    }


def _field(field: Field, dialect: Dialect, picklists: Mapping[str, Picklist], options: bool) -> dict[str, Any]:
    picklist = picklists[field.picklist] if field.picklist else None
    name = dialect.spelt(field.name)
    meta: dict[str, Any] = {
        "required": field.name == "Gsid",
        "nillable": field.name != "Gsid",
        "filterable": field.filterable,
        "sortable": field.filterable,
        "hidden": _is_in(dialect.hidden, field, dialect),
        "richText": field.type == "RICHTEXTAREA",
        "hasLookup": field.lookup is not None,
        "length": 131_072 if field.type == "RICHTEXTAREA" else 255,
        "properties": {"PICKLIST_CATEGORY_ID": picklist.gsid} if picklist else {},
    }
    if field.lookup is not None:
        target = {"objectName": field.lookup, "label": SCHEMAS[field.lookup].label}
        meta["lookupDetail"] = {
            "lookupName": f"{name}__gr",
            "fieldName": "Gsid",
            "lookupObjects": [target],
        }
    shown: dict[str, Any] = {"fieldName": name, "label": field.label, "dataType": field.type, "meta": meta}
    if picklist is not None and options:
        shown["options"] = [
            {
                "label": label,
                "value": item,
                "active": True,
                "defaultValue": False,
                "displayOrder": order,
                "systemName": label.upper().replace(" ", "_"),
            }
            for order, (item, label) in enumerate(picklist.items)
        ]
    return shown


def _is_in(names: frozenset[str], field: Field, dialect: Dialect) -> bool:
    """Whether the field is named, in its own spelling or in the tenant's."""
    return not {field.name.lower(), dialect.spelt(field.name).lower()}.isdisjoint(names)


def _padding(characters: int) -> list[dict[str, Any]]:
    """Custom fields without a use, as many as make the describe at least that much longer."""
    blank = Dialect()
    return [
        _field(Field(f"Legacy_{number:04d}__gc", "STRING", f"Legacy field {number}"), blank, {}, False)
        for number in range(-(-characters // 240))
    ]
