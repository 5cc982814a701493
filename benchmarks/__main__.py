"""`python -m benchmarks [NAME]`: one of them (see `--help`), or without a name all, of moderate size."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated

import orjson
import typer
from rich.console import Console

from benchmarks import budget as budget_benchmark
from benchmarks import bulkhead as bulkhead_benchmark
from benchmarks import calls as calls_benchmark
from benchmarks import delay as delay_benchmark
from benchmarks import edge as edge_benchmark
from benchmarks import many as many_benchmark
from benchmarks import memory as memory_benchmark
from benchmarks import producer as producer_benchmark
from benchmarks.machine import machine
from benchmarks.show import Report

app = typer.Typer(add_completion=False, help=__doc__, pretty_exceptions_enable=False)
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object instead of tables.")]


def _print(report: Report, as_json: bool) -> None:
    report.data |= {"machine": machine(), "at": datetime.now(UTC).isoformat(timespec="seconds")}
    if as_json:
        print(orjson.dumps(report.data).decode(), flush=True)
        return
    report.show(Console(highlight=False))


@app.command()
def producer(
    rows: Annotated[int, typer.Option(min=1, help="Emails to read.")] = 50_000,
    rounds: Annotated[int, typer.Option(min=1, help="Times that each competitor reads them.")] = 3,
    hours: Annotated[float, typer.Option(min=1, help="How far back they go; more than 24: a backfill.")] = 20,
    edited_rows: Annotated[int, typer.Option(min=0, help="Emails of the run with edits; 0: without it.")] = 20_000,
    only: Annotated[list[str] | None, typer.Option(help="ours, bare, dlt or singer; repeat it for several.")] = None,
    as_json: AsJson = False,
) -> None:
    """A tenant's rows into Kafka: ours, the bare reading, and public tools."""
    _print(producer_benchmark.run(rows, rounds, edited_rows, only or [], hours), as_json)


@app.command()
def many(
    connectors: Annotated[int, typer.Option(min=1, help="Connectors, each with a tenant of its own.")] = 1000,
    period: Annotated[str, typer.Option(help="Their period, such as 60s or 10m.")] = "10m",
    seconds: Annotated[float, typer.Option(min=1, help="How long it is measured, once each was polled.")] = 120,
    as_json: AsJson = False,
) -> None:
    """Many connectors in one producer: processor, memory, calls."""
    _print(many_benchmark.run(connectors, period, seconds), as_json)


@app.command()
def memory(
    rows: Annotated[int, typer.Option(min=1, help="Emails to read from the past.")] = 1_000_000,
    as_json: AsJson = False,
) -> None:
    """A backfill's memory, second by second."""
    _print(memory_benchmark.run(rows), as_json)


@app.command()
def budget(
    latencies: Annotated[list[float] | None, typer.Option(help="Seconds a reply takes; repeat it for several.")] = None,
    minutes: Annotated[int, typer.Option(min=1, help="ScanProgress minutes that are counted.")] = 2,
    as_json: AsJson = False,
) -> None:
    """How much of its calls a minute a backfill uses."""
    _print(budget_benchmark.run(latencies or [0.5, 5.0], minutes), as_json)


@app.command()
def calls(
    rates: Annotated[list[int] | None, typer.Option(help="Emails in a period; repeat it for several.")] = None,
    as_json: AsJson = False,
) -> None:
    """API calls per 1000 new emails, by how many come in a period."""
    _print(calls_benchmark.run(rates or [10, 100, 1000, 5000, 10_000, 50_000]), as_json)


@app.command()
def edge(
    records: Annotated[int, typer.Option(min=8000, help="Records that go through each edge.")] = 60_000,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    as_json: AsJson = False,
) -> None:
    """Records a second through the enricher's edge, beside stock Faust and a plain confluent-kafka loop."""
    _print(edge_benchmark.run(records, rounds), as_json)


@app.command()
def bulkhead(
    seconds: Annotated[float, typer.Option(min=15, help="How long the others are in trouble.")] = 600.0,
    as_json: AsJson = False,
) -> None:
    """What a healthy tenant's conversations notice of four troubled tenants in the same lane."""
    _print(bulkhead_benchmark.run(seconds), as_json)


@app.command()
def delay(
    rates: Annotated[list[int] | None, typer.Option(help="Emails in a period; repeat it for several.")] = None,
    periods: Annotated[int, typer.Option(min=1, help="Periods after the first.")] = 10,
    as_json: AsJson = False,
) -> None:
    """From a period's last reply until its conversations can be read."""
    _print(delay_benchmark.run(rates or [10, 1000, 10_000], periods), as_json)


@app.callback(invoke_without_command=True)
def everything(context: typer.Context, as_json: AsJson = False) -> None:
    """Without a name: all of them, with sizes that take less than ten minutes together."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started ends too
    if context.invoked_subcommand is not None:
        return
    for one in _ALL:
        begun = time.monotonic()
        report = one()
        report.data["took_seconds"] = round(time.monotonic() - begun, 1)
        _print(report, as_json)


_ALL: tuple[Callable[[], Report], ...] = (
    lambda: calls_benchmark.run([10, 100, 1000, 5000, 10_000, 50_000]),
    lambda: producer_benchmark.run(20_000, 3, 10_000, []),
    lambda: memory_benchmark.run(200_000),
    lambda: many_benchmark.run(1000, "60s", 60),
    lambda: bulkhead_benchmark.run(60),
    lambda: edge_benchmark.run(40_000, 2),
    lambda: delay_benchmark.run([1000], 5),
)


if __name__ == "__main__":
    app()
