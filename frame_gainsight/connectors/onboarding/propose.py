"""Proposing a mapping, from the fields that a tenant has and the share of sampled rows with a value in them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from frame_gainsight.connectors.columns import required
from frame_gainsight.connectors.definition.model import Definition
from frame_gainsight.connectors.definition.paths import LOOKUP_SUFFIX
from frame_gainsight.gainsight import (
    ConfigError,
    Field,
    GainsightClient,
    ObjectDescription,
    Query,
    RefusedQueryError,
    Row,
    value_of,
)
from frame_gainsight.gainsight.describe import DATES, PICKLISTS

SAMPLE = 200  # rows of an object
RECENT = 1000  # activities
OFTEN, EVER = 0.5, 0.02  # shares of rows with a value: from which a tenant's own field, a well-known one is proposed
MAX_OWN = 8  # fields of a tenant's own, of an object
MAX_CUSTOM = 3  # custom objects: each costs calls
ORDER = {"ModifiedDate": "desc"}
_MEASURES = frozenset({"NUMBER", "CURRENCY", "PERCENTAGE", "BOOLEAN"})
_SHORT = _MEASURES | DATES | PICKLISTS
_ROW_IDS = frozenset({"gsid", "createddate", "modifieddate", "createdby", "modifiedby", "deleted"})

# Frame's names → fields of Gainsight's standard objects (their documentation), in the order proposed.
USER: Mapping[str, tuple[str, str]] = {
    "first_name": (required.PERSON, "FirstName"),
    "last_name": (required.PERSON, "LastName"),
    "title": (required.COMPANY_PERSON, "Title"),
    "role": (required.COMPANY_PERSON, "Role"),
    "location": (required.PERSON, "Location"),
    "timezone": (required.PERSON, "Timezone"),
    "linkedin_url": (required.PERSON, "LinkedinUrl"),
}
ORG: Mapping[str, str] = {
    "arr": "Arr",
    "mrr": "Mrr",
    "stage": "Stage",
    "status": "Status",
    "employees": "Employees",
    "users": "Users",
    "renewal_date": "RenewalDate",
    "customer_since": "OriginalContractDate",
    "health": "CurrentScore",
}
TAGS: Mapping[str, str] = {"industry": "Industry"}


@dataclass(frozen=True, slots=True)
class Proposed:
    """A field of the mapping. `filled`: the share of sampled rows that have it."""

    part: str
    name: str
    path: str
    data_type: str
    filled: float


@dataclass(slots=True)
class Proposal:
    """A mapping, field by field; the custom objects that it joins; activity type → how many of the latest have it.

    `described`: the tenant's objects by name, of those that a definition can have; `tenant_now`: the tenant's time in
    milliseconds, and `clock_skew` the seconds that its clock is ahead of ours; None where it shows no time.
    """

    fields: list[Proposed] = field(default_factory=list)
    objects: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    types: dict[str, int] = field(default_factory=dict)
    described: dict[str, ObjectDescription] = field(default_factory=dict)
    tenant_now: int | None = None
    clock_skew: float | None = None

    def parts(self, taken: Sequence[Proposed] | None = None) -> dict[str, dict[str, object]]:
        """The parts of a definition's mapping, of all fields or of those taken."""
        parts: dict[str, dict[str, object]] = {"objects": {}, "user_profile": {}, "org_profile": {}, "tags": {}}
        for one in self.fields if taken is None else taken:
            parts[one.part][one.name] = one.path
            root = one.path.partition(".")[0]
            if root in self.objects:
                parts["objects"][root] = self.objects[root]
        return parts


async def propose(client: GainsightClient, definition: Definition) -> Proposal:
    """A proposal, in six calls: the list, a description (of 25 objects each), and samples of four objects.

    A sample of each custom object (three at most) costs one call more, and so does a tenant that takes no look-ups.
    Raises GainsightError when the tenant does not answer.
    """
    listed = await client.list_objects()
    standard = [n for n in required.objects_of(definition) if n in listed and listed[n].readable]
    custom = [o.name for o in listed.values() if o.kind == "CUSTOM" and o.readable]
    described: dict[str, ObjectDescription] = {}
    names = [*standard, *custom]
    for begin in range(0, len(names), 25):  # as many as one call takes
        described |= await client.describe(names[begin : begin + 25])
    proposal = Proposal(described=described)
    await _activities(client, described, proposal)
    await _people(client, described, proposal)
    await _company(client, described, proposal)
    joined = {name: join for name in custom if (join := _join(described.get(name)))}
    for name in list(joined)[:MAX_CUSTOM]:
        await _custom(client, described[name], joined[name], proposal)
    proposal.tenant_now, proposal.clock_skew = client.tenant_now(), client.clock_skew
    return proposal


async def _activities(client: GainsightClient, described: Mapping[str, ObjectDescription], to: Proposal) -> None:
    """Adds the types that there are, and the tenant's own fields of activities as tags."""
    known = described.get(required.ACTIVITY)
    if known is None:
        raise ConfigError(f"The tenant does not show {required.ACTIVITY} to this key.", code=None)
    own = [f for f in known.fields.values() if f.name.lower().startswith(required.CUSTOM_PREFIX) and _is_short(f)]
    select = ["TypeName", *(f.name for f in own), "LastModifiedDate", "Gsid"]
    order = {"LastModifiedDate": "desc", "Gsid": "desc"}
    rows = await client.query(Query(required.ACTIVITY, select, order_by=order, limit=RECENT))
    for row in rows:
        if name := value_of(row, "TypeName"):
            to.types[str(name)] = to.types.get(str(name), 0) + 1
    to.types = dict(sorted(to.types.items(), key=lambda kv: (-kv[1], kv[0])))
    for one in own[:MAX_OWN]:
        _take(to, "tags", _name(one.name), "activity", one, filled(rows, one.name), EVER)


async def _people(client: GainsightClient, described: Mapping[str, ObjectDescription], to: Proposal) -> None:
    samples: dict[str, list[Row]] = {}
    for object_name in (required.PERSON, required.COMPANY_PERSON):
        wanted = [f for of, f in USER.values() if of == object_name]
        samples[object_name] = await _sample(client, described.get(object_name), wanted)
    for name, (object_name, column) in USER.items():
        known = described.get(object_name)
        if known is not None and (one := known.field(column)) is not None:
            _take(to, "user_profile", name, object_name, one, filled(samples[object_name], column), EVER)


async def _company(client: GainsightClient, described: Mapping[str, ObjectDescription], to: Proposal) -> None:
    known = described.get(required.COMPANY)
    if known is None:
        return
    own = [f for f in known.fields.values() if f.name.lower().endswith("__gc") and _is_short(f)]
    csm = _csm_email(known, described.get(required.GSUSER))
    columns = [*ORG.values(), *TAGS.values(), *(f.name for f in own)]
    rows = await _sample(client, known, columns, [csm] if csm else [])
    for part, names in (("org_profile", ORG), ("tags", TAGS)):
        for name, column in names.items():
            if (one := known.field(column)) is not None:
                _take(to, part, name, required.COMPANY, one, filled(rows, column), EVER)
    often = sorted(own, key=lambda f: -(filled(rows, f.name) or 0.0))
    for one in often[:MAX_OWN]:
        _take(to, "org_profile", _name(one.name), required.COMPANY, one, filled(rows, one.name), OFTEN)
    if csm and (share := filled(rows, csm)):
        to.fields.append(Proposed("org_profile", "csm_email", f"company.{csm}", "EMAIL", share))


def _csm_email(company: ObjectDescription, users: ObjectDescription | None) -> str | None:
    """The path to the email of a company's CSM, where the tenant has such a look-up."""
    csm = next((f for f in company.fields.values() if f.name.lower() == "csm" and f.lookup_objects), None)
    email = users.field("Email") if users is not None else None
    return f"{csm.lookup or csm.name + LOOKUP_SUFFIX}.{email.name}" if csm is not None and email is not None else None


async def _custom(client: GainsightClient, known: ObjectDescription, join: tuple[str, str], to: Proposal) -> None:
    """Adds a custom object that leads to company or relationship: its fields that are measured or picked."""
    own = [f for f in known.fields.values() if _is_short(f) and f.name.lower() not in _ROW_IDS]
    rows = await _sample(client, known, [f.name for f in own])
    before = len(to.fields)
    for one in own[:MAX_OWN]:
        prefix = _name(known.name)
        name = _name(one.name)
        _take(
            to,
            "org_profile",
            name if name.startswith(prefix) else f"{prefix}_{name}",
            known.name,
            one,
            filled(rows, one.name),
            OFTEN,
        )
    if len(to.fields) > before:
        to.objects[known.name] = {"join": {join[0]: join[1]}}


async def _sample(
    client: GainsightClient, known: ObjectDescription | None, columns: Sequence[str], paths: Sequence[str] = ()
) -> list[Row]:
    """Rows changed last, with those of the columns that there are, and the paths if the tenant takes look-ups.

    Empty where they cannot be had.
    """
    select = [c for c in columns if known is not None and known.field(c)]
    if known is None or not (select or paths):
        return []
    order = ORDER if known.field("ModifiedDate") else {}
    try:
        return await client.query(Query(known.name, [*select, *paths], order_by=order, limit=SAMPLE))
    except (ConfigError, RefusedQueryError):
        return await _sample(client, known, columns) if paths else []


def filled(rows: Sequence[Row], column: str) -> float | None:
    """The share of rows that have a value; None of no rows."""
    if not rows:
        return None
    return sum(1 for row in rows if value_of(row, column) not in (None, "", [])) / len(rows)


def _take(to: Proposal, part: str, name: str, root: str, one: Field, share: float | None, least: float) -> None:
    taken = {(p.part, p.name) for p in to.fields}
    if share is not None and share >= least and (part, name) not in taken:
        to.fields.append(Proposed(part, name, f"{root}.{one.name}", one.data_type, share))


def _join(known: ObjectDescription | None) -> tuple[str, str] | None:
    """The field through which an object belongs to a company or a relationship."""
    for target in (required.COMPANY, required.RELATIONSHIP):
        for one in known.fields.values() if known is not None else ():
            if any(name.lower() == target for name in one.lookup_objects):
                return one.name, target
    return None


def _is_short(one: Field) -> bool:
    return one.data_type in _SHORT


def _name(column: str) -> str:
    """A tenant's field name as Frame writes names: Ant__Deal_Size__c → deal_size."""
    text = re.sub(r"^Ant__|__g?c$", "", column, flags=re.IGNORECASE)
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text)
    text = re.sub(r"\W+|_+", "_", text).strip("_").lower()
    return text if text and text[0].isalpha() else f"field_{text}".rstrip("_")
