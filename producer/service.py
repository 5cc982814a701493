"""The producer as a service: owns lanes through the consumer group, and works in each."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

import structlog
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicPartition

from frame_gainsight.connectors import Connector, apply
from frame_gainsight.kafka import ConsumedRecord, consumed_record, put_all, reader
from frame_gainsight.kafka.clients import unreachable
from frame_gainsight.runtime import BrokerError, Failure, FencedError, OperationalError, cause_of
from frame_gainsight.runtime.backoff import Backoff
from frame_gainsight.runtime.metrics import Metrics
from producer.boundary import foreseen
from producer.context import ProducerContext
from producer.lane import Lane
from producer.metrics import ProducerMetrics
from producer.polling.feed import Feed
from producer.polling.poller import PollResult
from producer.schedule import LaneSchedule, Observer, PollSlots
from producer.state.poll_failure import PollFailure, failure_of
from producer.state.records import Records
from schemas import RegistryError

log = structlog.get_logger(__name__)

SESSION_SECONDS = 8  # after which a dead producer's lanes go to others
# After a lane stopped. What a person corrects takes effect within the longest.
REOPEN = Backoff(first=1.0, longest=5.0)
REGISTRY_SECONDS = 2.0  # until a schema registry that did not answer is asked again
RECORDED_AFTER = 3  # failures of a lane in a row, after which they are recorded as its connectors' failure
STEADY_SECONDS = 60.0  # for which a lane must have been open, so that its next failure is a first one
# A lane that another process has taken is revoked by the group within a session, unless that one is no member of it.
FENCED = Backoff(first=4.0 * SESSION_SECONDS, longest=600.0)


@dataclass(slots=True)
class _Owned:
    """A lane assigned to us.

    Attributes:
        removed: connectors that were removed, and whose recorded failure the lane is still to clear.
        behind: topics that have not been read to their end yet.
        known: set when its connectors have been read once and its requests are followed.
        stopped: why it cannot be worked in, as recorded; `stopped_at`: since when (milliseconds).
        unread: records of the checkpoints topic that came while the lane was being opened, which may not have met them.
    """

    number: int
    connectors: dict[str, Connector] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)
    behind: set[str] = field(default_factory=set)
    known: asyncio.Event = field(default_factory=asyncio.Event)
    stopped: str | None = None
    stopped_at: int | None = None
    unread: list[ConsumedRecord] = field(default_factory=list)
    lane: Lane | None = None
    schedule: LaneSchedule | None = None
    task: asyncio.Task[None] | None = None


class ProducerService:
    """Polls every connector of the lanes that the consumer group assigns, and does their backfills.

    Args:
        only: poll this connector alone.
        once: poll every connector once, and do its backfills, as soon as its lane is ours; then end.
        on_poll: called after every poll that went well; on_failure: after every other one (connector, cause).
    """

    def __init__(
        self,
        context: ProducerContext,
        *,
        only: str | None = None,
        once: bool = False,
        on_poll: Callable[[PollResult], None] | None = None,
        on_failure: Callable[[str, str], None] | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self._context = context
        self._settings = context.settings
        self._only = only
        self._once = once
        self._on_poll = on_poll
        self._on_failure = on_failure
        self._metrics = ProducerMetrics(metrics or Metrics(), context.settings.partitions)
        self._lanes: dict[int, _Owned] = {}
        self._unread: deque[Message] = deque()
        self._read_again = -math.inf
        self._stopping = asyncio.Event()
        self._slots = PollSlots(context.clock)
        self.failures: dict[str, str] = {}

    def stop(self) -> None:
        """Ends `run` after the transactions in flight."""
        self._stopping.set()

    async def run(self) -> None:
        """Polls until `stop`, or until every connector was polled once. Raises BrokerError, FencedError."""
        loop = asyncio.get_running_loop()
        topics = (self._settings.connectors_topic, self._settings.checkpoints_topic)
        consumer = reader(
            self._settings,
            **{
                "group.id": f"{self._settings.prefix}-producer",
                "session.timeout.ms": SESSION_SECONDS * 1000,
                "heartbeat.interval.ms": SESSION_SECONDS * 1000 // 4,
                # With as many partitions in both topics, it gives both of a lane to the same member.
                "partition.assignment.strategy": "range",
            },
        )

        def assigned(consumer: Consumer, partitions: list[TopicPartition]) -> None:
            # Requests are followed from now on; the lane reads the earlier ones when it opens.
            begin = {topics[0]: OFFSET_BEGINNING, topics[1]: OFFSET_END}
            consumer.assign([TopicPartition(p.topic, p.partition, begin[p.topic]) for p in partitions])
            loop.call_soon_threadsafe(self._take, {p.partition for p in partitions})

        def revoked(consumer: Consumer, partitions: list[TopicPartition]) -> None:
            consumer.unassign()
            numbers = {p.partition for p in partitions}
            asyncio.run_coroutine_threadsafe(self._give_up(numbers), loop).result()

        consumer.subscribe(list(topics), on_assign=assigned, on_revoke=revoked, on_lost=revoked)
        try:
            while not self._finished():
                self._unread += await asyncio.to_thread(consumer.consume, 500, 0.2)
                self._read_messages()
        finally:
            await self._give_up(list(self._lanes))
            await asyncio.to_thread(consumer.close)

    def _finished(self) -> bool:
        if self._stopping.is_set():
            return True
        for owned in self._lanes.values():
            if owned.task is not None and owned.task.done() and not owned.task.cancelled():
                owned.task.result()
                if not self._once:
                    return True
        return (
            self._once and bool(self._lanes) and all(o.task is not None and o.task.done() for o in self._lanes.values())
        )

    def _read_messages(self) -> None:
        """Takes in what was consumed; from a record on that the schema registry does not let us read, later."""
        now = self._context.clock.monotonic()
        if now < self._read_again:
            return
        while self._unread:
            try:
                self._on_message(self._unread[0])
            except RegistryError as error:
                log.warning("records_wait_for_registry", waiting=len(self._unread), cause=str(error))
                self._read_again = now + REGISTRY_SECONDS
                return
            self._unread.popleft()

    def _on_message(self, message: Message) -> None:
        error = message.error()
        owned = self._lanes.get(message.partition() or 0)
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:
                if owned is not None:
                    owned.behind.discard(message.topic() or "")
                    if not owned.behind:
                        owned.known.set()
                return
            if error.retriable() or not error.fatal():
                log.warning("topic_read_failed", topic=message.topic(), cause=error.str())
                return
            raise unreachable(self._settings, KafkaException(error))
        if owned is None:
            return
        try:
            self._follow(owned, message)
        except RegistryError:
            raise
        except Exception as fault:  # noqa: BLE001 - one record must not end the process
            log.error(
                "record_not_followed",
                topic=message.topic(),
                partition=message.partition(),
                offset=message.offset(),
                cause=str(foreseen(fault)),
            )

    def _follow(self, owned: _Owned, message: Message) -> None:
        """Takes in a definition, or what another process wrote into the checkpoints topic."""
        if message.topic() == self._settings.connectors_topic:
            record = consumed_record(message)
            connector = apply(self._context.codec, owned.connectors, record)
            if connector is not None:
                if record.value is None:
                    owned.removed.add(connector)
                elif not owned.known.is_set():  # removed and registered anew long ago: its failure is of now
                    owned.removed.discard(connector)
            if owned.schedule is not None:
                owned.schedule.registry_changed()
        elif owned.lane is None:
            owned.unread.append(consumed_record(message))
        elif owned.schedule is not None:
            connector = owned.lane.on_checkpoint_record(consumed_record(message))
            if connector is not None:
                owned.schedule.state_changed(connector)

    def _take(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            owned = _Owned(number, behind={self._settings.connectors_topic, self._settings.checkpoints_topic})
            owned.task = asyncio.create_task(self._work(owned), name=f"lane-{number}")
            self._lanes[number] = owned
        self._metrics.lanes(len(self._lanes))

    async def _give_up(self, numbers: Collection[int]) -> None:
        self._unread = deque(m for m in self._unread if m.partition() not in numbers)
        given = [self._lanes.pop(n) for n in numbers if n in self._lanes]
        tasks = [owned.task for owned in given if owned.task is not None]
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                log.warning("lane_closed_with_error", cause=str(result))
        for connector in (c for owned in given for c in owned.connectors):
            self._metrics.forget(connector)
        for owned in given:
            self._metrics.lane_stopped(owned.number, False)
        self._metrics.lanes(len(self._lanes))

    async def _work(self, owned: _Owned) -> None:
        """Keeps a lane open and works in it; opens it again after it failed, whatever the cause: other lanes go on."""
        await owned.known.wait()
        clock, failures, fenced = self._context.clock, 0, 0
        while True:
            begun = clock.monotonic()
            try:
                await self._work_in(owned)
                return
            except Exception as error:  # the lane's boundary
                if clock.monotonic() - begun >= STEADY_SECONDS:
                    failures = fenced = 0
                failures += 1
                if self._once and not isinstance(error, BrokerError):
                    raise
                self._metrics.lane_stopped(owned.number, True)
                if isinstance(error, FencedError):
                    # Reopened at once it would fence the new owner in turn: the group decides whose it is.
                    fenced += 1
                    log.warning("lane_fenced", lane=owned.number, cause=str(error))
                    await clock.sleep(FENCED.seconds(fenced))
                    continue
                cause = str(error if isinstance(error, OperationalError) else foreseen(error))
                log.warning("lane_reopening", lane=owned.number, failures=failures, cause=cause)
                if failures >= RECORDED_AFTER:
                    await self._record_stopped(owned, cause)
                await clock.sleep(REOPEN.seconds(failures))

    async def _record_stopped(self, owned: _Owned, cause: str) -> None:
        """Records why the lane's connectors are not polled, outside of its transactions: it cannot be opened."""
        now = self._context.clock.now()
        text = f"Lane {owned.number} (a partition of every topic) cannot be worked in, and is tried again: {cause}"
        failures = [
            PollFailure(c.id, Failure.TRANSIENT.value, text, owned.stopped_at or now, now, self._spent(c.id))
            for c in self._wanted(owned)
        ]
        if text == owned.stopped:
            return
        owned.stopped, owned.stopped_at = text, owned.stopped_at or now
        try:
            made = [Records(self._context, f.connector, owned.number).poll_failure(f) for f in failures]
            await asyncio.to_thread(put_all, self._settings, made, 15.0)
        except Exception as error:  # noqa: BLE001 - it is in the log, and in the metrics
            log.warning("lane_failure_not_recorded", lane=owned.number, cause=str(foreseen(error)))

    def _spent(self, connector: str) -> tuple[int, int]:
        budget = self._context.budgets.get(connector)
        return budget.spent if budget is not None else (0, 0)

    async def _work_in(self, owned: _Owned) -> None:
        owned.unread.clear()
        lane = await Lane.open(self._context, owned.number)
        owned.lane, owned.stopped, owned.stopped_at = lane, None, None
        self._metrics.lane_stopped(owned.number, False)
        for record in owned.unread:
            lane.on_checkpoint_record(record)
        owned.unread.clear()
        owned.schedule = LaneSchedule(
            lane,
            self._context.clock,
            self._slots,
            Observer(self._polled, self._failed, self._metrics.backfilled),
            lambda: self._wanted(owned),
            self._once,
            owned.removed,
        )
        try:
            await owned.schedule.run()
        finally:
            owned.lane = owned.schedule = None
            await lane.close()

    def _wanted(self, owned: _Owned) -> list[Connector]:
        return [
            c for c in owned.connectors.values() if c.state == "ACTIVE" and (self._only is None or c.id == self._only)
        ]

    def _polled(self, result: PollResult, feed: Feed, seconds: float) -> None:
        self.failures.pop(result.connector, None)
        self._metrics.polled(result, feed, seconds)
        if self._on_poll is not None:
            self._on_poll(result)

    def _failed(self, connector: str, error: Exception) -> None:
        cause = cause_of(error, connector)
        level = logging.DEBUG if self.failures.get(connector) == cause else logging.WARNING
        log.log(level, "poll_failed", connector=connector, failure=failure_of(error), cause=cause)
        self.failures[connector] = cause
        self._metrics.failed(connector, error)
        if self._on_failure is not None:
            self._on_failure(connector, cause)
