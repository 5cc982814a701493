"""The entity cache: absence is an answer, answers grow old, and more columns are another question."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus import Settings
from enricher.entities import Entity, EntityCache, EntityKey, decode, encode
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
def test_an_answer_is_fresh_for_its_time(entity: Entity, ttl: int) -> None:
    known = cache(entity)
    assert known.fresh(KEY, entity.columns, 1000) == entity
    assert known.fresh(KEY, entity.columns, 1000 + ttl) == entity
    assert known.fresh(KEY, entity.columns, 1001 + ttl) is None


def test_fewer_columns_are_in_it_and_more_are_not() -> None:
    assert cache(FOUND).fresh(KEY, ("Email",), 1000) == FOUND
    assert cache(FOUND).fresh(KEY, (), 1000) == FOUND
    assert cache(FOUND).fresh(KEY, ("Email", "Gsid"), 1000) == FOUND
    assert cache(FOUND).fresh(KEY, ("Gsid", "Email", "Title"), 1000) is None


def test_another_key_is_another_question() -> None:
    for other in (
        EntityKey("other", "person", "Email", KEY.value),
        EntityKey("acme", "gsuser", "Email", KEY.value),
        EntityKey("acme", "person", "Gsid", KEY.value),
    ):
        assert cache(FOUND).fresh(other, (), 1000) is None


def test_the_newest_answer_counts_and_a_dropped_one_does_not() -> None:
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


@given(texts, texts, st.lists(texts, unique=True), st.lists(st.dictionaries(texts, values)), st.integers(0, 2**62))
def test_round_trip(value: str, name: str, columns: list[str], rows: list[dict[str, object]], at: int) -> None:
    codec, entity = Codec(), Entity(EntityKey("acme", name, "f", value), tuple(columns), rows, at)
    assert decode(codec, encode(codec, Settings(_env_file=None), 0, entity).value or b"") == entity


def test_another_record_is_refused(codec: Codec) -> None:
    marker = {"connector": "a", "poll_id": "p", "period_start": 0, "period_end": 1, "activities": 0}
    with pytest.raises(DecodeError):
        decode(codec, codec.encode("period_marker", marker))
