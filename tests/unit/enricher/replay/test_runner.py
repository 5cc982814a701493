"""A replay by the lane's owner, against a model: a log, a topic, live batches, kills, and tenants that fail."""

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
from frame_gainsight.gainsight import Failure, TransientError
from frame_gainsight.kafka import ConsumedRecord, ProducerRecord
from frame_gainsight.runtime import Settings
from schemas import Codec
from tests.fixtures.samples import CONNECTOR

LANE = 0


class Ticking:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> int:
        return int(self.seconds * 1000)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


class World:
    """Kafka, as far as a lane sees it, and its owner, who may die.

    `log`: raw records, at their offsets. `topic`: what was published, as (key, raw offset or None, who).
    """

    def __init__(self, codec: Codec, connectors: Sequence[str] = ("acme",)) -> None:
        self.settings = Settings(_env_file=None).model_copy(update={"dead_letters_in_a_row": 3})
        self.codec = codec
        self.clock = Ticking()
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

    # What the owner is made of

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
        """A record at the end of the log, not handled by anybody yet."""
        value = None
        if not deleted:
            fields = {"connector": connector, "activity_id": name, "modified_at": at, "fingerprint": "f", "row": "{}"}
            value = self.codec.encode("raw_activity", fields)
        key = f"{connector}/{name}".encode()
        record = ConsumedRecord("raw", LANE, len(self.log), key, value, (("deleted_at", str(at).encode()),))
        self.log.append(record)
        return record

    def live(self, *records: ConsumedRecord) -> None:
        """A live batch handles them, from beginning to end."""
        self.owner.observe(records)
        self.topic += [(r.key or b"", r.offset, "live") for r in records]

    def ask(self, scope: Scope | None = None) -> Replay:
        asked = Replay(LANE, f"r{len(self.states)}", len(self.states), scope or Scope())
        self.states[asked.key] = asked
        return asked

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
        """One piece of work; whether there was any."""
        finish = await self.owner.job()
        if finish is not None:
            self.publish(finish())
        return finish is not None

    async def to_the_end(self) -> None:
        while await self.step():
            pass

    async def until_begun(self) -> None:
        """The log is read; the next step is the first slice."""
        while (run := self.owner._run) is None or not run.indexed:
            assert await self.step()

    def kill(self) -> None:
        self.owner = self.new_owner()

    def by_replay(self) -> Counter[bytes]:
        return Counter(key for key, _, who in self.topic if who == "replay")

    def versions(self) -> list[tuple[bytes, int]]:
        return [(key, offset) for key, offset, who in self.topic if who == "replay"]


class Converter:
    """In the enricher's place: an activity becomes its raw offset."""

    world: World

    def __init__(self, services: EnricherServices, lane: int, cache: EntityCache, dead_letters: DeadLetters) -> None:
        self._settings = services.settings
        self._dead_letters = dead_letters

    async def enrich(self, connector: Any, activities: Sequence[RawActivity], *, renew: bool) -> Enriched:
        assert renew is False, "what is known is not asked again"
        name = activities[0].connector
        if name in self.world.broken:
            raise TransientError("The tenant is away.")
        done = Enriched([])
        for activity in activities:
            key = activity.source.key or b""
            if self._dead_letters.limit_reached(name):
                done.refused.append(activity)
            elif key in self.world.bad:
                letter = self._dead_letters.of_unconverted(name, activity.source, "bad")
                done.outputs[activity.source.offset] = letter
            else:
                self._dead_letters.converted(name)
                headers = (("offset", str(activity.source.offset).encode()),)
                out = ProducerRecord(self._settings.conversations_topic, LANE, key, b"c", headers)
                done.outputs[activity.source.offset] = out
        done.cause = "bad"
        return done


class Uncounted:
    """In the clients' place."""

    def __init__(self, _: Any) -> None:
        pass

    def calls(self, connector: str) -> int:
        return 0


@pytest.fixture
def world(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> World:
    return a_world(codec, monkeypatch)


def a_world(codec: Codec, patch: pytest.MonkeyPatch, *connectors: str) -> World:
    patch.setattr(slices, "Enricher", Converter)
    patch.setattr(slices, "BackgroundClients", Uncounted)
    patch.setattr(runner, "SLICE", 3)
    patch.setattr(runner, "SCAN", 5)
    made = World(codec, connectors or ("acme", "bolt"))
    patch.setattr(Converter, "world", made, raising=False)
    patch.setattr(log_reader, "read_to_end", made.read)
    return made


def state(world: World) -> Replay:
    (only,) = world.states.values()
    return only


# ---- which versions ------------------------------------------------------------------------------------------------


async def test_each_keys_newest_version_once_and_deletions_as_such(world: World) -> None:
    for name in ("A", "B", "A", "C", "!period"):
        world.live(world.write("acme", name))
    world.live(world.write("acme", "B", deleted=True))
    world.ask()
    await world.to_the_end()
    assert world.versions() == [(b"acme/A", 2), (b"acme/C", 3), (b"acme/B", 5)]
    assert state(world).state == "DONE"
    assert state(world).counts == Counts(rows=6, written=2, deleted=1)


async def test_one_connector_alone(world: World) -> None:
    for connector in ("acme", "bolt", "acme-2"):
        world.live(world.write(connector, "A"))
    world.ask(Scope("acme"))
    await world.to_the_end()
    assert world.versions() == [(b"acme/A", 0)]


async def test_a_span_is_about_the_newest_versions_date(world: World) -> None:
    for name, at in (("early", 999), ("from", 1000), ("last", 1999), ("late", 2000), ("left", 1500), ("left", 2500)):
        world.live(world.write("acme", name, at=at))
    world.live(world.write("acme", "gone", at=1), world.write("acme", "gone", deleted=True, at=1200))
    world.ask(Scope(None, 1000, 2000))
    await world.to_the_end()
    assert world.versions() == [(b"acme/from", 1), (b"acme/last", 2), (b"acme/gone", 7)]


async def test_some_activities_alone(world: World) -> None:
    for name in ("A", "B", "C", "A"):
        world.live(world.write("acme", name), world.write("bolt", name))
    world.ask(Scope("acme", activities=("A", "C")))
    world.broken = {"acme"}
    await world.to_the_end()
    world.broken = set()
    world.clock.seconds += 1000
    await world.to_the_end()
    assert world.versions() == [(b"acme/C", 4), (b"acme/A", 6)]
    assert state(world).counts == Counts(rows=8, written=2)


async def test_what_nobody_registered_is_counted_and_holds_nothing_up(world: World) -> None:
    world.live(world.write("gone", "A"), world.write("acme", "A"))
    world.ask()
    await world.to_the_end()
    assert world.versions() == [(b"acme/A", 1)]
    assert state(world).counts.unregistered == 1
    assert state(world).state == "DONE"


async def test_what_does_not_read_is_a_dead_letter_again(world: World) -> None:
    world.live(world.write("acme", "A"))
    world.log[0] = ConsumedRecord("raw", LANE, 0, b"acme/A", b"garbage")
    world.ask()
    await world.to_the_end()
    assert world.dead == [b"acme/A"]
    assert state(world).counts.failed == 1


# ---- beside live traffic -------------------------------------------------------------------------------------------


async def test_what_a_batch_handles_while_a_slice_is_made_is_left_out_of_it(world: World) -> None:
    for name in ("A", "B"):
        world.live(world.write("acme", name))
    world.ask()
    await world.until_begun()
    finish = await world.owner.job()
    world.live(world.write("acme", "A"))
    assert finish is not None
    world.publish(finish())
    await world.to_the_end()
    assert world.versions() == [(b"acme/B", 1)]
    assert state(world).counts == Counts(rows=2, written=1, newer=1)


async def test_what_a_batch_handled_before_its_slice_is_passed_over(world: World) -> None:
    for name in "ABCDE":
        world.live(world.write("acme", name))
    world.ask()
    await world.until_begun()
    assert await world.step()
    world.live(world.write("acme", "A"), world.write("acme", "E"), world.write("acme", "F"))
    await world.to_the_end()
    assert [key for key, _ in world.versions()] == [b"acme/A", b"acme/B", b"acme/C", b"acme/D"]
    assert state(world).counts == Counts(rows=5, written=4, newer=1)


async def test_a_new_owner_knows_what_came_since_it_began(world: World) -> None:
    for name in "ABCDEFG":
        world.live(world.write("acme", name))
    world.ask()
    await world.until_begun()
    assert await world.step()
    world.live(world.write("acme", "G"))
    world.kill()
    await world.to_the_end()
    assert [key for key, _ in world.versions()] == [f"acme/{n}".encode() for n in "ABCDEF"]
    assert state(world).counts == Counts(rows=7, written=6, newer=1)


async def test_given_up_it_stops(world: World) -> None:
    for name in "ABCDEFG":
        world.live(world.write("acme", name))
    world.ask()
    await world.until_begun()
    assert await world.step()
    running = state(world)
    world.states[running.key] = replays.Replay(LANE, running.id, running.requested_at, running.scope, "CANCELLED")
    await world.to_the_end()
    assert state(world).state == "CANCELLED"
    assert state(world).counts.written == len(world.versions()) == 3


async def test_one_after_the_other(world: World) -> None:
    world.live(world.write("acme", "A"))
    first, second = world.ask(), world.ask(Scope("acme"))
    await world.to_the_end()
    assert [world.states[r.key].state for r in (first, second)] == ["DONE", "DONE"]
    assert world.versions() == [(b"acme/A", 0)] * 2


# ---- failures ------------------------------------------------------------------------------------------------------


async def test_a_tenant_that_is_away_holds_up_no_other_and_is_caught_up_with(world: World) -> None:
    for name in "ABCDEFGH":
        world.live(world.write("acme", name), world.write("bolt", name))
    world.live(world.write("acme", "A", deleted=True))
    world.broken = {"acme"}
    world.ask()
    await world.to_the_end()
    assert [key for key, _ in world.versions()] == [f"bolt/{n}".encode() for n in "ABCDEFGH"]
    assert state(world).behind == (Behind("acme", 2, "The tenant is away."),)
    assert state(world).state == "RUNNING"
    world.broken = set()
    await world.to_the_end()
    assert state(world).state == "RUNNING", "not before the pause is over"
    world.clock.seconds += 10
    await world.to_the_end()
    assert state(world).state == "DONE"
    assert state(world).behind == ()
    assert set(world.by_replay().values()) == {1}
    assert len(world.by_replay()) == 16
    assert state(world).counts == Counts(rows=17, written=15, deleted=1)


async def test_the_longer_it_is_away_the_rarer_it_is_tried(world: World) -> None:
    world.live(world.write("acme", "A"))
    world.broken = {"acme"}
    world.ask()
    await world.to_the_end()
    tries = []
    for second in range(70):
        world.clock.seconds = second
        if await world.step():
            tries.append(second)
    assert tries == [2, 6, 14, 30, 62]


async def test_a_connector_whose_every_activity_fails_waits_for_another_mapping(world: World) -> None:
    for name in "ABCDEF":
        world.live(world.write("acme", name))
    world.bad = {f"acme/{n}".encode() for n in "ABCDEF"}
    world.ask()
    await world.to_the_end()
    assert (len(world.dead), state(world).behind[0].position) == (3, 3)
    world.clock.seconds += 1000
    await world.to_the_end()
    assert len(world.dead) == 3, "as it is, it is not tried again"
    world.bad = set()
    world.connectors["acme"] = parsed_anew()
    await world.to_the_end()
    assert [key for key, _ in world.versions()] == [b"acme/D", b"acme/E", b"acme/F"]
    assert state(world).counts == Counts(rows=6, written=3, failed=3)


def parsed_anew() -> Connector:
    return Connector(CONNECTOR.definition, CONNECTOR.sealed, "ACTIVE", CONNECTOR.updated_at + 1, CONNECTOR.rotated_at)


async def test_what_is_parked_leaves_the_lot_with_its_conversation_unless_it_is_newer(world: World) -> None:
    world.live(world.write("acme", "A"), world.write("acme", "B"))
    newer = world.write("acme", "B")
    for source in (world.log[0], newer):
        activity = RawActivity(source, "acme", "x", 1, "f", {})
        world.parked.park([activity], Failure.TRANSIENT, "away", 0)
    world.owner.observe([newer])
    world.ask()
    await world.to_the_end()
    assert world.versions() == [(b"acme/A", 0), (b"acme/B", 2)]
    assert world.unparked == [b"acme/A", b"acme/B"]
    assert len(world.parked) == 0


async def test_an_older_version_does_not_go_before_a_parked_newer_one(world: World) -> None:
    world.live(world.write("acme", "A"))
    world.ask()
    await world.until_begun()
    finish = await world.owner.job()
    newer = world.write("acme", "A")
    world.parked.park([RawActivity(newer, "acme", "A", 1, "f", {})], Failure.TRANSIENT, "away", 0)
    assert finish is not None
    world.publish(finish())
    assert world.versions() == []
    assert len(world.parked) == 1


# ---- all of it at once ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(60))
async def test_whatever_happens_all_comes_once_and_no_older_version_over_a_newer_one(
    seed: int, codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    names = ["acme", "bolt", "crux"]
    world = a_world(codec, monkeypatch, *names)

    def something() -> ConsumedRecord:
        return world.write(chance.choice(names), str(chance.randrange(8)), deleted=chance.random() < 0.2)

    for _ in range(40):
        world.live(something())
    world.ask()
    pending = None
    for _ in range(60):
        act = chance.choice(["step", "step", "step", "begin", "finish", "live", "kill", "break", "mend"])
        if act == "live":
            world.live(*(something() for _ in range(chance.randrange(1, 4))))
        elif act == "kill":
            pending = None
            world.kill()
        elif act == "break":
            world.broken.add(chance.choice(names))
        elif act == "mend":
            world.broken.clear()
            world.clock.seconds += 1000
        elif act == "begin" and pending is None:
            pending = await world.owner.job()
        elif act in ("finish", "step"):
            if pending is None and act == "step":
                pending = await world.owner.job()
            if pending is not None:
                world.publish(pending())
                pending = None
    if pending is not None:
        world.publish(pending())
    world.broken.clear()
    while state(world).state != "DONE":
        world.clock.seconds += 1000
        await world.step()
    end = state(world).end
    assert end is not None
    seen: dict[bytes, int] = {}
    for key, offset, _ in world.topic:
        assert offset >= seen.get(key, 0), f"an older version over a newer one: {key!r}"
        seen[key] = offset
    assert all(count == 1 for count in world.by_replay().values()), "nothing twice within one replay"
    keys = {r.key or b"" for r in world.log[:end]}
    assert keys == world.by_replay().keys() | {r.key for r in world.log[end:]} & keys, "nothing left out"
    counts = state(world).counts
    assert counts.written + counts.deleted == len(world.by_replay())
    assert counts.written + counts.deleted + counts.newer == len(keys)


# ---- where the newest versions are -----------------------------------------------------------------------------------


def test_a_version_is_latest_outdated_or_old() -> None:
    latest = LatestOffsets(end=10)
    latest.put([(b"k", 1), (b"k", 4), (b"l", 2), (b"l", 12), (b"m", 15)])
    assert [latest.status(b"k", n) for n in (1, 4)] == [VersionStatus.OLD, VersionStatus.LATEST]
    assert latest.status(b"l", 2) is VersionStatus.OUTDATED
    latest.put([(b"k", 10)])
    assert latest.status(b"k", 4) is VersionStatus.OUTDATED
    latest.close()


def test_a_record_of_the_topic_is_the_same_again(codec: Codec) -> None:
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
