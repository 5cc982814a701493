"""The producer as a service: owns lanes through the consumer group, polls their connectors on their periods."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from bus import BusError, FencedError, Settings, incoming, reader
from bus.clients import unreachable
from connectors import Connector, Vault, VaultError, apply
from gainsight import Clock, GainsightError
from producer.lane import Lane
from producer.poller import PollResult
from producer.timeline import StuckError
from schemas import Codec

log = structlog.get_logger(__name__)

SESSION_SECONDS = 8  # after which a dead producer's lanes go to others
REOPEN_SECONDS = 2.0  # after Kafka failed


@dataclass(slots=True)
class _Owned:
    """A lane assigned to us. `known` is set when all its connectors have been read once."""

    number: int
    connectors: dict[str, Connector] = field(default_factory=dict)
    known: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class ProducerService:
    """Polls every connector of the lanes that the group gives us.

    Args:
        only: poll this connector alone.
        since: connector → milliseconds to read again from.
        once: poll every connector once, as soon as its lane is ours, and end.
        on_poll: told of every poll that went well; on_failure: of every other one (connector, cause).
    """

    def __init__(
        self,
        settings: Settings,
        codec: Codec,
        vault: Vault,
        clock: Clock,
        *,
        only: str | None = None,
        since: dict[str, int] | None = None,
        once: bool = False,
        on_poll: Callable[[PollResult], None] | None = None,
        on_failure: Callable[[str, str], None] | None = None,
    ) -> None:
        self._settings = settings
        self._codec = codec
        self._vault = vault
        self._clock = clock
        self._only = only
        self._since = dict(since or {})
        self._once = once
        self._on_poll = on_poll
        self._on_failure = on_failure
        self._lanes: dict[int, _Owned] = {}
        self._stopping = asyncio.Event()
        self.failures: dict[str, str] = {}

    def stop(self) -> None:
        """Ends `run` after the transactions in flight."""
        self._stopping.set()

    async def run(self) -> None:
        """Polls until `stop`, or until every connector was polled once. Raises BrokerError, FencedError."""
        loop = asyncio.get_running_loop()
        consumer = reader(
            self._settings,
            **{
                "group.id": f"{self._settings.prefix}-producer",
                "session.timeout.ms": SESSION_SECONDS * 1000,
                "heartbeat.interval.ms": SESSION_SECONDS * 1000 // 4,
                "partition.assignment.strategy": "range",
            },
        )

        def assigned(consumer: Consumer, partitions: list[TopicPartition]) -> None:
            numbers = [p.partition for p in partitions]
            consumer.assign([TopicPartition(p.topic, p.partition, OFFSET_BEGINNING) for p in partitions])
            loop.call_soon_threadsafe(self._take, numbers)

        def revoked(consumer: Consumer, partitions: list[TopicPartition]) -> None:
            consumer.unassign()
            numbers = [p.partition for p in partitions]
            asyncio.run_coroutine_threadsafe(self._give_up(numbers), loop).result()

        consumer.subscribe([self._settings.connectors_topic], on_assign=assigned, on_revoke=revoked, on_lost=revoked)
        try:
            while not self._finished():
                messages = await asyncio.to_thread(consumer.consume, 500, 0.2)
                for message in messages:
                    self._on_message(message)
        finally:
            await self._give_up(list(self._lanes))
            await asyncio.to_thread(consumer.close)

    def _finished(self) -> bool:
        if self._stopping.is_set():
            return True
        for owned in self._lanes.values():
            if owned.task is not None and owned.task.done() and not owned.task.cancelled():
                if (error := owned.task.exception()) is not None:
                    raise error
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
                    owned.known.set()
                return
            if error.retriable() or not error.fatal():
                log.warning("connectors_topic", cause=error.str())
                return
            raise unreachable(self._settings, KafkaException(error))
        if owned is not None:
            apply(self._codec, owned.connectors, incoming(message))
            owned.changed.set()

    def _take(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            owned = _Owned(number)
            owned.task = asyncio.create_task(self._work(owned), name=f"lane-{number}")
            self._lanes[number] = owned

    async def _give_up(self, numbers: Iterable[int]) -> None:
        tasks = [self._lanes.pop(n).task for n in numbers if n in self._lanes]
        for task in tasks:
            if task is not None:
                task.cancel()
        for result in await asyncio.gather(*(t for t in tasks if t is not None), return_exceptions=True):
            if isinstance(result, Exception):
                log.warning("lane_closed_with_error", cause=str(result))

    async def _work(self, owned: _Owned) -> None:
        """Keeps a lane open and polls in it; opens it anew when Kafka failed."""
        await owned.known.wait()
        while True:
            lane = await Lane.open(
                self._settings, self._codec, self._vault, self._clock, owned.number, self._take_since(owned)
            )
            try:
                async with asyncio.TaskGroup() as group:
                    if self._once:
                        for connector in self._wanted(owned):
                            group.create_task(self._poll(lane, connector.id, owned))
                    else:
                        group.create_task(self._schedule(lane, owned, group))
                return
            except* FencedError as errors:
                log.error("fenced", lane=owned.number, cause=str(errors.exceptions[0]))
                raise errors.exceptions[0] from None
            except* BusError as errors:
                log.warning("lane_reopens", lane=owned.number, cause=str(errors.exceptions[0]))
                await self._clock.sleep(REOPEN_SECONDS)
            finally:
                await lane.close()

    def _take_since(self, owned: _Owned) -> dict[str, int]:
        """What this lane is to read again; only once, however often the lane is opened."""
        return {c: self._since.pop(c) for c in list(self._since) if c in owned.connectors}

    def _wanted(self, owned: _Owned) -> list[Connector]:
        return [
            c for c in owned.connectors.values() if c.state == "ACTIVE" and (self._only is None or c.id == self._only)
        ]

    async def _schedule(self, lane: Lane, owned: _Owned, group: asyncio.TaskGroup) -> None:
        """Starts a loop per connector, and follows the registry."""
        loops: dict[str, asyncio.Task[None]] = {}
        while True:
            owned.changed.clear()
            wanted = {c.id for c in self._wanted(owned)}
            ending = [loops.pop(gone) for gone in loops.keys() - wanted]
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)  # the group raises what they failed with
            await lane.keep_only(wanted)
            for new in wanted - loops.keys():
                loops[new] = group.create_task(self._keep_polling(lane, new, owned))
            await owned.changed.wait()

    async def _keep_polling(self, lane: Lane, connector: str, owned: _Owned) -> None:
        while True:
            begun = self._clock.monotonic()
            await self._poll(lane, connector, owned)
            if (known := owned.connectors.get(connector)) is None:
                return
            await self._clock.sleep(max(0.0, known.definition.period - (self._clock.monotonic() - begun)))

    async def _poll(self, lane: Lane, connector: str, owned: _Owned) -> None:
        """One poll. A tenant's trouble is said and waits for the next period; Kafka's is the lane's."""
        try:
            if (registered := owned.connectors.get(connector)) is None:  # removed a moment ago
                return
            poller = await lane.poller(registered)
            result = await poller.poll()
        except (GainsightError, VaultError, StuckError) as error:
            self.failures[connector] = str(error)
            log.warning("poll_failed", connector=connector, cause=str(error))
            if self._on_failure is not None:
                self._on_failure(connector, str(error))
            return
        self.failures.pop(connector, None)
        if self._on_poll is not None:
            self._on_poll(result)
