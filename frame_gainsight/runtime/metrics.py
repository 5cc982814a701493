"""A service's values of the catalogue's metrics, and their HTTP endpoint."""

from __future__ import annotations

from threading import Thread
from wsgiref.simple_server import WSGIServer

import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
    start_http_server,
)

from frame_gainsight.runtime.errors import SettingsError
from frame_gainsight.runtime.metric_catalogue import DECLARED, LABELS, METRICS
from frame_gainsight.runtime.terminal import one_line

log = structlog.get_logger(__name__)


class Metrics:
    """A process's values. Each instance has a registry of its own: two services in one process share nothing.

    Names are those of `METRICS`, without the prefix. Another name raises KeyError; the wrong kind, other labels than
    the declared ones, or a value that a label does not have, ValueError. May be used from any thread.
    """

    def __init__(self) -> None:
        # Process-wide, alas: without it every counter has a second series, which is of no use.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        self._serving: tuple[WSGIServer, Thread] | None = None
        for m in METRICS:
            if m.kind == "counter":
                self._counters[m.name] = Counter(m.full_name, m.help, m.labels, registry=self._registry)
            elif m.kind == "gauge":
                self._gauges[m.name] = Gauge(m.full_name, m.help, m.labels, registry=self._registry)
            else:
                self._histograms[m.name] = Histogram(
                    m.full_name, m.help, m.labels, registry=self._registry, buckets=m.buckets
                )
        ProcessCollector(registry=self._registry)

    def begin(self, name: str, **labels: str) -> None:
        """Shows a counter or histogram at 0: to Prometheus, one that appears with its first count has not risen."""
        _check(name, "counter" if name in self._counters else "histogram", labels)
        labels = _plain(labels)
        if labels:
            (self._counters.get(name) or self._histograms[name]).labels(**labels)

    def inc(self, name: str, amount: float = 1, **labels: str) -> None:
        """Adds to a counter."""
        _check(name, "counter", labels)
        labels = _plain(labels)
        counter = self._counters[name]
        (counter.labels(**labels) if labels else counter).inc(amount)

    def set(self, name: str, value: float, **labels: str) -> None:
        """Sets a gauge."""
        _check(name, "gauge", labels)
        labels = _plain(labels)
        gauge = self._gauges[name]
        (gauge.labels(**labels) if labels else gauge).set(value)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Adds a value to a histogram, in the metric's unit."""
        _check(name, "histogram", labels)
        labels = _plain(labels)
        histogram = self._histograms[name]
        (histogram.labels(**labels) if labels else histogram).observe(value)

    def set_failing(self, connector: str, failure: str | None) -> None:
        """Sets `failing` of a connector: 1 for this class, 0 for the others; None: its last poll went well."""
        values = LABELS["failure"][1]
        if failure is not None and failure not in values:
            raise ValueError(f"failure={failure!r} is none of {', '.join(values)}")
        for value in values:
            self.set("failing", float(value == failure), connector=connector, failure=value)

    def forget(self, connector: str) -> None:
        """Drops every series of a connector that was removed or whose lane was lost: a value that stands still
        misleads. To be called after the connector's last poll has ended, which would bring them back."""
        for family in (self._counters, self._gauges, self._histograms):
            for name, collector in family.items():
                if "connector" in DECLARED[name].labels:
                    collector.remove_by_labels(_plain({"connector": connector}))

    def text(self) -> str:
        """Everything in Prometheus's text format, with the process's own `process_*` metrics."""
        return generate_latest(self._registry).decode()

    def serve(self, port: int, address: str = "127.0.0.1") -> int:
        """Serves `text` over HTTP at /metrics from a daemon thread, until `close`.

        Returns the port, also where 0 asked for a free one. Raises SettingsError when it cannot be had.
        """
        if self._serving is not None:
            raise RuntimeError("these metrics are served already")
        try:
            self._serving = start_http_server(port, address, self._registry)
        except OSError as error:
            raise SettingsError(
                f"Metrics cannot be served at {address}, port {port}: {error.strerror or error}. Set "
                "FRAME_GAINSIGHT_METRICS_PORT to a free port and FRAME_GAINSIGHT_METRICS_ADDRESS to an address of "
                "this machine."
            ) from error
        actual = self._serving[0].server_port
        log.info("metrics_served", address=address, port=actual)
        return actual

    def close(self) -> None:
        """Ends `serve`, where it was called; the values stay."""
        if self._serving is None:
            return
        server, thread = self._serving
        self._serving = None
        server.shutdown()
        server.server_close()
        thread.join()


def _plain(labels: dict[str, str]) -> dict[str, str]:
    """Labels whose values are each in one line: Prometheus's format is one of lines, and only escapes line feeds."""
    return {name: one_line(value) for name, value in labels.items()}


def _check(name: str, kind: str, labels: dict[str, str]) -> None:
    metric = DECLARED[name]
    if metric.kind != kind:
        raise ValueError(f"{name} is a {metric.kind}, not a {kind}")
    if labels.keys() != set(metric.labels):
        raise ValueError(f"{name} has the labels ({', '.join(metric.labels)}), not ({', '.join(labels)})")
    for label, value in labels.items():
        values = LABELS[label][1]
        if values and value not in values:
            raise ValueError(f"{name}: {label}={value!r} is none of {', '.join(values)}")
