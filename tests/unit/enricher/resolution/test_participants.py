"""Participants: who took part, each once, and for whom they work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from enricher.activity.mentions import Mention, Side
from enricher.resolution.model import Resolved
from enricher.resolution.participants import Participant, identify, only_named
from frame_gainsight.gainsight import Field, ObjectDescription
from tests.unit.enricher.conftest import refer

SAM = {"Gsid": "U1", "Name": "Sam Rivers", "Email": "Sam@acme.example"}
DANA = {"Gsid": "P1", "Name": "Dana Osei", "Email": "dana@x.example"}
LINKS = ObjectDescription("company_person", {n.lower(): Field(n, "LOOKUP") for n in ("Person_ID", "Company_ID")})


def job(company: str, *, primary: bool = False, active: bool = True, gsid: str = "") -> dict[str, Any]:
    return {
        "Gsid": gsid or f"J{company}",
        "Person_ID": "P1",
        "Company_ID": company,
        "IsPrimaryCompany": primary,
        "Active": active,
    }


def known(*jobs: dict[str, Any], users: bool = True, persons: bool = True) -> Resolved:
    found = Resolved({"company_person": LINKS})
    if users:
        found.users = {"sam@acme.example": SAM}
        found.users_by_gsid = {"U1": SAM}
    if persons:
        found.persons = {"dana@x.example": [DANA]}
        found.persons_by_gsid = {"P1": DANA}
    found.memberships = {"P1": list(jobs)}
    return found


def identified(mentions: Sequence[Mention], company: str | None, found: Resolved) -> list[Participant]:
    """The participants of an activity, once the resolver has looked its names up."""
    reference = refer(mentions, company)
    found.bare_names[reference] = only_named(mentions, company, found)
    return identify(reference, found)


def people_of(*mentions: Mention, company: str | None = "C1", found: Resolved | None = None) -> list[tuple[Any, ...]]:
    people = identified(mentions, company, found or known(job("C1")))
    return [(p.email, p.name, p.role, p.user_id, p.account_id) for p in people]


SAM_IS = ("sam@acme.example", "Sam Rivers", "agent", "U1", None)
DANA_IS = ("dana@x.example", "Dana Osei", "customer", "P1", "C1")


def test_a_gsuser_is_an_agent_and_a_person_a_customer() -> None:
    assert people_of(Mention("sam@acme.example"), Mention("dana@x.example")) == [SAM_IS, DANA_IS]


@pytest.mark.parametrize("side", Side)
def test_whom_the_tenant_knows_is_what_they_are_wherever_listed(side: Side) -> None:
    assert people_of(Mention("sam@acme.example", side=side)) == [SAM_IS]
    assert people_of(Mention("dana@x.example", side=side)) == [DANA_IS]


@pytest.mark.parametrize(
    ("sides", "role"),
    [
        ([Side.INTERNAL], "agent"),
        ([Side.EXTERNAL], "unknown"),
        ([Side.UNLISTED], "unknown"),
        ([Side.UNLISTED, Side.INTERNAL], "agent"),
        ([Side.UNLISTED, Side.EXTERNAL], "unknown"),
        ([Side.EXTERNAL, Side.INTERNAL], "agent"),
        ([Side.INTERNAL, Side.EXTERNAL], "agent"),
    ],
)
def test_whom_the_tenant_does_not_know_is_as_listed(sides: list[Side], role: str) -> None:
    mentions = [Mention("new@acme.example", side=side) for side in sides]
    assert people_of(*mentions) == [("new@acme.example", None, role, None, None)]


def test_a_user_who_is_also_a_person_is_an_agent() -> None:
    found = known(job("C1"))
    found.persons["sam@acme.example"] = [DANA]
    assert people_of(Mention("sam@acme.example"), found=found) == [SAM_IS]


def test_mentions_by_email_gsid_and_name_are_one() -> None:
    mentions = (
        Mention("dana@x.example"),
        Mention("dana@x.example", "D. Osei", side=Side.EXTERNAL),
        Mention(gsid="P1"),
        Mention("dana@x.example", gsid="P1"),
        Mention(name="Dana Osei"),
        Mention(name="d. osei"),
    )
    assert people_of(*mentions) == [DANA_IS]
    assert people_of(*reversed(mentions)) == [DANA_IS]


def shared() -> Resolved:
    """P2 has the address of P1, and works for the same company."""
    found = known(job("C1"))
    quinn = {"Gsid": "P2", "Name": "Quinn Osei", "Email": "dana@x.example"}
    found.persons["dana@x.example"].append(quinn)
    found.persons_by_gsid["P2"] = quinn
    found.memberships["P2"] = [job("C1")]
    return found


QUINN_IS = ("dana@x.example", "Quinn Osei", "customer", "P2", "C1")


def test_of_several_with_one_address_a_gsid_says_who_it_is_else_a_name() -> None:
    mail = Mention("dana@x.example")
    assert people_of(mail, found=shared()) == [DANA_IS]
    for by_gsid in (Mention(gsid="P2"), Mention("dana@x.example", gsid="P2"), Mention("new@x.example", gsid="P2")):
        assert people_of(by_gsid, found=shared()) == [QUINN_IS]
        assert people_of(mail, by_gsid, found=shared()) == [QUINN_IS]
        assert people_of(by_gsid, mail, found=shared()) == [QUINN_IS]
    found = shared()
    found.named_people = {"C1": {"quinn osei": "P2"}}
    assert people_of(mail, Mention(name="Quinn Osei"), found=found) == [QUINN_IS]


def test_a_gsid_goes_before_the_address_beside_it() -> None:
    mail, both = Mention("sam@acme.example"), Mention("sam@acme.example", gsid="P1")
    assert people_of(both) == [DANA_IS]
    assert people_of(mail, both) == [SAM_IS, DANA_IS]
    found = known(job("C1"))
    found.persons_by_gsid = {"P1": DANA | {"Email": None}}
    assert people_of(both, found=found) == [("sam@acme.example", *DANA_IS[1:])]
    assert people_of(both, Mention(gsid="P1"), found=found) == [("sam@acme.example", *DANA_IS[1:])], "once"


def test_a_gsid_that_nobody_has_is_whoever_has_the_address_beside_it() -> None:
    gone = Mention("dana@x.example", gsid="P9")
    assert people_of(gone, Mention(gsid="P9")) == [DANA_IS]
    assert people_of(Mention(gsid="P9"), gone) == [DANA_IS]


def test_what_was_found_for_another_activity_is_not_used() -> None:
    found = known(job("C1"))
    found.named_people = {"C1": {"dana osei": "P1"}}
    private = Mention("private@mail.example", "Dana Osei")
    assert people_of(private, Mention(name="Dana Osei"), found=found) == [
        ("private@mail.example", "Dana Osei", "unknown", None, None)
    ]


def test_a_name_that_nobody_has_stays_once() -> None:
    mentions = (Mention(name="Front Desk", side=Side.EXTERNAL), Mention(name="front desk", side=Side.EXTERNAL))
    assert people_of(*mentions) == [(None, "Front Desk", "unknown", None, None)]
    assert people_of(Mention(name="Night Shift", side=Side.INTERNAL)) == [(None, "Night Shift", "agent", None, None)]


def test_a_gsid_that_nobody_has_stays() -> None:
    assert people_of(Mention(gsid="X")) == [(None, None, "unknown", None, None)]


def test_a_name_comes_from_the_tenant_else_from_beside_the_address() -> None:
    assert people_of(Mention("dana@x.example", "Wrong"))[0][1] == "Dana Osei"
    assert people_of(Mention("new@x.example"), Mention("new@x.example", "New One"))[0][1] == "New One"
    found = known()
    found.persons = {"dana@x.example": [{"Gsid": "P1", "FirstName": "Dana", "LastName": " "}]}
    assert people_of(Mention("dana@x.example", "Wrong"), found=found)[0][1] == "Dana"


def test_the_order_is_of_the_first_mention() -> None:
    mentions = [Mention(f"{n}@x.example") for n in "cab"]
    assert [p[0] for p in people_of(*mentions, mentions[0])] == ["c@x.example", "a@x.example", "b@x.example"]


@pytest.mark.parametrize(
    ("jobs", "company", "account"),
    [
        ([job("C2", primary=True), job("C1")], "C1", "C1"),
        ([job("C2"), job("C3", primary=True)], "C1", "C3"),
        ([job("C2"), job("C3")], "C1", "C2"),
        ([job("C2"), job("C3", primary=True)], None, "C3"),
        ([job("C1", active=False), job("C2", primary=True)], "C1", "C1"),
        ([job("C2", primary=True, active=False), job("C3")], "C2", "C2"),
        ([job("C2", primary=True, active=False), job("C3")], "C1", "C3"),
        ([job("C2", active=False)], "C1", "C2"),
        ([], "C1", None),
    ],
    ids=[
        "the activity's",
        "the primary",
        "the first",
        "no company",
        "inactive at the activity's",
        "inactive at the activity's, and primary",
        "inactive primary",
        "only inactive",
        "none",
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_a_person_of_several_companies(jobs: list[Any], company: str | None, account: str | None, turned: bool) -> None:
    found = known(*(reversed(jobs) if turned else jobs))
    (person,) = identified([Mention("dana@x.example")], company, found)
    assert (person.role, person.account_id) == ("customer", account)
    assert [r["Company_ID"] for r in person.rows.get("company_person", [])] == ([account] if account else [])


def test_of_those_who_left_and_stay_at_the_activitys_company_the_membership_is_the_one_that_stays() -> None:
    found = known(job("C1", primary=True, active=False, gsid="J1"), job("C1", gsid="J2"))
    (person,) = identified([Mention("dana@x.example")], "C1", found)
    assert [r["Gsid"] for r in person.rows["company_person"]] == ["J2"]


@pytest.mark.parametrize(
    ("of_dana", "of_quinn", "who"),
    [
        (job("C1"), job("C1"), "P1"),
        (job("C1", active=False), job("C1"), "P2"),
        (job("C2"), job("C1", active=False), "P2"),
        (job("C2", active=False), job("C3"), "P2"),
        (job("C2"), job("C3", primary=True), "P1"),
    ],
    ids=["the first", "who stays", "who was there", "who is anywhere", "the first of other companies"],
)
def test_which_of_several_with_one_address_it_is(of_dana: Any, of_quinn: Any, who: str) -> None:
    found = shared()
    found.memberships = {"P1": [of_dana], "P2": [of_quinn]}
    assert [row[3] for row in people_of(Mention("dana@x.example"), found=found)] == [who]


@pytest.mark.parametrize(("yes", "no"), [(True, False), ("true", "false"), ("TRUE", "False"), (1, 0), ("1", "0")])
def test_a_membership_s_flags_in_every_form(yes: Any, no: Any) -> None:
    left = {**job("C2"), "Active": no, "IsPrimaryCompany": yes}
    there = {**job("C3"), "Active": yes, "IsPrimaryCompany": no}
    primary = {**job("C4"), "Active": yes, "IsPrimaryCompany": yes}
    assert people_of(Mention("dana@x.example"), found=known(left, there, primary))[0][4] == "C4"
    assert people_of(Mention("dana@x.example"), found=known(left, there))[0][4] == "C3"
    found = shared()
    found.memberships = {"P1": [{**job("C1"), "Active": no}], "P2": [{**job("C1"), "Active": yes}]}
    assert people_of(Mention("dana@x.example"), found=found)[0][3] == "P2"


def test_the_other_spelling_of_the_link() -> None:
    described = {"company_person": ObjectDescription("company_person", {"companyid": Field("CompanyId", "LOOKUP")})}
    found = replace(known(), described=described, memberships={"P1": [{"CompanyId": "C9"}]})
    assert people_of(Mention("dana@x.example"), found=found)[0][4] == "C9"


def test_profiles_are_mapped_from_the_rows_of_their_own_object() -> None:
    people = identified(
        [Mention("sam@acme.example"), Mention("dana@x.example"), Mention("x@y.example")], "C1", known(job("C1"))
    )
    assert [sorted(p.rows) for p in people] == [["gsuser"], ["company_person", "person"], []]


def test_nobody() -> None:
    assert people_of() == []
    assert people_of(Mention()) == []
