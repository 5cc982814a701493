"""The bus on a real Kafka: topics as they must be, transactions whole or not at all, reading to the end."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from frame_gainsight.connectors import Registry, UnknownConnectorError
from frame_gainsight.connectors.registry import Connector, encode_connector
from frame_gainsight.embedded_kafka.node import LOOPBACK, free_port
from frame_gainsight.kafka import (
    ConsumedRecord,
    KafkaLaneWriter,
    PartitionEnd,
    ProducerRecord,
    end_offset,
    follow,
    lane_of,
    read_to_end,
    record_limits,
    topics,
)
from frame_gainsight.kafka.clients import admin
from frame_gainsight.kafka.record_limits import RecordLimits, limit_reader, size_of
from frame_gainsight.runtime import BrokerError, FencedError, Settings, TopicError
from schemas import Codec
from tests.fixtures.cluster import until
from tests.fixtures.samples import CONNECTOR
from tests.fixtures.settings import TOPICS, isolated

LANE = 2


@pytest.fixture
def uncreated(kafka: str) -> Settings:
    return isolated(kafka)


def make(settings: Settings, name: str, cleanup: str = "compact", partitions: int = 4) -> None:
    client = AdminClient({"bootstrap.servers": settings.brokers()})
    client.create_topics([NewTopic(name, partitions, 1, config={"cleanup.policy": cleanup})])[name].result(20)
    until("the broker tells of the topic", lambda: name in client.list_topics(timeout=10).topics)


# ---- topics -------------------------------------------------------------------------------------------------------


def test_missing_topics_are_all_named_with_the_command_that_creates_them(uncreated: Settings) -> None:
    with pytest.raises(TopicError) as caught:
        topics.require(uncreated)
    (line,) = str(caught.value).splitlines()
    assert line.startswith("7 topics do not exist")
    assert all(getattr(uncreated, field) in line for field in TOPICS)
    assert line.endswith("Create them: frame-gainsight topics create")


def test_topics_create_makes_topics_as_they_must_be_and_nothing_a_second_time(uncreated: Settings) -> None:
    assert [spec.name for spec in topics.create(uncreated)] == [spec.name for spec in topics.specs(uncreated)]
    topics.require(uncreated)
    assert [(state.exists, state.fault) for state in topics.inspect(uncreated)] == [(True, None)] * 7
    assert topics.create(uncreated) == []


def test_topics_create_makes_only_the_missing_topics(uncreated: Settings) -> None:
    make(uncreated, uncreated.raw_topic)
    assert uncreated.raw_topic not in [spec.name for spec in topics.create(uncreated)]
    topics.require(uncreated)


def test_a_topic_with_another_cleanup_policy_is_refused_with_the_command_that_changes_it(
    uncreated: Settings,
) -> None:
    make(uncreated, uncreated.raw_topic, cleanup="delete")
    with pytest.raises(TopicError, match=r"cleanup.policy=delete, but must have compact.*kafka-configs") as caught:
        topics.create(uncreated)
    assert uncreated.raw_topic in str(caught.value)
    assert [state.exists for state in topics.inspect(uncreated)].count(True) == 1


def test_a_topic_with_another_partition_count_is_refused_with_the_setting_that_fits(uncreated: Settings) -> None:
    topics.create(uncreated)
    more = uncreated.model_copy(update={"partitions": 6})
    for action in (topics.create, topics.require):
        with pytest.raises(TopicError, match=r"has 4 partitions, but the setting is 6.*FRAME_GAINSIGHT_PARTITIONS=4"):
            action(more)


# ---- nobody there -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "action",
    [
        topics.require,
        lambda settings: admin(settings, timeout=1),
        lambda settings: list(read_to_end(settings, "x", {0: None}, timeout=1)),
        lambda settings: end_offset(settings, "x", 0, timeout=1),
        lambda settings: KafkaLaneWriter(settings, "producer", 0, start_timeout=1),
    ],
    ids=["require", "admin", "read", "end", "writer"],
)
def test_a_broker_that_is_not_there_is_reported_with_what_to_check(action: Callable[[Settings], object]) -> None:
    address = f"{LOOPBACK}:{free_port()}"
    with pytest.raises(BrokerError) as caught:
        action(isolated(address))
    for words in (address, "KAFKA_BOOTSTRAP_SERVERS", "KAFKA_SECURITY_PROTOCOL", "frame-gainsight kafka"):
        assert words in str(caught.value)


# ---- transactions -------------------------------------------------------------------------------------------------


@pytest.fixture
def writer(fresh_settings: Settings) -> Iterator[KafkaLaneWriter]:
    with KafkaLaneWriter(fresh_settings, "producer", LANE) as opened:
        yield opened


def raw(settings: Settings, key: str, value: bytes | None = b"x") -> ProducerRecord:
    return ProducerRecord(settings.raw_topic, LANE, key.encode(), value)


def read(settings: Settings, topic: str | None = None, first: int | None = None) -> list[ConsumedRecord]:
    return list(read_to_end(settings, topic or settings.raw_topic, {LANE: first}))


def test_records_and_what_follows_from_their_offsets_are_written_together(
    fresh_settings: Settings, writer: KafkaLaneWriter
) -> None:
    writer.write([raw(fresh_settings, "before")])
    seen: list[Sequence[int]] = []

    def records_after(offsets: Sequence[int]) -> list[ProducerRecord]:
        seen.append(offsets)
        return [ProducerRecord(fresh_settings.checkpoints_topic, LANE, b"acme", str(offsets[0]).encode())]

    offsets = writer.write([raw(fresh_settings, f"k{n}") for n in range(1000)], records_after)
    assert seen == [offsets]
    assert [r.offset for r in read(fresh_settings) if r.key != b"before"] == offsets
    assert [(r.key or b"").decode() for r in read(fresh_settings)][1:] == [f"k{n}" for n in range(1000)]
    assert [r.value for r in read(fresh_settings, fresh_settings.checkpoints_topic)] == [str(offsets[0]).encode()]


def test_a_record_comes_back_as_it_was_given(fresh_settings: Settings, writer: KafkaLaneWriter) -> None:
    headers = (("connector", b"acme"), ("connector", b"again"), ("empty", b""))
    record = ProducerRecord(fresh_settings.raw_topic, LANE, "acmé/1".encode(), None, headers, 1_772_445_600_000)
    writer.write([record])
    (found,) = read(fresh_settings)
    assert (found.topic, found.partition, found.key, found.value) == (record.topic, LANE, record.key, None)
    assert (tuple(found.headers), found.timestamp) == (headers, record.timestamp)
    assert (found.header("connector"), found.header("empty"), found.header("none")) == ("acme", "", None)


def test_a_failure_half_way_leaves_nothing_to_a_committed_reader_and_the_writer_goes_on(
    fresh_settings: Settings, writer: KafkaLaneWriter
) -> None:
    def records_after(offsets: Sequence[int]) -> list[ProducerRecord]:
        raise ZeroDivisionError

    (first,) = writer.write([raw(fresh_settings, "kept")])
    with pytest.raises(ZeroDivisionError):
        writer.write([raw(fresh_settings, "lost")], records_after)
    assert [r.key for r in read(fresh_settings)] == [b"kept"]  # the end is an aborted tail
    (second,) = writer.write([raw(fresh_settings, "kept too")])
    assert [(r.key, r.offset) for r in read(fresh_settings)] == [(b"kept", first), (b"kept too", second)]


def test_a_record_that_kafka_refuses_takes_its_transaction_with_it_and_says_why(
    fresh_settings: Settings, writer: KafkaLaneWriter
) -> None:
    with pytest.raises(BrokerError, match=r"too large.*was undone"):
        writer.write([raw(fresh_settings, "small"), raw(fresh_settings, "huge", os.urandom(9 * 1024 * 1024))])
    with KafkaLaneWriter(fresh_settings, "producer", LANE) as successor:
        successor.write([raw(fresh_settings, "next")])
    assert [r.key for r in read(fresh_settings)] == [b"next"]


def test_an_activity_of_five_megabytes_passes(fresh_settings: Settings, writer: KafkaLaneWriter) -> None:
    value = bytes(range(256)) * (5 * 1024 * 1024 // 256)
    writer.write([raw(fresh_settings, "large", value)])
    assert [r.value for r in read(fresh_settings)] == [value]


def test_a_transaction_without_records_writes_nothing(fresh_settings: Settings, writer: KafkaLaneWriter) -> None:
    assert writer.write([]) == []
    assert writer.write([], lambda offsets: [raw(fresh_settings, "only")]) == []
    assert [r.key for r in read(fresh_settings)] == [b"only"]


def test_a_lanes_next_owner_fences_its_writer(fresh_settings: Settings, writer: KafkaLaneWriter) -> None:
    writer.write([raw(fresh_settings, "mine")])
    with KafkaLaneWriter(fresh_settings, "producer", LANE) as successor:
        for _ in range(2):
            with pytest.raises(FencedError, match=f"taken over '{writer.transactional_id}'.*FRAME_GAINSIGHT_PREFIX"):
                writer.write([raw(fresh_settings, "stale")])
        successor.write([raw(fresh_settings, "theirs")])
    assert [r.key for r in read(fresh_settings)] == [b"mine", b"theirs"]


def test_a_writer_is_fenced_also_in_the_middle_of_a_transaction(
    fresh_settings: Settings, writer: KafkaLaneWriter
) -> None:
    def records_after(offsets: Sequence[int]) -> list[ProducerRecord]:
        KafkaLaneWriter(fresh_settings, "producer", LANE).close()
        return [raw(fresh_settings, "stale too")]

    with pytest.raises(FencedError):
        writer.write([raw(fresh_settings, "stale")], records_after)
    assert read(fresh_settings) == []


@pytest.mark.parametrize(("role", "lane"), [("enricher", LANE), ("producer", LANE + 1)])
def test_a_writer_of_another_role_or_lane_fences_no_one(
    fresh_settings: Settings, writer: KafkaLaneWriter, role: str, lane: int
) -> None:
    with KafkaLaneWriter(fresh_settings, role, lane):
        writer.write([raw(fresh_settings, "mine")])
    assert [r.key for r in read(fresh_settings)] == [b"mine"]


# ---- reading ------------------------------------------------------------------------------------------------------


def test_reading_ends_where_an_empty_topic_ends(fresh_settings: Settings) -> None:
    everywhere = dict.fromkeys(range(fresh_settings.partitions))
    assert list(read_to_end(fresh_settings, fresh_settings.raw_topic, everywhere, timeout=10)) == []
    assert end_offset(fresh_settings, fresh_settings.raw_topic, LANE) == 0


def test_reading_starts_at_the_given_offset_also_behind_the_end(
    fresh_settings: Settings, writer: KafkaLaneWriter
) -> None:
    offsets = writer.write([raw(fresh_settings, f"k{n}") for n in range(5)])
    assert [r.offset for r in read(fresh_settings, first=offsets[3])] == offsets[3:]
    assert read(fresh_settings, first=end_offset(fresh_settings, fresh_settings.raw_topic, LANE)) == []


def test_a_followed_topic_gives_what_is_on_record_its_end_and_then_what_comes(
    fresh_settings: Settings, writer: KafkaLaneWriter
) -> None:
    writer.write([raw(fresh_settings, "on record")])
    with closing(follow(fresh_settings, fresh_settings.raw_topic, [LANE], timeout=0.5)) as following:
        news = (event for event in following if event is not None)  # a consumer takes a while to get going
        record, end = next(news), next(news)
        assert isinstance(record, ConsumedRecord) and record.key == b"on record"
        assert end == PartitionEnd(fresh_settings.raw_topic, LANE)
        assert next(following) is None
        with pytest.raises(ZeroDivisionError):
            writer.write([raw(fresh_settings, "aborted")], lambda _: 1 // 0)  # type: ignore[arg-type, return-value]
        writer.write([raw(fresh_settings, "later")])
        later = next(event for event in news if isinstance(event, ConsumedRecord))
        assert later.key == b"later"
        assert next(news) == PartitionEnd(fresh_settings.raw_topic, LANE)
        assert next(following) is None


@pytest.mark.parametrize("partition", [0, 99])
def test_reading_a_topic_or_partition_that_is_not_there_fails_immediately(
    uncreated: Settings, fresh_settings: Settings, partition: int
) -> None:
    settings, words = (
        (uncreated, "does not exist. Create it") if partition == 0 else (fresh_settings, "none numbered 99")
    )
    with pytest.raises(TopicError, match=words):
        list(read_to_end(settings, settings.raw_topic, {partition: None}))
    with pytest.raises(TopicError, match=words):
        end_offset(settings, settings.raw_topic, partition)


# ---- the connectors' topic ----------------------------------------------------------------------------------------


@pytest.fixture
def registry(fresh_settings: Settings) -> Registry:
    return Registry(fresh_settings, Codec())


def changed(at: int, **changes: object) -> Connector:
    return replace(CONNECTOR, definition=CONNECTOR.definition.model_copy(update=changes), updated_at=at)


def named(connector: str) -> Connector:
    return changed(CONNECTOR.updated_at + 1, id=connector)


def test_the_registry_finds_each_connectors_last_record(registry: Registry) -> None:
    assert registry.all() == {}
    for connector in ("zeta", "acme", "beta"):
        registry.put(named(connector))
    newer = changed(9, period=60)
    registry.put(newer)
    assert list(registry.all()) == ["acme", "beta", "zeta"]
    assert registry.get("acme") == newer


def test_an_unknown_connector_is_named_with_those_that_are_known(registry: Registry) -> None:
    with pytest.raises(UnknownConnectorError, match=r"none yet.*connector add"):
        registry.get("acme")
    registry.put(CONNECTOR)
    with pytest.raises(UnknownConnectorError, match=r"'acm'. Registered: acme"):
        registry.get("acm")


def test_a_connector_s_record_is_in_its_lane_under_its_id(fresh_settings: Settings, registry: Registry) -> None:
    registry.put(CONNECTOR)
    lane = lane_of("acme", fresh_settings.partitions)
    (record,) = read_to_end(fresh_settings, fresh_settings.connectors_topic, {lane: None})
    assert record.key == b"acme"


def test_a_damaged_connector_record_stops_no_other_nor_replaces_its_predecessor(
    fresh_settings: Settings, registry: Registry
) -> None:
    codec = Codec()
    whole = encode_connector(codec, CONNECTOR)
    invalid = codec.decode(whole).value | {"definition": '{"id": "bad", "host": "ftp://x"}'}
    damaged = {
        "a-empty": b"",
        "b-json": b'{"id": 1}',
        "c-cut": whole[:-3],
        "d-other": codec.encode(
            "entity",
            dict.fromkeys(("connector", "object", "field", "value", "rows"), "x") | {"columns": [], "fetched_at": 1},
        ),
        "e-invalid": codec.encode("connector", invalid),
        "f-registry": b"\0\0\0\0\x07body",
    }
    registry.put(CONNECTOR)
    with KafkaLaneWriter(fresh_settings, "test", 0) as writer:
        for key, value in [*damaged.items(), ("acme", b"\xc3\x01damaged"), ("\udcff", b"")]:
            raw_key = key.encode("utf-8", "surrogateescape")
            lane = lane_of("acme", fresh_settings.partitions)
            writer.write([ProducerRecord(fresh_settings.connectors_topic, lane, raw_key, value)])
    registry.put(named("zeta"))
    assert list(registry.all()) == ["acme", "zeta"]
    assert registry.get("acme") == CONNECTOR


def test_a_tombstone_removes_a_connector(fresh_settings: Settings, registry: Registry) -> None:
    registry.put(CONNECTOR)
    lane = lane_of("acme", fresh_settings.partitions)
    with KafkaLaneWriter(fresh_settings, "test", lane) as writer:
        writer.write([ProducerRecord(fresh_settings.connectors_topic, lane, b"acme", None)])
    assert registry.all() == {}


# ---- the size of records ------------------------------------------------------------------------------------------


def set_limit(settings: Settings, name: str, size: int) -> None:
    entry = ConfigEntry(topics.MAX_BYTES, str(size), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry])
    client = admin(settings)  # held: a client that is gone never answers
    client.incremental_alter_configs([resource])[resource].result(20)
    until("the broker tells of the limit", lambda: topics.limits(settings, [name])[name] == size)


@pytest.mark.parametrize("field", TOPICS)
def test_a_topic_that_takes_smaller_records_than_it_should_is_named_but_not_refused(
    fresh_settings: Settings, field: str
) -> None:
    name = getattr(fresh_settings, field)
    set_limit(fresh_settings, name, 100_000)
    topics.require(fresh_settings)
    (small,) = [state for state in topics.inspect(fresh_settings) if state.too_small is not None]
    assert small.spec.name == name
    assert small.too_small is not None
    assert "100,000 bytes" in small.too_small
    assert f"--entity-name {name} --add-config max.message.bytes=8388608" in small.too_small
    assert set(topics.limits(fresh_settings).values()) == {100_000, 8_388_608}


def test_a_record_fits_by_the_limit_of_its_topic_exactly(fresh_settings: Settings) -> None:
    set_limit(fresh_settings, fresh_settings.raw_topic, 50_000)
    limits = RecordLimits(limit_reader(fresh_settings))
    limits.read()
    key, headers = "acme/1I00", (("poll_id", b"x" * 3000), ("page", b"0"))
    empty = ProducerRecord(fresh_settings.raw_topic, LANE, key.encode(), b"", headers)
    largest = replace(empty, value=random.Random(1).randbytes(50_000 - size_of(empty)))
    assert limits.refusal(largest) is None
    assert limits.refusal(replace(largest, value=(largest.value or b"") + b"x")) is not None
    with KafkaLaneWriter(fresh_settings, "producer", LANE) as writer:
        assert len(writer.write([largest])) == 1


async def test_a_raised_limit_is_read_when_a_record_does_not_fit(
    fresh_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_limits, "READ_EVERY", 0.0)
    set_limit(fresh_settings, fresh_settings.raw_topic, 50_000)
    limits = RecordLimits(limit_reader(fresh_settings))
    limits.read()
    records = [raw(fresh_settings, "small"), raw(fresh_settings, "large", b"x" * 60_000)]
    (cause,) = (await limits.refusals(records)).values()
    assert "60,102 bytes" in cause
    assert "50,000" in cause
    set_limit(fresh_settings, fresh_settings.raw_topic, 60_102)
    assert await limits.refusals(records) == {}
