"""The query endpoint: what it selects, filters, looks up, orders and pages, and how it refuses."""

from typing import Any

import pytest

from frame_gainsight.sandbox.query.dates import moment
from frame_gainsight.sandbox.query.dialect import Dialect
from frame_gainsight.sandbox.query.paths import Paths

ACTIVITY = "activity_timeline"
DEFAULT_ORDER = {"LastModifiedDate": "asc", "Gsid": "asc"}


def test_envelopes_are_mixed_as_documented(reader: Any) -> None:
    activity = reader.ask(ACTIVITY, ["Gsid", "LastModifiedDate"], limit=1).json()
    company = reader.ask("company", ["Gsid", "ModifiedDate"], limit=1).json()
    assert list(activity) == ["result", "errorCode", "errorDesc", "requestId", "data", "message"]
    assert activity["data"]["records"][0]["LastModifiedDate"].endswith("Z")
    assert isinstance(company["data"][0]["ModifiedDate"], int)


def test_reply_keys_are_as_requested_and_fields_match_in_any_case(reader: Any) -> None:
    row = reader.rows("COMPANY", ["gsid", "NAME", "csm__gr.email"], ("GSID", "IS_NOT_NULL", []), limit=1)[0]
    assert list(row) == ["gsid", "NAME", "csm__gr.email"]


def test_look_ups_reach_two_levels(reader: Any) -> None:
    rows = reader.rows("contract__gc", ["Company_ID__gc__gr.Csm__gr.Name", "Company_ID__gc"])
    companies = {c["Gsid"]: c for c in reader.tenant.world.rows("company")}
    users = {u["Gsid"]: u["Name"] for u in reader.tenant.world.rows("gsuser")}
    assert rows
    for row in rows:
        csm = companies[row["Company_ID__gc"]]["Csm"]
        assert row["Company_ID__gc__gr.Csm__gr.Name"] == users.get(csm)


def test_look_ups_filter_and_order(reader: Any) -> None:
    email = reader.tenant.world.rows("gsuser")[0]["Email"]
    rows = reader.rows(ACTIVITY, ["AuthorId__gr.Email"], ("AuthorId__gr.Email", "EQ", [email.upper()]))
    assert {r["AuthorId__gr.Email"] for r in rows} <= {email}
    names = [
        r["GsCompanyId__gr.Name"]
        for r in reader.rows(ACTIVITY, ["GsCompanyId__gr.Name"], orderBy={"GsCompanyId__gr.Name": "desc"})
    ]
    assert names == sorted(names, reverse=True)


@pytest.mark.parametrize(
    ("name", "body", "expected"),
    [
        ("company", {"select": ["Gsid", "Nope"]}, (400, "P_5005")),
        ("company", {"select": ["Csm__gr.Nope"]}, (400, "P_5005")),
        ("company", {"select": ["Industry__gr.Name"]}, (400, "P_5068")),
        ("company", {"select": ["Csm__gr.Manager__gr.Manager__gr.Name"]}, (400, "P_5068")),
        ("company", {"select": []}, (400, "GSOBJ_1002")),
        ("company", {"select": ["Gsid"], "orderBy": {"Nope": "asc"}}, (400, "P_5005")),
        ("company", {"select": ["Gsid"], "orderBy": {"Name": "up"}}, (400, "GSOBJ_1008")),
        ("company", {"select": ["Gsid"], "limit": -1}, (400, "GSOBJ_1008")),
        ("company", {"select": ["Gsid"], "offset": "x"}, (400, "GSOBJ_1008")),
        (ACTIVITY, {"select": ["Gsid"], "orderBy": {"Notes": "asc"}}, (400, "P_5026")),
        ("nope", {"select": ["Gsid"]}, (400, "OBJECT_NOT_FOUND")),
        ("record_delete_log_high_volume", {"select": ["RecordId"]}, (400, "OBJECT_NOT_FOUND")),
    ],
)
def test_refusals(reader: Any, name: str, body: dict[str, Any], expected: tuple[int, str]) -> None:
    assert reader.code(reader.post(f"/v1/data/objects/query/{name}", body)) == expected


@pytest.mark.parametrize(
    ("condition", "code"),
    [
        (("Nope", "EQ", ["x"]), "P_5005"),
        (("Notes", "CONTAINS", ["x"]), "P_5026"),
        (("LastModifiedDate", "IN", ["2026-03-02"]), "P_5026"),
        (("LastModifiedDate", "GTE", ["yesterday"]), "GSOBJ_1005"),
        (("LastModifiedDate", "GTE", "2026-03-02"), "GSOBJ_1008"),
        (("DurationInMins", "GT", ["many"]), "GSOBJ_1008"),
        (("Subject", "EQ", []), "GSOBJ_1008"),
        (("LastModifiedDate", "BTW", ["2026-03-02"]), "GSOBJ_1008"),
    ],
)
def test_conditions_refused(reader: Any, condition: tuple[str, str, Any], code: str) -> None:
    assert reader.code(reader.ask(ACTIVITY, ["Gsid"], condition)) == (400, code)


@pytest.mark.parametrize(
    "form", ["2026-03-02T08:10:00Z", "2026-03-02T08:10:00.000+00:00", "2026-03-02 08:10:00", 1772439000000]
)
def test_dates_filter_in_every_form_seen(reader: Any, form: Any) -> None:
    everything = reader.rows(ACTIVITY, ["LastModifiedDate"])
    later = reader.rows(ACTIVITY, ["LastModifiedDate"], ("LastModifiedDate", "GTE", [form]))
    assert 0 < len(later) == sum(r["LastModifiedDate"] >= "2026-03-02T08:10:00Z" for r in everything) < len(everything)


def test_picklists_filter_by_gsid_and_by_label(reader: Any) -> None:
    item, label = reader.tenant.world.picklists["company.Industry"].items[0]
    by_id = reader.rows("company", ["Industry"], ("Industry", "EQ", [item]))
    assert by_id
    assert {r["Industry"] for r in by_id} == {item}
    assert len(reader.rows("company", ["Industry"], ("Industry", "IN", [label]))) == len(by_id)


def test_emails_are_found_in_any_case(reader: Any) -> None:
    emails = [p["Email"] for p in reader.tenant.world.rows("person") if p["Email"]]
    found = reader.rows("person", ["Email"], ("Email", "IN", [e.lower() for e in emails]))
    assert sorted(r["Email"] for r in found) == sorted(emails)


def test_memberships_are_found_by_their_persons_emails(reader: Any) -> None:
    world = reader.tenant.world
    persons = {p["Gsid"]: p["Email"].lower() for p in world.rows("person") if p["Email"]}
    chosen = sorted(persons.values())[::2]
    expected = [r["Gsid"] for r in world.rows("company_person") if persons.get(r["Person_ID"]) in chosen]
    asked = ("Person_ID__gr.Email", "IN", [e.upper() for e in chosen] + [f"no{n}@nowhere.example" for n in range(1000)])
    rows = reader.rows("company_person", ["Gsid", "Person_ID__gr.Email"], asked, orderBy={"Gsid": "asc"})
    assert [r["Gsid"] for r in rows] == sorted(expected)
    assert {r["Person_ID__gr.Email"].lower() for r in rows} == set(chosen)
    only = reader.rows("company_person", ["Gsid"], asked, ("Active", "EQ", [False]))
    assert {r["Gsid"] for r in only} == {
        r["Gsid"] for r in world.rows("company_person") if r["Gsid"] in expected and not r["Active"]
    }


def test_paths_through_look_ups_are_narrowed_by_indexes(reader: Any) -> None:
    """What keeps a list of a thousand emails quick: no row is looked at that an index rules out."""
    tables = reader.tenant.tables()
    paths = Paths(tables, lambda name: Dialect())

    def looked_at(name: str, path: str, value: Any) -> list[Any]:
        narrowing = paths.resolve(tables[name], path).among([value])
        assert narrowing is not None
        return [row["Gsid"] for row in tables[name].candidates([narrowing]).records]

    world = reader.tenant.world
    person = next(p for p in world.rows("person") if p["Email"])
    jobs = [r["Gsid"] for r in world.rows("company_person") if r["Person_ID"] == person["Gsid"]]
    assert looked_at("company_person", "Person_ID__gr.Email", person["Email"].lower()) == jobs
    assert looked_at("company_person", "Person_ID", person["Gsid"]) == jobs
    csm = world.rows("gsuser")[1]
    theirs = {c["Gsid"] for c in world.rows("company") if c["Csm"] == csm["Gsid"]}
    contracts = {r["Gsid"] for r in world.rows("contract__gc") if r["Company_ID__gc"] in theirs}
    assert set(looked_at("contract__gc", "Company_ID__gc__gr.Csm__gr.Email", csm["Email"])) == contracts
    assert paths.resolve(tables["company_person"], "Person_ID__gr.Location").among(["x"]) is None


def test_one_of_two_dates_one_of_them_looked_up(reader: Any) -> None:
    world, since = reader.tenant.world, "2026-01-01T00:00:00Z"
    dates = {p["Gsid"]: p["ModifiedDate"] for p in world.rows("person")}
    conditions = [("ModifiedDate", "GTE", [since]), ("Person_ID__gr.ModifiedDate", "GTE", [since])]

    def found(expression: str) -> set[str]:
        return {r["Gsid"] for r in reader.rows("company_person", ["Gsid"], *conditions, expression=expression)}

    own = {r["Gsid"] for r in world.rows("company_person") if r["ModifiedDate"] >= moment(since)}
    theirs = {r["Gsid"] for r in world.rows("company_person") if dates[r["Person_ID"]] >= moment(since)}
    assert own - theirs
    assert theirs - own
    assert found("C0 OR C1") == own | theirs
    assert found("C0 AND C1") == own & theirs
    assert found("C1") == theirs
    ids = [r["Gsid"] for r in world.rows("company_person")][:3]
    both = reader.rows("company_person", ["Gsid"], ("Gsid", "IN", ids), *conditions, expression="C0 AND C1 OR C2")
    assert {r["Gsid"] for r in both} == (set(ids) & own) | theirs


def test_expressions(reader: Any) -> None:
    conditions = [("TypeName", "EQ", ["Email"]), ("TypeName", "EQ", ["Call"]), ("Subject", "STARTS_WITH", ["Re: "])]

    def count(expression: str) -> int:
        return len(reader.rows(ACTIVITY, ["Gsid"], *conditions, expression=expression))

    assert count("C0 OR C1") == count("C0") + count("C1")
    assert count("C1 OR C0 AND C2") == count("C1") + count("C0 AND C2")
    assert count("(C1 OR C0) AND C2") == count("C0 AND C2")
    assert count("C1 AND C0") == 0
    assert count("C0") > count("C0 AND C2") > 0  # an alias left out is not applied
    for broken in ("C9", "C0 AND", "(C0", "C0 C1"):
        assert reader.code(reader.ask(ACTIVITY, ["Gsid"], *conditions, expression=broken)) == (400, "P_5026")


def test_order_follows_the_keys_of_order_by(reader: Any) -> None:
    rows = reader.rows(ACTIVITY, ["TypeName", "Gsid"], orderBy={"TypeName": "desc", "Gsid": "asc"})
    assert rows == sorted(sorted(rows, key=lambda r: r["Gsid"]), key=lambda r: r["TypeName"], reverse=True)


def test_pages_in_order_give_every_row_once(reader: Any) -> None:
    whole = reader.rows(ACTIVITY, ["Gsid", "LastModifiedDate"], orderBy=DEFAULT_ORDER)
    paged: list[Any] = []
    while page := reader.rows(
        ACTIVITY, ["Gsid", "LastModifiedDate"], orderBy=DEFAULT_ORDER, limit=50, offset=len(paged)
    ):
        paged += page
    assert paged == whole
    assert whole == sorted(whole, key=lambda r: (r["LastModifiedDate"], r["Gsid"]))


def test_an_index_never_changes_the_answer(reader: Any) -> None:
    window = [
        ("LastModifiedDate", "GTE", ["2026-03-02T08:05:00Z"]),
        ("LastModifiedDate", "LT", ["2026-03-02T08:12:00Z"]),
    ]
    whole = reader.rows(ACTIVITY, ["Gsid", "LastModifiedDate"], orderBy=DEFAULT_ORDER)
    expected = [r for r in whole if "2026-03-02T08:05:00Z" <= r["LastModifiedDate"] < "2026-03-02T08:12:00Z"]
    assert reader.rows(ACTIVITY, ["Gsid", "LastModifiedDate"], *window, orderBy=DEFAULT_ORDER) == expected
    ids = [r["Gsid"] for r in expected]
    chosen = reader.rows(ACTIVITY, ["Gsid", "LastModifiedDate"], ("Gsid", "IN", ids), orderBy=DEFAULT_ORDER)
    assert chosen == expected
    after = reader.rows(ACTIVITY, ["Gsid"], *window, ("Gsid", "GT", [min(ids)]), orderBy={"Gsid": "asc"})
    assert [r["Gsid"] for r in after] == sorted(ids)[1:]


def test_without_order_by_the_order_differs_from_call_to_call(reader: Any) -> None:
    one, two = (reader.rows("person", ["Gsid"]) for _ in range(2))
    assert one != two
    assert sorted(r["Gsid"] for r in one) == sorted(r["Gsid"] for r in two)


def test_the_limit_is_capped_and_optional(client: Any) -> None:
    client.tenant.create_some(5000, 0.0)
    assert len(client.rows(ACTIVITY, ["Gsid"], limit=9999)) == 5000
    reply = client.post("/v1/data/objects/query/activity_timeline", {"select": ["Gsid"]}).json()
    assert len(reply["data"]["records"]) == 5000


def test_deleted_rows_are_gone_and_in_the_log_for_15_days(client: Any) -> None:
    deleted = client.tenant.truth()["deleted"]
    ids = [d["activity_id"] for d in deleted]
    assert ids
    assert client.rows(ACTIVITY, ["Gsid"], ("Gsid", "IN", ids)) == []
    asked = (("DeletedOn", "GT", ["2026-03-01 00:00:00"]), ("ObjectName", "EQ", [ACTIVITY]))
    log = client.rows("record_delete_log", ["RecordId", "DeletedOn", "ObjectName"], *asked)
    assert sorted(r["RecordId"] for r in log) == sorted(ids)
    client.tenant.advance(15 * 86_400 + 1200)
    assert client.rows("record_delete_log", ["RecordId"], *asked) == []


def test_the_deleted_call_takes_a_range(reader: Any) -> None:
    deleted = reader.tenant.truth()["deleted"]
    span = {"fromDate": "2026-03-02T00:00:00Z", "toDate": "2026-03-03T00:00:00Z"}
    found = reader.post("/v1/ant/es/activity/deleted", span).json()["data"]["records"]
    assert sorted(r["Gsid"] for r in found) == sorted(d["activity_id"] for d in deleted)
    assert reader.code(reader.post("/v1/ant/es/activity/deleted", {"when": "now"})) == (400, "GSOBJ_1008")
