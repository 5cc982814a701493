"""A lane in memory, a clock that is the tenant's, and a poller over real HTTP that can be killed and restored."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from frame_gainsight.connectors import Definition
from frame_gainsight.gainsight import AccessKey, CallBudget, GainsightClient, HttpTransport, parse_date
from frame_gainsight.kafka import ProducerRecord
from frame_gainsight.runtime import BrokerError, Settings
from frame_gainsight.sandbox import Clock, Limits, Sandbox, Tenant
from producer.polling.feed import Feed
from producer.polling.poller import Poller, PollResult
from producer.state import checkpoint as checkpoints
from producer.state.checkpoint import Checkpoint
from producer.state.records import Records
from producer.state.seen_versions import Seen, SeenVersions
from producer.state.write_order import WriteOrder
from schemas import Codec

START = "2026-03-02T08:00:00Z"
BEGINNING = parse_date("2026-03-02T07:50:00Z") or 0
CODEC = Codec()


class TenantTime:
    """Our clock, always showing what the tenant's does; waiting takes no time of ours."""

    def __init__(self, tenant: Tenant) -> None:
        self._tenant = tenant

    def now(self) -> int:
        return self._tenant.now()

    def monotonic(self) -> float:
        return self._tenant.now() / 1000

    async def sleep(self, seconds: float) -> None:
        self._tenant.advance(seconds)


@dataclass
class Bus:
    """A lane's topics as lists. A transaction takes one more offset of the raw topic, as Kafka's marker does."""

    settings: Settings
    raw: list[ProducerRecord | None] = field(default_factory=list)
    checkpoints: list[ProducerRecord] = field(default_factory=list)
    dead: list[ProducerRecord] = field(default_factory=list)
    transactions: int = 0
    fail_on: dict[int, str] = field(default_factory=dict)
    """Number of the transaction (from now on, 1 is the next) → `before` or `after` its offsets were handed out."""

    async def write(
        self, records: Sequence[ProducerRecord], then: Callable[[Sequence[int]], Sequence[ProducerRecord]]
    ) -> list[int]:
        self.transactions += 1
        failing = self.fail_on.pop(self.transactions, None)
        if failing == "before":
            raise BrokerError("the broker is gone")
        offsets = list(range(len(self.raw), len(self.raw) + len(records)))
        further = then(offsets)
        if failing == "after":
            raise BrokerError("the broker is gone")
        assert all(r.topic == self.settings.raw_topic for r in records)
        self.raw += [*records, None] if records else []
        for record in further:
            topics = {self.settings.checkpoints_topic: self.checkpoints, self.settings.dead_letters_topic: self.dead}
            topics[record.topic].append(record)
        return offsets

    def fail_next(self, when: str, after: int = 0) -> None:
        self.fail_on[self.transactions + after + 1] = when

    @property
    def records(self) -> list[ProducerRecord]:
        return [r for r in self.raw if r is not None]

    def versions(self) -> list[tuple[str, int | None]]:
        """(Gsid, LastModifiedDate) of all that was written, None for tombstones; without markers."""
        found: list[tuple[str, int | None]] = []
        for record in self.records:
            gsid = record.key.decode().partition("/")[2]
            if gsid != "!period":
                found.append((gsid, CODEC.decode(record.value).value["modified_at"] if record.value else None))
        return found

    def markers(self) -> list[dict[str, Any]]:
        found = [CODEC.decode(r.value) for r in self.records if r.value and r.key.endswith(b"/!period")]
        return [d.value for d in found if d.record == "period_marker"]

    def rows(self) -> list[dict[str, Any]]:
        found = [CODEC.decode(r.value) for r in self.records if r.value]
        return [orjson.loads(d.value["row"]) for d in found if d.record == "raw_activity"]

    def checkpoint(self) -> Checkpoint | None:
        record = self.checkpoints[-1] if self.checkpoints else None
        return checkpoints.decode(CODEC, record.value) if record and record.value else None

    def restored(self, default: Checkpoint) -> tuple[Checkpoint, SeenVersions]:
        """What a new owner of the lane knows: the last checkpoint, and the raw topic from the offset it names."""
        checkpoint, overlap = self.checkpoint() or default, SeenVersions()
        for offset, record in enumerate(self.raw):
            if record is None or offset < checkpoint.raw_offset or record.key.endswith(b"/!period"):
                continue
            gsid = record.key.decode().partition("/")[2]
            if record.value is None:
                deleted = int(dict(record.headers)["deleted_at"])
                overlap.note(gsid, Seen(deleted, None, offset))
            else:
                value = CODEC.decode(record.value).value
                columns = dict(record.headers)["columns"].decode()
                overlap.note(gsid, Seen(value["modified_at"], value["fingerprint"], offset, columns))
        return checkpoint, overlap


class Rig:
    """A tenant behind real HTTP, a lane in memory, and a poller between them."""

    def __init__(self, tenant: Tenant, url: str) -> None:
        self.tenant = tenant
        self.url = url
        self.settings = Settings(_env_file=None)
        self.bus = Bus(self.settings)
        self.clock = TenantTime(tenant)
        self._definition: dict[str, Any] = {
            "id": "acme",
            "host": url,
            "start": "2026-03-02T07:50:00Z",
            "api_share": 1.0,
        }
        self._poller: Poller | None = None
        self.feed: Feed | None = None
        self._stack = contextlib.AsyncExitStack()

    def define(self, **changes: Any) -> None:
        self._definition |= changes

    def set(self, **settings: Any) -> None:
        self.settings = self.settings.model_copy(update=settings)

    async def poll(self) -> PollResult:
        if self._poller is None:
            definition = Definition.model_validate(self._definition)
            client = GainsightClient(
                HttpTransport(
                    self.url,
                    AccessKey(self.tenant.access_key),
                    CallBudget(self.clock, 1.0, 10**9, 10**9),
                    self.clock,
                    retry_seconds=0.0001,
                )
            )
            await self._stack.enter_async_context(client)
            begin = BEGINNING if definition.start else self.clock.now()
            first = Checkpoint("acme", begin, len(self.bus.raw), begin, begun=begin)
            ledger = WriteOrder(*self.bus.restored(first))
            records = Records(self.settings, CODEC, "acme", 0)
            self.feed = Feed(definition, client, records, self.bus.write, self.clock, ledger)
            self._poller = Poller(self.feed)
        return await self._poller.poll()

    def kill(self) -> None:
        """Forgets everything in memory: the next poll is that of a new owner."""
        self._poller = None

    async def poll_until_done(self) -> int:
        """Polls, as a new owner after every failure of Kafka; returns how many owners died."""
        died = 0
        while True:
            try:
                await self.poll()
                return died
            except BrokerError:
                died += 1
                self.kill()

    def create(self, **fields: Any) -> str:
        return str(self.tenant.create(fields or {"Subject": "hello"})["id"])

    def alive(self) -> dict[str, int]:
        return {a["activity_id"]: a["version_ms"] for a in self.tenant.truth()["activities"]}

    def calls(self) -> int:
        return int(self.tenant.calls()["total"])

    async def close(self) -> None:
        await self._stack.aclose()


@pytest.fixture
def tenant() -> Tenant:
    return Tenant(seed=3, clock=Clock.stopped(START), size=5, limits=Limits(None, None))


@pytest.fixture
def sandbox(tenant: Tenant) -> Iterator[Sandbox]:
    with Sandbox(tenant) as served:
        yield served


@pytest.fixture
async def rig(sandbox: Sandbox) -> AsyncIterator[Rig]:
    made = Rig(sandbox.tenant, sandbox.url)
    yield made
    await made.close()


@pytest.fixture
def settings() -> Settings:
    return Settings(_env_file=None)


@pytest.fixture
def codec() -> Codec:
    return CODEC


@pytest.fixture
def new_bus(settings: Settings) -> Callable[[], Bus]:
    return lambda: Bus(settings)
