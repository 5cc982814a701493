"""De-duplication: a version is written once, and never behind a newer one."""

from __future__ import annotations

from typing import Any

import pytest

from producer.state.seen_versions import Seen, SeenVersions, Verdict, fingerprint_of
from producer.timeline.keyset_reader import Activity, Unreadable

AT = 1_772_438_400_000


def activity(at: int = AT, **columns: Any) -> Activity:
    row = {"Gsid": "G1", "LastModifiedDate": at, "Subject": "Hi", **columns}
    return Activity("G1", at, row)


def seen(version: Activity, offset: int = 0) -> Seen:
    return Seen(version.modified_at, fingerprint_of(version), offset)


def verdict(before: Seen | None, version: Activity) -> Verdict:
    known = SeenVersions()
    if before is not None:
        known.note("G1", before)
    return known.verdict(version, fingerprint_of(version))


def test_a_version_of_an_unknown_activity_is_written() -> None:
    assert verdict(None, activity()) is Verdict.WRITE


def test_the_same_version_is_not_written_again() -> None:
    assert verdict(seen(activity()), activity()) is Verdict.UNCHANGED


def test_a_newer_version_is_written() -> None:
    assert verdict(seen(activity()), activity(AT + 1, Subject="Hi again")) is Verdict.WRITE


def test_another_content_with_the_same_date_is_written() -> None:
    assert verdict(seen(activity()), activity(Subject="Hi again")) is Verdict.WRITE


def test_an_older_version_does_not_go_behind_a_newer_one() -> None:
    assert verdict(seen(activity(AT + 1)), activity(AT)) is Verdict.STALE


def test_a_version_from_before_the_deletion_does_not_go_behind_the_tombstone() -> None:
    assert verdict(Seen(AT + 1, None, 0), activity(AT)) is Verdict.STALE


def test_a_version_from_after_the_deletion_is_written() -> None:
    assert verdict(Seen(AT - 1, None, 0), activity(AT)) is Verdict.WRITE


@pytest.mark.parametrize("nothing", [{"Notes": None}, {"Notes": ""}, {}], ids=["null", "empty", "absent"])
def test_fingerprint_is_the_same_for_null_empty_and_absent(nothing: dict[str, Any]) -> None:
    assert fingerprint_of(activity(**nothing)) == fingerprint_of(activity())


def test_fingerprint_ignores_joined_columns() -> None:
    looked_up = activity(**{"AuthorId__gr.Email": "sam@acme.example", "GsCompanyId__gr.Arr": 5})
    assert fingerprint_of(looked_up) == fingerprint_of(activity())


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
def test_fingerprint_changes_with_every_column_of_the_activitys_own(change: dict[str, Any]) -> None:
    assert fingerprint_of(activity(**change)) != fingerprint_of(activity())


def test_fingerprint_changes_with_last_modified_date() -> None:
    assert fingerprint_of(activity(AT)) != fingerprint_of(activity(AT + 1))


def test_fingerprint_ignores_the_form_of_the_date() -> None:
    forms = [AT, "2026-03-02T08:00:00Z", "2026-03-02T08:00:00.000+0000", "2026-03-02T09:00:00+01:00", str(AT)]
    assert len({fingerprint_of(Activity("G1", AT, {"Gsid": "G1", "LastModifiedDate": f})) for f in forms}) == 1


def test_fingerprint_ignores_the_order_of_columns() -> None:
    row = activity(Notes="n").row
    assert fingerprint_of(Activity("G1", AT, dict(reversed(row.items())))) == fingerprint_of(activity(Notes="n"))


def test_forget_keeps_the_versions_that_are_read_again() -> None:
    known = SeenVersions()
    known.note("old", Seen(AT - 1, "f", 0))
    known.note("kept", Seen(AT, "f", 1))
    known.note("deleted long ago", Seen(AT - 1001, None, 2))
    known.note("deleted of late", Seen(AT - 1000, None, 3))
    known.forget(AT, AT - 1000)
    assert len(known) == 2
    assert known.first_offset(99) == 1
    assert known.is_deleted("deleted of late")
    assert not known.is_deleted("kept")
    assert not known.is_deleted("old")


def test_first_offset_is_that_of_the_first_remembered_version() -> None:
    known = SeenVersions()
    assert known.first_offset(7) == 7
    known.note("a", Seen(AT, "f", 5))
    known.note("b", Seen(AT, "f", 3))
    assert known.first_offset(7) == 3
    known.note("b", Seen(AT + 1, "g", 6))
    assert known.first_offset(7) == 5, "the version it had before is not needed any more"


def unreadable(*names: str) -> list[Unreadable]:
    return [Unreadable({"Subject": name}, "no Gsid") for name in names]


def named(rows: list[Unreadable]) -> str:
    return "".join(row.row["Subject"] for row in rows)


def test_an_unreadable_row_is_new_until_its_dead_letter_is_written() -> None:
    known = SeenVersions()
    assert named(known.new_unreadable(unreadable("a", "b", "a"))) == "ab"
    before = known.copy()
    known.note_unreadable(unreadable("a"))
    assert named(known.new_unreadable(unreadable("a", "b"))) == "b"
    known.replace(before)
    assert named(known.new_unreadable(unreadable("a", "b"))) == "ab", "its transaction failed"


def test_an_unreadable_row_that_every_poll_meets_is_not_forgotten_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producer.state.seen_versions.MAX_UNREADABLE", 3)
    known = SeenVersions()
    for other in "bcdefgh":
        met = known.new_unreadable(unreadable("a", other))
        assert named(met) == ("ab" if other == "b" else other)
        known.note_unreadable(met)
    assert named(known.new_unreadable(unreadable("b", "h"))) == "b", "few are remembered"
