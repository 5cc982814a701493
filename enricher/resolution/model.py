"""The resolution model: what one activity refers to, and what was found for the activities of a batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from enricher.activity.mentions import Mention, mentions
from enricher.activity.raw_record import RawActivity
from enricher.resolution.entity_cache import Change
from enricher.resolution.joined_columns import JoinedColumns
from frame_gainsight.connectors.columns import required
from frame_gainsight.gainsight import ObjectDescription, Row


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """What one activity refers to: the people whom it mentions, and the Gsids of its company and its relationship.

    A reference equals itself only: two activities may refer to the same.
    """

    activity: RawActivity
    mentions: Sequence[Mention]
    company: str | None = None
    relationship: str | None = None

    @staticmethod
    def of(activity: RawActivity) -> Reference:
        return Reference(activity, mentions(activity), activity.text("GsCompanyId"), activity.text("GsRelationshipId"))

    def gsid_of(self, object_name: str) -> str | None:
        """The Gsid of the activity's `company` or `relationship`."""
        return self.company if object_name == required.COMPANY else self.relationship


def distinct_mentions(references: Iterable[Reference]) -> list[Mention]:
    """Everyone mentioned, each once, in the order first mentioned."""
    return list(dict.fromkeys(m for reference in references for m in reference.mentions))


@dataclass(slots=True)
class Resolved:
    """Everything found for a batch, by the value that it was looked up with; what is absent is not in it.

    Attributes:
        described: the tenant's objects by name.
        joined: reads companies and relationships out of the activities' own rows.
        persons: by email; several may share one.
        users: `gsuser` rows by email.
        memberships: `company_person` rows by their person's Gsid.
        bare_names: each activity's mentions by name alone that nobody else whom it mentions has.
        named_users: folded name → Gsid, of names that only one user has.
        named_people: company's Gsid → the same of its people.
        related: `company` and `relationship` → Gsid → row, of those that were looked up.
        custom: custom object → Gsid that it is joined by → rows.
        new: answers to be published.
        company_link: the column of `company_person` that holds the company's Gsid; None: the tenant has none.
    """

    described: Mapping[str, ObjectDescription]
    joined: JoinedColumns | None = None
    persons: dict[str, list[Row]] = field(default_factory=dict)
    persons_by_gsid: dict[str, Row] = field(default_factory=dict)
    users: dict[str, Row] = field(default_factory=dict)
    users_by_gsid: dict[str, Row] = field(default_factory=dict)
    memberships: dict[str, list[Row]] = field(default_factory=dict)
    bare_names: dict[Reference, Sequence[Mention]] = field(default_factory=dict)
    named_users: dict[str, str] = field(default_factory=dict)
    named_people: dict[str, dict[str, str]] = field(default_factory=dict)
    related: dict[str, dict[str, Row]] = field(default_factory=dict)
    custom: dict[str, dict[str, list[Row]]] = field(default_factory=dict)
    new: list[Change] = field(default_factory=list)
    company_link: str | None = field(init=False)

    def __post_init__(self) -> None:
        self.company_link = required.first_described(self.described.get(required.COMPANY_PERSON), required.COMPANY_OF)

    def joined_row(self, object_name: str, reference: Reference) -> Row | None:
        """The activity's company or relationship out of the activity's own row; None where it has to be looked up."""
        if self.joined is None:
            return None
        return self.joined.row(object_name, reference.activity, reference.gsid_of(object_name))

    def row(self, object_name: str, reference: Reference) -> Row | None:
        """The activity's company or relationship."""
        gsid = reference.gsid_of(object_name)
        if gsid is None:
            return None
        return self.joined_row(object_name, reference) or self.related.get(object_name, {}).get(gsid)
