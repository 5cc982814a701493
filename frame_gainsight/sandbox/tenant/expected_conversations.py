"""The conversations that a perfect connector must have produced by now, whatever forms the API serves rows in.

The rules:

- *participants* are the distinct union, by lower-case email, of From, To, internal attendees, external attendees and
  the author, or where there is none whoever logged it, in this order.  One without an email counts once per name.
- *role*: `agent` when the email belongs to a gsuser; `customer` when it belongs to a person and to no gsuser; otherwise
  as listed: `agent` when in InternalAttendees, else `unknown`.
- *user_id* is the gsuser's Gsid for the email of a gsuser, else the person's, else null.  A bare name identifies none.
- *account_id*, for customers only, is the company of one of the person's company_person rows: that of the activity's
  company, active or not, else an active one before one that is not, then the primary one, then the first by Gsid.  Null
  without any.
- *name* is the gsuser's or person's `Name`, else the name written beside the address, else null.
- *conversation_id* is the row's ConversationId, else the activity's id.
- *body_text* is the plain text that the generator knows; compare after collapsing white space, since text that is
  derived from HTML has other line breaks.  Null when there is no body.
- *people* is keyed by lower-case email: `person` (its fields), `company_person` (fields of the row that counts where
  no company is given), `by_company` (company Gsid → fields of the row that counts at that company).
- picklists are labels everywhere; DATE and DATETIME values are epoch milliseconds.
- records are as they are now: what was published before one of them changed is as they were then.
"""

from collections.abc import Iterable
from typing import Any

from frame_gainsight.sandbox.query.dates import iso
from frame_gainsight.sandbox.query.schema import SCHEMAS, Row, Value
from frame_gainsight.sandbox.tenant.activity import Activity
from frame_gainsight.sandbox.tenant.timeline import Deletion
from frame_gainsight.sandbox.tenant.world import World


def expected_conversations(
    world: World, activities: Iterable[Activity], deleted: Iterable[Deletion], now_ms: int
) -> dict[str, Any]:
    """The oracle's answer at `now_ms`, from the activities (in the order to show them) and deletions visible then."""
    expected = _Expected(world)
    return {
        "clock": iso(now_ms),
        "activities": [expected.activity(a) for a in activities],
        "deleted": [
            {
                "activity_id": d.gsid,
                "last_version_ms": d.last_version_ms,
                "deleted_at_ms": d.deleted_ms,
                "seen_from_ms": d.seen_from_ms,
            }
            for d in deleted
        ],
        "people": expected.people(),
        "accounts": expected.accounts(),
    }


class _Expected:
    def __init__(self, world: World) -> None:
        self._world = world
        self._companies = world.by_id("company")
        self._relationships = world.by_id("relationship")
        self._users = world.by_id("gsuser")
        self._jobs: dict[Value, list[Row]] = {}
        for row in sorted(world.rows("company_person"), key=_weight):
            self._jobs.setdefault(row["Person_ID"], []).append(row)

    def activity(self, a: Activity) -> dict[str, Any]:
        company = self._companies.get(a.company or "", {})
        relationship = self._relationships.get(a.relationship or "", {})
        return {
            "activity_id": a.gsid,
            "type": a.type_name,
            "version_ms": a.modified_ms,
            "occurred_at_ms": a.occurred_ms,
            "logged_at_ms": a.created_ms,
            "subject": a.subject,
            "body_text": a.body.text,
            "body_html": a.body.html,
            "conversation_id": a.conversation or a.gsid,
            "participants": self._participants(a),
            "account_id": a.company,
            "account_name": company.get("Name"),
            "relationship_id": a.relationship,
            "relationship_name": relationship.get("Name"),
            "sentiment_label": self._label("activity.Sentiment", a.sentiment),
            "topic_labels": [self._label("activity.Topics", topic) for topic in a.topics],
        }

    def people(self) -> dict[str, Any]:
        """Every person with an email."""
        found = {}
        for email, person in self._world.people.items():
            jobs = [self._labelled("company_person", row) for row in self._jobs.get(person["Gsid"], [])]
            found[email] = {
                "person": self._labelled("person", person),
                "company_person": jobs[0] if jobs else None,
                "by_company": {str(job["Company_ID"]): job for job in reversed(jobs)},
            }
        return found

    def accounts(self) -> dict[str, Any]:
        """Every company, its CSM's email, and its latest contract by ModifiedDate."""
        latest: dict[Value, Row] = {}
        for row in sorted(self._world.rows("contract__gc"), key=lambda r: (r["ModifiedDate"], r["Gsid"])):
            latest[str(row["Company_ID__gc"])] = row
        found = {}
        for gsid, company in self._companies.items():
            contract = latest.get(gsid)
            found[gsid] = {
                **self._labelled("company", company),
                "Csm__gr.Email": self._users.get(str(company["Csm"]), {}).get("Email"),
                "contract__gc": self._labelled("contract__gc", contract) if contract else None,
            }
        return found

    def _participants(self, a: Activity) -> list[dict[str, Any]]:
        author = self._users.get(a.author or a.logged_by or "")
        listed: dict[tuple[str, str], tuple[str | None, str | None]] = {}
        named = [(p.email, p.name) for p in a.addresses]
        if author is not None:
            named.append((_text(author["Email"]), _text(author["Name"])))
        for email, name in named:
            key = ("email", email.lower()) if email else ("name", name or "")
            known = listed.get(key)
            if known is None or known[1] is None:
                listed[key] = (email.lower() if email else None, name)
        internal = {p.email.lower() if p.email else p.name for p in a.internal}
        return [self._participant(email, name, a.company, internal) for email, name in listed.values()]

    def _participant(
        self, email: str | None, name: str | None, company: str | None, internal: set[str | None]
    ) -> dict[str, Any]:
        user = self._world.users.get(email or "")
        person = self._world.people.get(email or "") if user is None else None
        known = user or person
        role, account = "agent" if user or (email or name) in internal else "unknown", None
        if person is not None:
            role, account = "customer", self._account(person, company)
        return {
            "email": email,
            "name": known["Name"] if known else name,
            "role": role,
            "user_id": known["Gsid"] if known else None,
            "account_id": account,
        }

    def _account(self, person: Row, company: str | None) -> str | None:
        jobs = self._jobs.get(person["Gsid"], [])
        best = min(jobs, key=lambda row: row["Company_ID"] != company, default=None)
        return _text(best["Company_ID"]) if best else None

    def _label(self, picklist: str, item: Value) -> str | None:
        return self._world.picklists[picklist].label(item)

    def _labelled(self, name: str, row: Row) -> dict[str, Any]:
        return {
            f.name: self._label(f.picklist, row[f.name]) if f.picklist and row[f.name] else row[f.name]
            for f in SCHEMAS[name].fields
        }


def _weight(row: Row) -> tuple[bool, bool, str]:
    """The order in which company_person rows count."""
    return not row["Active"], not row["IsPrimaryCompany"], str(row["Gsid"])


def _text(value: Value) -> str | None:
    return None if value is None else str(value)
