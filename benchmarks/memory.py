"""`benchmarks memory`: the producer's memory while it reads a past of many rows."""

from __future__ import annotations

from dataclasses import asdict

from benchmarks.show import Report, note
from benchmarks.stage import Stage, Tenants, sparkline

DAY = 86_400
PATIENCE = 3600.0


def run(rows: int) -> Report:
    """One connector that starts 90 days back, polled once."""
    note(f"memory: making a tenant with {rows:,} emails")
    with Stage() as stage, Tenants({"rows": rows, "seconds": 90 * DAY}, stage.folder) as tenants:
        settings = stage.topics()
        stage.register(settings, tenants, start=tenants.start)
        note("memory: reading")
        with stage.producer(settings, "--once", every=1.0) as process:
            usage = process.wait(PATIENCE)
            if usage.code:
                raise RuntimeError(f"the producer ended with {usage.code}: {process.tail()}")
        book = tenants.books()["127.0.0.1"]
        note("memory: counting")
        landed = stage.landed(settings, tenants.ask("/_bench/versions")["127.0.0.1"])
    total = sum(book["calls"].values())
    took = landed.last_at - book["first"]
    report = Report("memory", {"rows": rows})
    table = report.table(f"A past of {rows:,} emails, read by python -m producer", "", "")
    for name, value in (
        ("peak memory", f"{usage.peak_mb:.0f} MB"),
        ("memory, second by second", sparkline(usage.resident)),
        ("rows/s, first query to last record", f"{landed.ids / took:,.0f}"),
        ("seconds", f"{took:.1f}"),
        ("CPU seconds", f"{usage.cpu_seconds:.1f}"),
        ("API calls", f"{total:,}"),
        ("API calls per 1000 rows", f"{1000 * total / rows:.2f}"),
        ("lost, duplicates", f"{landed.lost}, {landed.extra}"),
    ):
        table(name, value)
    report.note(
        "The producer keeps to its part of the tenant's allowance: 50 calls a minute (half of the 100, the other half "
        "being the enricher's). That bounds rows/s beyond 50 pages."
    )
    report.data |= {
        "usage": asdict(usage),
        "seconds": took,
        "rows_per_second": landed.ids / took,
        "calls": book["calls"],
        "calls_per_1000": 1000 * total / rows,
        "landed": asdict(landed),
    }
    return report
