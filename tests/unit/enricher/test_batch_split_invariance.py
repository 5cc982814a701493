"""However the raw topic is cut into batches, the same conversations come out, byte for byte."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from random import Random
from typing import Any, cast

import orjson
import pytest

from enricher.lane_processor import LaneProcessor
from enricher.processing.services import EnricherServices
from enricher.processing.tenants import ClientPool, FixedConnectors
from frame_gainsight.connectors import Connector, Definition, Sealed
from frame_gainsight.kafka import ConsumedRecord
from frame_gainsight.runtime import Settings
from frame_gainsight.sandbox import Limits, Morning, Tenant
from schemas import Codec
from tests.unit.enricher.conftest import TenantRig

CONNECTORS = ("acme", "bolt")
PIECES = (1, 2, 7, 40)  # records of a batch, at the most

Conversations = dict[bytes, list[tuple[bytes | None, Any]]]


class OneClient(ClientPool):
    """The same client for everybody."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._open = {}

    async def of(self, connector: Connector, spent_today: tuple[int, int] | None = None) -> Any:
        return self._client


def registered(definition: Definition) -> Connector:
    return Connector(definition, cast(Sealed, None), "ACTIVE", 0, 0)


@pytest.fixture
def tenant() -> Tenant:
    return Tenant(seed=5, scenario=Morning(emails=40), size=6, limits=Limits(None, None))


@pytest.fixture
async def made(rig: TenantRig, settings: Settings, codec: Codec) -> AsyncIterator[Any]:
    """(a new lane's pipeline, the raw records): two connectors' emails, each edited once, some deleted, markers."""
    definitions = [rig.definition(id=name, tags={"stage": "company.Stage"}) for name in CONNECTORS]
    activities = (await rig.activities(definitions[0]))[:25]
    rng = Random(4)
    todo: list[tuple[str, bytes | None, str]] = []  # (key, value, poll)
    for later in (0, 60_000):
        for name in CONNECTORS:
            poll = f"{name}-{later}"
            for a in activities:
                row = a.row | {"Subject": f"{a.gsid} {later}"}
                value = {"connector": name, "activity_id": a.gsid, "modified_at": a.modified_at + later}
                value |= {"fingerprint": f"f{later}", "row": dumps(row)}
                todo.append((f"{name}/{a.gsid}", codec.encode("raw_activity", value), poll))
    deleted = rng.sample([t for t in todo if t[2].endswith("-60000")], 8)
    todo += [(key, None, poll) for key, _, poll in deleted]
    todo = mixed(todo, rng)
    records = [
        ConsumedRecord(settings.raw_topic, 0, offset, key.encode(), value, (("poll_id", poll.encode()),))
        for offset, (key, value, poll) in enumerate(todo)
    ]

    def pipeline() -> LaneProcessor:
        directory = FixedConnectors({d.id: registered(d) for d in definitions})
        return LaneProcessor(EnricherServices(settings, codec, directory, OneClient(rig.client), rig.clock), 0)

    yield pipeline, records


def dumps(row: Any) -> str:

    return orjson.dumps(row).decode()


def mixed(todo: list[Any], rng: Random) -> list[Any]:
    """Connectors interleaved, each key in its own order, each period with its marker."""
    queues = {name: [t for t in todo if t[0].startswith(f"{name}/")] for name in CONNECTORS}
    for queue in queues.values():
        rng.shuffle(queue)
        queue.sort(key=lambda t: (t[2].partition("-")[2] != "0", t[1] is None))
    found = []
    while any(queues.values()):
        name = rng.choice([n for n, q in queues.items() if q])
        found.append(queues[name].pop(0))
        if not queues[name] or queues[name][0][2] != found[-1][2]:
            found.append((f"{name}/!period", b"", found[-1][2]))
    return found


def pieces(records: Sequence[ConsumedRecord], most: int, rng: Random) -> Iterator[Sequence[ConsumedRecord]]:
    at = 0
    while at < len(records):
        size = rng.randint(1, most)
        yield records[at : at + size]
        at += size


async def conversations(
    pipeline: LaneProcessor, batches: Iterator[Sequence[ConsumedRecord]], topic: str
) -> Conversations:
    found: Conversations = {}
    for batch in batches:
        for out in await pipeline.handle(batch):
            assert "parked" not in out.topic, "nothing was to be parked"
            if out.topic == topic:
                found.setdefault(out.key, []).append((out.value, out.headers))
    return found


async def test_any_split_gives_the_same_conversations(made: Any, settings: Settings) -> None:
    pipeline, records = made
    topic = settings.conversations_topic
    whole = await conversations(pipeline(), iter([records]), topic)
    assert sum(map(len, whole.values())) == sum(not r.key.endswith(b"!period") for r in records)
    rng = Random(7)
    for most in PIECES:
        assert await conversations(pipeline(), pieces(records, most, rng), topic) == whole, f"up to {most} at once"


async def test_a_pipeline_that_loses_one_is_found_out(made: Any, settings: Settings) -> None:
    pipeline, records = made
    topic = settings.conversations_topic
    whole = await conversations(pipeline(), iter([records]), topic)
    careless = pipeline()
    handle = careless.handle
    careless.handle = lambda batch: handle(batch[:-1] if len(batch) > 1 else batch)
    assert await conversations(careless, pieces(records, 40, Random(7)), topic) != whole
