"""Variants whose effect no product test would miss: switched on, and seen in the replies."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from frame_gainsight.sandbox import VARIANTS, UnknownVariantError

ACTIVITY = "activity_timeline"
NOTHING = ("Gsid", "EQ", ["none"])


def on(client: Any, name: str, value: Any, **scope: Any) -> None:
    client.tenant.set_variant(name, value, **scope)


def company(client: Any) -> httpx.Response:
    return client.ask("company", ["Gsid", "Name", "Industry", "RenewalDate", "ModifiedDate", "PreviousCsm"])  # type: ignore[no-any-return]


# compression


def test_gzip(client: Any) -> None:
    on(client, "gzip", "never")
    assert "content-encoding" not in company(client).headers
    on(client, "gzip", "always")
    reply = client.post("/v1/data/objects/query/company", {"select": ["Gsid"]}, **{"accept-encoding": "identity"})
    assert reply.headers["content-encoding"] == "gzip"


# throttling


def test_throttle_shape(client: Any) -> None:
    on(client, "throttled", True)
    assert "retry-after" not in company(client).headers
    on(client, "throttle_shape", "429_retry_after")
    assert int(company(client).headers["retry-after"]) >= 1
    on(client, "throttle_shape", "gs_apig_2404")
    assert client.code(company(client)) == (200, "GS_APIG_2404")


def test_rate(client: Any) -> None:
    on(client, "rate", {"per_minute": 1000, "per_day": 2})
    assert [company(client).status_code for _ in range(3)] == [200, 200, 429]


def test_others(client: Any) -> None:
    on(client, "rate", {"per_minute": 100, "per_day": 50_000})
    on(client, "others", 100)
    assert company(client).status_code == 429


def test_rate_headers(client: Any) -> None:
    on(client, "rate", {"per_minute": 100, "per_day": 50_000})
    on(client, "rate_headers", True)
    headers = company(client).headers
    assert headers["x-ratelimit-limit"] == "100"
    assert headers["x-ratelimit-remaining"] == "99"
    assert 1 <= int(headers["x-ratelimit-reset"]) <= 60


# rows


def test_dates(client: Any) -> None:
    def date() -> Any:
        order = {"LastModifiedDate": "asc", "Gsid": "asc"}
        return client.rows(ACTIVITY, ["LastModifiedDate"], orderBy=order, limit=1)[0]["LastModifiedDate"]

    plain = date()
    for form, expected in (("iso_fraction", f"{plain[:-1]}.000Z"), ("iso_offset", f"{plain[:-1]}.000+0000")):
        on(client, "dates", form)
        assert date() == expected
    on(client, "dates", "ms")
    assert isinstance(date(), int)
    on(client, "dates", "iso", object="company")
    assert isinstance(date(), int)
    row = client.rows("company", ["RenewalDate", "ModifiedDate"])[0]
    assert (len(row["RenewalDate"]), row["ModifiedDate"][-1]) == (10, "Z")


def test_nulls(client: Any) -> None:
    def values() -> list[Any]:
        return [row.get("PreviousCsm", "no key") for row in company(client).json()["data"]]

    assert None in values()
    on(client, "nulls", "empty")
    assert "" in values()
    on(client, "nulls", "absent")
    assert "no key" in values()
    assert not {None, ""} & set(values())


def test_keys(client: Any) -> None:
    for form, expected in (("lower", "gsid"), ("upper", "GSID"), ("described", "Gsid"), ("requested", "gSid")):
        on(client, "keys", form)
        assert list(client.rows("company", ["gSid"])[0]) == [expected]


def test_attendees(client: Any) -> None:
    email = client.tenant.world.rows("gsuser")[1]["Email"]
    name, gsid = (client.tenant.world.users[email][f] for f in ("Name", "Gsid"))
    people = {"InternalAttendees": [email], "ExternalAttendees": ["Zed Unknown <zed@far.example>"], "AuthorId": gsid}
    made = client.tenant.create(people)["id"]
    client.tenant.edit(made, {"InternalAttendees": [f"{name} <{email}>", "b@far.example"]})
    expected = {
        "emails": f"{email}, b@far.example",
        "angle": f"{name} <{email}>, b@far.example",
        "names": f"{name}, b@far.example",
        "bare_names": f"{name}, b@far.example",
        "json_strings": f'["{email}","b@far.example"]',
        "json_objects": f'[{{"name":"{name}","email":"{email}","id":"{gsid}"}},'
        '{"name":null,"email":"b@far.example","id":null}]',
        "gsids": f"{gsid}, b@far.example",
        "null": None,
    }
    on(client, "attendee_delimiter", ",")
    for form, text in expected.items():
        on(client, "attendees", form)
        row = client.rows(ACTIVITY, ["InternalAttendees"], ("Gsid", "EQ", [made]))[0]
        assert row["InternalAttendees"] == text
    on(client, "attendees", "bare_names")
    row = client.rows(ACTIVITY, ["ExternalAttendees"], ("Gsid", "EQ", [made]))[0]
    assert row["ExternalAttendees"] == "Zed Unknown"


def test_attendee_delimiter(client: Any) -> None:
    on(client, "attendees", "emails")
    on(client, "attendee_delimiter", ";")
    lists = [r["ExternalAttendees"] for r in client.rows(ACTIVITY, ["ExternalAttendees"]) if r["ExternalAttendees"]]
    assert any("; " in text for text in lists)
    assert not any("," in text for text in lists)


def test_multi_select(client: Any) -> None:
    on(client, "multi_select", "joined")
    topics = [r["Ant__Topics__c"] for r in client.rows(ACTIVITY, ["Ant__Topics__c"]) if r["Ant__Topics__c"]]
    assert any(";" in value for value in topics)


def test_picklists(client: Any) -> None:
    on(client, "picklists", "label")
    labels = {label for _, label in client.tenant.world.picklists["company.Industry"].items}
    assert {r["Industry"] for r in company(client).json()["data"]} <= labels | {None}
    topics = [t for r in client.rows(ACTIVITY, ["Ant__Topics__c"]) for t in r["Ant__Topics__c"] or ()]
    assert "Renewal" in topics


# envelope


def test_data(client: Any) -> None:
    on(client, "data", "records")
    assert company(client).json()["data"]["records"]
    on(client, "data", "list", object=ACTIVITY)
    assert isinstance(client.ask(ACTIVITY, ["Gsid"]).json()["data"], list)


def test_empty(client: Any) -> None:
    assert client.ask(ACTIVITY, ["Gsid"], NOTHING).json()["data"] == {"records": []}
    assert client.ask("company", ["Gsid"], NOTHING).json()["data"] == []
    on(client, "empty", "null")
    assert client.ask("company", ["Gsid"], NOTHING).json()["data"] is None
    on(client, "empty", "no_data")
    reply = client.ask("company", ["Gsid"], NOTHING)
    assert (reply.status_code, reply.json()["result"]) == (200, False)
    assert "No data found" in reply.json()["errorDesc"]
    on(client, "empty", "gsobj_1011")
    assert client.code(client.ask("company", ["Gsid"], NOTHING)) == (400, "GSOBJ_1011")
    assert company(client).json()["data"]


def test_localized(client: Any) -> None:
    on(client, "localized", True)
    assert "localizedMessage" in company(client).json()
    assert client.ask("company", ["Nope"]).json()["localizedErrorDesc"]


def test_extra_keys(client: Any) -> None:
    on(client, "extra_keys", 2)
    assert {"x0", "x1", "data"} <= set(company(client).json())


def test_error_status(client: Any) -> None:
    on(client, "error_status", 200)
    assert client.code(client.ask("company", ["Nope"])) == (200, "P_5005")


# queries


def test_page_cap(client: Any) -> None:
    on(client, "page_cap", 7)
    assert len(client.rows(ACTIVITY, ["Gsid"], limit=50)) == 7


def test_in_limit(client: Any) -> None:
    on(client, "in_limit", {"max": 2, "status": 413})
    for count, status in ((2, 200), (3, 413)):
        assert client.ask("company", ["Gsid"], ("Gsid", "IN", ["x"] * count)).status_code == status


DOTTED = "Person_ID__gr.Email"


def test_dotted_select(client: Any) -> None:
    for code in ("P_5005", "P_5068"):
        on(client, "dotted_select", code, object="company_person")
        assert client.code(client.ask("company_person", ["Gsid", DOTTED])) == (400, code)
    assert client.ask("company_person", ["Gsid"], (DOTTED, "EQ", ["x"])).status_code == 200
    assert client.ask("company", ["Csm__gr.Email"]).status_code == 200


def test_dotted_where(client: Any) -> None:
    for code in ("P_5005", "P_5068"):
        on(client, "dotted_where", code, object="company_person")
        assert client.code(client.ask("company_person", ["Gsid"], (DOTTED, "EQ", ["x"]))) == (400, code)
    assert client.ask("company_person", ["Gsid", DOTTED]).status_code == 200
    assert client.ask("company", ["Gsid"], ("Csm__gr.Email", "EQ", ["x"])).status_code == 200


def test_no_or(client: Any) -> None:
    conditions = [("Gsid", "EQ", ["x"]), ("Name", "EQ", ["y"])]
    on(client, "no_or", True, object="company")
    assert client.code(client.ask("company", ["Gsid"], *conditions, expression="C0 OR C1")) == (400, "P_5026")
    assert client.code(client.ask("company", ["Gsid"], *conditions, expression="(C0 or C1)")) == (400, "P_5026")
    assert client.ask("company", ["Gsid"], *conditions, expression="C0 AND C1").status_code == 200
    assert client.ask("person", ["Gsid"], *conditions, expression="C0 OR C1").status_code == 200


def test_filter_zone(client: Any) -> None:
    on(client, "filter_zone", -480)
    named = len(client.rows(ACTIVITY, ["Gsid"], ("LastModifiedDate", "GTE", ["2026-03-02T08:10:00Z"])))
    assert len(client.rows(ACTIVITY, ["Gsid"], ("LastModifiedDate", "GTE", ["2026-03-02 00:10:00"]))) == named > 0
    assert client.rows(ACTIVITY, ["Gsid"], ("LastModifiedDate", "GTE", ["2026-03-02 08:10:00"])) == []


def test_offset_ignored(client: Any) -> None:
    on(client, "filter_zone", -480)
    on(client, "offset_ignored", True)
    assert client.rows(ACTIVITY, ["Gsid"], ("LastModifiedDate", "GTE", ["2026-03-02T08:10:00Z"])) == []
    assert client.rows(ACTIVITY, ["Gsid"], ("LastModifiedDate", "GTE", ["2026-03-02T00:10:00Z"]))


# fields


def _fields(client: Any, **scope: str) -> dict[str, Any]:
    described = client.get(f"/v1/meta/services/objects/{ACTIVITY}/describe").json()["data"][0]
    return {f["fieldName"]: f["meta"] for f in described["fields"]}


def test_missing_fields(client: Any) -> None:
    on(client, "missing_fields", ["From", "To"], object=ACTIVITY)
    assert not {"From", "To"} & set(_fields(client))
    assert client.code(client.ask(ACTIVITY, ["Gsid", "From"])) == (400, "P_5005")
    on(client, "missing_fields", ["ModifiedDate"], object="person")
    assert client.code(client.ask("person", ["Gsid"], ("ModifiedDate", "GTE", ["2026-01-01"]))) == (400, "P_5005")
    looked_up = ("Person_ID__gr.ModifiedDate", "GTE", ["2026-01-01"])
    assert client.code(client.ask("company_person", ["Gsid"], looked_up)) == (400, "P_5005")
    assert client.ask("company_person", ["ModifiedDate"]).status_code == 200


def test_spellings(client: Any) -> None:
    names = {"Person_ID": "PersonId", "Company_ID": "CompanyId"}
    on(client, "spellings", names, object="company_person")
    described = client.get("/v1/meta/services/objects/company_person/describe").json()["data"][0]
    fields = {f["fieldName"]: f["meta"].get("lookupDetail") for f in described["fields"]}
    assert fields["PersonId"]["lookupName"] == "PersonId__gr"
    assert fields["CompanyId"]["lookupObjects"][0]["objectName"] == "company"
    assert not names.keys() & fields.keys()
    person = next(p for p in client.tenant.world.rows("person") if p["Email"])
    select = ["personid", "PersonId__gr.Email"]
    (row, *_) = client.rows("company_person", select, ("PersonId__gr.Email", "IN", [person["Email"]]))
    assert row == {"personid": person["Gsid"], "PersonId__gr.Email": person["Email"]}
    for gone in ("Person_ID", "Person_ID__gr.Email"):
        assert client.code(client.ask("company_person", [gone])) == (400, "P_5005")
    on(client, "keys", "described")
    assert list(client.rows("company_person", ["PERSONID__GR.email"])[0]) == ["PersonId__gr.Email"]
    on(client, "missing_fields", ["PersonId"], object="company_person")
    assert client.code(client.ask("company_person", ["PersonId"])) == (400, "P_5005")


def test_hidden_fields(client: Any) -> None:
    on(client, "hidden_fields", ["From"])
    assert _fields(client)["From"]["hidden"] is True
    asked = {"objectNames": [ACTIVITY], "removeHidden": "true"}
    several = client.post("/v1/meta/services/objects/describe", asked).json()["data"][0]["fields"]
    assert "From" not in {f["fieldName"] for f in several}
    assert client.ask(ACTIVITY, ["From"]).status_code == 200


def test_gone_fields(client: Any) -> None:
    on(client, "gone_fields", ["name"], object="company")
    described = client.get("/v1/meta/services/objects/company/describe").json()["data"][0]["fields"]
    assert "Name" in {f["fieldName"] for f in described}
    assert client.code(client.ask("company", ["Name"])) == (400, "P_5005")
    assert client.code(client.ask(ACTIVITY, ["GsCompanyId__gr.Name"])) == (400, "P_5005")  # through look-ups too


def test_missing_object(client: Any) -> None:
    on(client, "missing_object", True, object="contract__gc")
    assert client.code(client.ask("contract__gc", ["Gsid"])) == (400, "OBJECT_NOT_FOUND")
    listed = client.get("/v1/meta/services/objects/list").json()["data"]
    assert "contract__gc" not in {o["objectName"] for o in listed}


def test_delete_log(client: Any) -> None:
    names = ("record_delete_log", "record_delete_log_high_volume")
    for value, there in (("low", (1, 0)), ("high", (0, 1)), ("both", (1, 1)), ("missing", (0, 0))):
        on(client, "delete_log", value)
        found = [client.ask(name, ["RecordId"]).json()["result"] for name in names]
        assert found == [bool(t) for t in there]


def test_high_volume(client: Any) -> None:
    client.tenant.delete_record("person", client.tenant.world.rows("person")[0]["Gsid"])
    logs = ("record_delete_log", "record_delete_log_high_volume")

    def objects() -> list[set[str]]:
        return [{r["ObjectName"] for r in client.rows(name, ["ObjectName"])} for name in logs]

    on(client, "delete_log", "both")
    everything = {"person", "company_person", ACTIVITY}
    assert objects() == [everything, everything]
    on(client, "high_volume", ["Company_Person"])
    assert objects() == [everything - {"company_person"}, {"company_person"}]


def test_deleted_call(client: Any) -> None:
    on(client, "deleted_call", "missing")
    assert client.code(client.post("/v1/ant/es/activity/deleted", {})) == (404, "GS_APIG_1000")


# timeline


@pytest.fixture(autouse=True)
def _later(client: Any) -> Iterator[None]:
    client.tenant.advance(60)
    yield


def _versions(client: Any) -> dict[str, int]:
    return {a["activity_id"]: a["version_ms"] for a in client.tenant.truth()["activities"]}


def test_edit_while_paging(client: Any) -> None:
    before = _versions(client)
    on(client, "edit_while_paging", 4, every=2)
    order = {"LastModifiedDate": "asc", "Gsid": "asc"}
    client.rows(ACTIVITY, ["Gsid"], orderBy=order, limit=10)
    assert _versions(client) == before
    client.rows(ACTIVITY, ["Gsid"], orderBy=order, limit=10)
    after = _versions(client)
    assert set(after) == set(before)
    assert sum(after[gsid] != before[gsid] for gsid in before) == 4


def test_late_rows(client: Any) -> None:
    before = _versions(client)
    on(client, "late_rows", {"rows": 3, "seconds": 60}, times=1)
    client.rows(ACTIVITY, ["Gsid"], limit=1)
    assert _versions(client) == before
    made_at = client.tenant.now()
    client.tenant.advance(60)
    late = [version for gsid, version in _versions(client).items() if gsid not in before]
    assert late == [made_at] * 3


# switching


def test_a_variant_is_scoped_by_object_kind_of_call_and_times(client: Any) -> None:
    on(client, "server_error", 503, object="Company", endpoint="query", times=2)
    assert client.get("/v1/meta/services/objects/company/describe").status_code == 200
    assert client.ask("person", ["Gsid"]).status_code == 200
    assert [company(client).status_code for _ in range(3)] == [503, 503, 200]
    assert client.http.get("/_sandbox/variants").json() == {}


def test_a_variant_of_the_dialect_runs_out_too(client: Any) -> None:
    on(client, "data", "records", object="company", times=1)
    assert isinstance(company(client).json()["data"], dict)
    assert isinstance(company(client).json()["data"], list)


def test_variants_are_switched_over_http(client: Any) -> None:
    put = {"page_cap": 3, "dates": [{"value": "ms", "object": ACTIVITY}, {"value": "iso", "object": "company"}]}
    shown = client.http.put("/_sandbox/variants", json=put).json()
    assert shown == put | {"page_cap": {"value": 3}}
    assert client.http.get("/_sandbox/variants").json() == shown
    assert client.http.put("/_sandbox/variants", json={"page_cap": None, "dates": None}).json() == {}
    assert set(client.http.get("/_sandbox/variants/table").json()) == set(VARIANTS)


def test_a_misspelt_variant_is_refused_with_what_is_close(client: Any) -> None:
    with pytest.raises(UnknownVariantError, match="did you mean attendees"):
        client.tenant.set_variant("atendees", "names")
    client.tenant.set_variant("attendees", "names")
    client.tenant.clear_variants()
    assert client.tenant.switches.shown() == {}
