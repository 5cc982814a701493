"""Replay runner, against a model: a log, a topic, live batches, kills of the owner, and tenants that fail."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from enricher.activity.raw_record import RawActivity
from enricher.processing import parked as parking
from enricher.processing.dead_letters import DeadLetters
from enricher.processing.enrich import Enriched
from enricher.processing.parked import ParkedActivities
from enricher.processing.services import EnricherServices
from enricher.replay import log_reader, runner, slices
from enricher.replay import model as replays
from enricher.replay.latest_offsets import LatestOffsets, VersionStatus
from enricher.replay.model import Behind, Counts, Replay, Scope
from enricher.replay.runner import ReplayRunner
from enricher.resolution.entity_cache import EntityCache
from frame_gainsight.connectors import Connector
from frame_gainsight.gainsight import TransientError
from frame_gainsight.kafka import ConsumedRecord, ProducerRecord
from frame_gainsight.kafka.record_limits import RecordLimits, size_of_fields
from frame_gainsight.runtime import Failure, Settings
from schemas import Codec
from tests.fixtures.clock import ManualClock
from tests.fixtures.samples import CONNECTOR

LANE = 0


class LaneModel:
    """A lane's part of Kafka, and its owner, which may be killed.

    Attributes:
        log: raw records, at their offsets.
        topic: the published outputs: (key, raw offset, "live" or "replay").
    """

    def __init__(self, codec: Codec, connectors: Sequence[str] = ("acme",)) -> None:
        self.settings = Settings(_env_file=None).model_copy(update={"dead_letters_in_a_row": 3})
        self.codec = codec
        self.clock = ManualClock()
        self.log: list[ConsumedRecord] = []
        self.topic: list[tuple[bytes, int, str]] = []
        self.dead: list[bytes] = []
        self.unparked: list[bytes] = []
        self.states: dict[bytes, Replay] = {}
        self.connectors: dict[str, Connector] = dict.fromkeys(connectors, CONNECTOR)
        self.broken: set[str] = set()
        self.bad: set[bytes] = set()
        self.parked = ParkedActivities()
        self.owner = self.new_owner()

    # In the place of the owner's services

    def new_owner(self) -> ReplayRunner:
        any_: Any = self
        self.parked = ParkedActivities()
        services = EnricherServices(self.settings, self.codec, any_, any_, self.clock)
        owner = ReplayRunner(services, LANE, EntityCache(1, 1), self.parked, any_)
        owner.restore(len(self.log))
        return owner

    def restore(self, lane: int) -> None:
        assert lane == LANE

    def poll(self) -> None:
        pass

    def of(self, lane: int) -> list[Replay]:
        return list(self.states.values())

    def get(self, connector: str) -> Connector | None:
        return self.connectors.get(connector)

    def read(
        self, settings: Settings, topic: str, starts: Mapping[int, int | None], _: float
    ) -> Iterator[ConsumedRecord]:
        for record in list(self.log):
            if record.offset >= (starts[LANE] or 0):
                yield record

    # What happens

    def write(self, connector: str, name: str, *, deleted: bool = False, at: int = 1000) -> ConsumedRecord:
        """A record at the end of the log, not handled yet."""
        value = None
        if not deleted:
            fields = {"connector": connector, "activity_id": name, "modified_at": at, "fingerprint": "f", "row": "{}"}
            value = self.codec.encode("raw_activity", fields)
        key = f"{connector}/{name}".encode()
        record = ConsumedRecord("raw", LANE, len(self.log), key, value, (("deleted_at", str(at).encode()),))
        self.log.append(record)
        return record

    def live(self, *records: ConsumedRecord) -> None:
        """A live batch handles the records and publishes their outputs."""
        self.owner.observe(records)
        self.topic += [(r.key or b"", r.offset, "live") for r in records]

    def request(self, scope: Scope | None = None) -> Replay:
        requested = Replay(LANE, f"r{len(self.states)}", len(self.states), scope or Scope())
        self.states[requested.key] = requested
        return requested

    def publish(self, records: Sequence[ProducerRecord]) -> None:
        for record in records:
            if record.topic == self.settings.checkpoints_topic:
                source = ConsumedRecord(record.topic, LANE, 0, record.key, record.value)
                self.states[record.key] = replays.decode(self.codec, source)
            elif record.topic == self.settings.parked_topic:
                self.unparked.append(record.key)
            elif record.topic == self.settings.dead_letters_topic:
                self.dead.append(record.key)
            else:
                header = next((v for k, v in record.headers if k == "offset"), None)
                offset = int(header) if header else self.offset_of_deletion(record.key)
                self.topic.append((record.key, offset, "replay"))

    def offset_of_deletion(self, key: bytes) -> int:
        return max(r.offset for r in self.log if r.key == key and r.value is None)

    async def step(self) -> bool:
        """Does one job; False: there was none."""
        finish = await self.owner.job()
        if finish is not None:
            self.publish(finish())
        return finish is not None

    async def to_the_end(self) -> None:
        while await self.step():
            pass

    async def until_begun(self) -> None:
        """Goes on until the log is indexed: the next job is the first slice."""
        while (run := self.owner._run) is None or not run.indexed:
            assert await self.step()

    def kill(self) -> None:
        self.owner = self.new_owner()

    def by_replay(self) -> Counter[bytes]:
        return Counter(key for key, _, who in self.topic if who == "replay")

    def versions(self) -> list[tuple[bytes, int]]:
        return [(key, offset) for key, offset, who in self.topic if who == "replay"]


class Converter:
    """An enricher that converts an activity to its raw offset."""

    model: LaneModel

    def __init__(self, services: EnricherServices, lane: int, cache: EntityCache, dead_letters: DeadLetters) -> None:
        self._settings = services.settings
        self._dead_letters = dead_letters

    async def enrich(self, connector: Any, activities: Sequence[RawActivity], *, renew: bool) -> Enriched:
        assert renew is False, "cached entities are not looked up again"
        name = activities[0].connector
        if name in self.model.broken:
            raise TransientError("The tenant is away.")
        done = Enriched([])
        for activity in activities:
            key = activity.source.key or b""
            if self._dead_letters.limit_reached(name):
                done.refused.append(activity)
            elif key in self.model.bad:
                letter = self._dead_letters.of_unconverted(name, activity.source, "bad")
                done.outputs[activity.source.offset] = letter
            else:
                self._dead_letters.converted(name)
                headers = (("offset", str(activity.source.offset).encode()),)
                out = ProducerRecord(self._settings.conversations_topic, LANE, key, b"c", headers)
                done.outputs[activity.source.offset] = out
        done.cause = "bad"
        return done


class NoCalls:
    """Clients that have made no calls."""

    def __init__(self, _: Any) -> None:
        pass

    def calls(self, connector: str) -> int:
        return 0


@pytest.fixture
def model(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> LaneModel:
    return new_model(codec, monkeypatch)


def new_model(codec: Codec, patch: pytest.MonkeyPatch, *connectors: str) -> LaneModel:
    patch.setattr(slices, "Enricher", Converter)
    patch.setattr(slices, "BackgroundClients", NoCalls)
    patch.setattr(runner, "SLICE", 3)
    patch.setattr(runner, "SCAN", 5)
    made = LaneModel(codec, connectors or ("acme", "bolt"))
    patch.setattr(Converter, "model", made, raising=False)
    patch.setattr(log_reader, "read_to_end", made.read)
    return made


def state(model: LaneModel) -> Replay:
    (only,) = model.states.values()
    return only


# ---- which versions ------------------------------------------------------------------------------------------------


async def test_the_latest_version_of_each_key_is_replayed_once_and_deletions_too(model: LaneModel) -> None:
    for name in ("A", "B", "A", "C", "!period"):
        model.live(model.write("acme", name))
    model.live(model.write("acme", "B", deleted=True))
    model.request()
    await model.to_the_end()
    assert model.versions() == [(b"acme/A", 2), (b"acme/C", 3), (b"acme/B", 5)]
    assert state(model).state == "DONE"
    assert state(model).counts == Counts(rows=6, written=2, deleted=1)


async def test_a_replay_of_one_connector_leaves_out_the_others(model: LaneModel) -> None:
    for connector in ("acme", "bolt", "acme-2"):
        model.live(model.write(connector, "A"))
    model.request(Scope("acme"))
    await model.to_the_end()
    assert model.versions() == [(b"acme/A", 0)]


async def test_a_span_of_time_selects_by_the_latest_version(model: LaneModel) -> None:
    for name, at in (("early", 999), ("from", 1000), ("last", 1999), ("late", 2000), ("left", 1500), ("left", 2500)):
        model.live(model.write("acme", name, at=at))
    model.live(model.write("acme", "gone", at=1), model.write("acme", "gone", deleted=True, at=1200))
    model.request(Scope(None, 1000, 2000))
    await model.to_the_end()
    assert model.versions() == [(b"acme/from", 1), (b"acme/last", 2), (b"acme/gone", 7)]


async def test_a_replay_of_some_activities_leaves_out_the_others(model: LaneModel) -> None:
    for name in ("A", "B", "C", "A"):
        model.live(model.write("acme", name), model.write("bolt", name))
    model.request(Scope("acme", activities=("A", "C")))
    model.broken = {"acme"}
    await model.to_the_end()
    model.broken = set()
    model.clock.seconds += 1000
    await model.to_the_end()
    assert model.versions() == [(b"acme/C", 4), (b"acme/A", 6)]
    assert state(model).counts == Counts(rows=8, written=2)


async def test_activities_of_an_unregistered_connector_are_counted_and_hold_nothing_up(model: LaneModel) -> None:
    model.live(model.write("gone", "A"), model.write("acme", "A"))
    model.request()
    await model.to_the_end()
    assert model.versions() == [(b"acme/A", 1)]
    assert state(model).counts.unregistered == 1
    assert state(model).state == "DONE"


async def test_an_unreadable_record_is_a_dead_letter_again(model: LaneModel) -> None:
    model.live(model.write("acme", "A"))
    model.log[0] = ConsumedRecord("raw", LANE, 0, b"acme/A", b"garbage")
    model.request()
    await model.to_the_end()
    assert model.dead == [b"acme/A"]
    assert state(model).counts.failed == 1


# ---- live batches --------------------------------------------------------------------------------------------------


async def test_an_activity_that_a_batch_handles_meanwhile_is_left_out_of_the_slice(model: LaneModel) -> None:
    for name in ("A", "B"):
        model.live(model.write("acme", name))
    model.request()
    await model.until_begun()
    finish = await model.owner.job()
    model.live(model.write("acme", "A"))
    assert finish is not None
    model.publish(finish())
    await model.to_the_end()
    assert model.versions() == [(b"acme/B", 1)]
    assert state(model).counts == Counts(rows=2, written=1, newer=1)


async def test_an_activity_that_a_batch_handled_before_is_not_selected(model: LaneModel) -> None:
    for name in "ABCDE":
        model.live(model.write("acme", name))
    model.request()
    await model.until_begun()
    assert await model.step()
    model.live(model.write("acme", "A"), model.write("acme", "E"), model.write("acme", "F"))
    await model.to_the_end()
    assert [key for key, _ in model.versions()] == [b"acme/A", b"acme/B", b"acme/C", b"acme/D"]
    assert state(model).counts == Counts(rows=5, written=4, newer=1)


async def test_a_new_owner_knows_the_records_since_the_replay_began(model: LaneModel) -> None:
    for name in "ABCDEFG":
        model.live(model.write("acme", name))
    model.request()
    await model.until_begun()
    assert await model.step()
    model.live(model.write("acme", "G"))
    model.kill()
    await model.to_the_end()
    assert [key for key, _ in model.versions()] == [f"acme/{n}".encode() for n in "ABCDEF"]
    assert state(model).counts == Counts(rows=7, written=6, newer=1)


async def test_a_cancelled_replay_stops(model: LaneModel) -> None:
    for name in "ABCDEFG":
        model.live(model.write("acme", name))
    model.request()
    await model.until_begun()
    assert await model.step()
    running = state(model)
    model.states[running.key] = replays.Replay(LANE, running.id, running.requested_at, running.scope, "CANCELLED")
    await model.to_the_end()
    assert state(model).state == "CANCELLED"
    assert state(model).counts.written == len(model.versions()) == 3


async def test_replays_are_done_one_after_the_other(model: LaneModel) -> None:
    model.live(model.write("acme", "A"))
    first, second = model.request(), model.request(Scope("acme"))
    await model.to_the_end()
    assert [model.states[r.key].state for r in (first, second)] == ["DONE", "DONE"]
    assert model.versions() == [(b"acme/A", 0)] * 2


# ---- failures ------------------------------------------------------------------------------------------------------


async def test_a_failing_tenant_holds_up_no_other_and_is_replayed_later(model: LaneModel) -> None:
    for name in "ABCDEFGH":
        model.live(model.write("acme", name), model.write("bolt", name))
    model.live(model.write("acme", "A", deleted=True))
    model.broken = {"acme"}
    model.request()
    await model.to_the_end()
    assert [key for key, _ in model.versions()] == [f"bolt/{n}".encode() for n in "ABCDEFGH"]
    assert state(model).behind == (Behind("acme", 2, "The tenant is away."),)
    assert state(model).state == "RUNNING"
    model.broken = set()
    await model.to_the_end()
    assert state(model).state == "RUNNING", "not before the pause is over"
    model.clock.seconds += 10
    await model.to_the_end()
    assert state(model).state == "DONE"
    assert state(model).behind == ()
    assert set(model.by_replay().values()) == {1}
    assert len(model.by_replay()) == 16
    assert state(model).counts == Counts(rows=17, written=15, deleted=1)


async def test_a_failing_tenant_is_tried_less_often_the_longer_it_fails(model: LaneModel) -> None:
    model.live(model.write("acme", "A"))
    model.broken = {"acme"}
    model.request()
    await model.to_the_end()
    tries = []
    for second in range(70):
        model.clock.seconds = second
        if await model.step():
            tries.append(second)
    assert tries == [2, 6, 14, 30, 62]


async def test_a_connector_with_too_many_dead_letters_in_a_row_waits_until_it_has_changed(model: LaneModel) -> None:
    for name in "ABCDEF":
        model.live(model.write("acme", name))
    model.bad = {f"acme/{n}".encode() for n in "ABCDEF"}
    model.request()
    await model.to_the_end()
    assert (len(model.dead), state(model).behind[0].position) == (3, 3)
    model.clock.seconds += 1000
    await model.to_the_end()
    assert len(model.dead) == 3, "as it is, it is not tried again"
    model.bad = set()
    model.connectors["acme"] = changed_connector()
    await model.to_the_end()
    assert [key for key, _ in model.versions()] == [b"acme/D", b"acme/E", b"acme/F"]
    assert state(model).counts == Counts(rows=6, written=3, failed=3)


def changed_connector() -> Connector:
    return Connector(CONNECTOR.definition, CONNECTOR.sealed, "ACTIVE", CONNECTOR.updated_at + 1, CONNECTOR.rotated_at)


async def test_a_parked_activity_is_unparked_with_its_conversation(model: LaneModel) -> None:
    model.live(model.write("acme", "A"), model.write("acme", "B"))
    newer = model.write("acme", "B")
    for source in (model.log[0], newer):
        activity = RawActivity(source, "acme", "x", 1, "f", {})
        model.parked.park([activity], Failure.TRANSIENT, "away", 0)
    model.owner.observe([newer])
    model.request()
    await model.to_the_end()
    assert model.versions() == [(b"acme/A", 0), (b"acme/B", 2)]
    assert model.unparked == [b"acme/A", b"acme/B"]
    assert len(model.parked) == 0


async def test_an_older_version_is_not_published_before_a_parked_newer_one(model: LaneModel) -> None:
    model.live(model.write("acme", "A"))
    model.request()
    await model.until_begun()
    finish = await model.owner.job()
    newer = model.write("acme", "A")
    model.parked.park([RawActivity(newer, "acme", "A", 1, "f", {})], Failure.TRANSIENT, "away", 0)
    assert finish is not None
    model.publish(finish())
    assert model.versions() == []
    assert len(model.parked) == 1


# ---- random schedules ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(60))
async def test_every_activity_is_published_once_and_no_older_version_after_a_newer_one(
    seed: int, codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    names = ["acme", "bolt", "crux"]
    model = new_model(codec, monkeypatch, *names)

    def something() -> ConsumedRecord:
        return model.write(chance.choice(names), str(chance.randrange(8)), deleted=chance.random() < 0.2)

    for _ in range(40):
        model.live(something())
    model.request()
    pending = None
    for _ in range(60):
        act = chance.choice(["step", "step", "step", "begin", "finish", "live", "kill", "break", "mend"])
        if act == "live":
            model.live(*(something() for _ in range(chance.randrange(1, 4))))
        elif act == "kill":
            pending = None
            model.kill()
        elif act == "break":
            model.broken.add(chance.choice(names))
        elif act == "mend":
            model.broken.clear()
            model.clock.seconds += 1000
        elif act == "begin" and pending is None:
            pending = await model.owner.job()
        elif act in ("finish", "step"):
            if pending is None and act == "step":
                pending = await model.owner.job()
            if pending is not None:
                model.publish(pending())
                pending = None
    if pending is not None:
        model.publish(pending())
    model.broken.clear()
    while state(model).state != "DONE":
        model.clock.seconds += 1000
        await model.step()
    end = state(model).end
    assert end is not None
    seen: dict[bytes, int] = {}
    for key, offset, _ in model.topic:
        assert offset >= seen.get(key, 0), f"an older version after a newer one: {key!r}"
        seen[key] = offset
    assert all(count == 1 for count in model.by_replay().values()), "nothing twice within one replay"
    keys = {r.key or b"" for r in model.log[:end]}
    assert keys == model.by_replay().keys() | {r.key for r in model.log[end:]} & keys, "nothing left out"
    counts = state(model).counts
    assert counts.written + counts.deleted == len(model.by_replay())
    assert counts.written + counts.deleted + counts.newer == len(keys)


# ---- offsets of the latest versions --------------------------------------------------------------------------------


def test_a_version_is_latest_outdated_or_old() -> None:
    latest = LatestOffsets(end=10)
    latest.put([(b"k", 1), (b"k", 4), (b"l", 2), (b"l", 12), (b"m", 15)])
    assert [latest.status(b"k", n) for n in (1, 4)] == [VersionStatus.OLD, VersionStatus.LATEST]
    assert latest.status(b"l", 2) is VersionStatus.OUTDATED
    latest.put([(b"k", 10)])
    assert latest.status(b"k", 4) is VersionStatus.OUTDATED
    latest.close()


def test_a_replay_is_the_same_after_encoding_and_decoding(codec: Codec) -> None:
    replay = Replay(
        LANE,
        "x",
        5,
        Scope("acme", 1, None, ("A", "B")),
        "RUNNING",
        9,
        4,
        (Behind("acme", 3, "c"),),
        Counts(1, 2, 3, 4, 5, 6, 7),
        8,
        9,
    )
    out = replays.record(codec, Settings(_env_file=None), replay)
    assert replays.id_in(out.key) == "x"
    assert replays.decode(codec, ConsumedRecord(out.topic, out.partition, 0, out.key, out.value)) == replay
    assert parking.tombstone(Settings(_env_file=None), ConsumedRecord("raw", 0, 0, b"k", None)).value is None


@pytest.mark.parametrize("connectors", [140, 2500])
def test_a_replay_with_many_connectors_behind_is_a_record_that_its_topic_takes(codec: Codec, connectors: int) -> None:
    replay, room = Replay(LANE, "x", 1), 1024 * 1024
    for n in range(connectors):
        replay = replay.with_behind(Behind(f"connector-{n}", n, "\U0001f4a5" * 4000))
    assert {len(behind.cause) for behind in replay.behind} == {300}
    out = replays.record(codec, Settings(_env_file=None), replay, room)
    assert size_of_fields(out) <= room
    read = replays.decode(codec, ConsumedRecord(out.topic, out.partition, 0, out.key, out.value))
    assert [(b.connector, b.position) for b in read.behind] == [(b.connector, b.position) for b in replay.behind]
    assert all(behind.cause for behind in read.behind)


async def test_a_replay_keeps_what_its_topic_takes_when_connectors_fail_with_long_causes(
    codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"c{n}" for n in range(20)]
    model = new_model(codec, monkeypatch, *names)
    for name in names:
        model.live(model.write(name, "A"))

    async def failing(*_: object, **__: object) -> Enriched:
        raise TransientError("\u00e9" * 4000)

    monkeypatch.setattr(Converter, "enrich", failing)
    monkeypatch.setattr(RecordLimits, "room", lambda *_: 16_000)
    model.request()
    sizes = []
    publish = model.publish
    monkeypatch.setattr(
        model, "publish", lambda records: (sizes.extend(map(size_of_fields, records)), publish(records))
    )
    await model.to_the_end()
    assert [behind.connector for behind in state(model).behind] == names
    assert max(sizes) <= 16_000
