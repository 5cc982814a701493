"""A lane in memory, a clock that shows the tenant's time, and a poller over HTTP that can be killed and restored."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import orjson

from frame_gainsight.connectors import Definition, Vault
from frame_gainsight.gainsight import AccessKey, CallBudget, GainsightClient, HttpTransport, parse_date
from frame_gainsight.kafka import ProducerRecord
from frame_gainsight.runtime import BrokerError, Settings
from frame_gainsight.sandbox import Tenant
from producer.context import ProducerContext
from producer.polling.columns import Columns
from producer.polling.feed import Feed
from producer.polling.poller import Poller, PollResult
from producer.state.checkpoint import Checkpoint
from producer.state.records import Records
from producer.state.seen_versions import Seen, SeenVersions
from producer.state.write_order import WriteOrder
from schemas import Codec
from schemas.raw_topic import COLUMNS, DELETED_AT, gsid_of, is_period_marker

START = "2026-03-02T08:00:00Z"
BEGINNING = parse_date("2026-03-02T07:50:00Z") or 0
CODEC = Codec()
NO_VAULT = cast(Vault, None)  # keys are not sealed here


class TenantTime:
    """Our clock, showing what the tenant's does, less what that is ahead; waiting takes no time of ours.

    Attributes:
        tenant_ahead: milliseconds.
    """

    def __init__(self, tenant: Tenant) -> None:
        self._tenant = tenant
        self.tenant_ahead = 0

    def now(self) -> int:
        return self._tenant.now() - self.tenant_ahead

    def monotonic(self) -> float:
        return self._tenant.now() / 1000

    async def sleep(self, seconds: float) -> None:
        self._tenant.advance(seconds)


@dataclass
class MemoryLane:
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
            if not is_period_marker(record.key):
                gsid = gsid_of(record.key)
                found.append((gsid, CODEC.decode(record.value).value["modified_at"] if record.value else None))
        return found

    def markers(self) -> list[dict[str, Any]]:
        found = [CODEC.decode(r.value) for r in self.records if r.value and is_period_marker(r.key)]
        return [d.value for d in found]

    def rows(self) -> list[dict[str, Any]]:
        found = [CODEC.decode(r.value) for r in self.records if r.value]
        return [orjson.loads(d.value["row"]) for d in found if d.record == "raw_activity"]

    def checkpoint(self) -> Checkpoint:
        """The last one written."""
        value = self.checkpoints[-1].value
        assert value is not None
        return Checkpoint.decode(CODEC, value)

    def restored(self, default: Checkpoint) -> tuple[Checkpoint, SeenVersions]:
        """A new owner's state: the last checkpoint, and the raw topic from the offset it names."""
        checkpoint, seen = self.checkpoint() if self.checkpoints else default, SeenVersions()
        for offset, record in enumerate(self.raw):
            if record is None or offset < checkpoint.raw_offset or is_period_marker(record.key):
                continue
            gsid, headers = gsid_of(record.key), dict(record.headers)
            if record.value is None:
                seen.note(gsid, Seen(int(headers[DELETED_AT]), None, offset))
            else:
                value = CODEC.decode(record.value).value
                seen.note(gsid, Seen(value["modified_at"], value["fingerprint"], offset, headers[COLUMNS].decode()))
        return checkpoint, seen


class Rig:
    """A tenant behind real HTTP, a lane in memory, and a poller between them."""

    def __init__(self, tenant: Tenant, url: str) -> None:
        self.tenant = tenant
        self.url = url
        self.settings = Settings(_env_file=None)
        self.lane = MemoryLane(self.settings)
        self.clock = TenantTime(tenant)
        self._definition: dict[str, Any] = {
            "id": "acme",
            "host": url,
            "start": "2026-03-02T07:50:00Z",
            "api_share": 1.0,
        }
        self._poller: Poller | None = None
        self._feed: Feed | None = None
        self._stack = contextlib.AsyncExitStack()

    @property
    def feed(self) -> Feed:
        """Of the present owner; made by its first poll."""
        assert self._feed is not None
        return self._feed

    def define(self, **changes: Any) -> None:
        self._definition |= changes

    def set(self, **settings: Any) -> None:
        self.settings = self.settings.model_copy(update=settings)

    async def poll(self) -> PollResult:
        if self._poller is None:
            definition = Definition.model_validate(self._definition)
            budget = CallBudget(self.clock, 1.0, 10**9, 10**9)
            key = AccessKey(self.tenant.access_key)
            client = GainsightClient(HttpTransport(self.url, key, budget, self.clock, retry_seconds=0.0001))
            await self._stack.enter_async_context(client)
            begin = BEGINNING if definition.start else self.clock.now()
            first = Checkpoint("acme", begin, len(self.lane.raw), begin, begun=begin)
            context = ProducerContext(self.settings, CODEC, NO_VAULT, self.clock)
            self._feed = Feed(
                context,
                definition,
                client,
                Columns(definition, client, self.clock),
                Records(context, "acme", 0),
                self.lane.write,
                WriteOrder(*self.lane.restored(first)),
                lambda: iter(()),
            )
            self._poller = Poller(self._feed)
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
