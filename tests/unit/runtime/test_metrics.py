"""Metrics: each declared once, by Prometheus's conventions; a wrong use is an error, and a scrape shows the values."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from frame_gainsight.runtime import SettingsError
from frame_gainsight.runtime.metric_catalogue import ALERTS, DECLARED, LABELS, METRICS, Metric, metrics_page
from frame_gainsight.runtime.metrics import Metrics

RESERVED = ("_bucket", "_count", "_sum", "_created", "_info")  # suffixes that the format itself gives


@pytest.fixture
def metrics() -> Iterator[Metrics]:
    made = Metrics()
    yield made
    made.close()


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name.removeprefix("frame_gainsight_"), frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(text: str, name: str, **labels: str) -> float | None:
    return samples(text).get((name, frozenset(labels.items())))


def some(metric: Metric, connector: str = "acme") -> dict[str, str]:
    """Valid labels of a metric."""
    return {
        label: connector if label == "connector" else (LABELS[label][1] or ("company",))[0] for label in metric.labels
    }


def use(metrics: Metrics, metric: Metric, **labels: str) -> None:
    {"counter": metrics.inc, "gauge": metrics.set, "histogram": metrics.observe}[metric.kind](metric.name, 1, **labels)


def test_every_name_is_declared_once() -> None:
    assert len(DECLARED) == len(METRICS)


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.name)
def test_names_and_texts_keep_to_the_conventions(metric: Metric) -> None:
    assert re.fullmatch(r"frame_gainsight_[a-z]+(_[a-z]+)*", metric.full_name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert not metric.name.endswith(RESERVED)
    assert metric.help.endswith(".") and "|" not in metric.help and "\n" not in metric.help
    assert set(metric.labels) <= LABELS.keys()
    units = [unit for unit in ("seconds", "bytes", "ratio") if metric.name.removesuffix("_total").endswith(f"_{unit}")]
    assert units == ([metric.unit] if metric.unit else [])


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.name)
def test_histograms_alone_have_buckets_that_rise(metric: Metric) -> None:
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert list(metric.buckets) == sorted(set(metric.buckets))


def test_labels_are_all_in_use() -> None:
    assert {label for metric in METRICS for label in metric.labels} == LABELS.keys()


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.name)
def test_a_value_shows_under_its_full_name_and_labels(metric: Metric, metrics: Metrics) -> None:
    use(metrics, metric, **some(metric))
    shown = metric.name + ("_sum" if metric.kind == "histogram" else "")
    assert metric.full_name in metrics.text()
    assert value(metrics.text(), shown, **some(metric)) == 1


def test_counters_add_gauges_replace_and_histograms_sort_into_buckets(metrics: Metrics) -> None:
    metrics.inc("activities_read_total", connector="acme")
    metrics.inc("activities_read_total", 4, connector="acme")
    metrics.set("overlap_seconds", 600, connector="acme")
    metrics.set("overlap_seconds", 900, connector="acme")
    metrics.observe("lateness_seconds", 300, connector="acme")
    metrics.observe("lateness_seconds", 301, connector="acme")
    text = metrics.text()
    assert value(text, "activities_read_total", connector="acme") == 5
    assert value(text, "overlap_seconds", connector="acme") == 900
    assert value(text, "lateness_seconds_bucket", connector="acme", le="300.0") == 1
    assert value(text, "lateness_seconds_bucket", connector="acme", le="600.0") == 2


@pytest.mark.parametrize("metric", [m for m in METRICS if m.kind != "gauge"], ids=lambda m: m.name)
def test_a_counter_or_histogram_can_be_shown_before_it_counts(metric: Metric, metrics: Metrics) -> None:
    shown = metric.name + ("_count" if metric.kind == "histogram" else "")
    assert value(metrics.text(), shown, **some(metric)) == (None if metric.labels else 0)
    metrics.begin(metric.name, **some(metric))
    assert value(metrics.text(), shown, **some(metric)) == 0


def test_a_gauge_is_not_shown_before_it_is_known(metrics: Metrics) -> None:
    with pytest.raises(ValueError, match="is a gauge"):
        metrics.begin("cursor_timestamp_seconds", connector="acme")


def test_one_class_of_failure_is_shown_at_a_time(metrics: Metrics) -> None:
    def shown() -> dict[str, float | None]:
        return {f: value(metrics.text(), "failing", connector="acme", failure=f) for f in LABELS["failure"][1]}

    metrics.set_failing("acme", "transient")
    metrics.set_failing("acme", "config")
    assert shown() == {"transient": 0, "config": 1, "throttled": 0, "data": 0}
    metrics.set_failing("acme", None)
    assert set(shown().values()) == {0}
    with pytest.raises(ValueError, match="tired"):
        metrics.set_failing("acme", "tired")


def test_an_unknown_name_is_an_error(metrics: Metrics) -> None:
    for method in (metrics.inc, metrics.set, metrics.observe):
        with pytest.raises(KeyError, match="no_such_total"):
            method("no_such_total", 1, connector="acme")
    with pytest.raises(KeyError, match="no_such_total"):
        metrics.begin("no_such_total")


@pytest.mark.parametrize(
    "labels",
    [{}, {"connector": "acme"}, {"connector": "acme", "outcome": "ok", "service": "producer"}, {"lane": "1"}],
    ids=str,
)
def test_missing_or_other_labels_are_an_error(metrics: Metrics, labels: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"polls_total has the labels \(connector, outcome\)"):
        metrics.inc("polls_total", **labels)
    assert "polls_total{" not in metrics.text()


def test_labels_where_none_are_declared_are_an_error(metrics: Metrics) -> None:
    with pytest.raises(ValueError, match="connector"):
        metrics.observe("poll_duration_seconds", 1, connector="acme")


def test_a_value_that_a_label_does_not_have_is_an_error(metrics: Metrics) -> None:
    with pytest.raises(ValueError, match="outcome='fine' is none of ok,"):
        metrics.inc("polls_total", connector="acme", outcome="fine")


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.name)
def test_a_method_of_another_kind_is_an_error(metric: Metric, metrics: Metrics) -> None:
    for kind, method in {"counter": metrics.inc, "gauge": metrics.set, "histogram": metrics.observe}.items():
        if kind != metric.kind:
            with pytest.raises(ValueError, match=f"is a {metric.kind}, not a {kind}"):
                method(metric.name, 1, **some(metric))


def test_a_forgotten_connector_has_no_series_left_and_others_keep_theirs(metrics: Metrics) -> None:
    for metric in METRICS:
        for connector in ("acme", "acme-2"):
            use(metrics, metric, **some(metric, connector))
    metrics.forget("acme")
    left = {dict(labels).get("connector") for _, labels in samples(metrics.text())}
    assert left == {None, "acme-2"}
    assert value(metrics.text(), "lanes_owned", service="producer") == 1
    metrics.forget("never-seen")
    metrics.inc("activities_read_total", connector="acme")
    assert value(metrics.text(), "activities_read_total", connector="acme") == 1


def test_instances_share_nothing(metrics: Metrics) -> None:
    other = Metrics()
    metrics.inc("activities_read_total", connector="acme")
    assert value(other.text(), "activities_read_total", connector="acme") is None


def test_nothing_undeclared_is_shown(metrics: Metrics) -> None:
    for metric in METRICS:
        use(metrics, metric, **some(metric))
    families = {family.name for family in text_string_to_metric_families(metrics.text())}
    ours = {name for name in families if not name.startswith("process_")}
    assert ours == {metric.full_name.removesuffix("_total") for metric in METRICS}


def test_a_scrape_gets_the_values_until_it_is_closed(metrics: Metrics) -> None:
    port = metrics.serve(0)
    metrics.inc("api_calls_total", 3, connector="acme", service="producer", call="describe")
    reply = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False)
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("text/plain; version=")
    assert value(reply.text, "api_calls_total", connector="acme", service="producer", call="describe") == 3
    with pytest.raises(RuntimeError):
        metrics.serve(0)
    metrics.close()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False)
    metrics.close()
    assert metrics.serve(port) == port  # the port is free again


def test_two_instances_are_served_side_by_side(metrics: Metrics) -> None:
    other = Metrics()
    try:
        assert metrics.serve(0) != other.serve(0)
    finally:
        other.close()


def test_a_taken_port_is_named_with_its_setting(metrics: Metrics) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(SettingsError, match=r"in use.*FRAME_GAINSIGHT_METRICS_PORT"):
            metrics.serve(taken.getsockname()[1])
        metrics.close()
    assert metrics.serve(0) > 0


def test_alerts_use_declared_metrics_and_labels() -> None:
    used = set()
    for alert in ALERTS:
        for name, matchers in re.findall(r"frame_gainsight_(\w+)(?:\{([^}]*)\})?", alert.expr):
            metric = DECLARED[name.removesuffix("_bucket")]
            assert name.endswith("_bucket") == (metric.kind == "histogram")
            for label, wanted in re.findall(r'(\w+)="([^"]*)"', matchers):
                assert label in metric.labels and wanted in LABELS[label][1]
            used.add(metric.name)
    assert {"cursor_timestamp_seconds", "failing", "lateness_seconds", "api_calls_left_today"} <= used


def test_the_pages_rules_are_yaml_of_prometheus_form() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", metrics_page(), re.DOTALL)
    (group,) = yaml.safe_load(text)["groups"]
    assert [rule["alert"] for rule in group["rules"]] == [alert.name for alert in ALERTS]
    assert [rule["expr"].strip() for rule in group["rules"]] == [alert.expr for alert in ALERTS]
    for rule in group["rules"]:
        assert rule.keys() == {"alert", "expr", "for", "labels", "annotations"}
        assert re.fullmatch(r"\d+m", rule["for"])
