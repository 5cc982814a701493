"""A connector's definition: its fields, their bounds, and what it says about mapping."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import orjson
import xxhash
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from frame_gainsight.connectors.definition.paths import (
    LOOKUP_SUFFIX,
    MAX_LOOKUP_LEVELS,
    ORG_ROOTS,
    STANDARD_ROOTS,
    TAG_ROOTS,
    USER_ROOTS,
    Path,
    parse_path,
)
from frame_gainsight.connectors.errors import DefinitionError
from frame_gainsight.gainsight import ascii_name, name_fault

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_HOSTNAME = re.compile(r"[\w.-]+|[0-9a-fA-F:.]+")  # a name, also of another script, or an IPv6 address
_MAX_OVERLAP = 7 * 86_400
MAX_FIELDS = 500  # of all three parts of the mapping, and custom objects: each is a column of every query
_DURATION = re.compile(r"(\d+)\s*([smhd])")


def _duration(value: Any) -> Any:
    if isinstance(value, str):
        found = _DURATION.fullmatch(value.strip())
        if not found:
            raise ValueError(f"'{value}' is not a duration; write a number and a unit: 30s, 10m, 1h or 1d")
        return int(found[1]) * _UNITS[found[2]]
    return value


def _no_switch(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("yes and no, on and off are not numbers")
    return value


def _overlap(value: Any) -> Any:
    if isinstance(value, str) and value.strip().lower() == "auto":
        return "auto"
    if isinstance(value, str) and not _DURATION.fullmatch(value.strip()):
        raise ValueError(f"'{value}' is not a duration; write a duration such as 10m, or auto")
    seconds = _no_switch(_duration(value))
    if not isinstance(seconds, int):
        raise ValueError("write a duration such as 10m, or auto")
    if not 0 <= seconds <= _MAX_OVERLAP:
        raise ValueError("it must be between 0s and 7d")
    return seconds


_SPANS: list[JsonValue] = [
    {"type": "string", "pattern": r"^\s*\d+\s*[smhd]\s*$"},
    {"type": "integer", "minimum": 0},
]

Seconds = Annotated[
    int,
    BeforeValidator(_duration),
    BeforeValidator(_no_switch),
    WithJsonSchema({"anyOf": _SPANS, "examples": ["10m", "1h"]}),
]
# Checked before the type: a union's own errors would be reported for each of its members.
Overlap = Annotated[
    int | Literal["auto"], BeforeValidator(_overlap), WithJsonSchema({"anyOf": [{"const": "auto"}, *_SPANS]})
]
Share = Annotated[float, BeforeValidator(_no_switch)]
Calls = Annotated[int, BeforeValidator(_no_switch)]
# An object's name becomes part of an address: nothing but a name may stand here.
ObjectName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,99}$")]
MappingPath = Annotated[
    str,
    WithJsonSchema(
        {
            "type": "string",
            "pattern": rf"^\w+(\.\w+{LOOKUP_SUFFIX}){{0,{MAX_LOOKUP_LEVELS}}}\.\w+$",
            "examples": ["company.Arr", "company.Csm__gr.Email"],
        }
    ),
]


def _not_blank(name: str) -> str:
    if not name.strip():
        raise ValueError("is empty; leave activity_types out to take all types")
    return name


TypeName = Annotated[str, AfterValidator(_not_blank), WithJsonSchema({"type": "string", "pattern": r"\S"})]
FieldName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,63}$")]


# A new id cannot look like an option of a command. Stored ones that do, from before that rule, still read.
NEW_ID = r"^[a-z0-9][a-z0-9-]{0,63}$"
STORED_ID = r"^[a-z0-9-]{1,64}$"
STORED = "stored"  # the context in which a definition is read from the topic


class CustomObject(BaseModel):
    """A custom object beside person, company and relationship, and how its rows are found.

    `join` maps one of its fields to `company` or `relationship`: its rows are those whose field holds that id.
    `pick` says which row counts when there are several: latest (by ModifiedDate), first (by Gsid), or all (a mapped
    field then joins the values with "; ").
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    join: dict[ObjectName, Literal["company", "relationship"]] = Field(min_length=1, max_length=1)
    pick: Literal["latest", "first", "all"] = "latest"

    @property
    def join_field(self) -> str:
        return next(iter(self.join))

    @property
    def joined_to(self) -> str:
        return self.join[self.join_field]


class Definition(BaseModel):
    """A connector's definition. Periods are seconds here, and `10m` or `1h` in the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", ignored_types=(cached_property,))

    id: str = Field(description="The connector's name; part of every key.", json_schema_extra={"pattern": NEW_ID})
    host: str = Field(
        description="The tenant's own address, a public one; http only towards loopback.",
        examples=["https://acme.gainsightcloud.com"],
    )
    period: Seconds = Field(600, ge=1, le=86_400, description="How often it is polled.")
    overlap: Overlap = Field(
        600, description="How far each poll reads back for rows that became visible late; auto: as far as is measured."
    )
    deletions_every: Seconds = Field(
        3600, ge=1, le=7 * 86_400, description="How often deleted activities are looked for."
    )
    start: AwareDatetime | None = Field(
        None, description="Where processing starts; now, when left out. In the past: everything since is read."
    )
    activity_types: tuple[TypeName, ...] = Field((), description="TypeName values, such as Email; all, when left out.")
    api_share: Share = Field(
        0.5, gt=0, le=1, description="Our share of the tenant's API allowance, which others use too."
    )
    calls_per_minute: Calls = Field(100, ge=1, le=10_000, description="The tenant's allowance: calls a minute.")
    calls_per_day: Calls = Field(50_000, ge=1, le=10_000_000, description="The tenant's allowance: calls a day (UTC).")
    objects: dict[ObjectName, CustomObject] = Field({}, description="Custom objects, by their API names.")
    user_profile: dict[FieldName, MappingPath] = Field(
        {}, description="Participants' profile: name → path from person, company_person or gsuser."
    )
    org_profile: dict[FieldName, MappingPath] = Field(
        {}, description="Account's profile: name → path from company, relationship or a custom object."
    )
    tags: dict[FieldName, MappingPath] = Field(
        {}, description="Tags: name → path from activity, company, relationship or a custom object."
    )

    @field_validator("id")
    @classmethod
    def _connector_id(cls, id_: str, info: ValidationInfo) -> str:
        if not re.fullmatch(STORED_ID if info.context == STORED else NEW_ID, id_, re.ASCII):
            raise ValueError(
                "write lower-case letters, digits and hyphens, 64 at most, beginning with a letter or a digit, such as "
                "acme-emea"
            )
        return id_

    @field_validator("host")
    @classmethod
    def _tenant_address(cls, host: str, info: ValidationInfo) -> str:
        if "@" in host:  # never quoted: what stands before it may be a password
            raise ValueError(
                "write only the tenant's address, without a user or a password: https://tenant.gainsightcloud.com"
            )
        try:
            parts = urlsplit(host)
        except ValueError:
            raise ValueError(f"'{host}' is not an address; write it as https://tenant.gainsightcloud.com") from None
        try:
            parts.port  # noqa: B018 - reading it is what checks it
        except ValueError:
            raise ValueError(f"'{host}' has a port that is not a number") from None
        if parts.scheme not in ("https", "http") or not parts.hostname or not _HOSTNAME.fullmatch(parts.hostname):
            raise ValueError(f"'{host}' is not an address; write it as https://tenant.gainsightcloud.com")
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ValueError("write only the tenant's address, without a path: https://tenant.gainsightcloud.com")
        if parts.scheme == "http" and not _is_loopback(parts.hostname):
            raise ValueError("the API key would travel readable over http; write https (http is for loopback only)")
        if info.context == STORED:  # its key was encrypted for what was written; what is wrong with it, its polls say
            return f"{parts.scheme}://{parts.netloc}"
        if (fault := name_fault(parts.hostname)) is not None:
            raise ValueError(f"{fault}; write it as https://tenant.gainsightcloud.com")
        if parts.netloc.isascii():
            return f"{parts.scheme}://{parts.netloc}"
        port = "" if parts.port is None else f":{parts.port}"
        return f"{parts.scheme}://{ascii_name(parts.hostname)}{port}"

    @field_validator("objects")
    @classmethod
    def _not_ours(cls, objects: dict[str, CustomObject]) -> dict[str, CustomObject]:
        for name in objects:
            if name.lower() in STANDARD_ROOTS:
                raise ValueError(f"'{name}' is always there; only custom objects are named here")
        return objects

    @model_validator(mode="after")
    def _mapping_reads(self) -> Definition:
        if faults := mapping_faults(self.__dict__):
            raise MappingError(faults)
        return self

    @property
    def fixed_overlap(self) -> int | None:
        """The overlap in seconds; None where it follows the measured lateness."""
        return None if self.overlap == "auto" else self.overlap

    @cached_property
    def user_paths(self) -> dict[str, Path]:
        return {n: parse_path(p, USER_ROOTS, f"user_profile.{n}") for n, p in self.user_profile.items()}

    @cached_property
    def org_paths(self) -> dict[str, Path]:
        roots = (*ORG_ROOTS, *self.objects)
        return {n: parse_path(p, roots, f"org_profile.{n}") for n, p in self.org_profile.items()}

    @cached_property
    def tag_paths(self) -> dict[str, Path]:
        roots = (*TAG_ROOTS, *self.objects)
        return {n: parse_path(p, roots, f"tags.{n}") for n, p in self.tags.items()}

    def columns_of(self, root: str) -> list[str]:
        """The columns of an object that the mapping takes, each once, in its order."""
        paths = [*self.user_paths.values(), *self.org_paths.values(), *self.tag_paths.values()]
        return list(dict.fromkeys(p.field for p in paths if p.root == root))

    @cached_property
    def mapping_version(self) -> str:
        """The fingerprint of everything that decides how a conversation is built."""
        parts = self.model_dump(mode="json", include={"objects", "user_profile", "org_profile", "tags"})
        ordered = {k: list(v.items()) if isinstance(v, dict) else v for k, v in parts.items()}
        return xxhash.xxh3_64_hexdigest(orjson.dumps(ordered, option=orjson.OPT_SORT_KEYS))

    def canonical(self) -> str:
        """The definition as JSON text, for its topic."""
        return self.model_dump_json(exclude_defaults=False)

    def started(self, now: int) -> Definition:
        """The definition with `start` filled in (`now`: milliseconds) where it was left out."""
        if self.start is not None:
            return self
        return self.model_copy(update={"start": datetime.fromtimestamp(now // 1000, UTC)})


class MappingError(ValueError):
    """Everything that is wrong with a mapping's paths."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


def mapping_faults(given: Mapping[str, Any]) -> list[str]:
    """The faults of a definition's paths; it may have others, and a value that is no text is passed over."""
    parts = {part: given.get(part) for part in ("objects", "user_profile", "org_profile", "tags")}
    named = {part: fields if isinstance(fields, dict) else {} for part, fields in parts.items()}
    if (count := sum(map(len, named.values()))) > MAX_FIELDS:
        return [f"the mapping has {count:,} fields and objects in all; {MAX_FIELDS} are the most that is taken"]
    custom = tuple(map(str, named.pop("objects")))
    roots = {"user_profile": USER_ROOTS, "org_profile": (*ORG_ROOTS, *custom), "tags": (*TAG_ROOTS, *custom)}
    faults = []
    for part, fields in named.items():
        for name, path in fields.items():
            try:
                if isinstance(path, str):
                    parse_path(path, roots[part], f"{part}.{name}")
            except DefinitionError as error:
                faults.append(str(error))
    return faults


def _is_loopback(hostname: str) -> bool:
    if hostname == "localhost":
        return True
    try:
        return ipaddress.ip_address(hostname).is_loopback
    except ValueError:
        return False
