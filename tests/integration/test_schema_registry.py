"""Confluent's wire format against a real schema registry."""

from __future__ import annotations

import json
from typing import Any

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from frame_gainsight.connectors.registry import Connector, apply, encode_connector
from frame_gainsight.embedded_kafka.node import LOOPBACK, free_port
from schemas import Codec, ConfluentRegistry, DecodeError, RegistryError, catalogue, codec_for
from tests.fixtures.samples import CONNECTOR, SAMPLES, record_of

JSON_SCHEMA = '{"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}'


@pytest.fixture
def client(registry_url: str) -> SchemaRegistryClient:
    return SchemaRegistryClient({"url": registry_url})


@pytest.mark.parametrize("record", sorted(SAMPLES))
def test_what_one_codec_writes_another_reads_through_the_registry(registry_url: str, record: str) -> None:
    data = codec_for(registry_url).encode(record, SAMPLES[record])
    assert data[0] == 0
    assert codec_for(registry_url).decode(data) == (record, SAMPLES[record])


def test_the_subject_is_the_record_s_full_name_and_the_id_in_the_bytes_is_the_registry_s(
    registry_url: str, client: SchemaRegistryClient
) -> None:
    data = codec_for(registry_url).encode("conversation", SAMPLES["conversation"])
    registered = client.get_latest_version("ai.frame.gainsight.Conversation")
    assert int.from_bytes(data[1:5], "big") == registered.schema_id
    assert json.loads(registered.schema.schema_str or "") == json.loads(catalogue().today("conversation").text)


def test_registering_twice_gives_the_same_id(registry_url: str, client: SchemaRegistryClient) -> None:
    schema = catalogue().today("entity")
    ids = {ConfluentRegistry(registry_url).register(schema.full_name, schema.text) for _ in range(2)}
    assert len(ids) == 1
    assert len(client.get_versions(schema.full_name)) == 1


def test_a_reader_without_registry_says_how_to_read_it_and_one_with_a_registry_reads_the_other_format(
    registry_url: str,
) -> None:
    with pytest.raises(DecodeError, match="SCHEMA_REGISTRY_URL"):
        Codec().decode(codec_for(registry_url).encode("entity", SAMPLES["entity"]))
    assert codec_for(registry_url).decode(Codec().encode("entity", SAMPLES["entity"])).value == SAMPLES["entity"]


def test_a_newer_writer_s_schema_is_fetched_and_read_as_today_s(
    registry_url: str, client: SchemaRegistryClient
) -> None:
    newer = json.loads(catalogue().today("period_marker").text)
    newer["fields"].append({"name": "later", "type": "string", "default": "x"})
    writer = Codec(ConfluentRegistry(registry_url), catalogue_with("period_marker", newer))
    data = writer.encode("period_marker", SAMPLES["period_marker"] | {"later": "y"})
    assert codec_for(registry_url).decode(data) == ("period_marker", SAMPLES["period_marker"])


def catalogue_with(record: str, schema: dict[str, Any]) -> Any:
    from schemas import Catalogue

    today = {name: catalogue().today(name).text for name in catalogue().records}
    return Catalogue(today | {record: json.dumps(schema)}, [])


def test_an_incompatible_schema_is_refused_with_its_subject_and_what_to_look_at(
    registry_url: str, client: SchemaRegistryClient
) -> None:
    subject = "ai.frame.gainsight.Breaking"
    ours = ConfluentRegistry(registry_url)
    record = {"type": "record", "name": "Breaking", "namespace": "ai.frame.gainsight"}
    ours.register(subject, json.dumps(record | {"fields": [{"name": "a", "type": "string"}]}))
    client.set_compatibility(subject_name=subject, level="BACKWARD")
    with pytest.raises(RegistryError, match=rf"refused '{subject}'.*check what runs"):
        ours.register(subject, json.dumps(record | {"fields": [{"name": "b", "type": "long"}]}))


def test_an_id_that_the_registry_does_not_know_is_somebody_else_s_record(registry_url: str) -> None:
    with pytest.raises(DecodeError, match="no schema 123456"):
        codec_for(registry_url).decode(b"\0" + (123456).to_bytes(4, "big") + b"body")


def test_another_team_s_schema_is_named(registry_url: str, client: SchemaRegistryClient) -> None:
    text = '{"type": "record", "name": "Order", "namespace": "shop", "fields": []}'
    number = client.register_schema("shop-value", Schema(text, "AVRO"))
    with pytest.raises(DecodeError, match=r"shop\.Order.*not one of ours"):
        codec_for(registry_url).decode(b"\0" + number.to_bytes(4, "big"))


def test_a_schema_that_is_no_avro_is_not_one_of_ours(registry_url: str, client: SchemaRegistryClient) -> None:
    number = client.register_schema("json-value", Schema(JSON_SCHEMA, "JSON"))
    with pytest.raises(DecodeError, match="not an Avro schema"):
        codec_for(registry_url).decode(b"\0" + number.to_bytes(4, "big") + b"{}")


@pytest.fixture(scope="module")
def nobody() -> str:
    return f"http://user:hunter2@{LOOPBACK}:{free_port()}"


def test_a_registry_that_does_not_answer_is_named_with_its_variable_and_without_its_password(nobody: str) -> None:
    codec = codec_for(nobody)
    for action in (lambda: codec.encode("entity", SAMPLES["entity"]), lambda: codec.decode(b"\0\0\0\0\1x")):
        with pytest.raises(RegistryError, match="SCHEMA_REGISTRY_URL") as caught:
            action()
        assert LOOPBACK in str(caught.value)
        assert "hunter2" not in str(caught.value)


def test_an_absent_schema_registry_does_not_look_like_removed_connectors(nobody: str, registry_url: str) -> None:
    connectors: dict[str, Connector] = {}
    record = record_of(CONNECTOR.id, encode_connector(codec_for(registry_url), CONNECTOR))
    with pytest.raises(RegistryError):
        apply(codec_for(nobody), connectors, record)
    assert apply(codec_for(registry_url), connectors, record) == CONNECTOR.id
    assert connectors == {CONNECTOR.id: CONNECTOR}


@pytest.mark.parametrize("address", ["nonsense", "ftp://registry", "http://"])
def test_a_malformed_schema_registry_address_is_named(address: str) -> None:
    with pytest.raises(RegistryError, match="SCHEMA_REGISTRY_URL"):
        codec_for(address).encode("entity", SAMPLES["entity"])
