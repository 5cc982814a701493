"""The producer as a service: owns lanes through the consumer group, and works in each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import structlog
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicPartition

from frame_gainsight.connectors import Connector, apply
from frame_gainsight.kafka import ConsumedRecord, consumed_record, reader
from frame_gainsight.kafka.clients import unreachable
from frame_gainsight.runtime import FencedError, OperationalError, cause_of
from frame_gainsight.runtime.metrics import Metrics
from producer.context import ProducerContext
from producer.lane import Lane
from producer.metrics import ProducerMetrics
from producer.polling.feed import Feed
from producer.polling.poller import PollResult
from producer.schedule import LaneSchedule, Observer, PollSlots
from producer.state.poll_failure import failure_of
from schemas import SchemaError

log = structlog.get_logger(__name__)

SESSION_SECONDS = 8  # after which a dead producer's lanes go to others
REOPEN_SECONDS = 2.0  # after Kafka failed
# A lane that another process has taken is revoked by the group within a session, unless that one is no member of it.
FENCED_SECONDS = 4.0 * SESSION_SECONDS


@dataclass(slots=True)
class _Owned:
    """A lane assigned to us.

    Attributes:
        removed: connectors that were removed, and whose recorded failure the lane is still to clear.
        behind: topics that have not been read to their end yet.
        known: set when its connectors have been read once and its requests are followed.
        unread: records of the checkpoints topic that came while the lane was being opened, which may not have met them.
    """

    number: int
    connectors: dict[str, Connector] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)
    behind: set[str] = field(default_factory=set)
    known: asyncio.Event = field(default_factory=asyncio.Event)
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
                for message in await asyncio.to_thread(consumer.consume, 500, 0.2):
                    self._on_message(message)
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
                owned.schedule.backfills_changed(connector)

    def _take(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            owned = _Owned(number, behind={self._settings.connectors_topic, self._settings.checkpoints_topic})
            owned.task = asyncio.create_task(self._work(owned), name=f"lane-{number}")
            self._lanes[number] = owned
        self._metrics.lanes(len(self._lanes))

    async def _give_up(self, numbers: Iterable[int]) -> None:
        given = [self._lanes.pop(n) for n in numbers if n in self._lanes]
        tasks = [owned.task for owned in given if owned.task is not None]
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                log.warning("lane_closed_with_error", cause=str(result))
        for connector in (c for owned in given for c in owned.connectors):
            self._metrics.forget(connector)
        self._metrics.lanes(len(self._lanes))

    async def _work(self, owned: _Owned) -> None:
        """Keeps a lane open and works in it; opens it again after Kafka failed. Raises FencedError."""
        await owned.known.wait()
        while True:
            try:
                await self._work_in(owned)
                return
            except FencedError as error:
                # Reopened it would fence the new owner in turn: the group decides whose it is.
                log.warning("lane_fenced", lane=owned.number, cause=str(error))
                await self._context.clock.sleep(FENCED_SECONDS)
                raise
            except (OperationalError, SchemaError) as error:
                log.warning("lane_reopening", lane=owned.number, cause=str(error))
                await self._context.clock.sleep(REOPEN_SECONDS)

    async def _work_in(self, owned: _Owned) -> None:
        owned.unread.clear()
        lane = await Lane.open(self._context, owned.number)
        owned.lane = lane
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
