"""The owner's side of a replay: a lane's conversations made anew in slices, beside its batches.

Why the owner: one writer per lane. A second one could put an older version behind a newer one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import structlog

from enricher.activity.raw_record import RawActivity
from enricher.conversation import build as conversation
from enricher.processing import parked as parking
from enricher.processing.enrich import Enriched, Enricher
from enricher.processing.parked import FIRST_PAUSE, LONGEST_PAUSE, ParkedActivities
from enricher.processing.tenants import ClientPool, ConnectorDirectory
from enricher.replay import model as replays
from enricher.replay.clients import BackgroundClients
from enricher.replay.latest_offsets import LatestOffsets
from enricher.replay.log_reader import PartitionReader, Selected, connector_of, decode_batch, in_thread, index, select
from enricher.replay.model import Behind, Counts, Replay
from enricher.replay.requests import RequestFollower
from enricher.resolution.entity_cache import EntityCache
from frame_gainsight.connectors import Connector, VaultError
from frame_gainsight.gainsight import GainsightError
from frame_gainsight.kafka import ConsumedRecord, ProducerRecord
from frame_gainsight.runtime import Clock, Settings, cause_of
from frame_gainsight.runtime.aio import gather_or_cancel
from schemas import Codec

log = structlog.get_logger(__name__)

SLICE = 200  # activities that are converted between two looks at what batches did; a batch waits for no more
ASKING_SLICE = 1000  # as long as calls are needed: fewer of them
SCAN = 20_000  # records read at once, where little has to be done with them

Finish = Callable[[], list[ProducerRecord]]


class ReplayRunner:
    """The replays of a lane, one after the other. Everything but `job` is quick.

    Args:
        cache: the lane's. New entities are put there, and published with the slice that learnt them.
        lot: the lane's. What waits there and can be converted now leaves it.
    """

    def __init__(
        self,
        settings: Settings,
        codec: Codec,
        directory: ConnectorDirectory,
        clients: ClientPool,
        clock: Clock,
        lane: int,
        cache: EntityCache,
        lot: ParkedActivities,
        orders: RequestFollower,
    ) -> None:
        self._settings = settings
        self._codec = codec
        self._directory = directory
        self._clock = clock
        self._lane = lane
        self._orders = orders
        self._lot = lot
        self._clients = BackgroundClients(clients)
        # Its own: live batches wait neither for its questions, nor count its failures as theirs.
        self._enricher = Enricher(settings, codec, self._clients, clock, lane, cache)
        self._position = 0
        self._closed: set[bytes] = set()
        self._run: _Run | None = None

    @property
    def clients(self) -> BackgroundClients:
        """Those that it asks with."""
        return self._clients

    def restore(self, position: int) -> None:
        """Reads what was asked of the lane. Blocks. Raises BrokerError.

        Args:
            position: offset of the first raw record that batches will bring.
        """
        self._position = position
        self._orders.restore(self._lane)

    def observe(self, records: Sequence[ConsumedRecord]) -> None:
        """Live traffic has these in hand: a replay leaves their keys alone from now on."""
        if records:
            self._position = max(self._position, records[-1].offset + 1)
        if self._run is not None:
            self._run.touched.update((r.key or b"", r.offset) for r in records)

    async def job(self) -> Finish | None:
        """The next slice of a replay; None: there is nothing to do, or not now."""
        await in_thread(self._orders.look)
        known = self._orders.of(self._lane)
        if self._run is not None and any(r.key == self._run.replay.key and r.state == "CANCELLED" for r in known):
            return self._close(self._run, "CANCELLED")
        if self._run is None:
            asked = next((r for r in known if r.is_open and r.key not in self._closed), None)
            if asked is None:
                return None
            self._run = self._begin(asked)
            return self._publish(self._run.replay)
        if not self._run.indexed:
            await in_thread(self._run.index_on)
            return _nothing
        if self._run.replay.main_done and not self._run.replay.behind:
            return self._close(self._run, "DONE")
        return await self._slice(self._run)

    # From the beginning to the end

    def _begin(self, asked: Replay) -> _Run:
        now = self._clock.now()
        begun = asked
        if asked.end is None:
            begun = replace(asked, state="RUNNING", end=self._position, started_at=now, updated_at=now)
        log.info("replay", lane=self._lane, id=begun.id, connector=begun.scope.connector, end=begun.end)
        return _Run(self._settings, begun, self._position)

    def _publish(self, replay: Replay) -> Finish:
        return lambda: [replays.record(self._codec, self._settings, replay)]

    def _close(self, run: _Run, state: replays.State) -> Finish:
        closed = replace(run.replay, state=state, behind=(), updated_at=self._clock.now())
        self._closed.add(closed.key)
        self._run = None
        run.close()
        log.info("replay_ended", lane=self._lane, id=closed.id, state=state, written=closed.counts.written)
        return self._publish(closed)

    # A slice

    async def _slice(self, run: _Run) -> Finish | None:
        strand = run.strand(self._clock.monotonic(), self._directory)
        if strand is None:
            return None
        if strand.changed is not None:
            self._enricher.forgive(strand.changed)
        selected = await in_thread(lambda: run.select_on(strand))
        made = await self._convert(run, selected)
        return lambda: self._settle(run, strand, selected, made)

    async def _convert(self, run: _Run, selected: Selected) -> _SliceResult:
        made = _SliceResult()
        arrived = decode_batch(self._codec, selected.records, run.replay.scope)
        for source, cause in arrived.unreadable:
            made.outputs[source.offset] = self._enricher.dead_letter(source, cause)
        for deletion in arrived.deletions:
            made.outputs[deletion.source.offset] = conversation.tombstone(self._settings, deletion)
        await gather_or_cancel(*(self._connector(made, c, a) for c, a in arrived.activities.items()))
        # A connector that failed goes on at that record: what is done of it behind that would come twice.
        made.outputs = {s.offset: made.outputs[s.offset] for s in selected.records if made.settles(s)}
        made.newer = sum(made.is_before_failure(s) for s in selected.outdated)
        return made

    async def _connector(self, made: _SliceResult, connector: str, activities: Sequence[RawActivity]) -> None:
        registered = self._directory.get(connector)
        if registered is None:
            made.unregistered += len(activities)
            return
        before = self._clients.calls(connector)
        try:
            done = await self._enricher.enrich(registered, activities, renew=False)
        except (GainsightError, VaultError) as error:
            made.failed[connector] = _Failure(activities[0].source.offset, cause_of(error, connector))
            return
        finally:
            made.calls += self._clients.calls(connector) - before
        made.take(done, registered)

    def _settle(self, run: _Run, strand: _Pass, selected: Selected, made: _SliceResult) -> list[ProducerRecord]:
        """What to publish of a slice: nothing of what a batch has replaced meanwhile; and how far it has come."""
        records = list(made.new)
        written = deleted = failed = 0
        newer = made.newer
        for source in selected.records:
            output = made.outputs.get(source.offset)
            if output is None:
                continue
            key = source.key or b""
            parked = self._lot.get(key)
            if key in run.touched or (parked is not None and parked.source.offset > source.offset):
                newer += 1
                continue
            if parked is not None:
                self._lot.take(key)
                records.append(parking.done(self._settings, source))
            records.append(output)
            if output.topic == self._settings.dead_letters_topic:
                failed += 1
            elif output.value is None:
                deleted += 1
            else:
                written += 1
        rows = selected.rows if strand.connector is None else 0
        counts = Counts(rows, written, deleted, newer, failed, made.unregistered, made.calls)
        run.advance(strand, made, counts, self._clock)
        if not records and not made.failed and not run.is_news_due():
            return []
        return [*records, replays.record(self._codec, self._settings, run.told(self._clock.now()))]


@dataclass(frozen=True, slots=True)
class _Pass:
    """A reading of the log: of one connector that is behind, or (None) of all others.

    `changed`: the connector, when it had been stopped and is another one now.
    """

    connector: str | None
    position: int
    changed: str | None = None


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why a connector could not be replayed from that offset on.

    `stopped`: the connector as it was when it was stopped; it is not tried again before it changes.
    """

    offset: int
    cause: str
    stopped: Connector | None = None


@dataclass(slots=True)
class _SliceResult:
    """What came of a slice; outputs by raw offset, failures by connector."""

    new: list[ProducerRecord] = field(default_factory=list)
    outputs: dict[int, ProducerRecord] = field(default_factory=dict)
    failed: dict[str, _Failure] = field(default_factory=dict)
    newer: int = 0
    unregistered: int = 0
    calls: int = 0

    def settles(self, source: ConsumedRecord) -> bool:
        """Whether the record is done with here."""
        return source.offset in self.outputs and self.is_before_failure(source)

    def is_before_failure(self, source: ConsumedRecord) -> bool:
        """Whether the record's connector did not fail before it."""
        failure = self.failed.get(connector_of(source))
        return failure is None or source.offset < failure.offset

    def take(self, done: Enriched, connector: Connector) -> None:
        self.new += done.new
        self.outputs |= done.outputs
        if done.refused:
            cause = f"Too many in a row could not be converted; the rest waits for another mapping. {done.cause}"
            self.failed[connector.id] = _Failure(done.refused[0].source.offset, cause, connector)


@dataclass(slots=True)
class _Wait:
    """When a connector that is behind may be tried again."""

    failures: int = 0
    until: float = 0.0
    stopped: Connector | None = None


class _Run:
    """A replay under way: its place in the log, and what batches have done since it began.

    Attributes:
        touched: key → raw offset, of what batches took in hand since the slice under way began.
    """

    def __init__(self, settings: Settings, replay: Replay, known_to: int) -> None:
        assert replay.end is not None
        self.replay = replay
        self.end: int = replay.end
        self.touched: dict[bytes, int] = {}
        self._settings = settings
        self._newest = LatestOffsets(self.end)
        # What came after the replay's end before this owner took the lane is newer, too.
        self._log = PartitionReader(settings, replay.lane, 0, max(known_to, self.end))
        self._reading: _Pass | None = None
        self._waits: dict[str, _Wait] = {}
        self._untold = 0
        self._size = SLICE
        self.indexed = False

    def index_on(self) -> None:
        """Reads on through the log for where the newest versions are."""
        index(self._log, self._newest, SCAN)
        self.indexed = self._log.done

    def strand(self, now: float, directory: ConnectorDirectory) -> _Pass | None:
        """What to read on; None: whatever is left has to wait."""
        if not self.replay.main_done:
            return _Pass(None, self.replay.position)
        for behind in self.replay.behind:
            wait = self._waits.setdefault(behind.connector, _Wait())
            if wait.stopped is not None and directory.get(behind.connector) != wait.stopped:
                return _Pass(behind.connector, behind.position, behind.connector)
            if wait.stopped is None and now >= wait.until:
                return _Pass(behind.connector, behind.position)
        return None

    def select_on(self, strand: _Pass) -> Selected:
        """Reads on for what is to be replayed next."""
        touched, self.touched = self.touched, {}
        self._newest.put(touched.items())
        if (
            self._reading is None
            or self._reading.connector != strand.connector
            or self._log.position != strand.position
        ):
            self._log.close()
            self._log = PartitionReader(self._settings, self.replay.lane, strand.position, self.end)
        self._reading = strand
        if strand.connector is not None:
            scope = replace(self.replay.scope, connector=strand.connector)
            return select(self._log, self._newest, scope, self._size, SCAN)
        behind = {b.connector for b in self.replay.behind}
        return select(self._log, self._newest, self.replay.scope, self._size, SCAN, behind)

    def advance(self, strand: _Pass, made: _SliceResult, counts: Counts, clock: Clock) -> None:
        """The slice is done: goes on behind it, and takes aside who failed."""
        at = self._log.position
        replay = replace(self.replay, counts=self.replay.counts.plus(counts))
        if strand.connector is None:
            replay = replace(replay, position=at)
        elif at >= self.end and strand.connector not in made.failed:
            replay = replay.without_behind(strand.connector)
        elif strand.connector not in made.failed:
            cause = next(b.cause for b in replay.behind if b.connector == strand.connector)
            replay = replay.with_behind(Behind(strand.connector, at, cause))
            self._waits[strand.connector] = _Wait()
        for connector, failure in made.failed.items():
            replay = replay.with_behind(Behind(connector, failure.offset, failure.cause))
            failures = self._waits.get(connector, _Wait()).failures
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(failures, 20))
            self._waits[connector] = _Wait(failures + 1, clock.monotonic() + pause, failure.stopped)
            log.warning("replay_behind", connector=connector, offset=failure.offset, cause=failure.cause)
        self.replay = replay
        self._size = ASKING_SLICE if made.calls else SLICE
        self._untold += counts.rows

    def is_news_due(self) -> bool:
        """Whether so much was read without a word that somebody may wonder."""
        return self._untold >= SCAN or (self.replay.main_done and not self.replay.behind)

    def told(self, now: int) -> Replay:
        self._untold = 0
        self.replay = replace(self.replay, state="RUNNING", updated_at=now)
        return self.replay

    def close(self) -> None:
        self._log.close()
        self._newest.close()


def _nothing() -> list[ProducerRecord]:
    return []
