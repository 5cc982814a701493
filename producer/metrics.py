"""The producer's metrics: counts of its polls and backfills."""

from __future__ import annotations

from collections import Counter

from frame_gainsight.runtime.metrics import Metrics
from producer.polling.feed import Feed
from producer.polling.poller import PollResult
from producer.state.backfill import Backfill
from producer.state.poll_failure import failure_of

SERVICE = "producer"


class ProducerMetrics:
    """Sets the metrics of one producer."""

    def __init__(self, metrics: Metrics, lanes: int) -> None:
        self._metrics = metrics
        self._calls: dict[str, Counter[str]] = {}
        self._backfills: dict[str, tuple[int, int]] = {}
        self._stopped: set[int] = set()
        metrics.set("lanes", lanes, service=SERVICE)
        metrics.set("lanes_stopped", 0, service=SERVICE)

    def lanes(self, owned: int) -> None:
        self._metrics.set("lanes_owned", owned, service=SERVICE)

    def lane_stopped(self, lane: int, stopped: bool) -> None:
        """Counts the lanes that cannot be worked in now."""
        (self._stopped.add if stopped else self._stopped.discard)(lane)
        self._metrics.set("lanes_stopped", len(self._stopped), service=SERVICE)

    def forget(self, connector: str) -> None:
        """Drops the figures of a connector that this process polls no more."""
        self._metrics.forget(connector)
        self._calls.pop(connector, None)
        self._backfills.pop(connector, None)

    def polled(self, result: PollResult, feed: Feed, seconds: float) -> None:
        metrics, connector = self._metrics, result.connector
        metrics.inc("polls_total", connector=connector, outcome="ok")
        metrics.observe("poll_duration_seconds", seconds)
        metrics.inc("activities_read_total", result.rows, connector=connector)
        metrics.inc("activities_written_total", result.written, connector=connector, kind="live")
        metrics.inc("activities_unchanged_total", result.unchanged, connector=connector)
        metrics.inc("tombstones_written_total", result.tombstones, connector=connector)
        metrics.inc("dead_letters_total", result.dead, connector=connector, service=SERVICE)
        for late in result.late:
            metrics.observe("lateness_seconds", late, connector=connector)
        metrics.set("overlap_seconds", feed.overlap / 1000, connector=connector)
        metrics.set("period_seconds", feed.definition.period, connector=connector)
        metrics.set("cursor_timestamp_seconds", feed.write_order.checkpoint.cursor / 1000, connector=connector)
        # A poll goes on without a column that vanished; people have to mend it all the same.
        self._metrics.set_failing(connector, "config" if result.missing else None)
        self._called(feed)

    def failed(self, connector: str, error: Exception) -> None:
        failure = failure_of(error)
        self._metrics.inc("polls_total", connector=connector, outcome=failure)
        self._metrics.set_failing(connector, failure)

    def backfilled(self, backfill: Backfill, feed: Feed) -> None:
        connector = backfill.connector
        rows, written = self._backfills.get(connector, (0, 0))
        if backfill.rows >= rows:
            self._metrics.inc("backfill_rows_total", backfill.rows - rows, connector=connector)
        if backfill.written >= written:
            self._metrics.inc(
                "activities_written_total", backfill.written - written, connector=connector, kind="backfill"
            )
        self._backfills[connector] = (backfill.rows, backfill.written)
        if not backfill.is_open:
            del self._backfills[connector]
        self._metrics.set("backfill_progress_ratio", backfill.done_part(), connector=connector)
        self._called(feed)

    def _called(self, feed: Feed) -> None:
        """Counts the client's calls since the last count."""
        client, connector = feed.client, feed.definition.id
        before = self._calls.get(connector, Counter())
        if any(client.calls[name] < count for name, count in before.items()):  # a new client
            before = Counter()
        for call, count in (client.calls - before).items():
            self._metrics.inc("api_calls_total", count, connector=connector, service=SERVICE, call=call)
        self._calls[connector] = Counter(client.calls)
        self._metrics.set("api_calls_left_today", client.left_today, connector=connector, service=SERVICE)
        self._metrics.set("api_calls_daily_limit", client.calls_per_day, connector=connector, service=SERVICE)
