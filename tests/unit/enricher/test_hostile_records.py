"""Whatever bytes are in the enricher's topics: each record is a value or refused in words, and a lane works."""

from __future__ import annotations

import asyncio
import string
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from time import thread_time
from typing import Any

import orjson
import pytest
import structlog
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from enricher import lane_processor
from enricher.activity.raw_record import DataError, Deletion, Marker, RawActivity, read
from enricher.conversation.build import build, record, tombstone
from enricher.lane_processor import LaneProcessor
from enricher.processing import parked as parking
from enricher.processing import retry, tenants
from enricher.processing.services import EnricherServices
from enricher.processing.tenants import ConnectorDirectory, FixedConnectors
from enricher.processing.unexpected import OF_ALL
from enricher.replay import model as replays
from enricher.replay.runner import ReplayRunner
from enricher.resolution.entity_cache import Entity, EntityCache, EntityKey, encode, restore
from enricher.resolution.full_scan import SCAN_PROGRESS, ScanProgress
from enricher.resolution.incremental_refresh import REFRESH
from enricher.resolution.model import Reference, Resolved
from enricher.resolution.tenant_capabilities import CAPABILITIES, TenantCapabilities, spent_of
from enricher.resolution.tenant_lookup import DESCRIBE
from frame_gainsight.connectors import Definition
from frame_gainsight.kafka import ConsumedRecord, ProducerRecord
from frame_gainsight.kafka.record_limits import RecordLimits, size_of_fields
from frame_gainsight.runtime import Settings, TopicError
from frame_gainsight.sandbox import Limits, Morning, Tenant
from schemas import Codec, DecodeError, EncodeError
from tests.fixtures.samples import SAMPLES
from tests.unit.enricher.conftest import TenantRig
from tests.unit.enricher.test_batch_split_invariance import OneClient, registered

CODEC, SETTINGS = Codec(), Settings(_env_file=None)
MANY = examples(max_examples=300, deadline=None)

longs = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([253_402_300_800_000, -62_135_596_800_001, 2**62, -1])
json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = (
    *("Gsid", "From", "To", "InternalAttendees", "ExternalAttendees", "AuthorId", "GsCompanyId", "GsRelationshipId"),
    *("Notes", "NotesPlainText", "ActivityDate", "CreatedDate", "Subject", "TypeName", "ConversationId"),
    *("Number", "Flag", "Day", "Pick"),
)
rows = st.dictionaries(st.sampled_from(FIELDS), json | longs, max_size=8)
texts = st.text(max_size=30) | json.map(lambda value: orjson.dumps(value).decode())


def hostile(record_name: str, **more: Any) -> st.SearchStrategy[bytes]:
    """Valid Avro of a record, some fields of which are as nobody writes them; or its bytes cut or changed; or any."""
    sample = SAMPLES[record_name]
    odd = {
        name: more.get(name, texts if isinstance(value, str) else longs)
        for name, value in sample.items()
        if name in more or (isinstance(value, str | int) and not isinstance(value, bool))
    }
    values = st.fixed_dictionaries({}, optional=odd).map(lambda changes: sample | changes)

    def encoded(value: dict[str, Any]) -> bytes:
        try:
            return CODEC.encode(record_name, value)
        except EncodeError:  # an int beyond its schema
            return CODEC.encode(record_name, sample)

    avro = values.map(encoded)
    cut = st.tuples(avro, st.integers(0, 200)).map(lambda pair: pair[0][: pair[1]])
    changed = st.tuples(avro, st.integers(10, 200), st.binary(min_size=1, max_size=9)).map(
        lambda t: t[0][: t[1]] + t[2] + t[0][t[1] + len(t[2]) :]
    )
    return avro | cut | changed | st.binary(max_size=40)


keys = st.sampled_from([b"acme/1I00", b"acme/!period", b"acme", b"/", b"acme/x/!period", b"\xff/\xff"]) | st.binary(
    max_size=20
)
headers = st.lists(
    st.tuples(
        st.sampled_from(["deleted_at", "columns", "poll_id", "x"]),
        st.binary(max_size=12) | st.sampled_from([b"99999999999999999", b"253402300800000", "²".encode(), b"-1"]),
    ),
    max_size=3,
)
raw_records = st.builds(
    ConsumedRecord,
    st.just("raw"),
    st.just(0),
    st.integers(0, 2**62),
    st.none() | keys,
    st.none() | hostile("raw_activity", row=rows.map(lambda row: orjson.dumps(row).decode()) | texts),
    headers,
    longs,
)
DEFINITION = Definition.model_validate(
    {
        "id": "acme",
        "host": "https://x.example",
        "tags": {name.lower(): f"activity.{name}" for name in ("Number", "Flag", "Day", "Pick", "Subject")},
    }
)


@given(raw_records)
@MANY
def test_a_raw_record_is_an_arrival_or_refused_in_words(source: ConsumedRecord) -> None:
    try:
        arrival = read(CODEC, source)
    except DataError as error:
        assert str(error)
        return
    if isinstance(arrival, Deletion):
        assert tombstone(SETTINGS, arrival).key == source.key
    elif isinstance(arrival, RawActivity):
        try:
            reference = Reference.of(arrival)
            found = Resolved({})
            found.bare_names[reference] = ()
            made = record(CODEC, SETTINGS, arrival, build(reference, DEFINITION, found))
        except (DataError, EncodeError) as error:
            assert str(error)
        else:
            assert CODEC.decode_as("conversation", made.value or b"")["activity_id"] == arrival.gsid
    else:
        assert isinstance(arrival, Marker)


@pytest.mark.parametrize("header", [b"99999999999999999", b"253402300800000", "²".encode(), b"", b"\xff"])
def test_a_tombstone_with_a_foreign_date_is_of_the_moment_when_it_was_written(header: bytes) -> None:
    source = ConsumedRecord("raw", 0, 1, b"acme/1I00", None, (("deleted_at", header),), 1_772_438_400_000)
    deletion = read(CODEC, source)
    assert isinstance(deletion, Deletion)
    assert deletion.moment == 1_772_438_400_000
    assert read(CODEC, replace(source, timestamp=2**62)).moment == 0  # type: ignore[union-attr]


def test_an_activity_at_a_markers_key_is_refused_and_a_marker_is_none(codec: Codec) -> None:
    source = ConsumedRecord("raw", 0, 1, b"acme/!period", codec.encode("raw_activity", SAMPLES["raw_activity"]))
    with pytest.raises(DataError, match="no Gsid is like that"):
        read(codec, source)
    marker = codec.encode("period_marker", SAMPLES["period_marker"])
    assert isinstance(read(codec, replace(source, value=marker)), Marker)


entity_rows = (st.lists(st.dictionaries(st.sampled_from(["Gsid", "Email", "until"]), json, max_size=3)) | json).map(
    lambda value: orjson.dumps(value).decode()
) | st.text(max_size=10)


@given(hostile("entity", rows=entity_rows), keys)
@MANY
def test_an_entity_is_taken_or_refused_in_words(value: bytes, key: bytes) -> None:
    cache = EntityCache(1000, 1000)
    try:
        restore(CODEC, cache, ConsumedRecord("entities", 0, 0, key, value))
    except DecodeError as error:
        assert str(error)
        assert len(cache) == 0


@pytest.mark.parametrize("text", ["5", "{}", "[5]", "[[]]", "null", '"x"', "", "[" * 900 + "]" * 900])
def test_rows_that_are_no_list_of_objects_are_refused(codec: Codec, text: str) -> None:
    value = codec.encode("entity", SAMPLES["entity"] | {"rows": text})
    with pytest.raises(DecodeError):
        restore(codec, EntityCache(1000, 1000), ConsumedRecord("entities", 0, 0, b"acme/person/Email=x", value))


def test_rows_too_deep_to_be_kept_are_refused(codec: Codec) -> None:
    deep = orjson.dumps([{"Gsid": "1", "Odd": None}]).decode().replace("null", "[" * 500 + "]" * 500)
    value = codec.encode("entity", SAMPLES["entity"] | {"rows": deep})
    with pytest.raises(DecodeError):
        restore(codec, EntityCache(1000, 1000), ConsumedRecord("entities", 0, 0, b"acme/person/Email=x", value))


@given(hostile("parked", topic=st.sampled_from(["raw", ""]), value=st.none() | st.binary(max_size=5)), keys)
@MANY
def test_a_parked_record_is_of_its_own_lane_or_refused_in_words(value: bytes, key: bytes) -> None:
    try:
        parked = parking.restored(CODEC, SETTINGS, ConsumedRecord("parked", 3, 0, key, value))
    except DecodeError as error:
        assert str(error)
    else:
        assert (parked.source.partition, parked.source.key) == (3, key)


@pytest.mark.parametrize(
    "foreign",
    [{"partition": 99}, {"offset": -1}, {"key": b"acme/other"}, {"topic": "elsewhere"}, {"connector": "bolt"}],
    ids=str,
)
def test_a_parked_record_that_names_another_place_is_refused(codec: Codec, foreign: dict[str, Any]) -> None:
    own = {"topic": SETTINGS.raw_topic, "partition": 3, "offset": 7, "key": b"acme/1I00", "connector": "acme"}
    source = ConsumedRecord("parked", 3, 0, b"acme/1I00", b"")
    value = codec.encode("parked", SAMPLES["parked"] | own)
    assert parking.restored(codec, SETTINGS, replace(source, value=value)).source.offset == 7
    with pytest.raises(DecodeError, match="another place"):
        parking.restored(
            codec, SETTINGS, replace(source, value=codec.encode("parked", SAMPLES["parked"] | own | foreign))
        )


@given(hostile("replay", activities=st.lists(texts, max_size=3)), keys)
@MANY
def test_a_replay_has_positions_of_a_log_or_is_refused_in_words(value: bytes, key: bytes) -> None:
    try:
        replay = replays.decode(CODEC, ConsumedRecord("checkpoints", 0, 0, key, value))
    except DecodeError as error:
        assert str(error)
    else:
        assert 0 <= replay.position <= replays.LAST_OFFSET
        assert replay.key == key


NOTES = ("page", "in", "dotted", "either", "spent", "begun", "rows", "last", "ended", "surely", "too_large")
notes = st.dictionaries(
    st.sampled_from(NOTES),
    json | st.dictionaries(st.sampled_from(["person", "company"]), longs | json, max_size=2),
    max_size=8,
)


@given(notes)
@MANY
def test_notes_of_any_form_are_learnt_anew(note: dict[str, Any]) -> None:
    capabilities = TenantCapabilities.of(note)
    assert 0 <= capabilities.page_cap.rows <= 5000
    assert all(1 <= c.size <= 1000 for c in capabilities.chunking.values())
    assert TenantCapabilities.of(capabilities.row()).row() == capabilities.row()
    progress = ScanProgress.of((), note)
    assert progress is None or (isinstance(progress.last, str) and isinstance(progress.begun, int))
    spent = spent_of(note)
    assert spent is None or all(type(n) is int and n >= 0 for n in spent)


@pytest.fixture
def tenant() -> Tenant:
    return Tenant(seed=5, scenario=Morning(emails=10), size=6, limits=Limits(None, None))


# ---- a whole lane ----------------------------------------------------------------------------------------------------


def entity_of(definition: Definition, name: str, field: str, value: str, row: Any) -> ProducerRecord:
    return encode(CODEC, SETTINGS, 0, Entity(EntityKey(definition.id, name, field, value), (), [row], 2**62))


def foreign_entities(definition: Definition) -> Iterator[ProducerRecord]:
    host = definition.host
    yield entity_of(definition, CAPABILITIES, "tenant", host, {"page": "x", "in": [1], "spent": {"0": 1}, "dotted": 7})
    yield entity_of(definition, REFRESH, "tenant", host, {"until": {"person": 2**62, "company": "soon", "x": None}})
    for name in ("person", "gsuser", "company_person", "company", "activity_timeline"):
        yield entity_of(definition, DESCRIBE, "object", name, {"name": 5, "fields": [[1, 2], "x"]})
        yield entity_of(definition, SCAN_PROGRESS, "object", name, {"begun": "x", "last": 5, "surely": 1})
        yield entity_of(definition, name, "Gsid", "1", {"Gsid": [], "Email": {}, "company_person": [5, [], {}]})
    whole = CODEC.encode("entity", SAMPLES["entity"] | {"rows": "5"})
    yield ProducerRecord(SETTINGS.entities_topic, 0, b"acme/person/Email=x", whole)
    yield ProducerRecord(SETTINGS.entities_topic, 0, b"?", b"garbage")


class Rig:
    """A lane over topics that hold what a test puts there."""

    def __init__(self, rig: TenantRig, monkeypatch: pytest.MonkeyPatch, limits: RecordLimits | None = None) -> None:
        self.rig = rig
        self.definition = rig.definition(tags={"stage": "company.Stage"})
        self.topics: dict[str, list[ConsumedRecord]] = {}
        for module in (lane_processor, retry):
            monkeypatch.setattr(module, "read_to_end", self.read)
        directory = FixedConnectors({"acme": registered(self.definition)})
        client: Any = OneClient(rig.client)
        services = EnricherServices(SETTINGS, CODEC, directory, client, rig.clock, limits or RecordLimits())
        self.lane = LaneProcessor(services, 0)

    def read(self, _: Settings, topic: str, __: Mapping[int, int | None]) -> Iterator[ConsumedRecord]:
        yield from self.topics.get(topic, [])

    def put(self, made: ProducerRecord) -> None:
        log = self.topics.setdefault(made.topic, [])
        log.append(ConsumedRecord(made.topic, 0, len(log), made.key, made.value, made.headers))

    async def raw(self, count: int, **changes: Any) -> list[ConsumedRecord]:
        """The tenant's first activities as raw records; the first one's row with changes."""
        found = []
        for offset, activity in enumerate((await self.rig.activities(self.definition))[:count]):
            row = activity.row | (changes if not offset else {})
            fields = {"connector": "acme", "activity_id": activity.gsid, "modified_at": activity.modified_at}
            value = CODEC.encode("raw_activity", fields | {"fingerprint": "f", "row": orjson.dumps(row).decode()})
            found.append(ConsumedRecord("raw", 0, offset, f"acme/{activity.gsid}".encode(), value))
        return found

    async def handle(self, records: list[ConsumedRecord]) -> tuple[dict[bytes, Any], dict[bytes, Any]]:
        """Key → conversation, and key → dead letter."""
        out = await self.lane.handle(records)
        made = [r for r in out if r.topic == SETTINGS.conversations_topic]
        dead = [r for r in out if r.topic == SETTINGS.dead_letters_topic]
        return tuple({r.key: CODEC.decode(r.value or b"").value for r in of} for of in (made, dead))  # type: ignore


async def test_a_lane_starts_and_works_whatever_its_entities_are(
    rig: TenantRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh, odd = Rig(rig, monkeypatch), Rig(rig, monkeypatch)
    raw = await fresh.raw(5)
    expected = await fresh.handle(raw)
    for made in foreign_entities(odd.definition):
        odd.put(made)
    odd.lane.restore(0)
    assert await odd.handle(raw) == expected
    assert len(expected[0]) == 5


async def test_a_row_of_a_reply_that_cannot_be_kept_costs_a_field(
    rig: TenantRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Rig(rig, monkeypatch)
    deep: Any = []
    for _ in range(600):
        deep = [deep]
    fetch = rig.client.fetch

    async def damaged(query: Any, **named: Any) -> Any:
        reply = await fetch(query, **named)
        if query.object_name in ("company_person", "person", "gsuser"):
            for row in reply.rows[:3]:
                row["Odd"] = deep
                row[next(name for name in row if name.lower().endswith("gsid"))] = [{}]
        return reply

    monkeypatch.setattr(rig.client, "fetch", damaged)
    conversations, dead = await made.handle(await made.raw(5))
    assert len(conversations) == 5
    assert not dead


@pytest.mark.parametrize(
    "changes",
    [
        {"Subject": orjson.Fragment(b"[" * 1000 + b"]" * 1000)},
        {"GsCompanyId": orjson.Fragment(b"[" * 1000 + b"]" * 1000)},
        {"To": "a," * 600_000},
        {"To": ",".join(f"{n}@x.example" for n in range(6000))},
        {"ActivityDate": 10**18},
    ],
    ids=["deep subject", "deep company", "long list", "many people", "far date"],
)
async def test_an_activity_that_cannot_be_converted_costs_itself(
    rig: TenantRig, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    made = Rig(rig, monkeypatch)
    raw = await made.raw(3, **changes)
    conversations, dead = await made.handle(raw)
    assert list(dead) == [raw[0].key]
    assert "Unexpected" not in dead[raw[0].key or b""]["cause"]
    assert set(conversations) == {r.key for r in raw[1:]}


@pytest.mark.parametrize(
    "where", ["enricher.processing.enrich.conversation.build", "enricher.processing.enrich.mentions"]
)
async def test_a_fault_of_this_code_costs_its_record_and_is_logged_without_its_values(
    rig: TenantRig, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    made = Rig(rig, monkeypatch)
    raw = await made.raw(3)
    right = Reference.of

    def wrong(activity: RawActivity) -> Reference:
        if activity.source.offset == 1:
            secret = "only in a variable"
            raise LookupError(len(secret))
        return right(activity)

    if where.endswith("mentions"):
        monkeypatch.setattr(Reference, "of", wrong)
    else:
        right_build = build

        def wrong_build(reference: Reference, *more: Any) -> Any:
            wrong(reference.activity)
            return right_build(reference, *more)

        monkeypatch.setattr(where, wrong_build)
    with structlog.testing.capture_logs() as logs:
        conversations, dead = await made.handle(raw)
    assert set(conversations) == {raw[0].key, raw[2].key}
    assert "LookupError" in dead[raw[1].key or b""]["cause"]
    (said,) = [line for line in logs if line["event"] == "unexpected_error"]
    assert "LookupError: 18" in said["cause"]
    assert "only in a variable" not in str({k: v for k, v in said.items() if k != "trace"})


async def test_a_fault_in_handling_one_connector_costs_its_activities_alone(
    rig: TenantRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Rig(rig, monkeypatch)
    raw = await made.raw(2)
    foreign = replace(raw[0], offset=7, key=b"bolt/1")
    right = made.lane._retries.admit

    def admit(connector: str) -> Any:
        if connector == "bolt":
            raise KeyError(connector)
        return right(connector)

    monkeypatch.setattr(made.lane._retries, "admit", admit)
    conversations, dead = await made.handle([*raw, foreign])
    assert set(conversations) == {r.key for r in raw}
    assert "KeyError" in dead[b"bolt/1"]["cause"]


def test_a_definition_that_nobody_foresaw_changes_nothing(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = FixedConnectors({"acme": registered(DEFINITION)})
    directory._codec = codec

    def apply(*_: object) -> None:
        raise RecursionError

    monkeypatch.setattr(tenants, "apply", apply)
    with structlog.testing.capture_logs() as logs:
        directory._take(ConsumedRecord("connectors", 0, 3, b"acme", b"x"))
    assert directory.get("acme") is not None
    assert [(line["event"], line["connector"], line["offset"]) for line in logs] == [("unexpected_error", "acme", 3)]


@pytest.mark.parametrize("failure", [SystemError("a result with an exception set"), TopicError("There is no topic.")])
async def test_a_directory_that_is_not_followed_any_more_costs_no_activity(
    failure: Exception, rig: TenantRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def follow(*_: object, **__: object) -> Iterator[None]:
        raise failure
        yield

    monkeypatch.setattr(tenants, "follow", follow)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    directory = ConnectorDirectory(SETTINGS, CODEC)
    client: Any = OneClient(rig.client)
    lane = LaneProcessor(EnricherServices(SETTINGS, CODEC, directory, client, rig.clock), 0)
    raw = await Rig(rig, monkeypatch).raw(2)
    with pytest.raises(OF_ALL, match=r"SystemError|no topic") as started:
        directory.start()
    with pytest.raises(type(started.value), match=r"SystemError|no topic"):
        await lane.handle(raw)


async def test_a_replay_in_which_something_unforeseen_happens_pauses_and_goes_on(
    rig: TenantRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Requests:
        failing = True

        def restore(self, _: int) -> None:
            pass

        def poll(self) -> None:
            if self.failing:
                raise LookupError

        def of(self, _: int) -> list[Any]:
            return []

    requests: Any = Requests()
    services = made_services(rig)
    runner = ReplayRunner(services, 0, EntityCache(1, 1), parking.ParkedActivities(), requests)
    with structlog.testing.capture_logs() as logs:
        assert await runner.job() is None
        assert await runner.job() is None, "it pauses"
    assert [line["event"] for line in logs] == ["unexpected_error"]
    requests.failing = False
    rig.tenant.advance(60)
    with structlog.testing.capture_logs() as logs:
        assert await runner.job() is None
    assert logs == []


def made_services(rig: TenantRig) -> EnricherServices:
    client: Any = OneClient(rig.client)
    return EnricherServices(SETTINGS, CODEC, FixedConnectors({}), client, rig.clock)


async def test_what_a_topic_does_not_take_is_cut_or_left_out_and_the_rest_goes_on(
    rig: TenantRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {SETTINGS.conversations_topic: 60_000, SETTINGS.dead_letters_topic: 40_000, SETTINGS.entities_topic: 30_000}
    limits = RecordLimits(lambda: small)
    made = Rig(rig, monkeypatch, limits)
    raw = await made.raw(4, NotesPlainText="".join(string.ascii_letters for _ in range(4000)))
    out = await made.lane.handle(raw)
    assert all(size_of_fields(r) <= small.get(r.topic, 10**9) for r in out)
    conversations, dead = await made.handle(raw)
    assert set(conversations) == {r.key for r in raw[1:]}
    letter = dead[raw[0].key or b""]
    assert "max.message.bytes" in letter["cause"]
    assert "SHA-256" in letter["cause"]

    small[SETTINGS.conversations_topic] = 1_000_000
    limits.expire()
    assert set((await made.handle(raw))[0]) == {r.key for r in raw}


@pytest.mark.parametrize("waits", [False, True])
async def test_a_record_with_a_key_of_megabytes_is_a_dead_letter(
    rig: TenantRig, monkeypatch: pytest.MonkeyPatch, waits: bool
) -> None:
    made = Rig(rig, monkeypatch)
    raw = await made.raw(2)
    if waits:
        rig.tenant.set_variant("server_error", 503, object="company_person")
    key = b"acme/" + b"k" * 5_000_000
    out = await made.lane.handle(
        [raw[0], replace(raw[1], key=key), replace(raw[1], offset=2, key=key + b"2", value=None)]
    )
    assert all(size_of_fields(r) <= RecordLimits().room(r.topic) for r in out)
    dead = [r for r in out if r.topic == SETTINGS.dead_letters_topic]
    assert [r.key[:10] for r in dead] == [b"acme/kkkkk"] * 2
    assert made.lane.parked == (1 if waits else 0)


async def test_a_large_record_or_many_of_them_leave_others_their_turn(
    rig: TenantRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Rig(rig, monkeypatch)
    raw = await made.raw(2, To="<a," * 330_000, Notes="<b>x" * 1_500_000, NotesPlainText="")
    raw += [replace(raw[1], offset=n, key=b"acme/%d" % n) for n in range(2, 3000)]
    longest, last, done = 0.0, thread_time(), asyncio.Event()

    async def others() -> None:
        nonlocal longest, last
        while not done.is_set():
            await asyncio.sleep(0)
            longest, last = max(longest, thread_time() - last), thread_time()

    watching = asyncio.create_task(others())
    await made.lane.handle(raw)
    done.set()
    await watching
    assert longest < 1.0
