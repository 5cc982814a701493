"""The timeline as a table that queries read: its columns are computed from activities."""

from collections.abc import Callable, Mapping, Sequence

from frame_gainsight.sandbox.query.dialect import Dialect
from frame_gainsight.sandbox.query.schema import ACTIVITY, ObjectSchema, Value
from frame_gainsight.sandbox.query.tables import Candidates, Narrowing, Reader
from frame_gainsight.sandbox.tenant.activity import Activity
from frame_gainsight.sandbox.tenant.attendee_formats import write, written_elsewhere
from frame_gainsight.sandbox.tenant.timeline import Timeline
from frame_gainsight.sandbox.tenant.world import World


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

    def reader(self, field: str, dialect: Dialect) -> Reader:
        if field in ("InternalAttendees", "ExternalAttendees"):
            return self._attendees(field == "InternalAttendees", dialect)
        if field in ("UserName", "UserEmail"):
            column = "Name" if field == "UserName" else "Email"
            return lambda a: self._user(a.logged_by, column)
        if field == "ActivityDate" and dialect.undated_every:
            every = dialect.undated_every
            return lambda a: None if int(a.gsid[-6:], 36) % every == 0 else a.occurred_ms
        return _COLUMNS[field]

    def _user(self, gsid: str | None, column: str) -> Value:
        user = self._world.by_id("gsuser").get(gsid or "")
        return user[column] if user else None

    def _attendees(self, internal: bool, dialect: Dialect) -> Reader:
        ids = self._world.known_id

        def read(a: Activity) -> Value:
            people = a.internal if internal else a.external
            form, delimiter = a.form[:-1], dialect.delimiter or a.form[-1]
            if dialect.attendees != "mixed":
                form = dialect.attendees
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
