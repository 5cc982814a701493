"""Scenarios: the same seed gives the same tenant, the numbers add up, nothing shows before its time."""

from itertools import takewhile
from typing import Any

import pytest

from frame_gainsight.sandbox import Clock, Morning, Tenant
from frame_gainsight.sandbox.query.dates import moment
from frame_gainsight.sandbox.tenant.scenario import Change
from frame_gainsight.sandbox.tenant.world import build

START = moment("2026-03-02T08:00:00Z")


def changes(scenario: Any, seed: int = 1, size: int = 20) -> list[Change]:
    return list(scenario.changes(build(seed, size), START))


def test_a_world_follows_from_its_seed() -> None:
    assert build(5, 20).tables == build(5, 20).tables
    assert build(5, 20).tables != build(6, 20).tables
    assert Tenant(seed=5, size=5).access_key == Tenant(seed=5, size=5).access_key != Tenant(seed=6, size=5).access_key


def test_a_morning_follows_from_its_seed() -> None:
    assert changes(Morning(emails=300)) == changes(Morning(emails=300))
    assert changes(Morning(emails=300)) != changes(Morning(emails=300), seed=2)


def test_a_world_has_what_identity_resolution_must_cope_with() -> None:
    world = build(1, 60)
    persons, jobs = world.rows("person"), world.rows("company_person")
    assert len(world.rows("company")) == 60
    assert 5 * 60 <= len(persons) <= 8 * 60 + 1
    assert any(p["Email"] is None for p in persons)
    assert any(p["Email"] and p["Email"] != str(p["Email"]).lower() for p in persons)
    assert any(len(rows) > 1 for rows in world.employers.values())
    assert any(not row["Active"] for row in jobs)
    assert set(world.people) & set(world.users)
    assert all(sum(bool(r["IsPrimaryCompany"]) for r in rows) == 1 for rows in world.employers.values())
    assert {r["CompanyId"] for r in world.rows("relationship")} < {c["Gsid"] for c in world.rows("company")}
    owners = [c["Company_ID__gc"] for c in world.rows("contract__gc")]
    assert 0 < len(set(owners)) < 60
    assert max(owners.count(o) for o in owners) == 3


@pytest.mark.parametrize(
    "morning",
    [
        Morning(emails=1000),
        Morning(emails=2000, period=10, periods=3),
        Morning(emails=500, periods=4, period=60, edits=0.2, deletes=0.1, late=0.5),
        Morning(emails=501, resolution="ms"),
        Morning(emails=0),
        Morning(emails=1, periods=5),
    ],
    ids=lambda m: f"{m.emails}x{m.periods}",
)
def test_the_numbers_of_a_morning_add_up(morning: Morning) -> None:
    found = changes(morning)
    created = {c.activity.gsid: c for c in found if c.op == "create"}
    emails = [c for c in created.values() if c.activity.type_name == "Email"]
    edits = [c for c in found if c.op == "edit"]
    deletes = [c for c in found if c.op == "delete"]
    assert len(emails) == morning.emails
    assert len(created) == morning.emails + round(morning.emails / 9)
    assert len(edits) == round(morning.emails * morning.edits)
    assert len(deletes) == round(morning.emails * morning.deletes)
    assert all(c.visible_ms >= c.at_ms for c in found)
    assert [c.visible_ms for c in found] == sorted(c.visible_ms for c in found)
    assert all(morning.start_ms <= c.at_ms and c.visible_ms <= morning.end_ms - 3000 for c in found)
    if morning.period >= 600:
        assert all(c.visible_ms <= morning.end_ms - 30_000 for c in found)
    first_end = morning.start_ms + morning.period * 1000
    for change in deletes:
        assert created[change.activity.gsid].visible_ms < first_end <= change.at_ms
    for change in edits:
        before = created[change.activity.gsid]
        assert change.at_ms > before.at_ms
        assert change.activity.modified_ms == change.at_ms
        assert change.activity.created_ms == before.at_ms
        assert change.activity.body.text != before.activity.body.text


def test_a_morning_has_bursts_late_rows_threads_and_edits_of_the_doomed() -> None:
    found = changes(Morning(emails=1000))
    created = [c for c in found if c.op == "create"]
    seconds = [c.at_ms for c in created]
    assert max(seconds.count(s) for s in set(seconds)) >= 5
    late = [c.visible_ms - c.at_ms for c in found if c.visible_ms > c.at_ms]
    assert 0.01 < len(late) / len(found) < 0.06
    assert max(late) <= 120_000
    threads = [c.activity.conversation for c in created if c.activity.conversation]
    assert len(set(threads)) < len(threads)
    assert any((c.activity.subject or "").startswith("Re: ") for c in created)
    doomed = {c.activity.gsid for c in found if c.op == "delete"}
    edited = [c for c in found if c.op == "edit"]
    assert any(c.activity.gsid in doomed for c in edited)
    period = {c.activity.gsid: (c.at_ms - START) // 600_000 for c in created}
    same = sum((c.at_ms - START) // 600_000 == period[c.activity.gsid] for c in edited)
    assert 0 < same < len(edited)
    assert {c.activity.type_name for c in created} == {"Email", "Call", "Meeting", "Update", "QBR"}
    assert {c.activity.context for c in created} == {"Company", "Relationship", "CTA", "SuccessPlan"}


def test_nothing_shows_before_its_time_and_time_can_go_back() -> None:
    tenant = Tenant(scenario=Morning(emails=200, late=0.3), clock=Clock.stopped(START), size=20)
    expected = changes(tenant_scenario := Morning(emails=200, late=0.3))

    def shown() -> dict[str, int]:
        return {a["activity_id"]: a["version_ms"] for a in tenant.truth()["activities"]}

    def replayed(now: int) -> dict[str, int]:
        state: dict[str, int] = {}
        for change in takewhile(lambda c: c.visible_ms <= now, expected):
            if change.op == "delete":
                del state[change.activity.gsid]
            else:
                state[change.activity.gsid] = change.at_ms
        return state

    for offset in (0, 300, 601, 1190, 30_000, 450):
        tenant.set_clock(START + offset * 1000)
        assert shown() == replayed(tenant.now())
    tenant.set_clock(tenant_scenario.end_ms)
    by_hand = tenant.create({"Subject": "by hand"})["id"]
    tenant.set_clock(START)
    assert by_hand not in shown()
    tenant.set_clock(tenant_scenario.end_ms)
    assert by_hand in shown()
