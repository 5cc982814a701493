"""The entity cache: absence is an answer, answers grow old, and more columns need another answer."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from enricher.resolution.entity_cache import Entity, EntityCache, EntityKey, decode, encode, restore
from frame_gainsight.kafka import ConsumedRecord, ProducerRecord
from frame_gainsight.runtime import Settings
from schemas import Codec, DecodeError

KEY = EntityKey("acme", "person", "Email", "dana@x.example")
FOUND = Entity(KEY, ("Gsid", "Email"), [{"Gsid": "P1", "Email": "dana@x.example"}], 1000)
ABSENT = Entity(KEY, ("Gsid", "Email"), [], 1000)


def cache(*entities: Entity) -> EntityCache:
    made = EntityCache(ttl=100, absent_ttl=10)
    for entity in entities:
        made.put(entity)
    return made


@pytest.mark.parametrize(("entity", "ttl"), [(FOUND, 100), (ABSENT, 10)], ids=["found", "absent"])
def test_an_answer_is_fresh_for_its_ttl(entity: Entity, ttl: int) -> None:
    known = cache(entity)
    assert known.fresh(KEY, entity.columns, 1000) == entity
    assert known.fresh(KEY, entity.columns, 1000 + ttl) == entity
    assert known.fresh(KEY, entity.columns, 1001 + ttl) is None


def test_an_answer_serves_fewer_columns_and_not_more() -> None:
    assert cache(FOUND).fresh(KEY, ("Email",), 1000) == FOUND
    assert cache(FOUND).fresh(KEY, (), 1000) == FOUND
    assert cache(FOUND).fresh(KEY, ("Email", "Gsid"), 1000) == FOUND
    assert cache(FOUND).fresh(KEY, ("Gsid", "Email", "Title"), 1000) is None


def test_answers_that_take_too_many_bytes_make_room_like_those_that_are_too_many() -> None:
    known = EntityCache(100, 10, max_bytes=10_000)
    for number in range(20):
        key = replace(KEY, value=str(number))
        known.put(replace(FOUND, key=key, rows=[{"Gsid": str(number), "Notes": "x" * 1000}]))
    assert 5 < len(known) < 10
    assert known.get(replace(KEY, value="19")) is not None
    assert known.evictions("acme", "person") == 20 - len(known)
    with known.pinned("acme"):
        for number in range(20, 30):
            known.put(replace(FOUND, key=replace(KEY, value=str(number)), rows=[{"Gsid": "1", "Notes": "x" * 1000}]))
        assert known.is_full, "pinned answers stay"
        assert len(known) > 15
    assert len(known) < 10
    assert not known.is_full


def test_another_key_has_no_answer() -> None:
    for other in (
        EntityKey("other", "person", "Email", KEY.value),
        EntityKey("acme", "gsuser", "Email", KEY.value),
        EntityKey("acme", "person", "Gsid", KEY.value),
    ):
        assert cache(FOUND).fresh(other, (), 1000) is None


def test_the_latest_answer_counts_and_a_dropped_one_does_not() -> None:
    known = cache(ABSENT, FOUND)
    assert known.fresh(KEY, (), 1000) == FOUND
    assert len(known) == 1
    known.drop(KEY)
    known.drop(KEY)
    assert known.fresh(KEY, (), 1000) is None


def test_the_record(settings: Settings, codec: Codec) -> None:
    record = encode(codec, settings, 3, FOUND)
    assert (record.topic, record.partition) == (settings.entities_topic, 3)
    assert record.key == b"acme/person/Email=dana@x.example"


values = st.recursive(st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(), st.lists, max_leaves=5)
texts = st.text(max_size=20)


@examples(deadline=None)  # the first one loads the schemas
@given(texts, texts, st.lists(texts, unique=True), st.lists(st.dictionaries(texts, values)), st.integers(0, 2**62))
def test_round_trip(value: str, name: str, columns: list[str], rows: list[dict[str, object]], at: int) -> None:
    codec, entity = Codec(), Entity(EntityKey("acme", name, "f", value), tuple(columns), rows, at)
    assert decode(codec, encode(codec, Settings(_env_file=None), 0, entity).value or b"") == entity


def test_another_record_is_refused(codec: Codec) -> None:
    marker = {"connector": "a", "poll_id": "p", "period_start": 0, "period_end": 1, "activities": 0}
    with pytest.raises(DecodeError):
        decode(codec, codec.encode("period_marker", marker))


def test_what_is_restored_is_what_was_kept_and_not_what_was_taken_out(settings: Settings, codec: Codec) -> None:
    odd = Entity(EntityKey("acme", "contract__gc", "Company_ID__gc", "a/b=c"), ("Gsid",), [{"Gsid": "C1"}], 1000)
    known = cache()
    for entity in (FOUND, odd):
        restore(codec, known, consumed_record(encode(codec, settings, 3, entity)))
    assert known.get(KEY) == FOUND and known.get(odd.key) == odd
    for entity in (FOUND, odd):
        restore(codec, known, consumed_record(replace(encode(codec, settings, 3, entity), value=None)))
    assert len(known) == 0


def test_forgetting_a_connector_drops_all_its_answers_and_none_of_another() -> None:
    other = Entity(EntityKey("other", "person", "Gsid", "P1"), ("Gsid",), [{"Gsid": "P1", "Email": "a@x"}], 1000)
    mine = Entity(EntityKey("acme", "person", "Gsid", "P1"), ("Gsid",), [{"Gsid": "P1", "Email": "a@x"}], 1000)
    known = cache(FOUND, mine, other)
    known.forget("acme")
    assert len(known) == 1 and known.get(other.key) == other
    assert not known.with_email("acme", "person", "a@x") and known.with_email("other", "person", "a@x")


def person(connector: str, number: int) -> Entity:
    return Entity(EntityKey(connector, "person", "Gsid", f"P{number}"), ("Gsid",), [{"Gsid": f"P{number}"}], 1000)


def test_a_full_cache_evicts_from_the_least_recently_used_connector() -> None:
    known = EntityCache(ttl=100, absent_ttl=10, max_entries=4)
    for entity in (person("a", 1), person("b", 1), person("b", 2), person("a", 2), person("c", 1)):
        known.put(entity)
    assert known.get(person("b", 1).key) is None and known.get(person("b", 2).key) is not None
    assert (known.evictions("a", "person"), known.evictions("b", "person")) == (0, 1)
    known.get(person("a", 1).key)
    known.put(person("c", 2))
    assert known.get(person("b", 2).key) is None, "within it the answer that was"
    assert len(known) == 4


def test_a_pinned_connector_loses_no_answer_until_it_is_unpinned() -> None:
    known = EntityCache(ttl=100, absent_ttl=10, max_entries=2)
    known.put(person("b", 1))
    with known.pinned("a"), known.pinned("a"):
        for number in range(5):
            known.put(person("a", number))
        assert all(known.get(person("a", number).key) for number in range(5))
        assert known.get(person("b", 1).key) is None
    assert len(known) == 2 and known.evictions("a", "person") == 3


def test_notes_are_never_evicted() -> None:
    known = EntityCache(ttl=100, absent_ttl=10, max_entries=1)
    note = Entity(EntityKey("a", "!facts", "tenant", "https://x"), (), [{"page": 5000}], 1000)
    known.put(note)
    for number in range(5):
        known.put(person("a", number))
    assert known.get(note.key) == note and note.key in known and len(known) == 1
    known.drop(note.key)
    assert note.key not in known


def consumed_record(record: ProducerRecord) -> ConsumedRecord:
    return ConsumedRecord(record.topic, record.partition, 0, record.key, record.value)
