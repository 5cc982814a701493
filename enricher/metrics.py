"""The enricher's metrics: what its transactions committed, and what waits in its lanes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from weakref import WeakKeyDictionary

from frame_gainsight.gainsight import GainsightClient
from frame_gainsight.kafka import ConsumedRecord, ProducerRecord
from frame_gainsight.runtime import Clock, Settings
from frame_gainsight.runtime.metric_catalogue import LABELS
from frame_gainsight.runtime.metrics import Metrics
from schemas.raw_topic import connector_of

SERVICE = "enricher"
UNKNOWN = "?"  # stands for every connector that is not registered; no id has such a character


class EnricherMetrics:
    """Sets the metrics of one enricher process: of all its lanes together."""

    def __init__(self, metrics: Metrics, settings: Settings, clock: Clock) -> None:
        self._metrics = metrics
        self._settings = settings
        self._clock = clock
        self._lanes: dict[int, set[str]] = {}
        self._entities: dict[int, int] = {}
        self._calls: WeakKeyDictionary[GainsightClient, Counter[str]] = WeakKeyDictionary()
        metrics.set("lanes", settings.partitions, service=SERVICE)
        metrics.set("lanes_owned", 0, service=SERVICE)

    def opened(self, lane: int) -> None:
        """Counts a lane as owned."""
        self._lanes[lane] = set()
        self._metrics.set("lanes_owned", len(self._lanes), service=SERVICE)

    def closed(self, lane: int) -> None:
        """Forgets a lane, which another process owns now, and its connectors."""
        for connector in self._lanes.pop(lane, ()):
            self._metrics.forget(connector)
        self._entities.pop(lane, None)
        self._metrics.set("lanes_owned", len(self._lanes), service=SERVICE)

    def handled(self, records: int, seconds: float) -> None:
        """Notes that a batch became records to publish."""
        self._metrics.observe("batch_records", records)
        self._metrics.observe("batch_duration_seconds", seconds)

    def committed(
        self,
        lane: int,
        registered: Iterable[str],
        records: Sequence[ConsumedRecord],
        out: Sequence[ProducerRecord],
        seconds: float,
    ) -> None:
        """Counts what a transaction committed.

        Args:
            registered: the ids of all registered connectors; others have no series of their own.
            records: the batch that was settled; none for background work.
            seconds: the transaction's duration.
        """
        metrics, topics, known = self._metrics, self._settings, set(registered)
        metrics.observe("transaction_duration_seconds", seconds, service=SERVICE)
        counts: Counter[tuple[str, str]] = Counter()
        for record in out:
            if record.topic == topics.conversations_topic:
                name = "conversations_deleted_total" if record.value is None else "conversations_written_total"
                counts[name, _connector(record.key, known)] += 1
            elif record.topic == topics.dead_letters_topic:
                counts["dead_letters_total", _connector(record.key, known)] += 1
        for (name, connector), count in counts.items():
            more = {"service": SERVICE} if name == "dead_letters_total" else {}
            metrics.inc(name, count, connector=connector, **more)
            self._begin(lane, connector)
        now = self._clock.now()
        for incoming in records:
            connector = _connector(incoming.key, known)
            self._begin(lane, connector)
            metrics.observe("delay_seconds", max(0.0, (now - incoming.timestamp) / 1000), connector=connector)

    def waiting(self, lane: int, parked: Mapping[str, int], failures: Mapping[str, str], entities: int) -> None:
        """Shows what a lane has in memory: connector → parked activities, connector → failure of its open circuit."""
        for connector in parked.keys() | failures.keys():
            self._begin(lane, connector)
        for connector in self._lanes.get(lane, ()):
            self._metrics.set("parked_activities", parked.get(connector, 0), connector=connector)
            for failure in LABELS["failure"][1]:
                is_open = float(failures.get(connector) == failure)
                self._metrics.set("circuit_open", is_open, connector=connector, failure=failure)
        self._entities[lane] = entities
        self._metrics.set("entities", sum(self._entities.values()))

    def called(self, clients: Iterable[tuple[str, GainsightClient]]) -> None:
        """Counts the clients' calls since the last time."""
        for connector, client in clients:
            for call, count in (client.calls - self._calls.get(client, Counter())).items():
                self._metrics.inc("api_calls_total", count, connector=connector, service=SERVICE, call=call)
            self._calls[client] = Counter(client.calls)
            self._metrics.set("api_calls_left_today", client.left_today, connector=connector, service=SERVICE)
            self._metrics.set("api_calls_daily_limit", client.calls_per_day, connector=connector, service=SERVICE)

    def _begin(self, lane: int, connector: str) -> None:
        """Shows a connector's counters from 0 on, until its lane is closed."""
        if connector in self._lanes.setdefault(lane, set()):
            return
        self._lanes[lane].add(connector)
        for name in ("conversations_written_total", "conversations_deleted_total"):
            self._metrics.begin(name, connector=connector)
        self._metrics.begin("dead_letters_total", connector=connector, service=SERVICE)


def _connector(key: bytes | None, known: set[str]) -> str:
    name = connector_of(key)
    return name if name in known else UNKNOWN
