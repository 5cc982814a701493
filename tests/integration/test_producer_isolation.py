"""One row, one connector, one lane: what goes wrong with it costs the producer that alone, and `status` says why."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import orjson
import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType  # type: ignore[attr-defined]

from frame_gainsight.cli.operations.connector_status import ConnectorStatus, connector_statuses
from frame_gainsight.gainsight import ConfigError
from frame_gainsight.kafka import KafkaLaneWriter, ProducerRecord, put, topics
from frame_gainsight.kafka.clients import admin
from frame_gainsight.runtime import BrokerError, Settings, SystemClock, TopicError
from frame_gainsight.runtime.backoff import Backoff
from frame_gainsight.runtime.metrics import Metrics
from frame_gainsight.sandbox import Tenant
from frame_gainsight.sandbox.http import server
from frame_gainsight.sandbox.http.api import handle
from producer import service
from producer.backfilling.runner import BackfillRunner
from producer.context import ProducerContext
from producer.lane_restore import LaneReader
from producer.polling.poller import Poller, PollResult
from producer.service import ProducerService
from producer.state.backfill import Backfill
from producer.state.checkpoint import Checkpoint
from schemas import SchemaError
from tests.fixtures.cluster import Cluster, MakeCluster, unlimited, until, versions

SECONDS = 40.0


class Running:
    """A producer in a thread of its own, in this process: what it calls can be replaced."""

    def __init__(self, cluster: Cluster) -> None:
        self.polls: list[PollResult] = []
        self.error: BaseException | None = None
        self._loop = asyncio.new_event_loop()
        context = ProducerContext(cluster.settings, cluster.codec, cluster.vault, SystemClock())
        self.metrics = Metrics()
        self.service = ProducerService(context, on_poll=self.polls.append, metrics=self.metrics)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self.service.run())
        except BaseException as error:  # noqa: BLE001 - `stop` shows it
            self.error = error

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def polled(self, connector: str, more: int = 2) -> None:
        """Returns when so many further polls of the connector went well."""
        before = self.count(connector)
        until(f"{connector} is polled", lambda: self.count(connector) >= before + more, SECONDS)

    def count(self, connector: str) -> int:
        return sum(1 for result in self.polls if result.connector == connector)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self.service.stop)
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()
        assert self.error is None, self.error


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Cluster:
    """Two connectors in one lane, polled every second."""
    made = make_cluster(partitions=1, overlap_margin_seconds=0)
    for number, connector in enumerate(("acme", "bolt")):
        add(made, connector, number)
    return made


def add(cluster: Cluster, connector: str, seed: int) -> Tenant:
    tenant = unlimited(seed=seed, size=3)
    tenant.clock.run(1.0)
    cluster.add(connector, tenant, period=1, deletions_every=1, activity_types=())
    return tenant


@pytest.fixture
def start(cluster: Cluster) -> Iterator[Callable[[], Running]]:
    started: list[Running] = []

    def begin() -> Running:
        started.append(Running(cluster))
        return started[-1]

    yield begin
    for running in started:
        if running.running:
            running.stop()


def status_of(cluster: Cluster, connector: str) -> ConnectorStatus:
    found, _ = connector_statuses(cluster.settings, cluster.codec, SystemClock().now())
    return next(status for status in found if status.id == connector)


def until_status(cluster: Cluster, connector: str, state: str, words: str, seconds: float = SECONDS) -> ConnectorStatus:
    def shown() -> ConnectorStatus | None:
        status = status_of(cluster, connector)
        return status if status.state == state and words in status.last_error else None

    found = until(f"{connector} is {state}: {words}", shown, seconds)
    assert found is not None
    return found


def until_well(cluster: Cluster, connector: str) -> None:
    """No enricher runs in these tests."""

    def well() -> bool:
        status = status_of(cluster, connector)
        return status.state == "active" or status.last_error.startswith("No enricher runs")

    until(f"{connector} is well", well, SECONDS)


def written(cluster: Cluster, gsid: str) -> bool:
    return gsid in {r.name for r in cluster.raw()}


# ---- errors that nobody foresaw -----------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [TypeError, RecursionError, MemoryError])
def test_an_unforeseen_error_of_a_poll_is_its_connector_s_failure(
    cluster: Cluster, start: Callable[[], Running], monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    poll = Poller.poll

    async def broken(self: Poller) -> PollResult:
        if self._feed.definition.id == "acme":
            secret = "not to be shown"  # noqa: F841
            raise error("something odd")
        return await poll(self)

    running = start()
    running.polled("acme", 1)
    monkeypatch.setattr(Poller, "poll", broken)
    status = until_status(cluster, "acme", "broken", f"{error.__name__}: ")
    assert "something odd" in status.last_error
    assert "test_producer_isolation.py, line" in status.last_error
    assert "not to be shown" not in status.last_error
    opened = running.service._lanes[0].lane
    running.polled("bolt", 3)
    monkeypatch.undo()
    until_well(cluster, "acme")
    assert running.service._lanes[0].lane is opened, "the lane was opened anew"


def test_an_unforeseen_error_within_a_transaction_takes_nothing_for_written(
    cluster: Cluster, start: Callable[[], Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    running = start()
    running.polled("acme")
    advance = Poller._advance

    def broken(self: Poller, *arguments: Any) -> None:
        advance(self, *arguments)
        if self._feed.definition.id == "acme":
            raise TypeError("after all was noted")

    monkeypatch.setattr(Poller, "_advance", broken)
    gsid = cluster.tenants["acme"].create({"TypeName": "Email", "Subject": "x"})["id"]
    until_status(cluster, "acme", "broken", "after all was noted")
    running.polled("bolt")
    assert not written(cluster, gsid)
    monkeypatch.undo()
    until("the activity is written", lambda: written(cluster, gsid), SECONDS)
    running.polled("acme", 2)
    assert set(versions(cluster.raw()).values()) == {1}


@pytest.mark.parametrize("where", ["_prepare", "_write_page"])
def test_an_unforeseen_error_of_a_backfill_leaves_polling_at_work(
    cluster: Cluster, start: Callable[[], Running], monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def broken(self: BackfillRunner, *_: Any) -> None:
        raise TypeError("in the past")

    monkeypatch.setattr(BackfillRunner, where, broken)
    running = start()
    running.polled("acme", 1)
    now = cluster.tenants["acme"].now()
    backfill = Backfill("acme", "old", now - 9 * 86_400_000, now, now - 8 * 86_400_000)
    put(
        cluster.settings,
        ProducerRecord(cluster.settings.checkpoints_topic, 0, backfill.key, backfill.encode(cluster.codec)),
    )
    until_status(cluster, "acme", "active", "Backfill old: Unforeseen: TypeError: in the past")
    running.polled("acme", 3)
    running.polled("bolt")


def test_a_record_that_cannot_be_followed_ends_nothing(cluster: Cluster, start: Callable[[], Running]) -> None:
    running = start()
    running.polled("acme", 1)
    for key in (
        b"acme/backfill/x",
        b"bolt/backfill/x",
        b"nobody/backfill/x",
        b"/backfill/",
        b"acme",
        b"\xff/\xff",
        b"/",
    ):
        for value in (b"", b"\xc3\x01", b"\x00\x00\x00\x00\x01", b"\xff" * 100, None):
            if key != b"acme":  # that is the producer's own
                put(cluster.settings, ProducerRecord(cluster.settings.checkpoints_topic, 0, key, value))
            put(cluster.settings, ProducerRecord(cluster.settings.connectors_topic, 0, key + b"?", value))
    running.polled("acme", 3)
    running.polled("bolt", 3)
    assert running.running


# ---- damaged state ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [{"cursor": 2**62}, {"raw_offset": -5}, {"begun": -(2**60)}], ids=str)
def test_a_damaged_checkpoint_stops_its_connector_until_it_is_replaced(
    cluster: Cluster, start: Callable[[], Running], damage: dict[str, Any]
) -> None:
    running = start()
    running.polled("acme", 1)
    running.stop()
    good = cluster.checkpoint("acme")
    assert good is not None
    topic = cluster.settings.checkpoints_topic
    put(cluster.settings, ProducerRecord(topic, 0, b"acme", replace(good, **damage).encode(cluster.codec)))
    running = start()
    running.polled("bolt")
    until_status(cluster, "acme", "broken", "cannot be read")
    before = running.count("acme")
    put(cluster.settings, ProducerRecord(topic, 0, b"acme", good.encode(cluster.codec)))
    until("acme is polled again", lambda: running.count("acme") > before, 5.0)
    until_well(cluster, "acme")


# ---- sizes --------------------------------------------------------------------------------------------------------


def set_limit(settings: Settings, name: str, size: int) -> None:
    entry = ConfigEntry(topics.MAX_BYTES, str(size), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry])
    client = admin(settings)  # held: a client that is gone never answers
    client.incremental_alter_configs([resource])[resource].result(20)
    until("the broker tells of the limit", lambda: topics.limits(settings, [name])[name] == size)


def large(limit: int) -> bytes:
    """Text that does not compress to less than the limit."""
    return hashlib.shake_128(b"seed").hexdigest(limit).encode()


@pytest.mark.parametrize("limit", [60_000, 3_000_000])
def test_a_row_that_its_topic_does_not_take_is_a_dead_letter_and_goes_in_when_the_limit_is_raised(
    cluster: Cluster, start: Callable[[], Running], limit: int
) -> None:
    set_limit(cluster.settings, cluster.settings.raw_topic, limit)
    set_limit(cluster.settings, cluster.settings.dead_letters_topic, 40_000)
    running = start()
    running.polled("acme", 1)
    acme = cluster.tenants["acme"]
    too_large = acme.create({"TypeName": "Email", "Subject": "big", "Notes": large(limit).decode()})["id"]
    small = acme.create({"TypeName": "Email", "Subject": "small"})["id"]
    until("the small one is written", lambda: written(cluster, small), SECONDS)
    (letter,) = until("the large one is set aside", cluster.dead_letters, SECONDS)
    assert letter["key"] is None
    assert len(letter["value"]) < 40_000
    assert orjson.loads(orjson.dumps(letter["cause"]))
    assert f"takes {limit:,}" in letter["cause"]
    assert "SHA-256" in letter["cause"]
    assert not written(cluster, too_large)
    running.polled("acme", 4)
    assert len(cluster.dead_letters()) == 1, "once, and not at every poll"
    running.polled("bolt", 2)

    set_limit(cluster.settings, cluster.settings.raw_topic, 8_388_608)
    until("the large one is written", lambda: written(cluster, too_large), 8.0)
    assert set(versions(cluster.raw()).values()) == {1}


def test_names_of_any_size_cost_their_row_alone(
    cluster: Cluster, start: Callable[[], Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Gsid, a column and a nesting that no record takes."""
    acme = cluster.tenants["acme"]
    running = start()
    running.polled("acme", 1)
    named = acme.create({"TypeName": "Email", "Subject": "long Gsid"})["id"]
    wide = acme.create({"TypeName": "Email", "Subject": "long column"})["id"]
    deep = acme.create({"TypeName": "Email", "Subject": "deep"})["id"]
    taken = acme.create({"TypeName": "Email", "Subject": "taken for a marker"})["id"]
    good = acme.create({"TypeName": "Email", "Subject": "good"})["id"]
    nested: Any = "x"
    for _ in range(300):
        nested = [nested]
    changes: dict[str, dict[str, Any]] = {
        named: {"Gsid": "G" * 9_000_000},
        wide: {"C" * 9_000_000: 1},
        deep: {"Notes": nested},
        taken: {"Gsid": "!period"},
    }

    def damaged(tenant: Tenant, call: Any) -> Any:
        reply = handle(tenant, call)
        if not call.path.endswith("/query/activity_timeline"):
            return reply
        content = orjson.loads(reply.body)
        rows = (content.get("data") or {}).get("records") or []
        if not any(row.get("Gsid") in changes for row in rows):
            return reply
        content["data"]["records"] = [
            "@" if row.get("Gsid") == deep else row | changes.get(row.get("Gsid"), {}) for row in rows
        ]
        body = orjson.dumps(content)
        if any(row == "@" for row in content["data"]["records"]):
            plain = next(row for row in rows if row.get("Gsid") == deep) | {"Notes": "@"}
            body = body.replace(b'"@"', orjson.dumps(plain), 1).replace(b'"@"', b"[" * 300 + b"1" + b"]" * 300, 1)
        return replace(reply, body=body)

    monkeypatch.setattr(server, "handle", damaged)
    another = acme.create({"TypeName": "Email", "Subject": "later"})["id"]
    until("the others are written", lambda: written(cluster, good) and written(cluster, another), SECONDS)
    running.polled("acme", 3)
    causes = sorted(letter["cause"] for letter in cluster.dead_letters())
    assert len(causes) >= 3, causes
    assert any("!period" in cause for cause in causes)
    assert not any(written(cluster, g) for g in ("!period", "G" * 9_000_000))
    running.polled("bolt", 2)
    until_well(cluster, "acme")


def test_a_checkpoint_that_does_not_fit_is_its_connector_s_failure_until_the_limit_is_raised(
    cluster: Cluster, start: Callable[[], Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_limit(cluster.settings, cluster.settings.checkpoints_topic, 20_000)
    encode = Checkpoint.encode

    def grown(self: Checkpoint, codec: Any) -> bytes:
        more = {"x" * 30_000: 0} if self.connector == "acme" else {}
        return encode(replace(self, deletion_cursors={**self.deletion_cursors, **more}), codec)

    running = start()
    running.polled("acme", 1)
    monkeypatch.setattr(Checkpoint, "encode", grown)
    gsid = cluster.tenants["acme"].create({"TypeName": "Email", "Subject": "x"})["id"]
    status = until_status(cluster, "acme", "broken", "max.message.bytes")
    assert cluster.settings.checkpoints_topic in status.last_error
    opened = running.service._lanes[0].lane
    running.polled("bolt", 3)
    assert running.service._lanes[0].lane is opened
    set_limit(cluster.settings, cluster.settings.checkpoints_topic, 100_000)
    until("the activity is written", lambda: written(cluster, gsid), 8.0)
    assert set(versions(cluster.raw()).values()) == {1}


def test_an_error_text_of_any_size_is_cut(
    cluster: Cluster, start: Callable[[], Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    poll = Poller.poll

    async def broken(self: Poller) -> PollResult:
        if self._feed.definition.id == "acme":
            raise ConfigError("E" * 9_000_000 + "\ud800")
        return await poll(self)

    monkeypatch.setattr(Poller, "poll", broken)
    running = start()
    status = until_status(cluster, "acme", "broken", "EEEE")
    assert len(status.last_error) < 10_000
    running.polled("bolt", 3)


# ---- calls --------------------------------------------------------------------------------------------------------


def test_calls_of_failed_polls_count_in_status_and_over_a_lane_s_reopening(
    cluster: Cluster, start: Callable[[], Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    write, lanes = Poller._write_page, [1]

    async def failing(self: Poller, *arguments: Any) -> Any:
        if self._feed.definition.id == "acme":
            raise SchemaError("no page can be written")
        if lanes:
            lanes.clear()
            raise BrokerError("the lane is opened anew")
        return await write(self, *arguments)

    def made() -> int:
        return int(cluster.tenants["acme"].calls()["total"])

    def counted() -> int:
        return status_of(cluster, "acme").calls_today

    monkeypatch.setattr(Poller, "_write_page", failing)
    running = start()
    running.polled("bolt", 1)
    until("some polls have failed", lambda: made() >= 6, SECONDS)
    assert not lanes, "the lane was opened anew"
    before = made()
    assert running.service._context.budgets["acme"].spent[1] >= before
    until("status has them all", lambda: counted() >= before, SECONDS)
    running.stop()
    before = made()
    running = start()
    until("a poll has failed", lambda: made() > before, SECONDS)
    assert running.service._context.budgets["acme"].spent[1] >= before


# ---- what is lost -------------------------------------------------------------------------------------------------


def forget(cluster: Cluster, *connectors: str) -> None:
    """Deletes whatever the checkpoints topic has of the connectors."""
    for record in cluster.records(cluster.settings.checkpoints_topic):
        if record.connector in connectors:
            gone = ProducerRecord(cluster.settings.checkpoints_topic, 0, record.key.encode(), None)
            put(cluster.settings, gone)


def test_a_connector_whose_checkpoint_is_lost_goes_on_and_writes_nothing_twice(
    cluster: Cluster, start: Callable[[], Running]
) -> None:
    acme = cluster.tenants["acme"]
    running = start()
    running.polled("acme", 1)
    ids = [acme.create({"TypeName": "Email", "Subject": f"{n}"})["id"] for n in range(40)]
    gone = acme.create({"TypeName": "Email", "Subject": "gone"})["id"]
    until("all are written", lambda: all(written(cluster, g) for g in (*ids, gone)), SECONDS)
    acme.delete(gone)
    tombstone = (f"acme/{gone}", None)
    until("the deletion is written", lambda: tombstone in [(r.key, r.value) for r in cluster.raw()], SECONDS)
    running.stop()
    forget(cluster, "acme", "bolt")
    while_stopped = acme.create({"TypeName": "Email", "Subject": "while stopped"})["id"]
    running = start()
    until("what came meanwhile is written", lambda: written(cluster, while_stopped), SECONDS)
    running.polled("acme", 2)
    running.polled("bolt", 2)
    assert set(versions(cluster.raw()).values()) == {1}
    assert [r.key for r in cluster.raw() if r.value is None].count(f"acme/{gone}") == 1


def test_a_raw_topic_created_anew_under_a_running_producer_has_what_is_read_from_then_on(
    cluster: Cluster, start: Callable[[], Running]
) -> None:
    acme, topic = cluster.tenants["acme"], cluster.settings.raw_topic
    running = start()
    running.polled("acme", 1)
    before = [acme.create({"TypeName": "Email", "Subject": f"{n}"})["id"] for n in range(20)]
    until("all are written", lambda: all(written(cluster, g) for g in before), SECONDS)
    client = admin(cluster.settings)
    client.delete_topics([topic])[topic].result(20)
    until("it is gone", lambda: topic not in client.list_topics(timeout=10).topics)
    until("it is there again", lambda: created(cluster.settings), 20.0)
    after = acme.create({"TypeName": "Email", "Subject": "after"})["id"]
    until("what came after is written", lambda: written(cluster, after), 60.0)
    until("what the overlap reads is written again", lambda: all(written(cluster, g) for g in before), SECONDS)
    running.polled("acme", 2)
    running.polled("bolt", 2)
    assert running.running
    assert set(versions(cluster.raw()).values()) == {1}
    until_well(cluster, "acme")


def created(settings: Settings) -> bool:
    try:
        return bool(topics.create(settings)) or True
    except (TopicError, BrokerError):
        return False


# ---- a lane -------------------------------------------------------------------------------------------------------


def test_a_lane_that_cannot_be_worked_in_leaves_the_others_at_work_and_is_tried_again(
    make_cluster: MakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = make_cluster(partitions=4, overlap_margin_seconds=0)
    names = {lane: next(f"c{n}" for n in range(99) if cluster.lane(f"c{n}") == lane) for lane in (1, 2)}
    for lane, connector in names.items():
        add(cluster, connector, lane)
    restore, faults = LaneReader.restore, [True]

    def broken(self: LaneReader, only: str | None = None) -> Any:
        if self._lane == 1 and faults:
            raise IndexError("a position that is none")
        return restore(self, only)

    monkeypatch.setattr(LaneReader, "restore", broken)
    running = Running(cluster)
    try:
        running.polled(names[2], 2)
        status = until_status(cluster, names[1], "waiting", "IndexError: a position that is none")
        assert status.last_error.startswith("Lane 1 ")
        running.polled(names[2], 2)
        assert 'frame_gainsight_lanes_stopped{service="producer"} 1.0' in running.metrics.text()
        faults.clear()
        until("the lane is worked in", lambda: running.count(names[1]) > 0, 8.0)
        until_well(cluster, names[1])
        assert 'frame_gainsight_lanes_stopped{service="producer"} 0.0' in running.metrics.text()
    finally:
        running.stop()


def test_a_lane_that_another_has_taken_leaves_the_others_at_work(
    make_cluster: MakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "FENCED", Backoff(first=3.0, longest=3.0))
    cluster = make_cluster(partitions=4, overlap_margin_seconds=0)
    names = {lane: next(f"c{n}" for n in range(99) if cluster.lane(f"c{n}") == lane) for lane in (1, 2)}
    for lane, connector in names.items():
        add(cluster, connector, lane)
    running = Running(cluster)
    try:
        for connector in names.values():
            running.polled(connector, 1)
        with KafkaLaneWriter(cluster.settings, "producer", 1):
            gsid = cluster.tenants[names[1]].create({"TypeName": "Email", "Subject": "x"})["id"]
            stopped = 'lanes_stopped{service="producer"} 1.0'
            until("the lane is lost", lambda: stopped in running.metrics.text(), SECONDS)
            running.polled(names[2], 3)
        until("the lane is worked in again", lambda: written(cluster, gsid), 20.0)
        assert set(versions(cluster.raw()).values()) == {1}
    finally:
        running.stop()
