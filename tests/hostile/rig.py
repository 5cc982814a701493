"""Runs hostile tenants beside a healthy one: real lanes, schedules and HTTP in one process, Kafka in memory.

Every hostile connector has a lane of its own, so that what ends its lane is known to be its doing; event loop, slots
for polls and slots for large replies are shared with the healthy one, as in a producer.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from frame_gainsight.connectors import Connector, Definition, Sealed, Secret, open_client
from frame_gainsight.connectors.onboarding.check import check
from frame_gainsight.kafka import ProducerRecord
from frame_gainsight.kafka.clients import MAX_MESSAGE_BYTES
from frame_gainsight.runtime import BrokerError, Settings, SystemClock, cause_of
from producer.context import ProducerContext
from producer.lane import Lane
from producer.polling.feed import Feed
from producer.polling.poller import PollResult
from producer.schedule import LaneSchedule, Observer, PollSlots
from producer.state.backfill import Backfill
from producer.state.poll_failure import PollFailure
from schemas import Codec
from schemas.raw_topic import gsid_of, is_period_marker
from tests.hostile.behaviours import Behaviour, Verdict
from tests.hostile.server import CREATED, HEALTHY

LOOPBACK = "127.0.0.1"  # the tenants' address
ROOT = Path(__file__).parents[2]
CODEC = Codec()
PERIOD, HEALTHY_PERIOD = 1, 2  # seconds, of the hostile connectors and of the healthy one
PATIENCE = 30.0  # seconds for a verdict: replies are given up after ten
HEAVY_PATIENCE = 120.0  # seconds: of a reply that is too large fewer rows are asked for, some times
PAGE_ROWS = 400
CROWDED_SECONDS = 10.0
BEAT = 0.02  # seconds
POLLS, MAX_POLLS = 2, 6  # that must end well; in which the right rows must have come
LARGEST_CAUSE = 4096  # characters that are told to a person


class Tenants:
    """The tenants' processes: their addresses, and what authenticates at them. A context manager."""

    def __enter__(self) -> Tenants:
        self._exit = contextlib.ExitStack()
        hostile, healthy = (self._exit.enter_context(_server(which)) for which in ("hostile", "healthy"))
        self.urls: dict[str, str] = hostile["urls"] | healthy["urls"]
        self.key: str = hostile["key"]
        self.oauth: str = hostile["oauth"]
        self.rows: set[str] = set(hostile["rows"])
        assert healthy["key"] == self.key, "tenants of one seed have one key"
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def created(self) -> set[str]:
        """The healthy tenant's activities now."""
        with urllib.request.urlopen(self.urls[HEALTHY] + CREATED, timeout=10) as reply:
            return set(json.loads(reply.read()))


@contextlib.contextmanager
def _server(which: str) -> Iterator[dict[str, Any]]:
    """What a process that serves these tenants tells of them."""
    command = [sys.executable, "-m", "tests.hostile.server", which]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.stdin.close()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:  # it is busy being hostile
                process.kill()


@dataclass(slots=True)
class Keyring:
    """A vault that knows the secrets of this run."""

    tenants: Tenants
    oauth: set[str]

    def seal(self, connector: str, host: str, secret: Secret) -> Sealed:
        raise NotImplementedError

    def open(self, connector: str, host: str, sealed: Sealed) -> Secret:
        if connector in self.oauth:
            return Secret.oauth_client(self.tenants.oauth)
        return Secret.access_key(self.tenants.key)


class MemoryTopics:
    """A lane's writer that keeps what a verdict needs; it refuses what Kafka would."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._offset = 0
        self.written: Counter[tuple[str, int]] = Counter()
        self.arrived: dict[str, int] = {}
        self.dead: list[str] = []
        self.failures: list[PollFailure] = []
        self.transactions = 0

    def write(
        self,
        records: Sequence[ProducerRecord],
        records_after: Callable[[Sequence[int]], Sequence[ProducerRecord]] | None = None,
    ) -> list[int]:
        offsets = list(range(self._offset, self._offset + len(records)))
        further = records_after(offsets) if records_after is not None else ()
        for record in (*records, *further):
            if len(record.key) + len(record.value or b"") > MAX_MESSAGE_BYTES:
                raise BrokerError(f"A record of {len(record.value or b''):,} bytes is too large.")
            if record.timestamp is not None and not -(2**63) <= record.timestamp < 2**63:
                raise BrokerError("A record's timestamp is out of range.")
        self._offset += len(records) + 1
        self.transactions += 1
        for record in (*records, *further):
            self._keep(record)
        return offsets

    def close(self) -> None:
        """Nothing is open."""

    @property
    def gsids(self) -> set[str]:
        return {gsid for gsid, _ in self.written}

    def _keep(self, record: ProducerRecord) -> None:
        settings, value = self._settings, record.value
        if record.topic == settings.raw_topic:
            if value is None or is_period_marker(record.key):
                if value is not None:
                    assert CODEC.decode(value).record == "period_marker", "a row took the place of a period's marker"
                return
            gsid = gsid_of(record.key)
            if len(self.written) < 100_000:
                self.written[(gsid, CODEC.decode(value).value["modified_at"])] += 1
                self.arrived.setdefault(gsid, time.time_ns() // 1_000_000)
        elif record.topic == settings.dead_letters_topic and value is not None:
            self.dead.append(CODEC.decode(value).value["cause"][:LARGEST_CAUSE])
        elif record.topic == settings.checkpoints_topic and value is not None and b"/!trouble" in record.key:
            self.failures.append(PollFailure.decode(CODEC, value))


@dataclass(slots=True)
class Outcome:
    """What became of one hostile tenant's connector.

    Attributes:
        fault: what is not as the table wants it; "" when all is.
        said: the failure that was recorded, or the dead letters' cause.
        peak: megabytes that the process grew to beyond where it was, while the tenant was polled (others beside it).
        gap: seconds, the longest between two polls of the healthy connector meanwhile.
        stall: seconds, the longest that the event loop worked without a break.
    """

    behaviour: Behaviour
    fault: str = ""
    said: str = ""
    seconds: float = 0.0
    peak: float = 0.0
    gap: float = 0.0
    stall: float = 0.0


@dataclass(slots=True)
class Subject:
    """A connector under watch."""

    topics: MemoryTopics
    polls: int = 0
    causes: list[str] = field(default_factory=list)
    ended: BaseException | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def polled(self, result: PollResult, feed: Feed, seconds: float) -> None:
        self.polls += 1
        self.changed.set()

    def failed(self, connector: str, error: Exception) -> None:
        self.causes.append(cause_of(error, connector))
        self.changed.set()

    def backfilled(self, backfill: Backfill, feed: Feed) -> None:
        pass


class Pulse:
    """Measures how long the event loop works without a break, and the process's largest size."""

    def __init__(self) -> None:
        self._marks: list[tuple[float, float, float]] = []

    @contextlib.asynccontextmanager
    async def beating(self) -> AsyncIterator[Pulse]:
        task = asyncio.create_task(self._beat())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _beat(self) -> None:
        wall, cpu = time.monotonic(), time.process_time()
        while True:
            await asyncio.sleep(BEAT)
            now, spent = time.monotonic(), time.process_time()
            worked = min(now - wall, spent - cpu)
            self._marks.append((now, worked, max(0.0, now - wall - BEAT - worked)))
            wall, cpu = now, spent

    def longest(self, since: float) -> float:
        """Seconds: the longest work without a break since then."""
        return max((worked for at, worked, _ in self._marks if at >= since), default=0.0)

    def taken(self, since: float, until: float) -> float:
        """Seconds between these moments in which the machine served others: the process neither worked nor waited."""
        return sum(taken for at, _, taken in self._marks if since <= at <= until)


class Run:
    """One run: the healthy connector is polled all the while."""

    def __init__(self, tenants: Tenants, behaviours: Iterable[Behaviour]) -> None:
        self._tenants = tenants
        self._ids = {f"h{n}": b.name for n, b in enumerate(behaviours)} | {HEALTHY: HEALTHY}
        self._by_name = {name: id_ for id_, name in self._ids.items()}
        self._oauth = {self._by_name[b.name] for b in behaviours if b.oauth}
        self._settings = Settings(
            _env_file=None,
            allow_hosts=LOOPBACK,
            overlap_margin_seconds=0,
            retry_seconds=0.2,
            http_timeout_seconds=2,
            page_rows=PAGE_ROWS,
        )
        self._clock = SystemClock()
        self._context = ProducerContext(self._settings, CODEC, Keyring(tenants, self._oauth), self._clock)
        self._slots = PollSlots(self._clock)
        self._pulse = Pulse()
        self.healthy = Subject(MemoryTopics(self._settings))
        self._polls: list[float] = []
        self._largest = 0.0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Run]:
        """The healthy connector is polled until the block ends; it has been polled once when it begins."""
        async with self._pulse.beating(), self._polled(HEALTHY, self.healthy, self._noted):
            await _within(PATIENCE, self.healthy, lambda: self.healthy.polls > 0)
            yield self
            seen = self.healthy.polls
            await _within(PATIENCE, self.healthy, lambda: self.healthy.polls >= seen + 3)

    def _noted(self, result: PollResult, feed: Feed, seconds: float) -> None:
        self._polls.append(time.monotonic())
        self.healthy.polled(result, feed, seconds)

    def gap(self, since: float) -> float:
        """Seconds: the longest between two polls of the healthy connector, less what the machine gave to others."""
        times = [max((t for t in self._polls if t < since), default=since), *(t for t in self._polls if t >= since)]
        times.append(time.monotonic())
        return max(after - before - self._pulse.taken(before, after) for before, after in pairwise(times))

    def _connector(self, id_: str, behaviour: Behaviour | None) -> Connector:
        given: dict[str, Any] = {
            "id": id_,
            "host": self._tenants.urls[self._ids[id_]],
            "period": PERIOD if behaviour is not None else HEALTHY_PERIOD,
            "overlap": 60,
            "start": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 120)),
            "api_share": 1.0,
            "calls_per_minute": 10_000,
            "calls_per_day": 10_000_000,
            "activity_types": ["Email"],
        }
        definition = Definition.model_validate(given | dict(behaviour.definition if behaviour else {}))
        return Connector(definition, Sealed("access_key", b"", ""), "ACTIVE", 0, 0)

    @contextlib.asynccontextmanager
    async def _polled(
        self,
        id_: str,
        subject: Subject,
        on_poll: Callable[[PollResult, Feed, float], None],
        behaviour: Behaviour | None = None,
    ) -> AsyncIterator[None]:
        lane = Lane(self._context, 0, subject.topics)
        connector = self._connector(id_, behaviour)
        observer = Observer(on_poll, subject.failed, subject.backfilled)
        schedule = LaneSchedule(lane, self._clock, self._slots, observer, lambda: [connector], False, set())
        task = asyncio.create_task(schedule.run(), name=f"lane of {id_}")
        task.add_done_callback(lambda done: _ended(subject, done))
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
            with contextlib.suppress(Exception):
                await lane.close()

    @property
    def largest(self) -> float:
        """Megabytes: the largest size that the process came to since the run began."""
        return max(self._largest, peak())

    async def judge(self, behaviour: Behaviour, alone: bool = False) -> Outcome:
        """Polls, or checks, the hostile tenant until its verdict can be told; `alone`: the peak is its own."""
        if alone:
            self._largest = max(self._largest, peak())
            from_here()
        began, size = time.monotonic(), resident()
        id_ = self._by_name[behaviour.name]
        judged = Outcome(behaviour)
        if behaviour.verdict in (Verdict.REFUSED, Verdict.CHECKED):
            await self._check(id_, behaviour, judged)
        else:
            subject = Subject(MemoryTopics(self._settings))
            async with self._polled(id_, subject, subject.polled, behaviour):
                try:
                    patience = HEAVY_PATIENCE if behaviour.heavy else PATIENCE
                    await _within(patience, subject, lambda: self._is_decided(behaviour, subject))
                except TimeoutError:
                    judged.fault = "nothing is said of it, and no poll ends"
            judged.fault = judged.fault or self._fault(behaviour, subject)
            judged.said = "; ".join(
                dict.fromkeys([*(f.cause for f in subject.topics.failures[-1:]), *subject.topics.dead[-1:]])
            )
        judged.seconds = time.monotonic() - began
        judged.stall, judged.gap = self._pulse.longest(began), self.gap(began)
        judged.peak = max(0.0, peak() - size)
        return judged

    async def _check(self, id_: str, behaviour: Behaviour, judged: Outcome) -> None:
        connector = self._connector(id_, behaviour)
        client = await open_client(self._settings, self._context.vault, self._clock, connector)
        try:
            async with client, asyncio.timeout(PATIENCE):
                findings = await check(client, connector.definition)
        except Exception as error:  # noqa: BLE001 - whatever is raised is the finding
            judged.fault = f"the check ends with {type(error).__name__}: {str(error)[:200]}"
            return
        blocking = [f for f in findings if f.blocks]
        judged.said = "; ".join(str(f)[:200] for f in blocking[:1])
        if behaviour.verdict is Verdict.REFUSED and not blocking:
            judged.fault = "it is not refused"

    def _is_decided(self, behaviour: Behaviour, subject: Subject) -> bool:
        if subject.ended is not None or subject.causes or subject.topics.failures or subject.polls >= MAX_POLLS:
            return True
        if behaviour.verdict is Verdict.GOES_ON:
            return subject.topics.transactions >= GOING_ON
        return subject.polls >= POLLS and self._tenants.rows <= subject.topics.gsids

    def _fault(self, behaviour: Behaviour, subject: Subject) -> str:
        """What is not as the table wants it."""
        topics, verdict = subject.topics, behaviour.verdict
        if subject.ended is not None:
            return f"the lane ends with {type(subject.ended).__name__}: {str(subject.ended)[:200]}"
        if doubles := [key for key, count in topics.written.items() if count > 1]:
            return f"{len(doubles)} versions are written twice"
        if len("".join(subject.causes[-1:])) >= LARGEST_CAUSE:
            return "the cause is longer than a person reads"
        recorded = topics.failures[-1].cause if topics.failures else ""
        if subject.causes or recorded:
            if subject.causes and subject.causes[-1] != recorded:
                return f"the failure is not recorded for status: {subject.causes[-1][:200]}"
            if verdict in (Verdict.FAILS, Verdict.SAID):
                wanted = behaviour.cause if behaviour.may_fail is None else behaviour.may_fail
            elif behaviour.may_fail is None:
                return f"the connector fails: {recorded[:300]}"
            else:
                wanted = behaviour.may_fail
            return "" if re.search(wanted, recorded) else f"the cause is another: {recorded[:300]}"
        if verdict is Verdict.FAILS:
            return "it does not fail" if subject.polls else ""
        if verdict is Verdict.GOES_ON:
            return "" if topics.transactions >= GOING_ON else "no rows are written"
        missing = self._tenants.rows - topics.gsids
        if missing and not (verdict is Verdict.SAID and topics.dead):
            return f"{len(missing)} right rows are missing"
        more = len(topics.gsids - self._tenants.rows) if verdict is Verdict.ACCOUNTED else 0
        if verdict in (Verdict.DEAD, Verdict.ACCOUNTED, Verdict.SAID):
            if len(topics.dead) + more < (behaviour.bad if verdict is not Verdict.SAID else 1):
                return "a bad row is dropped without a word"
            if topics.dead and not re.search(behaviour.cause, topics.dead[-1]):
                return f"the dead letter's cause is another: {topics.dead[-1][:300]}"
        return ""

    async def all(self, behaviours: Sequence[Behaviour], side_by_side: int) -> list[Outcome]:
        """Judges them, so many at a time, in the table's order."""
        free = asyncio.Semaphore(side_by_side)

        async def one(behaviour: Behaviour) -> Outcome:
            async with free:
                return await self.judge(behaviour, alone=side_by_side == 1)

        return await asyncio.gather(*map(one, behaviours))

    async def crowd(self, behaviour: Behaviour, count: int) -> None:
        """So many connectors of one hostile tenant, polled side by side for CROWDED_SECONDS."""
        async with contextlib.AsyncExitStack() as stack:
            subjects = [Subject(MemoryTopics(self._settings)) for _ in range(count)]
            for number, subject in enumerate(subjects):
                id_ = f"{self._by_name[behaviour.name]}-{number}"
                self._ids[id_] = behaviour.name
                await stack.enter_async_context(self._polled(id_, subject, subject.polled, behaviour))
            await asyncio.sleep(CROWDED_SECONDS)  # what is measured is a stretch of time

    @staticmethod
    def now() -> float:
        """The clock of `gap`, in seconds."""
        return time.monotonic()


GOING_ON = 20  # transactions, after which rows are taken to keep coming


def _ended(subject: Subject, done: asyncio.Task[None]) -> None:
    if not done.cancelled():
        subject.ended = done.exception()
    subject.changed.set()


async def _within(seconds: float, subject: Subject, holds: Callable[[], bool]) -> None:
    """Returns when it holds. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not holds():
            subject.changed.clear()
            with contextlib.suppress(TimeoutError):  # transactions set no event
                await asyncio.wait_for(subject.changed.wait(), 0.25)


def resident() -> float:
    """The process's size now, in megabytes."""
    return _status("VmRSS")


def peak() -> float:
    """The largest size since `from_here`, in megabytes."""
    return _status("VmHWM")


def from_here() -> None:
    """Forgets the process's largest size until now. Linux alone has that; elsewhere the largest ever counts."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _status(name: str) -> float:
    try:
        found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
        return int(found[1]) / 1024 if found else 0.0
    except OSError:
        import resource  # not on every system

        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return used / 1024**2 if sys.platform == "darwin" else used / 1024


def table(outcomes: Iterable[Outcome]) -> Iterator[str]:
    """A line for each: what it did, the verdict, and what it cost the process and the healthy connector."""
    yield f"{'behaviour':<52} {'wanted':<26} {'MB':>6} {'gap s':>6} {'loop s':>6}  verdict"
    for o in outcomes:
        said = f"FAULT: {o.fault}" if o.fault else o.said or "as wanted"
        yield (
            f"{o.behaviour.name[:52]:<52} {o.behaviour.verdict.value[:26]:<26} {o.peak:>6.0f} {o.gap:>6.1f} "
            f"{o.stall:>6.2f}  {said[:160]!r}"
        )
