"""Real mail, in whatever state it is: every message arrives, with its text and its people."""

from __future__ import annotations

import pytest

from frame_gainsight.cli.demo.report import faults
from frame_gainsight.sandbox import Mail
from tests.fixtures.cluster import Cluster, unlimited
from tests.fixtures.processes import ROOT

EMAILS = ROOT.parent / "shared" / "emails"


FORMS = ("mixed", "json_objects")  # of the lists of people


@pytest.mark.skipif(not EMAILS.is_dir(), reason="the folder of real mail is not beside the checkout")
def test_every_message_becomes_a_conversation_with_its_text_and_its_people(cluster: Cluster) -> None:
    for number, form in enumerate(FORMS):
        tenant = unlimited(seed=number, scenario=Mail(EMAILS, start="2026-03-02T08:00:00Z"))
        tenant.advance(60)
        cluster.add(form.replace("_", "-"), tenant)
        if form != "mixed":
            tenant.set_variant("attendees", form)
    enricher = cluster.enricher()
    cluster.poll()
    cluster.settled()
    for connector, tenant in cluster.tenants.items():
        found = {r.name: r.value for r in cluster.conversations() if r.connector == connector}
        truth = {a["activity_id"]: a for a in tenant.truth()["activities"]}
        assert len(found) == len(truth) == len(list(EMAILS.glob("*.eml"))) > 0
        for gsid, activity in truth.items():
            conversation = found[gsid] or {}
            assert bool(conversation["body_text"]) == bool((activity["body_text"] or "").strip()), activity["subject"]
            people = {(p["email"], p["role"], p["user_id"]) for p in conversation["participants"]}
            assert people == {(p["email"], p["role"], p["user_id"]) for p in activity["participants"]}
        assert sum(1 for c in found.values() if c and c["body_text"]) > len(found) / 2
        assert any(p["user_id"] for c in found.values() if c for p in c["participants"])
    # Every field. The other tenant's lists leave out names that its truth has; and an address is nobody's name.
    truth = cluster.tenants["json-objects"].truth()
    for person in (p for a in truth["activities"] for p in a["participants"]):
        if not person["user_id"] and person["name"] == person["email"]:
            person["name"] = None
    verdict = cluster.verdict("json-objects", truth)
    assert verdict.right, faults(verdict)
    assert not cluster.dead_letters()
    assert enricher.stop() == 0, enricher.text
