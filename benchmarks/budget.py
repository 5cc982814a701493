"""`benchmarks budget`: how much of its calls a minute a backfill uses, however slow the tenant is."""

from __future__ import annotations

import time

from benchmarks.show import Report, note
from benchmarks.stage import Stage, Tenants

DAY = 86_400
PAGE = 100  # rows: what counts are calls, so the pages may be small
SHARE = 0.99  # of the tenant's 100 calls a minute: the producer's part
ALLOWED = 99


def run(latencies: list[float], minutes: int) -> Report:
    """For each latency a backfill that has more pages than the minutes have calls; whole minutes are counted."""
    report = Report("budget", {"minutes": minutes, "allowed_per_minute": ALLOWED})
    table = report.table(
        f"Calls in a whole minute of a backfill, of the {ALLOWED} that its budget allows",
        "a reply takes",
        "calls",
        "used",
    )
    report.data["latencies"] = []
    for latency in latencies:
        counts = _measure(latency, minutes)
        used = sum(counts) / len(counts) / ALLOWED
        table(f"{latency:g} s", "  ".join(map(str, counts)), f"{used:.1%}")
        report.data["latencies"].append({"seconds": latency, "calls": counts, "used": used})
    report.note("The rest is the reserve that is left to live polling, whose calls go first.")
    return report


def _measure(latency: float, minutes: int) -> list[int]:
    rows = PAGE * ALLOWED * (minutes + 2)
    note(f"budget: {rows:,} emails, {latency:g} s a reply")
    with Stage() as stage, Tenants({"rows": rows, "seconds": 90 * DAY}, stage.folder) as tenants:
        settings = stage.topics(page_rows=PAGE, producer_share=SHARE)
        stage.register(settings, tenants, start=tenants.start, deletions_every=DAY)
        tenants.ask("/_sandbox/variants", {"slow": latency}, method="PUT")
        _wait_for_a_minute()
        with stage.producer(settings, "--once", every=1.0) as process:
            counts: list[int] = []
            before = None
            while len(counts) < minutes:
                _wait_for_a_minute()
                if not process.running:
                    raise RuntimeError(f"the producer ended too soon: {process.tail()}")
                now = sum(tenants.books()["127.0.0.1"]["calls"].values())
                if before is not None:
                    counts.append(now - before)
                before = now
            process.stop()
    return counts


def _wait_for_a_minute() -> None:
    """Until the wall clock begins a minute: the allowance is counted in these."""
    time.sleep(60 - time.time() % 60)
