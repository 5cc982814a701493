"""Records of any shape in the topics: each is settled, none ends a lane, and none is dropped without a word."""

from __future__ import annotations

import asyncio
import os
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import httpx
import orjson
import pytest
import structlog

from enricher import lane_processor
from enricher.lane_processor import LaneProcessor
from enricher.processing import retry
from enricher.processing.services import EnricherServices
from enricher.processing.tenants import ClientPool, FixedConnectors
from enricher.replay.requests import RequestLog
from frame_gainsight.connectors import Connector, apply, parse_yaml
from frame_gainsight.connectors.errors import DefinitionError
from frame_gainsight.gainsight import AccessKey, CallBudget, GainsightClient, HttpTransport
from frame_gainsight.kafka import ConsumedRecord
from frame_gainsight.kafka.clients import MAX_MESSAGE_BYTES
from frame_gainsight.runtime import OperationalError, Settings, SystemClock
from producer import lane as producer_lane
from producer import lane_restore
from producer.context import ProducerContext
from producer.lane import Lane
from producer.schedule import LaneSchedule, Observer, PollSlots
from producer.state.checkpoint_keys import BACKFILL
from schemas.raw_topic import RawKey, is_period_marker
from tests.fixtures.samples import CONNECTOR
from tests.hostile.records import CODEC, Fuzz
from tests.hostile.rig import MemoryTopics, from_here, peak, resident

RECORDS = int(os.environ.get("HOSTILE_RECORDS", "3000"))  # of all kinds together
SEED = int(os.environ.get("HOSTILE_SEED", "1"))
BATCH = 100
WAITING_SECONDS = 2.0  # after which a poll is taken to wait for something
MOST_MB, LONGEST_SECONDS = 400, 1.0  # that a batch may add to the process, and that one record may take
SETTINGS = Settings(
    _env_file=None, retry_seconds=0, unpark_seconds=0.01, patience_seconds=5, dead_letters_in_a_row=10**9
)
FIELDS = ("Gsid", "LastModifiedDate", "Subject", "Notes", "TypeName", "From", "To", "ExternalAttendees", "GsCompanyId")


def batches(kind: str, topic: str, share: float, part: str = "") -> Iterator[list[ConsumedRecord]]:
    """That share of the records, a batch at a time; a batch is given by its number, so that one alone can be tried."""
    for number in range(max(1, round(RECORDS * share / BATCH))):
        fuzz = Fuzz(hash((SEED, number)) ^ sum(kind.encode()))
        yield [fuzz.record(kind, topic, number * BATCH + n, part) for n in range(BATCH)]


class Faults:
    """What went wrong, each kind once with an example."""

    def __init__(self) -> None:
        self.found: Counter[str] = Counter()
        self.first: dict[str, str] = {}

    def add(self, kind: str, example: object) -> None:
        self.found[kind] += 1
        self.first.setdefault(kind, repr(example)[:600])

    def raised(self, error: BaseException, example: object) -> None:
        place = traceback.extract_tb(error.__traceback__)[-1]
        self.add(
            f"{type(error).__name__}: {str(error)[:80]} ({place.filename.rpartition('/')[2]}:{place.lineno})", example
        )

    def none(self) -> None:
        assert not self.found, "\n".join(
            f"{n} times {kind}\n    {self.first[kind]}" for kind, n in self.found.most_common()
        )


def settled_alone(call: Callable[[ConsumedRecord], object], records: Sequence[ConsumedRecord], faults: Faults) -> None:
    """Each record is taken without an error, in less than a second."""
    for record in records:
        begun = time.process_time()
        try:
            call(record)
        except Exception as error:  # noqa: BLE001 - whatever is raised is the finding
            faults.raised(error, record)
        if time.process_time() - begun > LONGEST_SECONDS:
            faults.add("it takes longer than a second", record)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with structlog.testing.capture_logs():
        yield


@pytest.fixture(autouse=True)
def small() -> Iterator[None]:
    from_here()
    before = resident()
    yield
    assert peak() - before < MOST_MB


def tenant_answers(request: httpx.Request) -> httpx.Response:
    """A tenant that describes a timeline, and has no rows."""
    described = [
        {
            "objectName": "activity_timeline",
            "fields": [{"fieldName": f, "dataType": "STRING", "meta": {}} for f in FIELDS],
        }
    ]
    data = described if request.url.path.endswith("/describe") else []
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
    return httpx.Response(200, content=orjson.dumps({"result": True, "data": data}), headers={"date": date})


def client() -> GainsightClient:
    clock = SystemClock()
    budget = CallBudget(clock, 1.0, 10**9, 10**9)
    http = httpx.MockTransport(tenant_answers)
    return GainsightClient(
        HttpTransport(CONNECTOR.definition.host, AccessKey("key"), budget, clock, retry_seconds=0, http=http)
    )


class Clients(ClientPool):
    """Every connector has that tenant."""

    async def of(self, connector: Connector, spent_today: tuple[int, int] | None = None) -> GainsightClient:
        if connector.id not in self._open:
            self._open[connector.id] = (connector, client())
        return self._open[connector.id][1]


def services() -> EnricherServices:
    clients = Clients(SETTINGS, cast(Any, None), SystemClock())
    return EnricherServices(SETTINGS, CODEC, FixedConnectors({CONNECTOR.id: CONNECTOR}), clients, SystemClock())


async def handled(processor: LaneProcessor, records: list[ConsumedRecord], faults: Faults) -> None:
    """Each record comes out as something, and what comes out can be written."""
    try:
        outputs = await processor.handle(records)
    except Exception as error:  # noqa: BLE001 - whatever is raised is the finding
        if len(records) == 1:
            faults.raised(error, records[0])
        else:
            for record in records:
                await handled(processor, [record], faults)
        return
    out = Counter(o.key for o in outputs if o.topic != SETTINGS.entities_topic)
    for record in records:
        is_marker = is_period_marker(record.key) and RawKey.parse(record.key) is not None
        if not is_marker and not out[record.key or b""]:
            faults.add("it is dropped without a word", record)
    for output in outputs:
        if len(output.key) + len(output.value or b"") > MAX_MESSAGE_BYTES:
            faults.add("what comes out is too large", output)


async def test_raw_records_of_any_shape_are_conversations_dead_letters_or_parked() -> None:
    faults, processor = Faults(), LaneProcessor(services(), 0)
    for records in batches("raw_activity", SETTINGS.raw_topic, 0.4):
        begun = time.process_time()
        await handled(processor, records, faults)
        if time.process_time() - begun > LONGEST_SECONDS * 5:
            faults.add("a batch takes longer than five seconds", len(records))
    await processor.close()
    faults.none()


async def test_entities_and_parked_records_of_any_shape_end_no_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    faults = Faults()
    parked = batches("parked", SETTINGS.parked_topic, 0.1)
    for entities, waiting in zip(batches("entity", SETTINGS.entities_topic, 0.1), parked, strict=True):
        processor = LaneProcessor(services(), 0)

        def take(records: list[ConsumedRecord], module: Any, processor: LaneProcessor = processor) -> None:
            def read(settings: Settings, topic: str, *_: object) -> list[ConsumedRecord]:
                return records if topic == records[0].topic else []

            monkeypatch.setattr(module, "read_to_end", read)
            monkeypatch.setattr(retry if module is lane_processor else lane_processor, "read_to_end", lambda *_: [])
            processor.restore(0)

        settled_alone(lambda r, take=take: take([r], lane_processor), entities, faults)  # type: ignore[misc]
        settled_alone(lambda r, take=take: take([r], retry), waiting, faults)  # type: ignore[misc]
        await handled(processor, [Fuzz(SEED).record("raw_activity", SETTINGS.raw_topic, 1)], faults)
        for _ in range(3):
            try:
                if (finish := await processor.background_work()) is not None:
                    finish()
            except Exception as error:  # noqa: BLE001 - whatever is raised is the finding
                faults.raised(error, "background work")
                break
        await processor.close()
    faults.none()


def test_replay_requests_of_any_shape_are_taken_or_left_out() -> None:
    faults, known = Faults(), RequestLog(CODEC)
    for records in batches("replay", SETTINGS.checkpoints_topic, 0.05, "replay/"):
        settled_alone(known.take, records, faults)
    known.of(0)
    faults.none()


def test_definitions_of_any_shape_are_applied_or_said_to_be_unreadable() -> None:
    faults, connectors = Faults(), {CONNECTOR.id: CONNECTOR}
    for records in batches("connector", SETTINGS.connectors_topic, 0.1):
        settled_alone(lambda r: apply(CODEC, connectors, r), records, faults)
        for record in records:
            if (record.key or b"") == b"acme" and record.value is None:
                connectors.setdefault(CONNECTOR.id, CONNECTOR)
    for id_, connector in connectors.items():
        if id_ != connector.id:
            faults.add("a definition counts under another connector's key", (id_, connector.id))
    faults.none()


def test_definition_files_of_any_text_are_read_or_refused() -> None:
    faults = Faults()
    for number in range(max(1, round(RECORDS * 0.05))):
        fuzz = Fuzz(hash((SEED, number)))
        text = fuzz.text() if number % 3 else fuzz.of_schema("string", "definition")
        try:
            parse_yaml(text)
        except DefinitionError:
            pass
        except Exception as error:  # noqa: BLE001 - whatever is raised is the finding
            faults.raised(error, text)
    faults.none()


def producer_lane_of(records: Sequence[ConsumedRecord], monkeypatch: pytest.MonkeyPatch) -> Lane:
    """A lane restored from these records of the checkpoints topic."""

    def read(settings: Settings, topic: str, *_: object) -> Sequence[ConsumedRecord]:
        return records if topic == settings.checkpoints_topic else []

    async def open_client(*_: object, **__: object) -> GainsightClient:
        return client()

    monkeypatch.setattr(lane_restore, "read_to_end", read)
    monkeypatch.setattr(lane_restore, "end_offset", lambda *_: 0)
    monkeypatch.setattr(producer_lane, "open_client", open_client)
    lane = Lane(ProducerContext(SETTINGS, CODEC, cast(Any, None), SystemClock()), 0, MemoryTopics(SETTINGS))
    lane._connectors, lane._raw_end = lane._reader.restore()
    return lane


def test_checkpoints_of_any_shape_end_no_restore(monkeypatch: pytest.MonkeyPatch) -> None:
    faults = Faults()
    for kind, part in (("checkpoint", ""), ("backfill", BACKFILL), ("trouble", "!trouble"), ("raw_activity", "")):
        for records in batches(kind, SETTINGS.checkpoints_topic, 0.05, part):
            lane = producer_lane_of((), monkeypatch)
            settled_alone(lambda r: producer_lane_of([r], monkeypatch), records, faults)
            settled_alone(lane.on_checkpoint_record, records, faults)
    faults.none()


async def polled_once(lane: Lane, faults: Faults, example: object) -> None:
    """A poll of the connector, and its backfills, end well or with a failure that is recorded."""
    slots = PollSlots(SystemClock())
    observer = Observer(lambda *_: None, lambda *_: None, lambda *_: None)
    schedule = LaneSchedule(lane, SystemClock(), slots, observer, lambda: [CONNECTOR], True, set())
    try:
        async with asyncio.timeout(WAITING_SECONDS):
            await schedule.run()
    except TimeoutError:
        pass  # throttled by a count of calls, or waiting for its moment: others go on
    except OperationalError as error:
        faults.add(f"the lane stops: {error}"[:100], example)
    except Exception as error:  # noqa: BLE001 - whatever is raised is the finding
        faults.raised(error, example)


@pytest.mark.parametrize(("kind", "part"), [("checkpoint", ""), ("backfill", BACKFILL)])
async def test_polls_from_checkpoints_of_any_values_end_well_or_fail_for_their_connector(
    kind: str, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = Faults()
    for records in batches(kind, SETTINGS.checkpoints_topic, 0.05, part):
        begun, polls = time.process_time(), []
        for record in records:
            key = b"acme" if not part else f"acme/{part}{record.offset}".encode()
            record = replace(record, key=key)
            try:
                lane = producer_lane_of([record], monkeypatch)
            except Exception:  # noqa: BLE001 - whatever is raised is the finding
                continue  # the test above holds it
            polls.append(polled_once(lane, faults, record))
        await asyncio.gather(*polls)
        if time.process_time() - begun > LONGEST_SECONDS * 10:
            faults.add("a batch of polls works for longer than ten seconds", len(polls))
    faults.none()
