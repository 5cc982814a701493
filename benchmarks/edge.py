"""`benchmarks edge`: what the consuming edge can do beside stock Faust and a plain confluent-kafka loop."""

from __future__ import annotations

import statistics
import sys
import time
import uuid
from dataclasses import asdict, dataclass

import orjson
from confluent_kafka import OFFSET_BEGINNING, Producer, TopicPartition

from benchmarks.edge_workers import KINDS
from benchmarks.measured import Measured
from benchmarks.show import Report, note
from benchmarks.stage import Stage
from frame_gainsight.kafka import reader, topics
from frame_gainsight.kafka.clients import confluent_config
from frame_gainsight.runtime import Settings
from schemas.raw_topic import PERIOD_MARKER

PERIOD = 1000  # records before a marker
BODY = "x" * 800
PATIENCE = 300.0
OURS, STOCK, LOOP = KINDS


@dataclass(frozen=True, slots=True)
class _Run:
    """One edge over the whole input. `duplicates`: outputs that came twice, `lost`: inputs that no output is of."""

    per_second: float
    cpu_seconds: float
    records: int
    duplicates: int
    lost: int


def run(records: int, rounds: int) -> Report:
    """Every edge in turn, round after round, over the same input."""
    found: dict[str, list[_Run]] = {name: [] for name in KINDS}
    with Stage() as stage:
        settings = stage.topics(partitions=4, window_max=PERIOD, patience_seconds=60)
        count = _fill(settings, records)
        for number in range(rounds):
            for name in KINDS:
                note(f"edge: {name}, round {number + 1} of {rounds}")
                found[name].append(_measure(stage, settings, name, count))
    report = Report("edge", {"records": count, "rounds": rounds})
    table = report.table(
        f"{count:,} records of 900 bytes, transactions with positions",
        "edge",
        "records/s",
        "CPU s",
        "ours is",
        "rounds",
    )
    rate = {name: statistics.median(r.per_second for r in runs) for name, runs in found.items()}
    for name, runs in found.items():
        cpu = statistics.median(r.cpu_seconds for r in runs)
        told = "  ".join(f"{r.per_second:,.0f}" for r in runs)
        table(
            name, f"{rate[name]:,.0f}", f"{cpu:.1f}", "" if name == OURS else f"{rate[OURS] / rate[name]:.2f} x", told
        )
    report.note(
        f"From the first output that a read_committed reader has to the last. The job is trivial (JSON, a look-up), so "
        f"that the edge is what counts. Batches of {PERIOD}. {LOOP}: one transaction for all partitions, no lanes, no "
        "state, nothing kept apart. Processor time is that of the whole process."
    )
    report.data["runs"] = {name: [asdict(r) for r in runs] for name, runs in found.items()}
    return report


def _fill(settings: Settings, records: int) -> int:
    """Periods of four connectors, one a lane; how many outputs they make."""
    producer = Producer(confluent_config(settings, **{"enable.idempotence": True, "linger.ms": 20}))
    periods = records // PERIOD // settings.partitions
    for lane in range(settings.partitions):
        for period in range(periods):
            headers = [("poll_id", f"{lane}-{period}")]
            for number in range(PERIOD):
                value = orjson.dumps({"person": number % 1000, "number": number, "body": BODY})
                producer.produce(
                    settings.raw_topic, value, f"c{lane}/{period:05}{number:05}", lane, headers=headers
                )  # fmt: skip
            producer.produce(settings.raw_topic, b"", f"c{lane}/{PERIOD_MARKER}", lane, headers=headers)
            producer.poll(0)
        producer.flush(60)
    return periods * PERIOD * settings.partitions


def _measure(stage: Stage, settings: Settings, name: str, count: int) -> _Run:
    own = f"b{uuid.uuid4().hex[:10]}"
    mine = settings.model_copy(update={"prefix": own, "conversations_topic": f"{own}.conversations"})
    topics.ensure_like_output(mine, mine.conversations_topic)
    consumer = reader(mine)
    consumer.assign([TopicPartition(mine.conversations_topic, p, OFFSET_BEGINNING) for p in range(mine.partitions)])
    command = [sys.executable, "-m", "benchmarks.edge_workers", name]
    try:
        with Measured(command, stage.folder / f"{own}.log", stage.environment(mine)) as process:
            seen, first, last, begun = 0, 0.0, 0.0, time.monotonic()
            early = 0  # what came with the first look: it was made before the clock began
            keys: set[bytes] = set()
            while seen < count:
                messages = [m for m in consumer.consume(1000, 0.05) if m.error() is None]
                now = time.monotonic()
                if messages:
                    seen, last = seen + len(messages), now
                    keys |= {m.key() for m in messages}  # type: ignore[misc]
                    if not first:
                        first, early = now, len(messages)
                if not process.running or now - begun > PATIENCE:
                    raise RuntimeError(f"{name} made {seen} of {count}: {process.tail()}")
            cpu = process.cpu_seconds()
            process.process.kill()
    finally:
        consumer.close()
    return _Run((count - early) / (last - first), cpu, seen, seen - len(keys), count - len(keys))
