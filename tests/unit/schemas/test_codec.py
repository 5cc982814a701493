"""Values to bytes and back, in both wire formats, across versions; anything else is refused in words."""

from __future__ import annotations

import json
import random
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest
from fastavro.utils import generate_one
from hypothesis import given
from hypothesis import strategies as st

import schemas as room
from schemas import Catalogue, Codec, DecodeError, EncodeError, SchemaError, catalogue, codec_for
from schemas.errors import UnknownSchemaError
from tests.fixtures.samples import SAMPLES

ROOM = Path(room.__file__).parent
GOLDEN = Path(__file__).with_name("golden")
RECORDS = catalogue().records
HISTORY = sorted(path.name for path in (ROOM / "history").glob("*.avsc"))


class Memory:
    """A `Registry` in memory."""

    def __init__(self) -> None:
        self.subjects: list[str] = []
        self.fetched: list[int] = []
        self.texts: dict[int, str] = {}

    def register(self, subject: str, text: str) -> int:
        self.subjects.append(subject)
        number = len(self.texts) + 1
        self.texts[number] = text
        return number

    def fetch(self, schema_id: int) -> str:
        self.fetched.append(schema_id)
        if schema_id not in self.texts:
            raise UnknownSchemaError(f"The schema registry has no schema {schema_id}.")
        return self.texts[schema_id]


def changed(record: str, **more: Any) -> Catalogue:
    """Today's catalogue, with one record's newer version that has one more field."""
    newer = json.loads(catalogue().today(record).text)
    newer["fields"].append(more)
    today = {name: catalogue().today(name).text for name in RECORDS}
    history = [(record, today[record])]
    return Catalogue(today | {record: json.dumps(newer)}, history)


# ---- round trips ------------------------------------------------------------------------------------------------


def test_every_record_has_a_sample() -> None:
    assert sorted(SAMPLES) == RECORDS


@pytest.mark.parametrize("record", RECORDS)
def test_what_was_written_is_read(record: str) -> None:
    assert Codec().decode(Codec().encode(record, SAMPLES[record])) == (record, SAMPLES[record])


@pytest.mark.parametrize("record", RECORDS)
def test_single_object_encoding_is_the_specification_s(record: str) -> None:
    """Avro specification, "Single-object encoding": C3 01, the CRC-64-AVRO little-endian, then the body alone."""
    schema = catalogue().today(record)
    data = Codec().encode(record, SAMPLES[record])
    assert data[:2] == b"\xc3\x01"
    assert int.from_bytes(data[2:10], "little") == rabin(schema.text)
    assert fastavro.schemaless_reader(BytesIO(data[10:]), schema.parsed, None) == SAMPLES[record]


def rabin(text: str) -> int:
    """CRC-64-AVRO, by the specification's own code."""
    empty = 0xC15D213AA4D7A795
    table = []
    for index in range(256):
        value = index
        for _ in range(8):
            value = (value >> 1) ^ (empty & -(value & 1) & 0xFFFFFFFFFFFFFFFF)
        table.append(value)
    value = empty
    for byte in fastavro.schema.to_parsing_canonical_form(json.loads(text)).encode():
        value = (value >> 8) ^ table[(value ^ byte) & 0xFF]
    return value


def test_no_two_schemas_share_a_fingerprint() -> None:
    assert len({catalogue().today(record).fingerprint for record in RECORDS}) == len(RECORDS)


# ---- yesterday's bytes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.bin")), ids=lambda path: path.name)
def test_today_s_schemas_read_yesterday_s_bytes(path: Path) -> None:
    record = path.name.split(".")[0]
    found = Codec().decode(bytes.fromhex(path.read_text().replace("\n", "")))
    expected = json.loads(path.with_suffix(".json").read_text(), object_hook=_bytes_again)
    assert found.record == record
    assert {name: found.value[name] for name in expected} == expected


def _bytes_again(value: dict[str, Any]) -> Any:
    return bytes.fromhex(value["bytes"]) if value.keys() == {"bytes"} else value


def test_every_version_ever_shipped_has_its_golden_bytes() -> None:
    assert sorted(path.stem for path in GOLDEN.glob("*.bin")) == [name.removesuffix(".avsc") for name in HISTORY]


@pytest.mark.parametrize("record", RECORDS)
def test_a_schema_is_not_changed_without_adding_a_version(record: str) -> None:
    newest = max(
        (ROOM / "history").glob(f"{record}.*.avsc"),
        key=lambda path: int(path.name.split(".")[1]),
    )
    assert json.loads((ROOM / f"{record}.avsc").read_text()) == json.loads(newest.read_text())


@pytest.mark.parametrize("name", HISTORY)
def test_whatever_an_old_version_wrote_today_s_schema_reads(name: str) -> None:
    record, text = name.split(".")[0], (ROOM / "history" / name).read_text()
    old = room.catalogue().by_fingerprint(Catalogue({record: text}, []).today(record).fingerprint)
    assert old is not None
    random.seed(name)
    for _ in range(50):
        body = BytesIO()
        fastavro.schemaless_writer(body, old.parsed, generate_one(old.parsed))
        assert Codec().decode(b"\xc3\x01" + old.fingerprint + body.getvalue()).record == record


@pytest.mark.parametrize("record", RECORDS)
def test_a_later_version_may_add_a_field_with_a_default(record: str) -> None:
    later = Codec(schemas=changed(record, name="later", type="string", default="as before"))
    assert later.decode(Codec().encode(record, SAMPLES[record])).value == SAMPLES[record] | {"later": "as before"}


@pytest.mark.parametrize("record", RECORDS)
def test_and_today_s_readers_pass_it_over_when_they_know_the_schema(record: str) -> None:
    registry = Memory()
    later = Codec(registry, changed(record, name="later", type="string", default="as before"))
    data = later.encode(record, SAMPLES[record] | {"later": "new"})
    assert Codec(registry).decode(data) == (record, SAMPLES[record])


def test_without_a_default_a_new_field_leaves_old_bytes_unreadable_and_says_so() -> None:
    with pytest.raises(DecodeError, match="written by a schema that cannot be read"):
        Codec(schemas=changed("entity", name="later", type="string")).decode(
            Codec().encode("entity", SAMPLES["entity"])
        )


# ---- both wire formats --------------------------------------------------------------------------------------------


def test_one_codec_reads_both_wire_formats() -> None:
    codec = Codec(Memory())
    confluent, single = codec.encode("entity", SAMPLES["entity"]), Codec().encode("entity", SAMPLES["entity"])
    assert (confluent[:1], single[:2]) == (b"\0", b"\xc3\x01")
    assert codec.decode(confluent) == codec.decode(single) == ("entity", SAMPLES["entity"])


def test_confluent_s_format_names_the_schema_by_a_four_byte_big_endian_id() -> None:
    registry = Memory()
    registry.texts = dict.fromkeys(range(1, 300), "x")
    assert Codec(registry).encode("entity", SAMPLES["entity"])[:5] == b"\0\0\0\x01\x2c"


def test_the_registry_is_called_once_for_each_schema_under_its_full_name() -> None:
    registry = Memory()
    codec = Codec(registry)
    for _ in range(3):
        codec.encode("raw_activity", SAMPLES["raw_activity"])
        codec.encode("period_marker", SAMPLES["period_marker"])
    assert registry.subjects == ["ai.frame.gainsight.RawActivity", "ai.frame.gainsight.PeriodMarker"]


def test_a_codec_without_registry_says_how_an_id_could_be_read() -> None:
    with pytest.raises(DecodeError, match="SCHEMA_REGISTRY_URL"):
        codec_for(None).decode(Codec(Memory()).encode("entity", SAMPLES["entity"]))


@pytest.mark.parametrize(
    "text",
    ["not json", "5", "{}", '{"type": "nope"}', '{"type": "record"}', 'syntax = "proto3";', '{"type": "object"}', "[]"],
)
def test_a_registered_schema_that_is_no_avro_is_not_ours(text: str) -> None:
    registry = Memory()
    registry.texts[9] = text
    with pytest.raises(DecodeError, match="Schema 9 of the registry is"):
        Codec(registry).decode(b"\0\0\0\0\x09body")


def test_another_project_s_avro_schema_is_no_record_of_ours() -> None:
    registry = Memory()
    registry.texts = {
        1: '{"type": "record", "name": "Order", "namespace": "shop", "fields": []}',
        2: '"string"',
        3: '["null", "string"]',
    }
    for number in registry.texts:
        with pytest.raises(DecodeError, match="not one of ours"):
            Codec(registry).decode(b"\0\0\0\0" + bytes([number]) + b"body")


def named(name: str, *types: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": f"f{n}", "type": kind} for n, kind in enumerate(types)]}


def array(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


UNBOUNDED = {
    "recursive": (named("N", ["null", "N"]), "is recursive"),
    "recursive by its own name": (["null", "ai.frame.gainsight.RawActivity"], "is recursive"),
    "recursive by an array": (named("N", array("N")), "is recursive"),
    "recursive by a map, two records apart": (named("A", named("B", {"type": "map", "values": "A"})), "is recursive"),
    "array of nulls": (array("null"), "may take no byte"),
    "array of a null, written at length": (array({"type": "null"}), "may take no byte"),
    "array of empty records": (array(named("Empty")), "may take no byte"),
    "array of records of nulls": (array(named("A", "null", named("B", "null"))), "may take no byte"),
    "array of empty fixed": (array({"type": "fixed", "name": "F", "size": 0}), "may take no byte"),
    "array of what is passed over unread": (array("boolean"), "may take no byte"),
    "array in a map in an array": (array({"type": "map", "values": array("double")}), "may take no byte"),
    "items of many nulls": (array(named("N", "int", *["null"] * 500)), "values in an item"),
    "one record of many nulls": (named("N", *["null"] * 5000), "more than 2000 values"),
}


@pytest.mark.parametrize(("kind", "cause"), UNBOUNDED.values(), ids=UNBOUNDED.keys())
def test_a_schema_by_which_few_bytes_take_for_ever_is_not_read_by(kind: Any, cause: str) -> None:
    schema = json.loads(catalogue().today("raw_activity").text)
    schema["fields"].append({"name": "later", "type": kind})
    registry = Memory()
    registry.texts[9] = json.dumps(schema)
    with pytest.raises(DecodeError, match=f"Schema 9 of the registry.*{cause}.*who writes to the topic"):
        Codec(registry).decode(b"\0\0\0\0\x09")


def test_a_schema_that_was_refused_is_not_looked_at_again_and_an_unknown_one_is() -> None:
    registry = Memory()
    codec = Codec(registry)
    registry.texts[9] = '"string"'
    for number in (9, 8, 9, 8):
        with pytest.raises(DecodeError, match=f"chema {number}"):
            codec.decode(b"\0\0\0\0" + bytes([number]))
    assert registry.fetched == [9, 8, 8]


def doubling(depth: int) -> list[dict[str, Any]]:
    """Fields each of which has a record of two of the record before, so that the last has 2 ** depth values."""
    made = [named("N0", "null", "null")]
    made += [named(f"N{n}", f"N{n - 1}", f"N{n - 1}") for n in range(1, depth)]
    return [{"name": f"later{n}", "type": kind} for n, kind in enumerate(made)]


def chain(depth: int) -> list[dict[str, Any]]:
    """Fields each of which has a record around the one before, so that the last is that deep."""
    made = [named("N0", "int")] + [named(f"N{n}", f"N{n - 1}") for n in range(1, depth)]
    return [{"name": f"later{n}", "type": kind} for n, kind in enumerate(made)]


@pytest.mark.parametrize("fields", [doubling(60), chain(5000)], ids=["doubling", "chain"])
def test_a_schema_whose_names_make_it_large_is_not_read_by(fields: list[dict[str, Any]]) -> None:
    schema = json.loads(catalogue().today("raw_activity").text)
    schema["fields"] += fields
    registry = Memory()
    registry.texts[9] = json.dumps(schema)
    with pytest.raises(DecodeError, match=r"Schema 9 of the registry.*more than 2000 values"):
        Codec(registry).decode(b"\0\0\0\0\x09")


@pytest.mark.parametrize("name", HISTORY)
def test_every_version_ever_shipped_is_read_by_from_a_registry(name: str) -> None:
    record, text = name.split(".")[0], (ROOM / "history" / name).read_text()
    registry = Memory()
    registry.texts[9] = text
    body = BytesIO()
    parsed = Catalogue({record: text}, []).today(record).parsed
    random.seed(name)
    fastavro.schemaless_writer(body, parsed, generate_one(parsed))
    assert Codec(registry).decode(b"\0\0\0\0\x09" + body.getvalue()).record == record


def test_an_unregistered_id_is_a_fault_of_the_record_not_of_the_registry() -> None:
    with pytest.raises(DecodeError, match=r"no schema 77.*who writes to the topic"):
        Codec(Memory()).decode(b"\0\0\0\0\x4dbody")


# ---- what cannot be read ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "begins with nothing.*who writes to the topic"),
        (b"{", "begins with 7b.*who writes to the topic"),
        (b'{"Gsid": "1I00"}', "begins with 7b224773.*who writes to the topic"),
        (b"\0", "begins with 00"),
        (b"\0\0\0\0", "begins with 00000000"),
        (b"\xc3", "begins with c3"),
        (b"\xc3\x01", "ends after 2 bytes"),
        (b"\xc3\x01\1\2\3\4\5\6\7", "ends after 9 bytes"),
        (b"\xc3\x01\1\2\3\4\5\6\7\x08body", r"fingerprint \(0102030405060708\).*update, or look at who writes"),
    ],
)
def test_foreign_bytes_differ_from_damage(data: bytes, words: str) -> None:
    with pytest.raises(DecodeError, match=words):
        Codec().decode(data)


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_cut_anywhere_is_refused(record: str) -> None:
    data = Codec().encode(record, SAMPLES[record])
    for length in range(len(data)):
        with pytest.raises(DecodeError):
            Codec().decode(data[:length])


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_with_more_behind_it_is_refused(record: str) -> None:
    with pytest.raises(DecodeError, match=f"The {record} has 3 bytes too many"):
        Codec().decode(Codec().encode(record, SAMPLES[record]) + b"end")


@given(st.binary(max_size=64), st.integers(10, 400), st.sampled_from(RECORDS))
def test_whatever_the_damage_the_only_error_is_decode_error(noise: bytes, at: int, record: str) -> None:
    data = Codec().encode(record, SAMPLES[record])
    damaged = data[:at] + noise + data[at + len(noise) :]
    try:
        value = Codec().decode(damaged).value
    except DecodeError as error:
        assert record in str(error)
    else:
        assert value.keys() == SAMPLES[record].keys()


def test_a_topic_of_one_kind_refuses_another() -> None:
    data = Codec().encode("entity", SAMPLES["entity"])
    assert Codec().decode_as("entity", data) == SAMPLES["entity"]
    with pytest.raises(DecodeError, match="Expected a checkpoint, found a entity"):
        Codec().decode_as("checkpoint", data)


# ---- what cannot be written ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        {"version": None},
        {"version": "yesterday"},
        {"version": 2**63},
        {"subject": 5},
        {"subject": "\ud800"},
        {"tags": [{"name": "n", "value": ["a"]}]},
        {"tags": [{"name": "n", "value": {"a": 1}}]},
        {"participants": [{"role": "boss"}]},
    ],
    ids=str,
)
def test_a_value_that_does_not_fit_is_named_by_its_record(fault: dict[str, Any]) -> None:
    with pytest.raises(EncodeError, match="This conversation does not fit its schema"):
        Codec().encode("conversation", SAMPLES["conversation"] | fault)


def test_a_missing_field_is_named() -> None:
    value = {name: v for name, v in SAMPLES["conversation"].items() if name != "connector"}
    with pytest.raises(EncodeError, match="connector"):
        Codec().encode("conversation", value)


def test_an_undefined_record_is_named_with_those_that_are_defined() -> None:
    with pytest.raises(SchemaError, match=r"no schema 'conversations'; there are: .*conversation"):
        Codec().encode("conversations", {})


# ---- properties ---------------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SCALAR = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), TEXT, st.just("𝒳🚀")
)
PROFILE = st.dictionaries(TEXT, SCALAR, max_size=4)
MAYBE = st.none() | TEXT
MOMENT = st.integers(0, 253_402_300_799_999)
CONVERSATION = st.fixed_dictionaries(
    {
        "connector": TEXT,
        "activity_id": TEXT,
        "source": st.just("gainsight"),
        "conversation_id": TEXT,
        "type": MAYBE,
        "subject": MAYBE,
        "body_text": MAYBE,
        "body_html": MAYBE,
        "occurred_at": st.none() | MOMENT,
        "logged_at": st.none() | MOMENT,
        "version": MOMENT,
        "participants": st.lists(
            st.fixed_dictionaries(
                {
                    "email": MAYBE,
                    "name": MAYBE,
                    "role": st.sampled_from(["agent", "customer", "unknown"]),
                    "user_id": MAYBE,
                    "account_id": MAYBE,
                    "profile": PROFILE,
                }
            ),
            max_size=3,
        ),
        "account": st.none() | st.fixed_dictionaries({"id": TEXT, "name": MAYBE, "profile": PROFILE}),
        "relationship": st.none() | st.fixed_dictionaries({"id": TEXT, "name": MAYBE}),
        "tags": st.lists(st.fixed_dictionaries({"name": TEXT, "value": SCALAR}), max_size=3),
        "mapping_version": TEXT,
    }
)


def typed(value: Any) -> Any:
    """A value with the types of its scalars: True is not 1, and 1 is not 1.0."""
    if isinstance(value, dict):
        return {key: typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [typed(item) for item in value]
    return type(value), value


@given(CONVERSATION)
def test_a_conversation_keeps_every_value_and_its_type(value: dict[str, Any]) -> None:
    codec = Codec()
    data = codec.encode("conversation", value)
    assert typed(codec.decode(data).value) == typed(value)
    assert codec.encode("conversation", codec.decode(data).value) == data
