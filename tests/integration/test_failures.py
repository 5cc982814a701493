"""A tenant in trouble: its activities wait and come out complete by themselves, and no other of its lane is held up."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from frame_gainsight.connectors import Registry, Secret, register
from frame_gainsight.embedded_kafka.broker import EmbeddedKafka
from frame_gainsight.kafka import KafkaLaneWriter, ProducerRecord
from frame_gainsight.kafka.clients import admin
from frame_gainsight.runtime import SystemClock
from frame_gainsight.sandbox import Morning, Tenant
from frame_gainsight.sandbox.kms import KmsStandIn
from tests.fixtures.cluster import PATIENCE, World, calls, unlimited, until

SOON = {"FRAME_GAINSIGHT_RETRY_SECONDS": "0.2", "FRAME_GAINSIGHT_UNPARK_SECONDS": "0.3"}


def morning(seed: int, emails: int = 30) -> Tenant:
    return unlimited(seed=seed, scenario=Morning(emails=emails, periods=1, edits=0.1))


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    """A world in which all connectors share a lane."""
    return make_world(partitions=1)


def each_once(world: World) -> None:
    world.right()
    published = Counter(r.header("ce_id") for r in world.conversations())
    assert set(published.values()) == {1}
    assert not world.dead_letters()
    assert not world.waiting()


def test_a_hanging_tenant_holds_up_no_other(world: World) -> None:
    hanging, well = morning(41), morning(42)
    world.add("hang", hanging)
    world.add("well", well)
    world.poll()
    hanging.set_variant("slow", 600.0, endpoint="query")
    enricher = world.enricher(FRAME_GAINSIGHT_PATIENCE_SECONDS="1", FRAME_GAINSIGHT_UNPARK_SECONDS="0.3")
    until("the healthy one's conversations are there", lambda: len(world.conversations()) >= 30)
    assert {r.key.partition("/")[0] for r in world.conversations()} == {"well"}
    for number in range(2, 5):  # and so it goes on, while the other is tried again and again
        well.create()
        well.advance(600)
        world.poll("well")
        until("the next is there too", lambda: len(world.conversations()) >= 29 + number)  # noqa: B023
    assert calls(hanging, "query") > 0
    assert len(world.waiting()) >= 30
    hanging.clear_variants()
    hanging.set_variant("slow", None)
    until("all came out by itself", lambda: not world.waiting(), 90)
    each_once(world)
    assert enricher.running


def test_a_slow_tenant_is_not_waited_for_and_asked_once(world: World) -> None:
    slow, well = morning(46), morning(47)
    world.add("slow", slow)
    world.add("well", well)
    world.poll()
    slow.set_variant("slow", 2.0, endpoint="query")
    enricher = world.enricher(FRAME_GAINSIGHT_PATIENCE_SECONDS="0.5", FRAME_GAINSIGHT_UNPARK_SECONDS="0.3")
    enricher.says('"tenant_slow"')
    until("the healthy one's conversations are there", lambda: len(world.conversations()) >= 30)
    assert {r.key.partition("/")[0] for r in world.conversations()} == {"well"}
    until("the others came out when the answers did", lambda: not world.waiting() and len(world.conversations()) >= 60)
    slow.clear_variants()
    asked = calls(slow, "query")
    each_once(world)
    assert asked == calls(well, "query"), "no question was asked twice"
    assert enricher.stop() == 0, enricher.text


def test_after_its_key_was_replaced_everything_comes_out_by_itself(world: World) -> None:
    acme, bolt = morning(43), morning(44)
    world.add("acme", acme)
    world.add("bolt", bolt)
    world.poll()
    key = acme.reset_key()  # after the poll: the raw records are there, the enricher cannot resolve them
    enricher = world.enricher(**SOON)
    world.settled()
    world.right("bolt")
    parked = world.waiting()
    assert {r.value["failure"] for r in parked if r.value} == {"config"}
    assert "API key" in str(parked[0].value)
    registry = Registry(world.settings, world.codec)
    secret = Secret.access_key(key)
    replaced = asyncio.run(register(registry, world.vault, SystemClock(), world.definitions["acme"], secret))
    assert replaced.connector is not None
    until("nothing waits any more", lambda: not world.waiting())
    each_once(world)
    assert enricher.running


def test_a_mapped_field_that_is_gone_is_named_and_its_return_is_noticed(world: World) -> None:
    acme = morning(45)
    world.add("acme", acme)
    world.poll()
    acme.set_variant("missing_fields", ["Title"], object="company_person")
    enricher = world.enricher(**SOON)
    world.settled()
    parked = world.waiting()
    assert len(parked) == len({r.key for r in world.raw()})
    assert all(r.value and r.value["failure"] == "config" and "Title" in r.value["cause"] for r in parked)
    acme.clear_variants()
    until("it came out by itself", lambda: not world.waiting(), 90)
    each_once(world)
    assert enricher.running


def test_a_connector_whose_every_activity_fails_is_stopped_and_loses_nothing(world: World) -> None:
    acme, bolt = morning(46), morning(47)
    world.add("acme", acme)
    world.add("bolt", bolt)
    world.poll()
    good = next(r for r in world.raw() if r.key.startswith("acme/"))
    assert good.value is not None
    bad = []
    for number in range(30):
        gsid = f"1I00BAD{number:029d}"
        row = orjson.loads(good.value["row"]) | {"Gsid": gsid, "ActivityDate": "soon"}
        value = good.value | {"activity_id": gsid, "row": orjson.dumps(row).decode()}
        bad.append(
            ProducerRecord(
                world.settings.raw_topic, 0, f"acme/{gsid}".encode(), world.codec.encode("raw_activity", value)
            )
        )
    with KafkaLaneWriter(world.settings, "test", 0) as writer:
        writer.write(bad)
    enricher = world.enricher(**SOON, FRAME_GAINSIGHT_DEAD_LETTERS_IN_A_ROW="10")
    world.settled()
    assert len(world.dead_letters()) == 10
    waiting = world.waiting()
    assert len(waiting) == 20
    assert all(r.value and "ActivityDate" in r.value["cause"] for r in waiting)
    bolt.create()
    bolt.advance(60)
    world.poll("bolt")
    world.settled()
    world.right("bolt")
    assert enricher.running


def test_a_newer_version_takes_the_place_of_the_parked_one(world: World) -> None:
    acme = morning(48, 10)
    world.add("acme", acme)
    world.poll()
    acme.set_variant("server_error", 503, endpoint="query")
    enricher = world.enricher(**SOON)
    world.settled()
    acme.clear_variants()
    gsid = next(a["activity_id"] for a in acme.truth()["activities"] if a["type"] == "Email")
    acme.edit(gsid, {"Subject": "the newer one"})
    acme.advance(600)
    acme.set_variant("server_error", 503, object="company_person", endpoint="query")
    world.poll()
    world.settled()
    assert len([r for r in world.waiting() if r.name == gsid]) == 1
    acme.clear_variants()
    until("nothing waits any more", lambda: not world.waiting(), 90)
    world.right()
    subjects = [r.value["subject"] for r in world.conversations() if r.name == gsid and r.value]
    assert subjects == ["the newer one"], "the older version never came out"
    assert enricher.stop() == 0, enricher.text


def test_a_position_that_kafka_forgot_is_told_and_nothing_comes_twice(world: World) -> None:
    world.add("acme", morning(44, emails=30))
    world.poll()
    first = world.enricher()
    world.settled()
    assert first.stop() == 0
    before = len(world.conversations())
    group = f"{world.settings.prefix}-enricher"
    asking = admin(world.settings)  # held: a client that is gone never answers
    asking.delete_consumer_groups([group])[group].result(PATIENCE)
    again = world.enricher()
    assert again.wait() == 1
    assert "has no position in lane 0" in again.text
    assert "--reset-offsets" in again.text
    assert len(world.conversations()) == before


def test_told_to_leave_while_kafka_is_gone_it_ends_in_a_bounded_time(
    kms_environment: KmsStandIn, tmp_path: Path
) -> None:
    with EmbeddedKafka() as broker, World(broker.bootstrap, kms_environment, tmp_path, partitions=1) as world:
        world.add("acme", morning(45, emails=5))
        world.poll()
        worker = world.enricher(FRAME_GAINSIGHT_STOP_SECONDS="3")
        world.settled()
        broker.kill()
        worker.send(signal.SIGTERM)
        assert worker.wait() in (0, 1), worker.text
