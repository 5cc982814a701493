"""Checks a definition against its tenant: can everything that it needs be read with this key?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from connectors import needs
from connectors.definition import Definition
from gainsight import ConfigError, GainsightClient, GainsightError, ObjectDescription, Query, RefusedQueryError


@dataclass(frozen=True, slots=True)
class Finding:
    """One need: whether it is met, by what one sees that, and what to ask the Gainsight admin for."""

    need: str
    state: Literal["ok", "missing", "failed"]
    evidence: str
    ask: str = ""

    @property
    def blocks(self) -> bool:
        """Whether the connector cannot work like this."""
        return self.state == "failed"


_OPTIONAL = (needs.RELATIONSHIP, needs.COMPANY_PERSON)


async def check(client: GainsightClient, definition: Definition) -> list[Finding]:
    """One finding per need. Costs a describe (two with look-ups to further objects) and one query per object."""
    try:
        described = await client.describe(needs.objects_of(definition))
        if further := needs.looked_up_objects(definition, described):
            described = described | await client.describe(further)
    except GainsightError as error:
        return [Finding("the tenant answers and takes the key", "failed", str(error), _ask_for_key(error))]
    findings = [Finding("the tenant answers and takes the key", "ok", f"{definition.host} described its objects")]
    for object_name in needs.objects_of(definition):
        findings += await _object(client, definition, object_name, described)
    return findings


async def _object(
    client: GainsightClient, definition: Definition, object_name: str, described: Mapping[str, ObjectDescription]
) -> list[Finding]:
    mapped = needs.mapped_columns(definition, object_name)
    if object_name not in described:
        needed = object_name not in _OPTIONAL or bool(mapped)
        return [
            Finding(
                f"object {object_name}",
                "failed" if needed else "missing",
                "the tenant does not describe it to this key",
                f"Please let the key's owner read the object '{object_name}'.",
            )
        ]
    findings = []
    if object_name == needs.ACTIVITY:
        mapped = [*needs.ACTIVITY_REQUIRED, *mapped]
    if object_name in definition.objects:
        mapped = list(dict.fromkeys([definition.objects[object_name].join_field, *mapped]))
    for path in mapped:
        field = needs.field_at(path, object_name, described)
        findings.append(
            Finding(f"field {object_name}.{path}", "ok", f"{field.data_type or 'described'}")
            if field
            else Finding(
                f"field {object_name}.{path}",
                "failed",
                "no such field in the tenant's description",
                f"Please check that '{path}' exists on '{object_name}' and is visible to the key's owner.",
            )
        )
    if any(finding.blocks for finding in findings):
        return findings
    select = needs.columns(definition, object_name, described[object_name])
    try:
        await client.query(Query(object_name, select, limit=1))
    except (ConfigError, RefusedQueryError) as error:
        findings.append(Finding(f"reading {object_name}", "failed", str(error), _ask_for_key(error)))
    except GainsightError as error:
        findings.append(Finding(f"reading {object_name}", "failed", str(error), "Try again in a few minutes."))
    else:
        findings.append(Finding(f"reading {object_name}", "ok", f"{len(select)} columns"))
    return findings


def _ask_for_key(error: GainsightError) -> str:
    if error.code in ("GS_APIG_2401", "GSOBJ_1024") or error.status == 401:
        return "Please send us the current API access key (Administration, Connectors, Gainsight API)."
    if error.code == "GS_APIG_2402":
        return "Please add Frame's addresses to the API allowlist."
    return ""
