"""Replay runner: a lane's owner converts its raw records again, in slices, in the background.

The owner does so because a lane has one writer: a second one could put an older version behind a newer one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import structlog

from enricher.processing import circuit_breaker
from enricher.processing import parked as parking
from enricher.processing.circuit_breaker import CircuitBreaker
from enricher.processing.dead_letters import replay_cause
from enricher.processing.parked import ParkedActivities
from enricher.processing.retry import Finish, nothing
from enricher.processing.services import EnricherServices
from enricher.processing.unexpected import OF_ALL, unexpected
from enricher.replay import model as replays
from enricher.replay.clients import BackgroundClients
from enricher.replay.latest_offsets import LatestOffsets
from enricher.replay.log_reader import PartitionReader, Selected, decode_batch, index, select
from enricher.replay.model import Behind, Counts, Replay
from enricher.replay.requests import RequestFollower
from enricher.replay.slices import SliceConverter, SliceResult, counts_of
from enricher.resolution.entity_cache import EntityCache
from frame_gainsight.kafka import ConsumedRecord, ProducerRecord
from frame_gainsight.runtime.aio import in_thread

log = structlog.get_logger(__name__)

SLICE = 200  # activities; what batches replaced is left out after each slice, and a batch waits for one at most
CALLING_SLICE = 1000  # activities, while calls are needed: larger slices need fewer
SCAN = 20_000  # records read at a time, where little has to be done with them


class ReplayRunner:
    """A lane's replays, one after the other. All methods but `job` and `restore` are quick.

    Args:
        cache: the lane's entities. New ones are put there, and published with the slice that needed them.
        parked: the lane's parked activities. Those that can be converted now are removed.
    """

    def __init__(
        self,
        services: EnricherServices,
        lane: int,
        cache: EntityCache,
        parked: ParkedActivities,
        requests: RequestFollower,
    ) -> None:
        self._services = services
        self._settings = services.settings
        self._lane = lane
        self._requests = requests
        self._parked = parked
        self._converter = SliceConverter(services, lane, cache)
        self._position = 0
        self._closed: set[bytes] = set()
        self._run: _Run | None = None
        self._failures = 0  # in a row
        self._paused_until = 0.0

    @property
    def clients(self) -> BackgroundClients:
        """The clients that replays make their calls with."""
        return self._converter.clients

    def restore(self, position: int) -> None:
        """Reads the lane's replay requests. Blocks. Raises BrokerError.

        Args:
            position: offset of the first raw record that batches will bring.
        """
        self._position = position
        self._requests.restore(self._lane)

    def observe(self, records: Sequence[ConsumedRecord]) -> None:
        """Notes the records of a live batch: a slice in progress publishes nothing for their keys."""
        if records:
            self._position = max(self._position, records[-1].offset + 1)
        if self._run is not None:
            self._run.live.update((r.key or b"", r.offset) for r in records)

    async def job(self) -> Finish | None:
        """Does the next step of a replay; None: there is nothing to do now.

        A replay in which something unforeseen happens goes on from what is published, after a pause.
        """
        if self._services.clock.monotonic() < self._paused_until:
            return None
        try:
            finish = await self._step()
        except OF_ALL:
            raise
        except Exception as error:  # noqa: BLE001 - it costs this replay's time
            self._paused(error)
            return None
        return None if finish is None else lambda: self._finished(finish)

    def _finished(self, finish: Finish) -> list[ProducerRecord]:
        try:
            records = finish()
        except Exception as error:  # noqa: BLE001 - it costs this replay's time
            self._paused(error)
            return []
        self._failures = 0
        return records

    def _paused(self, error: Exception) -> None:
        unexpected(error, "a replay was run", lane=self._lane, id=self._run.replay.id if self._run else "")
        self._failures += 1
        self._paused_until = self._services.clock.monotonic() + circuit_breaker.PAUSES.seconds(self._failures)
        if self._run is not None:
            self._run.close()
            self._run = None

    async def _step(self) -> Finish | None:
        await in_thread(self._requests.poll)
        known = self._requests.of(self._lane)
        if self._run is not None and any(r.key == self._run.replay.key and r.state == "CANCELLED" for r in known):
            return self._close(self._run, "CANCELLED")
        if self._run is None:
            requested = next((r for r in known if r.is_open and r.key not in self._closed), None)
            if requested is None:
                return None
            self._run = self._begin(requested)
            return self._publish(self._run.replay)
        if not self._run.indexed:
            await in_thread(self._run.index_on)
            return nothing
        if self._run.replay.main_done and not self._run.replay.behind:
            return self._close(self._run, "DONE")
        return await self._slice(self._run)

    # From the beginning to the end

    def _begin(self, requested: Replay) -> _Run:
        now = self._services.clock.now()
        begun = requested
        if requested.end is None:
            begun = replace(requested, state="RUNNING", end=self._position, started_at=now, updated_at=now)
        self._services.limits.expire()
        log.info("replay_started", lane=self._lane, id=begun.id, connector=begun.scope.connector, end=begun.end)
        return _Run(self._services, begun, self._position)

    def _publish(self, replay: Replay) -> Finish:
        return lambda: [self._record(replay)]

    def _record(self, replay: Replay) -> ProducerRecord:
        room = self._services.limits.room(self._settings.checkpoints_topic)
        return replays.record(self._services.codec, self._settings, replay, room)

    def _close(self, run: _Run, state: replays.State) -> Finish:
        closed = replace(run.replay, state=state, behind=(), updated_at=self._services.clock.now())
        self._closed.add(closed.key)
        self._run = None
        run.close()
        log.info("replay_ended", lane=self._lane, id=closed.id, state=state, written=closed.counts.written)
        return self._publish(closed)

    # A slice

    async def _slice(self, run: _Run) -> Finish | None:
        """Converts the next slice; None: all that is left has to wait."""
        for connector in run.breaker.close_changed(self._services.directory.get):
            self._converter.dead_letters.converted(connector)
        current = run.next_pass()
        if current is None:
            return None
        selected = await in_thread(lambda: run.select_on(current))
        arrived = await decode_batch(self._services.codec, selected.records, run.replay.scope)
        result = await self._converter.convert(arrived)
        return lambda: self._settle(run, current, selected, result)

    def _settle(self, run: _Run, current: _Pass, selected: Selected, result: SliceResult) -> list[ProducerRecord]:
        """The records to publish for a slice: none where a batch has brought something newer; and the progress."""
        records = list(result.new)
        written = []
        newer = sum(result.is_before_failure(source) for source in selected.outdated)
        for source in selected.records:
            output = result.outputs.get(source.offset)
            # A connector that failed goes on at that record: its outputs behind that would come twice.
            if output is None or not result.is_before_failure(source):
                continue
            key = source.key or b""
            parked = self._parked.get(key)
            if key in run.live or (parked is not None and parked.source.offset > source.offset):
                newer += 1
                continue
            if parked is not None:
                self._parked.take(key)
                records.append(parking.tombstone(self._settings, source))
            records.append(output)
            written.append(output)
        rows = selected.rows if current.connector is None else 0
        more = Counts(rows=rows, newer=newer, unregistered=result.unregistered, calls=result.calls)
        run.advance(current, result, counts_of(self._settings, written).plus(more))
        if not records and not result.failed and not run.is_report_due():
            return []
        progress = run.reported(self._services.clock.now())
        return [*records, self._record(progress)]


@dataclass(frozen=True, slots=True)
class _Pass:
    """A pass through the log from an offset on: for one connector that is behind, or (None) for all others."""

    connector: str | None
    position: int


class _Run:
    """A replay in progress: its position in the log, and what batches have done since it began.

    Attributes:
        live: key → raw offset, of the records in batches since the slice in progress began.
        breaker: the circuits of the connectors that are behind.
    """

    def __init__(self, services: EnricherServices, replay: Replay, known_to: int) -> None:
        assert replay.end is not None
        self.replay = replay
        self.end: int = replay.end
        self.live: dict[bytes, int] = {}
        self.breaker = CircuitBreaker(services.clock, replace(circuit_breaker.PAUSES, jitter=0.0))
        self._settings = services.settings
        self._latest = LatestOffsets(self.end)
        # Records behind the replay's end that came before this owner took the lane are newer, too.
        self._log = PartitionReader(self._settings, replay.lane, 0, max(known_to, self.end))
        self._pass: _Pass | None = None
        self._rows_unreported = 0
        self._size = SLICE
        self.indexed = False

    def index_on(self) -> None:
        """Reads on through the log for the offsets of the latest versions."""
        index(self._log, self._latest, SCAN)
        self.indexed = self._log.done

    def next_pass(self) -> _Pass | None:
        """The pass to go on with; None: all connectors that are left have to wait."""
        if not self.replay.main_done:
            return _Pass(None, self.replay.position)
        due = self.breaker.due(behind.connector for behind in self.replay.behind)
        return next((_Pass(b.connector, b.position) for b in self.replay.behind if b.connector in due), None)

    def select_on(self, current: _Pass) -> Selected:
        """Reads on through the log for the next slice."""
        live, self.live = self.live, {}
        self._latest.put(live.items())
        if self._pass is None or self._pass.connector != current.connector or self._log.position != current.position:
            self._log.close()
            self._log = PartitionReader(self._settings, self.replay.lane, current.position, self.end)
        self._pass = current
        if current.connector is not None:
            scope = replace(self.replay.scope, connector=current.connector)
            return select(self._log, self._latest, scope, self._size, SCAN)
        behind = {b.connector for b in self.replay.behind}
        return select(self._log, self._latest, self.replay.scope, self._size, SCAN, behind)

    def advance(self, current: _Pass, result: SliceResult, counts: Counts) -> None:
        """Goes on behind the slice; connectors that failed in it are behind from now on."""
        at = self._log.position
        replay = replace(self.replay, counts=self.replay.counts.plus(counts))
        if current.connector is None:
            replay = replace(replay, position=at)
        elif current.connector not in result.failed:
            self.breaker.recovered(current.connector)
            cause = next(b.cause for b in replay.behind if b.connector == current.connector)
            replay = replay.without_behind(current.connector)
            if at < self.end:
                replay = replay.with_behind(Behind(current.connector, at, cause))
        for connector, failure in result.failed.items():
            cause = failure.cause
            if failure.refused:
                cause = replay_cause(cause)
                self.breaker.stop(failure.seen, cause)
            else:
                self.breaker.failed(connector, failure.failure, cause, failure.seen)
            replay = replay.with_behind(Behind(connector, failure.offset, cause))
            log.warning("replay_connector_waiting", connector=connector, offset=failure.offset, cause=cause)
        self.replay = replay
        self._size = CALLING_SLICE if result.calls else SLICE
        self._rows_unreported += counts.rows

    def is_report_due(self) -> bool:
        """Whether the progress is to be published although nothing else is."""
        return self._rows_unreported >= SCAN or (self.replay.main_done and not self.replay.behind)

    def reported(self, now: int) -> Replay:
        """The progress, to be published now (milliseconds)."""
        self._rows_unreported = 0
        self.replay = replace(self.replay, state="RUNNING", updated_at=now)
        return self.replay

    def close(self) -> None:
        """Closes what the run has open."""
        self._log.close()
        self._latest.close()
