"""Access, headers, allowance, metadata and many tenants: what surrounds the queries."""

from typing import Any

import httpx

from frame_gainsight.sandbox import Limits, Sandbox, Tenant

COMPANIES = "/v1/data/objects/query/company"
SELECT = {"select": ["Gsid"], "limit": 1}


def test_the_key_is_needed_and_its_header_has_any_case(reader: Any) -> None:
    for headers in ({}, {"accesskey": "wrong"}, {"authorization": "Bearer nope"}):
        refused = reader.http.post(COMPANIES, json=SELECT, headers=headers)
        assert reader.code(refused) == (401, "GS_APIG_2401")
    admitted = reader.http.post(COMPANIES, json=SELECT, headers={"AccessKey": reader.tenant.access_key})
    assert admitted.status_code == 200


def test_the_date_header_is_the_tenants_clock(client: Any) -> None:
    client.tenant.set_clock("2026-03-02T08:20:01.900Z")
    for reply in (client.post(COMPANIES, SELECT), client.get("/nowhere"), client.get("/_sandbox/clock")):
        assert reply.headers.get_list("date") == ["Mon, 02 Mar 2026 08:20:01 GMT"]


def test_fixed_windows_of_a_minute_and_a_day(wall: Any) -> None:
    tenant = Tenant(seed=3, size=3, wall=wall, limits=Limits(per_minute=3, per_day=5))
    wall.now = wall.now // 86_400_000 * 86_400_000
    with Sandbox(tenant) as sandbox, httpx.Client(base_url=sandbox.url) as http:

        def status() -> int:
            return http.post(COMPANIES, json=SELECT, headers={"accesskey": tenant.access_key}).status_code

        assert [status() for _ in range(4)] == [200, 200, 200, 429]
        assert http.post(COMPANIES, json=SELECT).status_code == 401  # a refused call takes nothing
        wall.now += 60_000
        assert [status() for _ in range(3)] == [200, 200, 429]
        wall.now += 86_400_000 - 60_000
        assert status() == 200
    assert tenant.calls() == {
        "total": 9,
        "by_endpoint": {"query company": 9},
        "throttled": 2,
        "rejected": 1,
    }


def test_calls_are_recorded_without_what_they_carried(client: Any) -> None:
    client.rows("person", ["Gsid"], ("Email", "IN", ["a@b.example", "c@d.example"]))
    client.get("/v1/meta/services/objects/company/describe")
    client.get("/_sandbox/calls")
    recent = client.tenant.recent_calls()
    assert [(c["endpoint"], c["in_values"], c["status"]) for c in recent] == [
        ("query person", 2, 200),
        ("describe company", 0, 200),
    ]
    assert client.tenant.access_key not in repr(recent)
    assert client.http.post("/_sandbox/calls/reset").json()["total"] == 0


def test_describe_one_and_several(reader: Any) -> None:
    one = reader.get("/v1/meta/services/objects/Activity_Timeline/describe?ic=false&cl=0").json()["data"]
    fields = {f["fieldName"]: f for f in one[0]["fields"]}
    assert fields["Notes"]["meta"]["filterable"] is False
    assert fields["GsCompanyId"]["meta"]["lookupDetail"] == {
        "lookupName": "GsCompanyId__gr",
        "fieldName": "Gsid",
        "lookupObjects": [{"objectName": "company", "label": "Company"}],
    }
    labels = [o["label"] for o in fields["Ant__Sentiment__c"]["options"]]
    assert labels[0] == "Positive"
    category = fields["Ant__Sentiment__c"]["meta"]["properties"]["PICKLIST_CATEGORY_ID"]
    items = reader.get(f"/v1/meta/services/dropdowns/{category}").json()["data"]["childItems"]
    assert [i["name"] for i in items] == labels
    asked = {"objectNames": ["company", "contract__gc"], "populatePickListOptions": "true", "removeHidden": "true"}
    several = reader.post("/v1/meta/services/objects/describe", asked).json()["data"]
    assert [o["objectName"] for o in several] == ["company", "contract__gc"]
    assert several[1]["objectType"] == "CUSTOM"
    assert reader.code(reader.get("/v1/meta/services/objects/nope/describe")) == (400, "OBJECT_NOT_FOUND")
    assert reader.code(reader.get("/v1/meta/services/dropdowns/nope")) == (400, "GSOBJ_1004")
    assert reader.code(reader.post("/v1/meta/services/objects/describe", {})) == (400, "GSOBJ_1002")


def test_every_described_field_can_be_selected(reader: Any) -> None:
    listed = reader.get("/v1/meta/services/objects/list?po=company&em=false").json()["data"]
    assert listed == reader.post("/v1/meta/services/objects", {"externalUse": "true"}).json()["data"]
    for name in (o["objectName"] for o in listed):
        described = reader.get(f"/v1/meta/services/objects/{name}/describe").json()["data"][0]
        fields = [f["fieldName"] for f in described["fields"]]
        for row in reader.rows(name, fields, limit=3):
            assert list(row) == fields
