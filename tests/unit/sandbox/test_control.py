"""The control API, the clock, and changes made by hand."""

from typing import Any

import pytest

from frame_gainsight.sandbox import Clock, Tenant
from frame_gainsight.sandbox.query.dates import http_date, iso, iso_fraction, moment

ACTIVITY = "activity_timeline"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-02-05T07:17:16Z", "2024-02-05T07:17:16Z"),
        ("2024-02-05T07:17:16.250+00:00", "2024-02-05T07:17:16Z"),
        ("2024-02-05T07:17:16+0000", "2024-02-05T07:17:16Z"),
        ("2022-07-01T06:36:00.000-07:00", "2022-07-01T13:36:00Z"),
        ("2024-02-05 07:17:16", "2024-02-05T07:17:16Z"),
        ("2024-02-05", "2024-02-05T00:00:00Z"),
        ("03-22-2018", "2018-03-22T00:00:00Z"),
        ("1707117436000", "2024-02-05T07:17:16Z"),
        (1707117436000, "2024-02-05T07:17:16Z"),
    ],
)
def test_moments(text: Any, expected: str) -> None:
    assert iso(moment(text)) == expected


def test_moments_without_offset_have_a_zone() -> None:
    assert iso(moment("2024-02-05 07:00:00", -480)) == "2024-02-05T15:00:00Z"
    assert iso_fraction(moment("2024-02-05T07:00:00.007Z")) == "2024-02-05T07:00:00.007Z"
    assert http_date(0) == "Thu, 01 Jan 1970 00:00:00 GMT"
    for wrong in ("", "soon", True, "2024-13-01"):
        with pytest.raises(ValueError):
            moment(wrong)


def test_a_clock_stands_runs_and_jumps(wall: Any) -> None:
    clock = Clock.stopped("2026-03-02T08:00:00Z", wall)
    start = clock.now()
    wall.now += 5000
    assert clock.now() == start
    assert clock.advance(1.5) == start + 1500
    clock.run(60)
    wall.now += 1000
    assert clock.now() == start + 61_500
    clock.stop()
    wall.now += 1000
    assert clock.now() == start + 61_500
    assert clock.set("2026-03-02T07:00:00Z") == start - 3_600_000
    assert Clock.real(wall).now() == wall.now
    running = Clock.running(0, 2.0, wall)
    wall.now += 10
    assert running.now() == 20
    with pytest.raises(ValueError):
        clock.run(-1)


def test_the_clock_over_http(client: Any) -> None:
    assert client.http.get("/_sandbox/clock").json()["speed"] == 0
    moved = client.http.post("/_sandbox/clock", json={"set": "2026-03-02T08:00:00Z", "advance": 90.5}).json()
    assert moved["clock"] == "2026-03-02T08:01:30.500Z"
    assert client.http.post("/_sandbox/clock", json={"run": 1}).json()["speed"] == 1
    assert client.http.post("/_sandbox/clock", json={"stop": True}).json()["speed"] == 0
    for wrong in ({"forward": 1}, {"set": "noon"}, {"run": -1}, {"advance": []}):
        assert client.http.post("/_sandbox/clock", json=wrong).status_code == 400


def row(client: Any, gsid: str, *fields: str) -> Any:
    return next(iter(client.rows(ACTIVITY, list(fields), ("Gsid", "EQ", [gsid]))), None)


def test_create_edit_and_delete_over_http(client: Any) -> None:
    def change(**body: Any) -> Any:
        return client.http.post("/_sandbox/activities", json=body).json()

    company = client.tenant.world.rows("company")[0]["Gsid"]
    fields = {"Subject": "Hello", "NotesPlainText": "Hi.", "Notes": "<p>Hi.</p>", "GsCompanyId": company}
    made = change(op="create", fields=fields)
    assert made["version_ms"] == client.tenant.now()
    assert row(client, made["id"], *fields) == fields
    client.tenant.advance(10)
    edited = change(op="edit", id=made["id"], fields={"Subject": "Hello again"})
    assert edited == {"id": made["id"], "version_ms": made["version_ms"] + 10_000}
    assert row(client, made["id"], "Subject", "NotesPlainText")["Subject"] == "Hello again"
    client.tenant.advance(10)
    change(op="edit", id=made["id"])
    assert row(client, made["id"], "NotesPlainText")["NotesPlainText"].startswith("Hi.\n")
    change(op="delete", id=made["id"])
    assert row(client, made["id"], "Gsid") is None
    assert made["id"] in {d["activity_id"] for d in client.tenant.truth()["deleted"]}


def test_changes_can_show_late(client: Any) -> None:
    made = client.tenant.create(visible_in=60)
    assert row(client, made["id"], "Gsid") is None
    client.tenant.advance(60)
    assert row(client, made["id"], "LastModifiedDate")["LastModifiedDate"] == iso(made["version_ms"])
    edited = client.tenant.edit(made["id"], visible_in=30)
    assert row(client, made["id"], "LastModifiedDate")["LastModifiedDate"] == iso(made["version_ms"])
    client.tenant.advance(30)
    assert row(client, made["id"], "LastModifiedDate")["LastModifiedDate"] == iso(edited["version_ms"])


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"op": "create", "fields": {"Subjekt": "x"}}, 400, "did you mean Subject"),
        ({"op": "create", "fields": {"Subject": 3}}, 400, "not a text"),
        ({"op": "create", "fields": {"To": 3}}, 400, "not people"),
        ({"op": "create", "fields": {"GsCompanyId": "1P02X"}}, 400, "no company"),
        ({"op": "edit", "id": "nope"}, 404, "nope"),
        ({"op": "archive"}, 400, "create, edit or delete"),
    ],
)
def test_wrong_changes(client: Any, body: dict[str, Any], status: int, said: str) -> None:
    reply = client.http.post("/_sandbox/activities", json=body)
    assert reply.status_code == status
    assert said in reply.json()["error"]


def test_unknown_control_calls_tell_what_there_is(reader: Any) -> None:
    reply = reader.http.get("/_sandbox/truths")
    assert reply.status_code == 404
    assert "GET /_sandbox/truth" in reply.json()["known"]
    assert reader.http.post("/_sandbox/clock", content=b"[]").status_code == 400
    assert reader.http.post("/_sandbox/clock", content=b"{").status_code == 400


def test_a_gsid_given_by_hand_is_not_taken_twice() -> None:
    tenant = Tenant(size=3)
    tenant.create({"Gsid": "1I00X"})
    with pytest.raises(ValueError, match="already"):
        tenant.create({"Gsid": "1I00X"})


def test_dates_can_be_stored_in_milliseconds() -> None:
    clock = Clock.stopped("2026-03-02T08:00:00.123Z")
    assert Tenant(size=3, clock=clock, resolution="ms").create()["version_ms"] % 1000 == 123
    assert Tenant(size=3, clock=clock).create()["version_ms"] % 1000 == 0


def test_nothing_secret_is_in_a_repr() -> None:
    tenant = Tenant(size=3)
    assert tenant.access_key not in repr(tenant) + repr(vars(tenant.log))
