"""Where a connector's reading begins: by its definition's start and its tenant's clock, and again when that changes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from frame_gainsight.connectors import Connector, Definition, Sealed, Secret, StartAheadError, Vault
from frame_gainsight.gainsight import parse_date
from frame_gainsight.kafka import ConsumedRecord, ProducerRecord
from frame_gainsight.runtime import Settings
from frame_gainsight.sandbox import Sandbox, Tenant
from producer.context import ProducerContext
from producer.lane import Lane
from producer.lane_restore import LaneConnector, LaneReader
from producer.polling.poller import Poller
from producer.state.backfill import Backfill
from tests.unit.producer.rig import CODEC, TenantTime

DAY = 86_400_000


@dataclass
class MemoryWriter:
    """A lane's writer whose transactions are kept in a list."""

    written: list[ProducerRecord] = field(default_factory=list)

    def write(
        self, records: Sequence[ProducerRecord], then: Callable[[Sequence[int]], Sequence[ProducerRecord]] | None = None
    ) -> list[int]:
        offsets = list(range(len(self.written), len(self.written) + len(records)))
        self.written += [*records, *(then(offsets) if then is not None else ())]
        return offsets

    def close(self) -> None:
        """Nothing is open."""


@dataclass
class OwnVault:
    """A vault with the tenant's key in it."""

    key: str

    def seal(self, connector: str, host: str, secret: Secret) -> Sealed:
        raise AssertionError

    def open(self, connector: str, host: str, sealed: Sealed) -> Secret:
        return Secret.access_key(self.key)


class Time(TenantTime):
    """Our clock, so many milliseconds ahead of the tenant's."""

    ahead = 0

    def now(self) -> int:
        return super().now() + self.ahead


@dataclass
class Rig:
    """A lane in memory whose one connector can be defined anew."""

    tenant: Tenant
    url: str
    lane: Lane
    writer: MemoryWriter
    clock: Time
    topic: dict[str, LaneConnector]

    def connector(self, **changes: Any) -> Connector:
        sealed = Sealed("access_key", b"", "key")
        definition = Definition.model_validate({"id": "acme", "host": self.url, "period": "10m"} | changes)
        return Connector(definition, sealed, "ACTIVE", 0, 0)

    def at(self, ahead: int) -> str:
        """A moment by the tenant's clock, so many milliseconds from now."""
        return datetime.fromtimestamp((self.tenant.now() + ahead) // 1000, UTC).isoformat()

    def backfills(self) -> dict[str, str]:
        """Backfill → its state, as written last."""
        found = [Backfill.decode(CODEC, r.value) for r in self.writer.written if r.value and b"/backfill/" in r.key]
        return {b.id: b.state for b in found}

    async def reads(self, connector: Connector) -> bool:
        """Whether polls bring what is modified now."""
        feed = await self.lane.feed(connector)
        gsid = str(self.tenant.create()["id"])
        self.tenant.advance(1200)
        await Poller(feed).poll()
        return any(gsid.encode() in r.key for r in self.writer.written)


@pytest.fixture
async def rig(sandbox: Sandbox) -> AsyncIterator[Rig]:
    clock, writer = Time(sandbox.tenant), MemoryWriter()
    vault = cast(Vault, OwnVault(sandbox.tenant.access_key))
    lane = Lane(ProducerContext(Settings(_env_file=None), CODEC, vault, clock), 0, writer)
    topic: dict[str, LaneConnector] = {}

    class Reader:
        def restore(self, only: str | None = None) -> tuple[dict[str, LaneConnector], int]:
            return {id_: c for id_, c in topic.items() if only in (None, id_)}, 0

    lane._reader = cast(LaneReader, Reader())
    yield Rig(sandbox.tenant, sandbox.url, lane, writer, clock, topic)
    await lane.close()


@pytest.mark.parametrize("years", [1, 180])
async def test_a_start_in_the_future_leaves_nothing_behind_once_it_is_corrected(rig: Rig, years: int) -> None:
    with pytest.raises(StartAheadError, match="in the future") as waiting:
        await rig.lane.feed(rig.connector(start=rig.at(years * 365 * DAY)))
    assert waiting.value.seconds == pytest.approx(years * 365 * 86_400, abs=2)
    assert not rig.writer.written
    assert await rig.reads(rig.connector(start=rig.at(-3_600_000)))
    assert rig.lane.backfill_of("acme") is None


async def test_a_corrected_start_far_back_is_a_backfill_that_ends_where_polling_began(rig: Rig) -> None:
    with pytest.raises(StartAheadError):
        await rig.lane.feed(rig.connector(start=rig.at(DAY)))
    assert await rig.reads(rig.connector(start=rig.at(-30 * DAY)))
    past = rig.lane.backfill_of("acme")
    assert past is not None and past.until is not None and past.until <= rig.tenant.now()


async def test_a_start_that_only_the_tenants_clock_has_not_reached_is_its_present(rig: Rig) -> None:
    """A connector is registered now, by our clock; its tenant's is months behind."""
    rig.clock.ahead = 100 * DAY
    assert await rig.reads(rig.connector(start=rig.at(100 * DAY)))


async def test_a_start_moved_to_a_later_day_gives_up_what_the_former_one_requested(rig: Rig) -> None:
    wrong, right = rig.at(-36_500 * DAY), rig.at(-30 * DAY)
    await rig.lane.feed(rig.connector(start=wrong))
    former = rig.lane.backfill_of("acme")
    assert former is not None
    await rig.lane.feed(rig.connector(start=right))
    assert rig.backfills() == {former.id: "CANCELLED"}
    present = rig.lane.backfill_of("acme")
    assert present is not None and present.since == parse_date(right)


async def test_a_start_moved_to_an_earlier_day_keeps_what_the_former_one_requested(rig: Rig) -> None:
    near, far = rig.at(-30 * DAY), rig.at(-60 * DAY)
    await rig.lane.feed(rig.connector(start=near))
    rig.tenant.advance(1)
    await rig.lane.feed(rig.connector(start=far))
    assert rig.backfills() == {}
    first = rig.lane.backfill_of("acme")
    assert first is not None and first.since == parse_date(near)


async def test_a_backfill_given_up_stays_so_when_the_definition_changes(rig: Rig) -> None:
    start = rig.at(-30 * DAY)
    await rig.lane.feed(rig.connector(start=start))
    requested = rig.lane.backfill_of("acme")
    assert requested is not None
    cancelled = Backfill("acme", requested.id, requested.since, requested.requested_at, state="CANCELLED")
    record = ConsumedRecord("", 0, 0, cancelled.key, cancelled.encode(CODEC))
    assert rig.lane.on_checkpoint_record(record) == "acme"
    await rig.lane.feed(rig.connector(start=start, period="5m"))
    assert rig.lane.backfill_of("acme") is None


async def test_a_connector_removed_and_registered_again_is_as_the_topics_have_it(rig: Rig) -> None:
    connector = rig.connector(start=rig.at(-30 * DAY))
    await rig.lane.feed(connector)
    await rig.lane.keep_only(())
    rig.lane.removed("acme")
    rig.tenant.advance(7200)
    feed = await rig.lane.feed(rig.connector(start=rig.at(0)))  # it was purged meanwhile
    assert feed.write_order.checkpoint.begun == rig.tenant.now() // 1000 * 1000
    assert rig.lane.backfill_of("acme") is None

    kept = feed.write_order.checkpoint
    await rig.lane.keep_only(())
    rig.lane.removed("acme")
    rig.topic["acme"] = LaneConnector(restored=kept)
    rig.tenant.advance(7200)
    feed = await rig.lane.feed(rig.connector(start=rig.at(0)))
    assert feed.write_order.checkpoint == kept
