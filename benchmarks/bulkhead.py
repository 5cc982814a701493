"""`benchmarks bulkhead`: what a healthy tenant notices of troubled ones in its lane."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from benchmarks.arrivals import Arrivals
from benchmarks.measured import Measured
from benchmarks.show import Report, note
from benchmarks.stage import Stage, Tenants
from frame_gainsight.kafka import ConsumedRecord, KafkaLaneWriter, ProducerRecord, read_to_end
from frame_gainsight.runtime import Settings
from schemas.raw_topic import PERIOD_MARKER

WELL = "127.0.1.1"
TROUBLES: dict[str, tuple[str, dict[str, Any]]] = {
    "127.0.1.2": ("whose key is revoked", {"unauthorized": "GS_APIG_2401"}),
    "127.0.1.3": ("that answers 503", {"server_error": 503}),
    "127.0.1.4": ("that throttles", {"throttled": True}),
    "127.0.1.5": ("that does not answer", {"slow": 600}),
}
EMAILS = 30  # of a tenant, which are the models of all that are written
A_TIME = 10  # emails of each tenant written at once
EVERY = 1.0  # seconds
NO_LIMIT = 10_000  # calls a minute: what is measured is not the allowance
MARKER = f"/{PERIOD_MARKER}"
_ADDRESS = re.compile(r"([\w.+-]+)@")


@dataclass
class _Writer:
    """Writes emails of all tenants, each from people whom nobody knows: so each has to be asked for."""

    stage: Stage
    settings: Settings
    models: dict[str, list[ConsumedRecord]]
    markers: dict[str, ConsumedRecord]
    count: int = 0

    def round(self, lane: KafkaLaneWriter) -> list[str]:
        """One period of every tenant, in one transaction; the keys of the emails."""
        out, keys = [], []
        for connector, models in self.models.items():
            for _ in range(A_TIME):
                self.count += 1
                model = models[self.count % len(models)]
                keys.append(f"{connector}/B{self.count:08}")
                out.append(self._copy(model, keys[-1]))
            marker = self.markers[connector]
            out.append(ProducerRecord(marker.topic, 0, marker.key or b"", marker.value, marker.headers))
        lane.write(out)
        return keys

    def _copy(self, model: ConsumedRecord, key: str) -> ProducerRecord:
        codec = self.stage.codec
        value = codec.decode_as("raw_activity", model.value or b"")
        name = key.partition("/")[2]
        row = orjson.loads(_ADDRESS.sub(rf"\1.{self.count}@", value["row"]))
        value |= {"activity_id": name, "row": orjson.dumps(row | {"Gsid": name}).decode()}
        return ProducerRecord(model.topic, 0, key.encode(), codec.encode("raw_activity", value), model.headers)


def run(seconds: float) -> Report:
    """A stretch with four in trouble, between two with all tenants well, which are a third as long."""
    report = Report("bulkhead", {"seconds": seconds, "emails_per_second": A_TIME / EVERY})
    plan = {"rates": [(EMAILS, 5)] * (1 + len(TROUBLES)), "periods": 1, "new_people": 0.0}
    with Stage() as stage, Tenants(plan, stage.folder) as tenants:
        settings = stage.topics(partitions=1, whole_object_rows=0)  # else strangers are known without asking
        hosts = stage.register(
            settings, tenants, start=tenants.start, calls_per_minute=NO_LIMIT, calls_per_day=1000 * NO_LIMIT
        )
        for host in hosts.values():
            tenants.ask("/_sandbox/clock", {"advance": 1200}, host=host, method="POST")
        with stage.producer(settings, "--once") as producer:
            producer.wait(600)
        writer = _Writer(stage, settings, *_models(settings))
        with stage.enricher(settings) as enricher:
            stage.enriched(settings)
            found = {
                "all are well": _stretch(writer, hosts, seconds / 3, enricher, lambda: None),
                "four are in trouble": _stretch(writer, hosts, seconds, enricher, lambda: _trouble(tenants)),
            }
            _recover(tenants)
            parked_out = _all_out(stage, writer, settings, enricher)
            found["all are well again"] = _stretch(writer, hosts, seconds / 3, enricher, lambda: None)
    table = report.table(
        f"Seconds from the raw topic to the conversation of the healthy tenant; in trouble for {seconds:.0f} s",
        *("", "emails", "p50", "p99", "longest"),
    )
    report.data["stretches"] = {}
    for name, latencies in found.items():
        told = {q: latencies[min(len(latencies) - 1, int(len(latencies) * q))] for q in (0.5, 0.99)}
        table(name, f"{len(latencies)}", *(f"{told[q]:.2f}" for q in told), f"{latencies[-1]:.2f}")
        report.data["stretches"][name] = {"emails": len(latencies), "p50": told[0.5], "p99": told[0.99]}
    report.data["parked_came_out"] = parked_out
    troubles = "; ".join(f"one {what}" for what, _ in TROUBLES.values())
    report.note(
        f"One lane, five tenants. In trouble: {troubles}. Every email is from strangers, so that each batch asks. "
        f"When they were well again, all {parked_out:,} emails that had waited came out, each once."
    )
    return report


def _models(settings: Settings) -> tuple[dict[str, list[ConsumedRecord]], dict[str, ConsumedRecord]]:
    models: dict[str, list[ConsumedRecord]] = {}
    markers: dict[str, ConsumedRecord] = {}
    for record in read_to_end(settings, settings.raw_topic, {0: None}):
        key = (record.key or b"").decode()
        connector = key.partition("/")[0]
        if key.endswith(MARKER):
            markers[connector] = record
        elif record.value is not None:
            models.setdefault(connector, []).append(record)
    return models, markers


def _stretch(
    writer: _Writer, hosts: dict[str, str], seconds: float, enricher: Measured, begin: Callable[[], None]
) -> list[float]:
    """How long the healthy tenant's emails took, in order of length."""
    well = next(connector for connector, host in hosts.items() if host == WELL)
    written: dict[str, float] = {}
    note("bulkhead: a stretch")
    with (
        Arrivals(writer.settings) as arrivals,
        KafkaLaneWriter(writer.settings, f"bench-{uuid.uuid4().hex}", 0) as lane,
    ):
        begin()
        until = time.monotonic() + seconds
        while (now := time.monotonic()) < until:
            keys = writer.round(lane)
            at = time.monotonic()
            written |= {key: at for key in keys if key.startswith(f"{well}/")}
            time.sleep(max(0.0, EVERY - (time.monotonic() - now)))
        deadline = time.monotonic() + 60
        while not written.keys() <= arrivals.at.keys():
            if time.monotonic() > deadline or not enricher.running:
                raise RuntimeError(f"the healthy tenant's emails did not all come out: {enricher.tail()}")
            time.sleep(0.05)
    return sorted(arrivals.at[key] - at for key, at in written.items())


def _trouble(tenants: Tenants) -> None:
    for host, (_, variants) in TROUBLES.items():
        tenants.ask("/_sandbox/variants", variants, host=host, method="PUT")


def _recover(tenants: Tenants) -> None:
    for host, (_, variants) in TROUBLES.items():
        tenants.ask("/_sandbox/variants", dict.fromkeys(variants), host=host, method="PUT")


def _all_out(stage: Stage, writer: _Writer, settings: Settings, enricher: Measured) -> int:
    """Waits until nothing is parked; how many emails had been. Raises when one is missing, or came twice."""
    note("bulkhead: what was parked comes out")
    deadline = time.monotonic() + 900
    while True:
        waiting: dict[bytes, bool] = {}
        for record in read_to_end(settings, settings.parked_topic, {0: None}):
            waiting[record.key or b""] = record.value is not None
        if not any(waiting.values()):
            break
        if time.monotonic() > deadline or not enricher.running:
            raise RuntimeError(f"{sum(waiting.values())} are still parked: {enricher.tail()}")
        time.sleep(1.0)
    stage.enriched(settings)
    out: dict[bytes, int] = {}
    for record in read_to_end(settings, settings.conversations_topic, {0: None}):
        out[record.key or b""] = out.get(record.key or b"", 0) + 1
    wanted = {record.key or b"" for record in read_to_end(settings, settings.raw_topic, {0: None})}
    wanted = {key for key in wanted if not key.endswith(MARKER.encode())}
    if wanted != out.keys() or set(out.values()) != {1}:
        raise RuntimeError(f"{len(wanted - out.keys())} conversations are missing, or some came twice")
    return len(waiting)
