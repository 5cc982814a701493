"""`benchmarks producer`: a tenant's rows into Kafka, ours beside the bare reading and beside public tools."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import orjson

from benchmarks import peers
from benchmarks.measured import Measured, Usage
from benchmarks.show import Report, note
from benchmarks.stage import Landed, Stage, Tenants
from frame_gainsight.runtime import Settings

PATH = "/v1/data/objects/query/activity_timeline"
HOUR = 3600
SETTLED = 5.0  # seconds after which an edit is older than the margin of a window
EDITED = 20  # rows edited after each reply, of the page or behind it
NAMES = {
    "ours": "python -m producer",
    "bare": "httpx + orjson, downloads only",
    "dlt": "dlt, custom destination",
    "singer": "singer-sdk tap | target-kafka",
}


@dataclass(frozen=True, slots=True)
class Run:
    """One reading by one competitor: seconds from the first query to the last record in Kafka."""

    who: str
    seconds: float
    rows_per_second: float
    whole_seconds: float  # of the process, its start and end included
    cpu_seconds: float
    peak_mb: float
    calls: int
    landed: Landed | None


def run(rows: int, rounds: int, edited_rows: int, only: list[str], hours: float = 20) -> Report:
    """Both runs, as a report."""
    competitors = [name for name in NAMES if not only or name in only]
    if {"dlt", "singer"} & set(competitors):
        peers.prepare(note)
    with Stage() as stage:
        runs = _quiet(stage, competitors, rows, rounds, int(hours * HOUR))
        edited = _edited(stage, [c for c in competitors if c != "bare"], edited_rows) if edited_rows else []
    return _report(rows, rounds, runs, edited_rows, edited)


def _quiet(stage: Stage, competitors: list[str], rows: int, rounds: int, seconds: int) -> list[Run]:
    """Nothing changes. Round 0 warms up, and tells which columns ours asks for: everybody then does."""
    runs: list[Run] = []
    with Tenants({"rows": rows, "seconds": seconds}, stage.folder) as tenants:
        newest = tenants.ask("/_bench/versions")["127.0.0.1"]
        query = ""
        for number in range(rounds + 1):
            for who in competitors if number else ["ours", *(c for c in competitors if c != "ours")]:
                note(f"producer: round {number} of {rounds}, {NAMES[who]}")
                settings = stage.topics()
                tenants.reset()
                stage.register(settings, tenants, start=tenants.start)
                done_at, usage = _one(who, stage, settings, tenants, query, f"{who}-{number}")
                book = tenants.books()["127.0.0.1"]
                query = query or book["body"]  # everybody asks for the columns that ours asks for
                landed = None if who == "bare" else stage.landed(settings, newest)
                took = (done_at if landed is None else landed.last_at) - book["first"]
                calls = sum(book["calls"].values())
                if number:
                    done = rows if landed is None else landed.ids
                    runs.append(
                        Run(who, took, done / took, usage.seconds, usage.cpu_seconds, usage.peak_mb, calls, landed)
                    )  # fmt: skip
                stage.drop(settings)
    return runs


def _edited(stage: Stage, competitors: list[str], rows: int) -> list[dict[str, Any]]:
    """Rows are edited while they are read; then, with nothing changing any more, each competitor polls once more."""
    found = []
    query = ""
    for who in ["ours", *(c for c in competitors if c != "ours")]:
        note(f"producer: rows edited while read, {NAMES[who]}")
        plan = {"rows": rows, "seconds": 20 * HOUR, "variants": {"edit_while_paging": EDITED}}
        settings = stage.topics(page_rows=500)
        with Tenants(plan, stage.folder) as tenants:
            stage.register(settings, tenants, start=tenants.start)
            _one(who, stage, settings, tenants, query, f"{who}-edited")
            book = tenants.books()["127.0.0.1"]
            query = query or book["body"]
            tenants.ask("/_sandbox/variants", {"edit_while_paging": None}, method="PUT")
            time.sleep(SETTLED)
            _one(who, stage, settings, tenants, query, f"{who}-edited")
            landed = stage.landed(settings, tenants.ask("/_bench/versions")["127.0.0.1"])
        stage.drop(settings)
        if who in competitors:
            found.append({"who": who, "pages": sum(book["calls"].values()), **asdict(landed)})
    return found


def _one(who: str, stage: Stage, settings: Settings, tenants: Tenants, query: str, name: str) -> tuple[float, Usage]:
    """One reading; when the bare one was done (0 for the others: Kafka tells), and what it took."""
    if who == "ours":
        with stage.producer(settings, "--once") as process:
            usage = process.wait(peers.PATIENCE)
            if usage.code:
                raise RuntimeError(f"the producer ended with {usage.code}: {process.tail()}")
        return 0.0, usage
    job = {
        "host": tenants.url(),
        "path": PATH,
        "url": tenants.url() + PATH,
        "key": tenants.keys["127.0.0.1"],
        "query": query,
        "start": tenants.start,
        "bootstrap": stage.bootstrap,
        "topic": settings.raw_topic,
        "folder": str(stage.folder / name),
    }
    log = stage.folder / f"{name}.log"
    if who == "bare":
        log.unlink(missing_ok=True)
        with Measured([sys.executable, "-m", "benchmarks.bare", orjson.dumps(job).decode()], log) as process:
            usage = process.wait(peers.PATIENCE)
            if usage.code:
                raise RuntimeError(f"the bare reading failed: {process.tail()}")
            return orjson.loads(process.tail(1))["at"], usage
    runner: Callable[[peers.Job, Any], Usage] = peers.dlt if who == "dlt" else peers.singer
    usage = runner(job, log)
    if not name.endswith("-edited"):
        shutil.rmtree(stage.folder / name, ignore_errors=True)
    return 0.0, usage


def _report(rows: int, rounds: int, runs: list[Run], edited_rows: int, edited: list[dict[str, Any]]) -> Report:
    report = Report("producer", {"rows": rows, "rounds": rounds})
    by = {who: [r for r in runs if r.who == who] for who in NAMES if any(r.who == who for r in runs)}
    ours = [r.rows_per_second for r in by.get("ours", [])]
    table = report.table(
        f"{rows:,} emails from the tenant into Kafka, nothing changing (medians of {rounds} interleaved rounds)",
        "", "rows/s", "ours is", "rounds", "CPU s", "µs CPU/row", "peak MB", "calls", "lost", "duplicates",
        "process s",
    )  # fmt: skip
    for who, mine in by.items():
        speed = median(r.rows_per_second for r in mine)
        ratio = median(o / r.rows_per_second for o, r in zip(ours, mine, strict=True)) if ours else 0.0
        cpu = median(r.cpu_seconds for r in mine)
        table(
            NAMES[who],
            f"{speed:,.0f}",
            "" if who == "ours" else f"{ratio:.2f}×",
            " ".join(f"{r.rows_per_second:,.0f}" for r in mine),
            f"{cpu:.2f}",
            f"{1e6 * cpu / rows:.0f}",
            f"{max(r.peak_mb for r in mine):.0f}",
            f"{max(r.calls for r in mine)}",
            "–" if who == "bare" else str(max(r.landed.lost for r in mine if r.landed)),
            "–" if who == "bare" else str(max(r.landed.extra for r in mine if r.landed)),
            f"{median(r.whole_seconds for r in mine):.1f}",
        )
    report.note(
        "rows/s: from the tenant's first query to the last record's arrival at the broker."
        " One machine does it all: tenant, broker and competitor share its cores."
    )
    if edited:
        table = report.table(
            f"{edited_rows:,} emails in pages of 500, {EDITED} rows edited after each; then one more poll in quiet",
            "", "queries while edited", "ids landed", "ids lost", "newest version missing", "duplicates",
        )  # fmt: skip
        for one in edited:
            columns = (one[k] for k in ("pages", "ids", "lost", "outdated", "extra"))
            table(NAMES[one["who"]], *(f"{c:,}" for c in columns))
    report.data |= {"runs": [asdict(r) for r in runs], "edited": edited}
    return report
