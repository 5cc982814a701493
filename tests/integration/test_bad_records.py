"""What cannot be read is set aside with its cause, what cannot be reached waits; neither holds up anything else."""

from __future__ import annotations

import asyncio
import struct
from collections import Counter
from dataclasses import replace
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.record.util import calc_crc32c

from frame_gainsight.kafka import KafkaLaneWriter, ProducerRecord, read_to_end
from frame_gainsight.kafka.read import UNREADABLE_HEADERS
from frame_gainsight.sandbox import Morning, Tenant
from frame_gainsight.sandbox.http import server
from frame_gainsight.sandbox.http.api import handle
from tests.fixtures.cluster import Cluster, MakeCluster, unlimited, until, versions

SOON = {"FRAME_GAINSIGHT_RETRY_SECONDS": "0.2", "FRAME_GAINSIGHT_UNPARK_SECONDS": "0.3"}


def morning(seed: int, emails: int = 20) -> Tenant:
    return unlimited(seed=seed, scenario=Morning(emails=emails, periods=1, edits=0.1))


@pytest.fixture
def one_lane(make_cluster: MakeCluster) -> Cluster:
    """A cluster in which all connectors share a lane."""
    cluster = make_cluster(partitions=1)
    cluster.add("acme", morning(31))
    return cluster


def write_with_header_name(cluster: Cluster, name: bytes, key: bytes, value: bytes) -> None:
    """Writes a record that has a header of that name, whatever its bytes, to the raw topic's first lane."""

    async def write() -> None:
        async with AIOKafkaProducer(bootstrap_servers=cluster.settings.brokers(), enable_idempotence=False) as producer:
            batch = producer.create_batch()
            stand_in = "Z" * len(name)
            batch.append(timestamp=1, key=key, value=value, headers=[(stand_in, b"x")])
            batch.close()
            batch._build()
            data = bytearray(batch._buffer)
            begin = data.rindex(stand_in.encode())
            data[begin : begin + len(name)] = name
            struct.pack_into(">I", data, 17, calc_crc32c(bytes(data[21:])))  # Kafka protocol, "Record Batch"
            batch._buffer = bytes(data)
            await (await producer.send_batch(batch, cluster.settings.raw_topic, partition=0))

    asyncio.run(write())


# ---- what cannot be read ------------------------------------------------------------------------------------------


def test_a_header_s_name_that_is_not_utf_8_holds_up_neither_its_record_nor_others(one_lane: Cluster) -> None:
    cluster, topic = one_lane, one_lane.settings.raw_topic
    cluster.poll()
    good = cluster.raw()[0].value
    assert good is not None
    named = cluster.codec.encode("raw_activity", good | {"activity_id": "1I00NAMED"})
    write_with_header_name(cluster, b"\xff\xfe", b"acme/1I00NAMED", named)
    write_with_header_name(cluster, b"a\xc3", b"acme/1I00GARBAGE", b"?")
    cluster.tenants["acme"].create()
    cluster.tenants["acme"].advance(60)
    cluster.poll()  # a producer that meets them as it restores its overlap
    with_headers = [r.key for r in read_to_end(cluster.settings, topic, {0: None}) if r.header(UNREADABLE_HEADERS)]
    enricher = cluster.enricher()
    cluster.settled()

    assert with_headers == [b"acme/1I00NAMED", b"acme/1I00GARBAGE"]
    assert [letter["key"] for letter in cluster.dead_letters()] == [b"acme/1I00GARBAGE"]
    assert len(cluster.raw()) - 1 == len(cluster.conversations())
    assert enricher.stop() == 0


def test_damaged_raw_records_become_dead_letters_and_the_rest_goes_on(one_lane: Cluster) -> None:
    cluster, topic = one_lane, one_lane.settings.raw_topic
    cluster.poll()
    good = cluster.raw()[0]
    assert good.value is not None
    row = orjson.loads(good.value["row"]) | {"Gsid": "1I00BADDATE", "ActivityDate": "soon"}
    undated = good.value | {"activity_id": "1I00BADDATE", "row": orjson.dumps(row).decode()}
    bad = {
        b"acme/1I00GARBAGE": b"\xc3\x01 no such schema",
        b"acme/1I00BADDATE": cluster.codec.encode("raw_activity", undated),
        b"acme/1I00NOROW": cluster.codec.encode("raw_activity", good.value | {"row": "{"}),
        b"no-slash": b"?",
    }
    with KafkaLaneWriter(cluster.settings, "test", 0) as writer:
        offsets = writer.write([ProducerRecord(topic, 0, key, value) for key, value in bad.items()])
    cluster.tenants["acme"].create()
    cluster.tenants["acme"].advance(60)
    cluster.poll()  # a producer that meets the garbage as it restores its overlap
    enricher = cluster.enricher()
    cluster.settled()

    letters = {letter["key"]: letter for letter in cluster.dead_letters()}
    assert len(cluster.dead_letters()) == len(letters) == len(bad)
    for (key, value), offset in zip(bad.items(), offsets, strict=True):
        letter = letters[key]
        assert (letter["topic"], letter["partition"], letter["offset"]) == (topic, 0, offset)
        assert (letter["value"], letter["failure"]) == (value, "data")
        assert letter["cause"]
    assert "ActivityDate" in letters[b"acme/1I00BADDATE"]["cause"]
    cluster.right()
    assert enricher.stop() == 0, enricher.text


def test_rows_without_gsid_or_date_become_dead_letters(one_lane: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster, tenant = one_lane, one_lane.tenants["acme"]
    truth = [a["activity_id"] for a in tenant.truth()["activities"] if a["type"] == "Email"]
    nameless, undated = truth[3], truth[7]

    def damage(row: dict[str, Any]) -> dict[str, Any]:
        if row.get("Gsid") == nameless:
            return row | {"Gsid": None}
        return row | {"LastModifiedDate": "yesterday"} if row.get("Gsid") == undated else row

    def damaged(tenant: Tenant, call: Any) -> Any:
        reply = handle(tenant, call)
        if not call.path.endswith("/query/activity_timeline"):
            return reply
        content = orjson.loads(reply.body)
        content["data"]["records"] = [damage(row) for row in content["data"]["records"]]
        return replace(reply, body=orjson.dumps(content))

    monkeypatch.setattr(server, "handle", damaged)
    result = cluster.poll()["acme"]
    assert (result.written, result.dead) == (len(truth) - 2, 2)
    assert {r.name for r in cluster.raw()} == set(truth) - {nameless, undated}
    letters = {orjson.loads(letter["value"])["Gsid"]: letter for letter in cluster.dead_letters()}
    assert letters.keys() == {None, undated}
    for letter in letters.values():
        assert (letter["topic"], letter["offset"], letter["failure"]) == ("tenant:activity_timeline", -1, "data")
        assert {"connector", "poll_id", "page"} <= {header["key"] for header in letter["headers"]}
    assert "no Gsid" in letters[None]["cause"]
    assert "LastModifiedDate" in letters[undated]["cause"]
    checkpoint = cluster.checkpoint("acme")
    assert checkpoint is not None
    assert checkpoint.period is None, "the window was to be ended all the same"

    monkeypatch.undo()  # the tenant has mended them
    tenant.advance(60)
    cluster.poll()
    assert versions(cluster.raw()).keys() >= {(f"acme/{g}", v) for g, v in newest(tenant).items()}
    assert set(versions(cluster.raw()).values()) == {1}


def newest(tenant: Tenant) -> dict[str, int]:
    return {a["activity_id"]: a["version_ms"] for a in tenant.truth()["activities"] if a["type"] == "Email"}


# ---- what cannot be reached ---------------------------------------------------------------------------------------


def test_parked_activities_wait_for_their_tenant_and_hold_up_no_other(one_lane: Cluster) -> None:
    cluster, acme, bolt, cove = one_lane, one_lane.tenants["acme"], morning(32), morning(33)
    cluster.add("bolt", bolt)
    cluster.add("cove", cove)
    for look_up in ("person", "gsuser", "company"):
        acme.set_variant("server_error", 503, object=look_up)
        cove.set_variant("unauthorized", "GS_APIG_2401", object=look_up)
    cluster.poll()
    enricher = cluster.enricher(**SOON)
    cluster.settled()
    cluster.right("bolt")
    parked = cluster.waiting()
    assert {r.key for r in parked} == {f"{c}/{g}" for c in ("acme", "cove") for g in newest(cluster.tenants[c])}
    for record in parked:
        assert record.value is not None
        assert record.value["failure"] == ("transient" if record.connector == "acme" else "config")
        assert record.value["cause"]
    assert {r.connector for r in cluster.conversations()} == {"bolt"}

    # Meanwhile: one is edited, one is deleted, and the enricher is killed and started again.
    edited, deleted = sorted(newest(acme))[:2]
    acme.edit(edited)
    acme.delete(deleted)
    for _ in range(2):
        acme.advance(1200)
        cluster.poll("acme")
    cluster.settled()
    assert deleted not in {r.name for r in cluster.waiting()}
    enricher.kill()
    cluster.bury("enricher")
    enricher = cluster.enricher(**SOON)
    bolt.create()
    bolt.advance(60)
    cluster.poll("bolt")
    cluster.settled()
    cluster.right("bolt")

    acme.clear_variants()
    cove.clear_variants()
    until("nothing waits any more", lambda: not cluster.waiting())
    cluster.right()
    published = Counter(r.header("ce_id") for r in cluster.conversations())
    assert set(published.values()) == {1}
    assert not cluster.dead_letters()
    assert enricher.stop() == 0, enricher.text


def test_an_activity_deleted_in_the_batch_that_parks_it_stays_deleted(one_lane: Cluster) -> None:
    cluster, acme = one_lane, one_lane.tenants["acme"]
    cluster.poll()
    deleted = min(newest(acme))
    acme.delete(deleted)
    for _ in range(2):
        acme.advance(1200)
        cluster.poll()
    acme.set_variant("server_error", 503, object="person")
    enricher = cluster.enricher(**SOON)  # finds the activities and the tombstone at once
    cluster.settled()
    assert cluster.waiting()
    acme.clear_variants("server_error")
    until("nothing waits any more", lambda: not cluster.waiting())
    of_deleted = [r for r in cluster.conversations() if r.name == deleted]
    assert [r.value for r in of_deleted] == [None]
    cluster.right()
    assert enricher.stop() == 0, enricher.text
