"""Hostile tenants beside a healthy one in one lane, on real processes and a real broker: each costs itself alone."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from frame_gainsight.cli.operations.connector_status import ConnectorStatus, connector_statuses
from frame_gainsight.runtime import SystemClock
from frame_gainsight.sandbox import Clock, Tenant
from tests.fixtures.cluster import Cluster, MakeCluster, unlimited, until
from tests.hostile.behaviours import BEHAVIOURS, Behaviour
from tests.hostile.server import Door

HEALTHY = "well"
EMAILS = 5
SAID_SECONDS = 90.0  # replies that are too large are asked for with fewer rows, some times
TABLE = {behaviour.name: behaviour for behaviour in BEHAVIOURS}


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A hostile tenant's behaviour, and what `status` must say of its connector: a cause, or dead letters."""

    behaviour: Behaviour
    cause: str = ""
    dead: bool = False


def at(name: str, path: str) -> Behaviour:
    return replace(TABLE[name], at=path)


NEIGHBOURS = {
    "deep-row": Neighbour(TABLE["row nested 5,000 deep"], dead=True),
    "row-is-null": Neighbour(TABLE["row is null"], dead=True),
    "named-as-marker": Neighbour(TABLE["Gsid is !period"], dead=True),
    "large-row": Neighbour(TABLE["a row of 9 MB"], dead=True),
    "field-is-a-list": Neighbour(TABLE["fields are numbers"], cause="."),
    "huge-year": Neighbour(TABLE["Date of a huge year"], cause="(?i)date|clock"),
    "long-code": Neighbour(TABLE["an error code of 9 MB"], cause="refused"),
    "bomb": Neighbour(TABLE["gzip bomb"], cause="(?i)larger than|in time"),
    "silent": Neighbour(TABLE["accepts and never answers"], cause="(?i)in time|answer"),
    "html": Neighbour(TABLE["HTML"], cause="not its API"),
    "people-are-html": Neighbour(at("HTML", "query/company_person"), cause="not its API"),
    "people-are-texts": Neighbour(at("data is a text", "query/company_person"), cause="."),
    "users-are-packed-twice": Neighbour(at("gzip twice, right", "query/gsuser"), cause="(?i)encod"),
}


class Doors:
    """Hostile tenants, served from a thread; a context manager. They reply rightly until they are armed."""

    def __enter__(self) -> Doors:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="hostile", daemon=True)
        self._thread.start()
        self._doors: list[Door] = []
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def open(self, tenant: Tenant, behaviour: Behaviour) -> str:
        """The URL of a tenant with that behaviour."""
        door = Door(tenant, behaviour)
        door.armed = False
        asyncio.run_coroutine_threadsafe(door.open(), self._loop).result()
        self._doors.append(door)
        return door.url

    def arm(self) -> None:
        for door in self._doors:
            door.armed = True


@pytest.fixture
def doors() -> Iterator[Doors]:
    with Doors() as opened:
        yield opened


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Cluster:
    return make_cluster(
        partitions=1,  # one lane: all side by side
        overlap_margin_seconds=0,
        page_rows=50,
        retry_seconds=1,
        http_timeout_seconds=2,
        patience_seconds=5,
        unpark_seconds=0.5,
    )


def moving(seed: int) -> Tenant:
    """A tenant whose clock shows the time."""
    return unlimited(seed=seed, size=3, clock=Clock.real())


def log_emails(tenant: Tenant) -> None:
    for _ in range(EMAILS):
        tenant.create({"TypeName": "Email"})


def statuses(cluster: Cluster) -> dict[str, ConnectorStatus]:
    found, _ = connector_statuses(cluster.settings, cluster.codec, SystemClock().now())
    return {status.id: status for status in found}


def unsaid(cluster: Cluster) -> list[str]:
    """The hostile connectors of which `status` does not say yet what it must."""
    now = statuses(cluster)
    return [
        f"{id_}: {now[id_].state}, {now[id_].dead} dead letters, {now[id_].last_error[:200]!r}"
        for id_, wanted in NEIGHBOURS.items()
        if not (now[id_].dead if wanted.dead else now[id_].last_error and re.search(wanted.cause, now[id_].last_error))
    ]


def test_hostile_tenants_of_a_lane_end_no_process_and_delay_no_neighbour(
    cluster: Cluster, doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    healthy = moving(70)
    cluster.add(HEALTHY, healthy, period=1)
    for seed, (id_, neighbour) in enumerate(NEIGHBOURS.items(), 71):
        tenant = moving(seed)
        with monkeypatch.context() as patch:
            patch.setattr(cluster, "serve", lambda tenant, b=neighbour.behaviour: doors.open(tenant, b))
            cluster.add(id_, tenant, period=1)
        log_emails(tenant)
    producer, enricher = cluster.producer(), cluster.enricher()
    doors.arm()

    def published() -> int:
        assert producer.running, producer.text[-3000:]
        assert enricher.running, enricher.text[-3000:]
        return sum(r.connector == HEALTHY for r in cluster.conversations())

    for round_ in range(1, 4):
        log_emails(healthy)
        until("the healthy connector's conversations are there", lambda: published() >= round_ * EMAILS)  # noqa: B023
        assert (producer.running, enricher.running) == (True, True), producer.text[-2000:] + enricher.text[-2000:]
    with contextlib.suppress(AssertionError):  # the next one tells more
        until("status has each cause", lambda: not unsaid(cluster), SAID_SECONDS)
    assert unsaid(cluster) == []
    assert (producer.running, enricher.running) == (True, True)
    assert not statuses(cluster)[HEALTHY].last_error
    cluster.right(HEALTHY)
    assert producer.stop() == 0, producer.text
    assert enricher.stop() == 0, enricher.text
