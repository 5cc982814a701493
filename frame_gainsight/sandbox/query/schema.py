"""The tenant's objects and their fields, as describe shows them (gainsight-api reference, section 3)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

Value = str | int | float | bool | list[str] | None
"""A stored value: dates are epoch milliseconds, multi-selects lists of item Gsids."""

Row = dict[str, Value]
"""A stored record: field → value."""

DATES = frozenset({"DATE", "DATETIME"})


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an object; `lookup` names the object it points to, `picklist` the list its items come from."""

    name: str
    type: str
    label: str = ""
    lookup: str | None = None
    picklist: str | None = None

    @property
    def filterable(self) -> bool:
        """Rich text can neither be filtered nor sorted."""
        return self.type != "RICHTEXTAREA"


@dataclass(frozen=True, slots=True)
class ObjectSchema:
    """An object: its API name, label, kind (STANDARD, CUSTOM, SYSTEM), key prefix and fields."""

    name: str
    label: str
    kind: str
    prefix: str
    fields: tuple[Field, ...]
    _by_name: Mapping[str, Field] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", MappingProxyType({f.name.lower(): f for f in self.fields}))

    def find(self, name: str) -> Field | None:
        """The field of that name, upper or lower case."""
        return self._by_name.get(name.lower())


@dataclass(frozen=True, slots=True)
class Picklist:
    """A picklist: its category Gsid and its items as (item Gsid, label)."""

    gsid: str
    items: tuple[tuple[str, str], ...]

    def label(self, item: Value) -> str | None:
        """The label of an item Gsid."""
        return next((label for gsid_, label in self.items if gsid_ == item), None)


def _fields(text: str) -> tuple[Field, ...]:
    """Fields from lines of `NAME TYPE [>lookup object | =picklist]`."""
    found = []
    for line in text.strip().splitlines():
        name, kind, *rest = line.split()
        target = rest[0] if rest else ""
        label = name.removesuffix("__gc").removesuffix("__c").removeprefix("Ant__").replace("_", " ")
        found.append(
            Field(
                name,
                kind,
                label,
                target[1:] if target.startswith(">") else None,
                target[1:] if target.startswith("=") else None,
            )
        )
    return tuple(found)


ACTIVITY = ObjectSchema(
    "activity_timeline",
    "Activity Timeline",
    "STANDARD",
    "1I00",
    _fields("""
        Gsid GSID
        Subject STRING
        Notes RICHTEXTAREA
        NotesPlainText STRING
        ActivityDate DATETIME
        CreatedDate DATETIME
        LastModifiedDate DATETIME
        TypeName STRING
        ReportingCategory STRING
        ContextName STRING
        ContextId GSID
        GsCompanyId LOOKUP >company
        GsRelationshipId LOOKUP >relationship
        AuthorId LOOKUP >gsuser
        GsCreatedByUserId LOOKUP >gsuser
        CreatedBy STRING
        UserId STRING
        UserName STRING
        UserEmail STRING
        LastModifiedBy STRING
        InternalAttendees STRING
        ExternalAttendees STRING
        From STRING
        To STRING
        ConversationId STRING
        ExternalId STRING
        Source STRING
        ExternalSource STRING
        DurationInMins NUMBER
        ActivitySentiment STRING
        Ant__Sentiment__c PICKLIST =activity.Sentiment
        Ant__Topics__c MULTISELECTDROPDOWNLIST =activity.Topics
        """),
)
COMPANY = ObjectSchema(
    "company",
    "Company",
    "STANDARD",
    "1P02",
    _fields("""
        Gsid GSID
        Name STRING
        Industry PICKLIST =company.Industry
        Stage PICKLIST =company.Stage
        Status STRING
        Arr CURRENCY
        Employees NUMBER
        CurrentScore NUMBER
        RenewalDate DATE
        OriginalContractDate DATE
        Csm LOOKUP >gsuser
        PreviousCsm LOOKUP >gsuser
        ParentCompany LOOKUP >company
        Domain__gc STRING
        Tier__gc STRING
        CreatedDate DATETIME
        ModifiedDate DATETIME
        """),
)
PERSON = ObjectSchema(
    "person",
    "Person",
    "STANDARD",
    "1C00",
    _fields("""
        Gsid GSID
        Email EMAIL
        FirstName STRING
        MiddleName STRING
        LastName STRING
        Name STRING
        LinkedinUrl URL
        Location STRING
        Timezone STRING
        ExternalRecordID STRING
        Comments STRING
        CreatedDate DATETIME
        ModifiedDate DATETIME
        """),
)
COMPANY_PERSON = ObjectSchema(
    "company_person",
    "Company Person",
    "STANDARD",
    "1C01",
    _fields("""
        Gsid GSID
        Person_ID LOOKUP >person
        Company_ID LOOKUP >company
        Active BOOLEAN
        Role STRING
        Title STRING
        IsPrimaryCompany BOOLEAN
        Manager LOOKUP >company_person
        CreatedDate DATETIME
        ModifiedDate DATETIME
        """),
)
RELATIONSHIP = ObjectSchema(
    "relationship",
    "Relationship",
    "STANDARD",
    "1P05",
    _fields("""
        Gsid GSID
        Name STRING
        CompanyId LOOKUP >company
        TypeId LOOKUP >relationship_type
        Stage PICKLIST =relationship.Stage
        Status STRING
        CreatedDate DATETIME
        ModifiedDate DATETIME
        """),
)
RELATIONSHIP_TYPE = ObjectSchema(
    "relationship_type",
    "Relationship Type",
    "SYSTEM",
    "1P06",
    _fields("""
        Gsid GSID
        Name STRING
        ModifiedDate DATETIME
        """),
)
GSUSER = ObjectSchema(
    "gsuser",
    "User",
    "STANDARD",
    "1P01",
    _fields("""
        Gsid GSID
        Name STRING
        FirstName STRING
        LastName STRING
        Email EMAIL
        SFDCUserName STRING
        IsActiveUser BOOLEAN
        LicenseType STRING
        Manager LOOKUP >gsuser
        Timezone STRING
        CreatedDate DATETIME
        ModifiedDate DATETIME
        """),
)
CONTRACT = ObjectSchema(
    "contract__gc",
    "Contract",
    "CUSTOM",
    "1Z02",
    _fields("""
        Gsid GSID
        Name__gc STRING
        Value__gc CURRENCY
        Company_ID__gc LOOKUP >company
        CreatedDate DATETIME
        ModifiedDate DATETIME
        """),
)


def _delete_log(name: str, label: str) -> ObjectSchema:
    return ObjectSchema(
        name,
        label,
        "SYSTEM",
        "1L00",
        _fields("""
            RecordId GSID
            DeletedOn DATETIME
            ObjectName STRING
            """),
    )


DELETE_LOG = _delete_log("record_delete_log", "Record Delete Log")
DELETE_LOG_HIGH = _delete_log("record_delete_log_high_volume", "Record Delete Log High Volume")

SCHEMAS: Mapping[str, ObjectSchema] = MappingProxyType(
    {
        schema.name: schema
        for schema in (
            ACTIVITY,
            COMPANY,
            PERSON,
            COMPANY_PERSON,
            RELATIONSHIP,
            RELATIONSHIP_TYPE,
            GSUSER,
            CONTRACT,
            DELETE_LOG,
            DELETE_LOG_HIGH,
        )
    }
)
