"""Tables that queries read: plain rows with indexes, and the timeline, whose columns are computed from activities."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from frame_gainsight.sandbox.query.attendee_formats import write, written_elsewhere
from frame_gainsight.sandbox.query.dialect import Look
from frame_gainsight.sandbox.query.schema import ACTIVITY, ObjectSchema, Value
from frame_gainsight.sandbox.tenant.activity import Activity
from frame_gainsight.sandbox.tenant.timeline import Timeline
from frame_gainsight.sandbox.tenant.world import Row, World

Reader = Callable[[Any], Value]


@dataclass(frozen=True, slots=True)
class Narrowing:
    """A condition that every wanted record fulfils: the field is one of `values`, or lies in `[low, high]`."""

    field: str
    values: Sequence[Value] | None = None
    low: int | None = None
    high: int | None = None


@dataclass(frozen=True, slots=True)
class Candidates:
    """Records that may be wanted; `sorted_by` tells their order where there is one."""

    records: Iterable[Any]
    sorted_by: tuple[str, ...] = ()


class Table(Protocol):
    """An object's records."""

    @property
    def schema(self) -> ObjectSchema:
        """The object."""
        ...

    def reader(self, field: str, look: Look) -> Reader:
        """A function from a record to the stored value of `field` (its exact name)."""
        ...

    def get(self, gsid: Value) -> Any | None:
        """The record with that Gsid."""
        ...

    def candidates(self, narrowings: Sequence[Narrowing]) -> Candidates:
        """A superset of the records that fulfil all `narrowings`, as small as the indexes allow."""
        ...


INDEXED = frozenset({"GSID", "LOOKUP", "EMAIL"})
"""Data types that a `RowTable` finds rows by without looking at all of them."""


class RowTable:
    """Rows as dicts.  Gsids, look-ups and emails are indexed when first asked for."""

    def __init__(self, schema: ObjectSchema, rows: Sequence[Row]) -> None:
        self._schema = schema
        self._rows = rows
        self._indexes: dict[str, dict[Value, list[Row]]] = {}

    @property
    def schema(self) -> ObjectSchema:
        return self._schema

    def reader(self, field: str, look: Look) -> Reader:
        return lambda row: row[field]

    def get(self, gsid: Value) -> Row | None:
        found = self._index("Gsid").get(gsid)
        return found[0] if found else None

    def candidates(self, narrowings: Sequence[Narrowing]) -> Candidates:
        for narrowing in narrowings:
            field = self._schema.find(narrowing.field)
            if narrowing.values is not None and field is not None and field.type in INDEXED:
                index = self._index(field.name)
                wanted = dict.fromkeys(_folded(v) if field.type == "EMAIL" else v for v in narrowing.values)
                return Candidates([row for value in wanted for row in index.get(value, ())])
        return Candidates(self._rows)

    def entered(self, row: Row) -> None:
        """Take notice of a row that was added, or that has changed since `leaving`."""
        for field, index in self._indexes.items():
            index.setdefault(self._key(field, row), []).append(row)

    def leaving(self, row: Row) -> None:
        """Take notice of a row that is about to change or to go."""
        for field, index in self._indexes.items():
            key = self._key(field, row)
            index[key] = [other for other in index[key] if other is not row]

    def _index(self, field: str) -> Mapping[Value, list[Row]]:
        index = self._indexes.get(field)
        if index is None:
            index = self._indexes[field] = {}
            for row in self._rows:
                index.setdefault(self._key(field, row), []).append(row)
        return index

    def _key(self, field: str, row: Row) -> Value:
        found = self._schema.find(field)
        value = row.get(field)
        return _folded(value) if found is not None and found.type == "EMAIL" else _hashable(value)


def _hashable(value: Value) -> Value:
    return None if isinstance(value, list) else value


def _folded(value: Value) -> Value:
    return value.lower() if isinstance(value, str) else None


class TimelineTable:
    """The activities.  Sorted by LastModifiedDate and Gsid, indexed by Gsid."""

    def __init__(self, timeline: Timeline, world: World) -> None:
        self._timeline = timeline
        self._world = world

    @property
    def schema(self) -> ObjectSchema:
        return ACTIVITY

    def get(self, gsid: Value) -> Activity | None:
        return self._timeline.current.get(gsid) if isinstance(gsid, str) else None

    def candidates(self, narrowings: Sequence[Narrowing]) -> Candidates:
        low, high, ranged = 0, 1 << 60, False
        for narrowing in narrowings:
            name = narrowing.field.lower()
            if name == "gsid" and narrowing.values is not None:
                found = [self.get(v) for v in dict.fromkeys(narrowing.values)]
                return Candidates([a for a in found if a is not None])
            if name == "lastmodifieddate" and narrowing.values is None:
                ranged = True
                low = max(low, narrowing.low if narrowing.low is not None else low)
                high = min(high, narrowing.high if narrowing.high is not None else high)
        if ranged and low > high:
            return Candidates([])
        return Candidates(self._timeline.between(low, high), ("lastmodifieddate", "gsid"))

    def reader(self, field: str, look: Look) -> Reader:
        if field in ("InternalAttendees", "ExternalAttendees"):
            return self._attendees(field == "InternalAttendees", look)
        if field in ("UserName", "UserEmail"):
            column = "Name" if field == "UserName" else "Email"
            return lambda a: self._user(a.logged_by, column)
        if field == "ActivityDate" and look.undated_every:
            every = look.undated_every
            return lambda a: None if int(a.gsid[-6:], 36) % every == 0 else a.occurred_ms
        return _COLUMNS[field]

    def _user(self, gsid: str | None, column: str) -> Value:
        user = self._world.by_id("gsuser").get(gsid or "")
        return user[column] if user else None

    def _attendees(self, internal: bool, look: Look) -> Reader:
        ids = self._world.known_id

        def read(a: Activity) -> Value:
            people = a.internal if internal else a.external
            form, delimiter = a.form[:-1], look.delimiter or a.form[-1]
            if look.attendees != "mixed":
                form = look.attendees
            author = self._user(a.author, "Email")
            return write(people, form, delimiter, ids, written_elsewhere(a, str(author) if author else None))

        return read


def _sender(a: Activity) -> Value:
    return write((a.sender,), a.headers[:-1], a.headers[-1]) if a.sender else None


def _class_of(type_name: str) -> str:
    return type_name if type_name in ("Email", "Call", "Meeting", "Update") else "Meeting"


_COLUMNS: Mapping[str, Callable[[Activity], Value]] = {
    "Gsid": lambda a: a.gsid,
    "Subject": lambda a: a.subject,
    "Notes": lambda a: a.body.html,
    "NotesPlainText": lambda a: a.body.text if a.plain else None,
    "ActivityDate": lambda a: a.occurred_ms,
    "CreatedDate": lambda a: a.created_ms,
    "LastModifiedDate": lambda a: a.modified_ms,
    "TypeName": lambda a: a.type_name,
    "ReportingCategory": lambda a: _class_of(a.type_name),
    "ContextName": lambda a: a.context,
    "ContextId": lambda a: a.context_id,
    "GsCompanyId": lambda a: a.company,
    "GsRelationshipId": lambda a: a.relationship,
    "AuthorId": lambda a: a.author,
    "GsCreatedByUserId": lambda a: a.logged_by,
    "CreatedBy": lambda a: a.logged_by,
    "UserId": lambda a: a.logged_by,
    "LastModifiedBy": lambda a: a.logged_by,
    "From": _sender,
    "To": lambda a: write(a.to, a.headers[:-1], a.headers[-1]),
    "ConversationId": lambda a: a.conversation,
    "ExternalId": lambda a: f"ext-{a.gsid[4:16].lower()}" if a.source in ("EMAIL", "API") else None,
    "Source": lambda a: a.source,
    "ExternalSource": lambda a: None,
    "DurationInMins": lambda a: a.minutes,
    "ActivitySentiment": lambda a: None,
    "Ant__Sentiment__c": lambda a: a.sentiment,
    "Ant__Topics__c": lambda a: list(a.topics) or None,
}
