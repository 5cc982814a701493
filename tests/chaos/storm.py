"""Workers that are killed, frozen, stopped and joined at random, and a broker that is killed, while activities come.

What came out is counted per version against what went in, as a `read_committed` reader sees it.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random

from frame_gainsight.embedded_kafka.broker import EmbeddedKafka
from frame_gainsight.kafka import end_offset
from frame_gainsight.runtime.logging import set_up_logging
from frame_gainsight.sandbox import Clock, Morning
from tests.fixtures.cluster import Cluster, Record, Service, unlimited, until
from tests.fixtures.processes import ROOT

CONNECTORS = ("acme", "bolt", "crux", "dune", "echo")
SESSION_SECONDS = 8.0  # of the enricher's group
LEAVE_SECONDS = 60.0
BLOW_SECONDS = 2.0  # a blow takes about as long


@dataclass(frozen=True)
class Plan:
    """How large a storm is. `activities`: of all connectors together; they come in `rounds`, one after another."""

    activities: int
    rounds: int
    workers: int
    kills: int
    leaves: int = 0
    freezes: int = 0
    broker_kills: int = 0
    seed: int = 1
    window: int = 200


@dataclass
class Log:
    """What was done, and what came of it."""

    kills: int = 0
    leaves: int = 0
    joins: int = 0
    freezes: int = 0
    broker_kills: int = 0
    ended: Counter[int] = field(default_factory=Counter)  # exit codes of workers that were not killed
    versions: int = 0
    deleted: int = 0
    missing: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    surplus: list[str] = field(default_factory=list)
    disordered: list[str] = field(default_factory=list)
    undeleted: list[str] = field(default_factory=list)
    calls: int = 0
    seconds: float = 0.0

    @property
    def right(self) -> bool:
        return not (self.missing or self.duplicates or self.surplus or self.disordered or self.undeleted)

    def __str__(self) -> str:
        return (
            f"{self.versions} versions, {self.deleted} deletions: missing {len(self.missing)}, "
            f"duplicates {len(self.duplicates)}, surplus {len(self.surplus)}, out of order {len(self.disordered)}, "
            f"not deleted {len(self.undeleted)}; {self.kills} kill -9, {self.leaves} left, {self.joins} joined, "
            f"{self.freezes} frozen, {self.broker_kills} broker kill -9, ended by themselves {dict(self.ended)}; "
            f"{self.calls} look-up calls, {self.seconds:.0f} s"
        )


class Crew:
    """The workers: as many as planned are kept alive, whatever happens to them."""

    def __init__(self, cluster: Cluster, plan: Plan, entry: Sequence[str]) -> None:
        self._cluster = cluster
        self._plan = plan
        self._entry = entry
        self._rng = Random(plan.seed)
        self.log = Log()
        self.alive: list[Service] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        for _ in range(self._plan.workers):
            self.join()
        with ThreadPoolExecutor(1) as keeper:
            keeping = keeper.submit(self._keep)
            try:
                yield
            finally:
                self._stop.set()
                keeping.result()

    def join(self) -> None:
        env = {"FRAME_GAINSIGHT_WINDOW_MAX": str(self._plan.window), "FRAME_GAINSIGHT_WINDOW_LINGER_SECONDS": "0.2"}
        service = self._cluster.start(*self._entry, **env, PYTHONPATH=str(ROOT))
        with self._lock:
            self.alive.append(service)

    def _keep(self) -> None:
        while not self._stop.wait(0.1):
            with self._lock:
                gone = [s for s in self.alive if not s.running]
                self.alive = [s for s in self.alive if s.running]
            for service in gone:
                self.log.ended[service.wait()] += 1
            for _ in range(self._plan.workers - len(self.alive)):
                self.join()

    def _take(self) -> Service:
        """A worker that is running, out of the crew: another takes its place."""

        def taken() -> Service | None:
            with self._lock:
                running = [s for s in self.alive if s.running]
                if not running:
                    return None
                chosen = self._rng.choice(running)
                self.alive.remove(chosen)
                return chosen

        service = until("a worker runs", taken)
        assert service is not None
        return service

    def kill(self) -> None:
        self._take().end()
        self.log.kills += 1

    def leave(self) -> None:
        service = self._take()
        service.send(signal.SIGTERM)
        until("a worker that was told to leave has left", lambda: not service.running, LEAVE_SECONDS)
        self.log.leaves += 1
        self.log.ended[service.wait()] += 1

    def freeze(self) -> None:
        """Longer than its session lasts; when it goes on, others have its lanes, and it must write nothing more."""
        service = self._take()
        service.send(signal.SIGSTOP)
        time.sleep(SESSION_SECONDS + 3)
        service.send(signal.SIGCONT)
        with self._lock:
            self.alive.append(service)
        self.log.freezes += 1

    def more(self) -> None:
        self.join()
        self.log.joins += 1


class Storm:
    """One run. `entry` is the worker's command: another one than ours shows that the counting has teeth."""

    def __init__(self, cluster: Cluster, broker: EmbeddedKafka, plan: Plan, entry: Sequence[str] = ()) -> None:
        self._cluster = cluster
        self._broker = broker
        self._plan = plan
        self._crew = Crew(cluster, plan, entry or (sys.executable, "-m", "frame_gainsight.cli.main", "enrich"))
        self._rng = Random(plan.seed + 1)
        self._broker_up = threading.Lock()
        blows = plan.kills + plan.leaves + plan.freezes + plan.broker_kills
        self._pause = blows * BLOW_SECONDS / (plan.rounds + 1)  # so that something comes all the time

    def run(self) -> Log:
        began = time.monotonic()
        set_up_logging("ERROR")
        plan, cluster = self._plan, self._cluster
        each = plan.activities // len(CONNECTORS)
        for number, name in enumerate(CONNECTORS):
            morning = Morning(emails=each, periods=plan.rounds, edits=0.1, deletes=0.02)
            clock = Clock.stopped(morning.start_ms)
            cluster.add(name, unlimited(seed=100 + number, scenario=morning, clock=clock), overlap=60)
        with self._crew.at_work():
            writing = threading.Thread(target=self._write, daemon=True)
            writing.start()
            for blow in self._blows():
                seen = self._published()
                # Not while all of them only wait for a rebalance: such a blow hits nobody at work.
                until("conversations come", lambda: self._published() > seen or not writing.is_alive())  # noqa: B023
                time.sleep(self._rng.uniform(0.2, 2.5))  # a moment like any other
                blow()
            writing.join()
            cluster.settled(patience=240)
        log = self._crew.log
        self._count(log)
        log.calls = sum(t.calls()["total"] for t in cluster.tenants.values())
        log.seconds = time.monotonic() - began
        return log

    def _published(self) -> int:
        settings = self._cluster.settings
        with self._broker_up:
            return sum(end_offset(settings, settings.conversations_topic, p) for p in range(settings.partitions))

    def _blows(self) -> list[Callable[[], None]]:
        plan, crew = self._plan, self._crew
        blows = [crew.kill] * plan.kills + [crew.leave] * plan.leaves + [crew.freeze] * plan.freezes
        blows += [self._kill_broker] * plan.broker_kills + [crew.more] * max(1, plan.kills // 10)
        self._rng.shuffle(blows)
        return blows

    def _kill_broker(self) -> None:
        with self._broker_up:
            self._broker.kill()
            self._broker.start()
        self._crew.log.broker_kills += 1

    def _write(self) -> None:
        """The producer's part: one poll of everybody a round, as long as the storm lasts."""
        cluster = self._cluster
        for _ in range(self._plan.rounds + 1):
            for tenant in cluster.tenants.values():
                tenant.advance(600)
            with self._broker_up:  # the producer's own deaths are another test's
                cluster.poll()
            time.sleep(self._pause)

    def _count(self, log: Log) -> None:
        raw = self._cluster.raw()
        wanted = Counter(
            f"{r.name}/{r.value['modified_at']}/{r.value['fingerprint']}" for r in raw if r.value is not None
        )
        out = self._cluster.conversations()
        found = Counter(r.header("ce_id") or "" for r in out if r.value is not None)
        log.versions = len(wanted)
        log.missing = [v for v in wanted if v not in found]
        log.surplus = [v for v in found if v not in wanted]
        log.duplicates = [v for v, count in found.items() if count > 1]
        newest: dict[str, Record] = {}
        for record in out:
            before = newest.get(record.key)
            if before is not None and _is_older(record, before):
                log.disordered.append(record.key)
            newest[record.key] = record
        last = {r.key: r for r in raw}
        gone = [key for key, r in last.items() if r.value is None]
        log.deleted = len(gone)
        log.undeleted = [key for key in gone if key not in newest or newest[key].value is not None]


def _is_older(record: Record, before: Record) -> bool:
    return record.value is not None and before.value is not None and record.value["version"] < before.value["version"]
