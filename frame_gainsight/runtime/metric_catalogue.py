"""The catalogue of metrics: each declared once with its meaning, examples of alerts, and the page that lists them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PREFIX = "frame_gainsight"

# Label → its meaning and, where they are few, its only values.
LABELS: dict[str, tuple[str, tuple[str, ...]]] = {
    "call": ("the object queried, or `describe`", ()),
    "connector": ("its id", ()),
    "failure": ("whose turn it is to act", ("transient", "config", "throttled", "data")),
    "kind": ("what the activities were read for", ("live", "backfill")),
    "outcome": ("how a poll ended", ("ok", "transient", "config", "throttled", "data")),
    "service": ("the service that counts", ("producer", "enricher")),
}


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric's declaration; `name` is without the prefix. A histogram has `buckets`: its upper bounds, in `unit`."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    unit: str = ""

    @property
    def full_name(self) -> str:
        return f"{PREFIX}_{self.name}"


_C = ("connector",)
_CS = ("connector", "service")
_CALLS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_LATE = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14_400, 28_800, 86_400)
_SIZES = (1, 10, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000)
_COMMITS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

METRICS: tuple[Metric, ...] = (
    # Is every connector read?
    Metric(
        "cursor_timestamp_seconds",
        "gauge",
        "Time of the tenant until which live polling has read everything; time() less this is the freshness.",
        _C,
        unit="seconds",
    ),
    Metric("period_seconds", "gauge", "The connector's polling period.", _C, unit="seconds"),
    Metric("polls_total", "counter", "Polls that ended.", ("connector", "outcome")),
    Metric("failing", "gauge", "1 for the class of the failure of the last poll, else 0.", ("connector", "failure")),
    Metric(
        "poll_duration_seconds", "histogram", "How long a poll took, its waits included.", (), _CALLS, unit="seconds"
    ),
    # What was read and written?
    Metric("activities_read_total", "counter", "Rows read, those of the overlap every time.", _C),
    Metric("activities_written_total", "counter", "Versions written to the raw topic.", ("connector", "kind")),
    Metric("activities_unchanged_total", "counter", "Rows read that the raw topic had already.", _C),
    Metric("tombstones_written_total", "counter", "Deletions written to the raw topic.", _C),
    Metric("dead_letters_total", "counter", "Records that could not be read and went to the dead letters.", _CS),
    # Does everything come out?
    Metric("conversations_written_total", "counter", "Conversations published.", _C),
    Metric("conversations_deleted_total", "counter", "Tombstones published for deleted activities.", _C),
    Metric("parked_activities", "gauge", "Activities that wait for their tenant or connector to recover.", _C),
    Metric(
        "circuit_open",
        "gauge",
        "1 for the class of the failure for which the enricher's circuit breaker of the connector is open, else 0.",
        ("connector", "failure"),
    ),
    Metric(
        "delay_seconds",
        "histogram",
        "From the fetch of an activity until what came of it was committed: a conversation, a dead letter, or parked.",
        _C,
        _CALLS,
        unit="seconds",
    ),
    Metric("batch_records", "histogram", "Records in a batch of the enricher.", (), _SIZES),
    Metric(
        "batch_duration_seconds",
        "histogram",
        "How long a batch took, until its transaction.",
        (),
        _CALLS,
        unit="seconds",
    ),
    Metric("entities", "gauge", "Answers of tenants that the enricher has in memory."),
    # Is the overlap long enough?
    Metric(
        "lateness_seconds",
        "histogram",
        "How much of the overlap was needed: how far before the cursor a row lay that was read for the first time.",
        _C,
        _LATE,
        unit="seconds",
    ),
    Metric("overlap_seconds", "gauge", "The overlap that polls read again.", _C, unit="seconds"),
    # Does the allowance last?
    Metric(
        "api_calls_total", "counter", "Calls to the tenant's API, retries included.", ("connector", "service", "call")
    ),
    Metric(
        "api_calls_left_today",
        "gauge",
        "Calls that are left of the connector's share of the tenant's daily allowance, as of the last call.",
        _CS,
    ),
    Metric("api_calls_daily_limit", "gauge", "The connector's share of the tenant's daily allowance.", _CS),
    # Backfill
    Metric("backfill_rows_total", "counter", "Rows that backfills read.", _C),
    Metric(
        "backfill_progress_ratio", "gauge", "Part of the backfill's time range that was read, 0 to 1.", _C, unit="ratio"
    ),
    # Kafka
    Metric("lanes", "gauge", "How many lanes there are: the topics' partitions.", ("service",)),
    Metric("lanes_owned", "gauge", "Lanes that this process has.", ("service",)),
    Metric("lanes_stopped", "gauge", "Lanes of these that cannot be worked in now; the log has why.", ("service",)),
    Metric(
        "transaction_duration_seconds",
        "histogram",
        "How long a Kafka transaction took, from its begin to its commit.",
        ("service",),
        _COMMITS,
        unit="seconds",
    ),
)
DECLARED = {metric.name: metric for metric in METRICS}


@dataclass(frozen=True, slots=True)
class Alert:
    """An example of a Prometheus alerting rule; `lasting` is its `for`."""

    name: str
    expr: str
    lasting: str
    severity: Literal["page", "ticket"]
    summary: str


ALERTS: tuple[Alert, ...] = (
    Alert(
        "ConnectorNotFresh",
        "time() - max by (connector) (frame_gainsight_cursor_timestamp_seconds)\n"
        "  > 60 + 3 * max by (connector) (frame_gainsight_period_seconds)",
        "5m",
        "page",
        "{{ $labels.connector }} was not read for three periods. Its polls_total and failing say why.",
    ),
    Alert(
        "LaneWithoutOwner",
        'sum(frame_gainsight_lanes_owned{service="producer"}) < max(frame_gainsight_lanes{service="producer"})\n'
        '  or absent(frame_gainsight_lanes_owned{service="producer"})',
        "5m",
        "page",
        "The connectors of a lane are not polled: a producer is down, or cannot open it.",
    ),
    Alert(
        "ConnectorNeedsSomebody",
        'max by (connector) (frame_gainsight_failing{failure="config"}) == 1',
        "10m",
        "ticket",
        "{{ $labels.connector }} fails until its key, allowlist or mapping is set right. The log says which.",
    ),
    Alert(
        "OverlapNearlyTooShort",
        "histogram_quantile(0.999, sum by (connector, le) (increase(frame_gainsight_lateness_seconds_bucket[1d])))\n"
        "  > 0.5 * max by (connector) (frame_gainsight_overlap_seconds)",
        "0m",
        "ticket",
        "Late rows of {{ $labels.connector }} need more than half of its overlap; one beyond it would be missed. Make "
        "the overlap longer.",
    ),
    Alert(
        "AllowanceNearlySpent",
        "frame_gainsight_api_calls_left_today / frame_gainsight_api_calls_daily_limit < 0.1",
        "5m",
        "ticket",
        "The {{ $labels.service }} has used 90% of the day's calls of {{ $labels.connector }}, and stops when none is "
        "left. Make the period longer or api_share larger.",
    ),
    Alert(
        "DeadLetters",
        "sum by (connector, service) (increase(frame_gainsight_dead_letters_total[1h])) > 0",
        "0m",
        "ticket",
        "Records of {{ $labels.connector }} could not be read. The dead letters say which and why.",
    ),
    Alert(
        "EnricherLaneWithoutOwner",
        'sum(frame_gainsight_lanes_owned{service="enricher"}) < max(frame_gainsight_lanes{service="enricher"})\n'
        '  or absent(frame_gainsight_lanes_owned{service="enricher"})',
        "5m",
        "page",
        "The activities of a lane are not enriched: an enricher is down, or cannot open it.",
    ),
    Alert(
        "ActivitiesWait",
        "max by (connector) (frame_gainsight_parked_activities) > 0",
        "60m",
        "ticket",
        "Activities of {{ $labels.connector }} are parked. circuit_open says whose turn it is to act; they are "
        "retried by themselves when the connector works again.",
    ),
    Alert(
        "EnricherFallsBehind",
        'min_over_time(kafka_consumergroup_lag{topic="gainsight.timeline.raw"}[15m])\n'
        '  > max_over_time(kafka_consumergroup_lag{topic="gainsight.timeline.raw"}[15m] offset 15m)',
        "30m",
        "page",
        "The lag of lane {{ $labels.partition }} only grows: its enricher stands still, or is too slow.",
    ),
)


def metrics_page() -> str:
    """docs/metrics.md: every metric and its meaning, and examples of alerts."""
    lines = [
        "# Metrics",
        "",
        "With `FRAME_GAINSIGHT_METRICS_PORT` set ([settings](settings.md)), a service shows them at",
        "`http://127.0.0.1:PORT/metrics` in Prometheus's text format, beside the usual `process_*` ones. Counters",
        "begin at 0 with the process. A connector's series end in a process that loses its lane and begin in the one",
        "that gets it: sum and take maxima `by (connector)`, over all processes. Of a customer, labels hold the",
        "connector's id and the names of objects, nothing else.",
        "",
        "| metric | kind | labels | |",
        "| --- | --- | --- | --- |",
    ]
    for m in METRICS:
        labels = ", ".join(f"`{label}`" for label in m.labels)
        lines.append(f"| `{m.full_name}` | {m.kind} | {labels} | {m.help} |")
    lines += ["", "| histogram | its buckets, up to and including |", "| --- | --- |"]
    for m in METRICS:
        if m.buckets:
            lines.append(f"| `{m.full_name}` | {', '.join(f'{b:g}' for b in m.buckets)} {m.unit}".rstrip() + " |")
    lines += ["", "| label | |", "| --- | --- |"]
    for label, (meaning, values) in LABELS.items():
        lines.append(f"| `{label}` | {meaning}{': ' if values else ''}{', '.join(f'`{v}`' for v in values)} |")
    lines += [
        "",
        "## Alerts",
        "",
        "Examples, to be tuned: `page` wakes a person, `ticket` waits for the morning.",
        "",
        "A lag is no alarm by itself: alert on one that grows, never on one that is not 0. Every transaction ends with",
        "a marker that takes an offset and is no record, so a consumer that has read everything can still show a lag.",
        "`kafka_consumergroup_lag` is that of [kafka_exporter](https://github.com/danielqsj/kafka_exporter); put in",
        "your topic's name and, where others read the topic too, your group's.",
        "",
        "```yaml",
        "groups:",
        "  - name: frame-gainsight",
        "    rules:",
    ]
    for alert in ALERTS:
        lines += [f"      - alert: {alert.name}", "        expr: |"]
        lines += [f"          {line}" for line in alert.expr.splitlines()]
        lines += [
            f"        for: {alert.lasting}",
            "        labels:",
            f"          severity: {alert.severity}",
            "        annotations:",
            f'          summary: "{alert.summary}"',
        ]
    return "\n".join([*lines, "```"]) + "\n"
