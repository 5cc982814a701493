"""`benchmarks many`: a thousand connectors in one producer process."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from benchmarks.measured import Measured
from benchmarks.show import Report, note
from benchmarks.stage import Stage, Tenants, sparkline
from frame_gainsight.connectors import Definition

PATIENCE = 600.0
REFERENCE = 600  # seconds: the usual period


@dataclass(frozen=True, slots=True)
class _Reading:
    at: float
    cpu: float
    polls: int
    failures: int


def run(connectors: int, period: str, seconds: float) -> Report:
    """Waits until each has been polled once, and then measures: from then on polls are spread over the period."""
    length = Definition(id="x", host="http://127.0.0.1", period=period).period
    note(f"many: making {connectors:,} tenants")
    # An email in ten minutes each.
    with Stage() as stage, Tenants({"tiny": connectors, "per_minute": 0.1}, stage.folder) as tenants:
        settings = stage.topics()
        note("many: registering")
        begun = time.monotonic()
        stage.register(settings, tenants, period=length)
        registered = time.monotonic() - begun
        note("many: the first round of polls")
        begun = time.monotonic()
        with stage.producer(settings, every=1.0) as process:
            while (first := _read(process)).polls < connectors:
                if not process.running or time.monotonic() - begun > PATIENCE:
                    raise RuntimeError(f"only {first.polls} polls after {PATIENCE:.0f} s: {process.tail()}")
                time.sleep(0.5)
            round_took = time.monotonic() - begun
            time.sleep(length / 10)  # a connector that was just polled is not polled again so soon
            tenants.reset()
            start = _read(process)
            note(f"many: measuring {seconds:.0f} s")
            shares = []
            while (now := _read(process)).at - start.at < seconds:
                time.sleep(min(5.0, max(0.05, seconds - (now.at - start.at))))
                after = _read(process)
                shares.append((after.cpu - now.cpu) / (after.at - now.at))
            end = _read(process)
            resident, peak = process.memory_mb()
            books = tenants.books()
            process.stop()
    took = end.at - start.at
    calls = sum(sum(book["calls"].values()) for book in books.values())
    cpu = (end.cpu - start.cpu) / took
    figures: dict[str, Any] = {
        "connectors": connectors,
        "period_seconds": length,
        "measured_seconds": took,
        "cpu_share_of_a_core": cpu,
        "cpu_share_at_10m": cpu * length / REFERENCE,
        "cpu_ms_per_poll": 1000 * (end.cpu - start.cpu) / max(1, end.polls - start.polls),
        "resident_mb": resident,
        "peak_mb": peak,
        "polls": end.polls - start.polls,
        "polls_per_second": (end.polls - start.polls) / took,
        "failures": end.failures - start.failures,
        "calls": calls,
        "calls_per_poll": calls / max(1, end.polls - start.polls),
        "first_round_seconds": round_took,
        "first_round_cpu_seconds": first.cpu,
        "register_seconds": registered,
        "cpu_shares": shares,
    }
    report = Report("many", {})
    report.data |= figures
    table = report.table(f"{connectors:,} connectors with period {period} in one process, over {took:.0f} s", "", "")
    for name, value in (
        ("CPU, share of a core", f"{cpu:.1%}"),
        ("… over time", sparkline(shares)),
        ("… at a 10 min period", f"{figures['cpu_share_at_10m']:.1%}" + ("" if length == REFERENCE else " (scaled)")),
        ("CPU per poll", f"{figures['cpu_ms_per_poll']:.2f} ms"),
        ("memory now, at the most", f"{resident:.0f} MB, {peak:.0f} MB"),
        ("polls, per second", f"{figures['polls']:,}, {figures['polls_per_second']:.1f}"),
        ("polls failed", f"{figures['failures']}"),
        ("API calls, per poll", f"{calls:,}, {figures['calls_per_poll']:.2f}"),
        ("first round of polls", f"{round_took:.0f} s, {first.cpu:.0f} s of CPU (keys decrypted, clients opened)"),
    ):
        table(name, value)
    return report


def _read(process: Measured) -> _Reading:
    """By the producer's own log: what it says of each poll."""
    log = process.log.read_bytes()
    return _Reading(
        time.monotonic(), process.cpu_seconds() if process.running else 0.0, log.count(b'"polled"'),
        log.count(b'"poll_failed"'),
    )  # fmt: skip
