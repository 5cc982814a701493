"""De-duplication: a version is written once, and never behind a newer one."""

from __future__ import annotations

from typing import Any

import pytest

from producer.state.seen_versions import Seen, SeenVersions, Verdict, fingerprint
from producer.timeline.keyset_reader import Activity

AT = 1_772_438_400_000


def activity(at: int = AT, **columns: Any) -> Activity:
    row = {"Gsid": "G1", "LastModifiedDate": at, "Subject": "Hi", **columns}
    return Activity("G1", at, row)


def seen(version: Activity, offset: int = 0) -> Seen:
    return Seen(version.modified_at, fingerprint(version), offset)


def verdict(known: Seen | None, version: Activity) -> Verdict:
    overlap = SeenVersions()
    if known:
        overlap.note("G1", known)
    return overlap.verdict(version, fingerprint(version))


def test_unknown_is_written() -> None:
    assert verdict(None, activity()) is Verdict.WRITE


def test_the_same_is_not_written_again() -> None:
    assert verdict(seen(activity()), activity()) is Verdict.UNCHANGED


def test_a_newer_version_is_written() -> None:
    assert verdict(seen(activity()), activity(AT + 1, Subject="Hi again")) is Verdict.WRITE


def test_another_content_at_the_same_moment_is_written() -> None:
    assert verdict(seen(activity()), activity(Subject="Hi again")) is Verdict.WRITE


def test_an_older_version_does_not_go_behind_a_newer_one() -> None:
    assert verdict(seen(activity(AT + 1)), activity(AT)) is Verdict.STALE


def test_a_version_from_before_the_deletion_does_not_go_behind_the_tombstone() -> None:
    assert verdict(Seen(AT + 1, None, 0), activity(AT)) is Verdict.STALE


def test_a_version_from_after_the_deletion_is_written() -> None:
    assert verdict(Seen(AT - 1, None, 0), activity(AT)) is Verdict.WRITE


@pytest.mark.parametrize("nothing", [{"Notes": None}, {"Notes": ""}, {}], ids=["null", "empty", "absent"])
def test_the_forms_of_no_value_are_one(nothing: dict[str, Any]) -> None:
    assert fingerprint(activity(**nothing)) == fingerprint(activity())


def test_looked_up_columns_are_no_version() -> None:
    looked_up = activity(**{"AuthorId__gr.Email": "sam@acme.example", "GsCompanyId__gr.Arr": 5})
    assert fingerprint(looked_up) == fingerprint(activity())


@pytest.mark.parametrize(
    "change",
    [
        {"Subject": "Ho"},
        {"Notes": "<p>x</p>"},
        {"Ant__Sentiment__c": "1I00"},
        {"DurationInMins": 0},
        {"Flag": False},
        {"Ant__Topics__c": ["a", "b"]},
    ],
    ids=lambda c: next(iter(c)),
)
def test_every_own_column_is(change: dict[str, Any]) -> None:
    assert fingerprint(activity(**change)) != fingerprint(activity())


def test_the_date_is() -> None:
    assert fingerprint(activity(AT)) != fingerprint(activity(AT + 1))


def test_the_form_of_the_date_is_not() -> None:
    forms = [AT, "2026-03-02T08:00:00Z", "2026-03-02T08:00:00.000+0000", "2026-03-02T09:00:00+01:00", str(AT)]
    assert len({fingerprint(Activity("G1", AT, {"Gsid": "G1", "LastModifiedDate": f})) for f in forms}) == 1


def test_the_order_of_columns_is_not() -> None:
    row = activity(Notes="n").row
    assert fingerprint(Activity("G1", AT, dict(reversed(row.items())))) == fingerprint(activity(Notes="n"))


def test_forgetting_keeps_what_is_read_again() -> None:
    overlap = SeenVersions()
    overlap.note("old", Seen(AT - 1, "f", 0))
    overlap.note("kept", Seen(AT, "f", 1))
    overlap.note("deleted long ago", Seen(AT - 1001, None, 2))
    overlap.note("deleted of late", Seen(AT - 1000, None, 3))
    overlap.forget(AT, AT - 1000)
    assert len(overlap) == 2
    assert overlap.first_offset(99) == 1
    assert overlap.is_deleted("deleted of late")
    assert not overlap.is_deleted("kept")
    assert not overlap.is_deleted("old")


def test_first_offset() -> None:
    overlap = SeenVersions()
    assert overlap.first_offset(7) == 7
    overlap.note("a", Seen(AT, "f", 5))
    overlap.note("b", Seen(AT, "f", 3))
    assert overlap.first_offset(7) == 3
    overlap.note("b", Seen(AT + 1, "g", 6))
    assert overlap.first_offset(7) == 5, "the version it had before is not needed any more"


def test_an_unreadable_row_is_new_once() -> None:
    overlap = SeenVersions()
    assert [overlap.first_time("a"), overlap.first_time("b"), overlap.first_time("a")] == [True, True, False]
