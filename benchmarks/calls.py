"""`benchmarks calls`: API calls of the producer per 1000 new emails, by how many come in a period."""

from __future__ import annotations

from typing import Any

from benchmarks.show import Report, note
from benchmarks.stage import Stage, Tenants

PERIOD = 600
PERIODS = 3
_TIMELINE, _DESCRIBE = "query/activity_timeline", "objects/describe"  # whatever else it asks is about deletions
LOOKS_A_POLL = PERIOD / 3600  # for deletions, by default
DESCRIBES_A_POLL = PERIOD / 86_400


def run(rates: list[int]) -> Report:
    """Ten-minute periods at a constant rate; the third is counted, when the overlap is as full as it always is."""
    plan = {"rates": rates, "periods": PERIODS}
    with Stage() as stage, Tenants(plan, stage.folder) as tenants:
        settings = stage.topics()
        hosts = stage.register(settings, tenants, start=tenants.start, deletions_every=PERIOD)
        for number in range(1, PERIODS + 1):
            note(f"calls: period {number} of {PERIODS}")
            for host in hosts.values():
                tenants.ask("/_sandbox/clock", {"advance": PERIOD}, host=host, method="POST")
            tenants.reset()
            with stage.producer(settings, "--once") as process:
                usage = process.wait(600)
                if usage.code:
                    raise RuntimeError(f"the producer ended with {usage.code}: {process.tail()}")
        books = tenants.books()
    report = Report("calls", {"rates": rates})
    table = report.table(
        "API calls of one poll, 10 min period and overlap", "new emails", "timeline", "deletions", "describe",
        "per 1000, this poll", "per 1000, as a service",
    )  # fmt: skip
    found: list[dict[str, Any]] = []
    for rate, host in zip(rates, hosts.values(), strict=True):
        calls = books[host]["calls"]
        counted = {"timeline": calls.get(_TIMELINE, 0), "deletions": 0, "describe": calls.get(_DESCRIBE, 0)}
        total = sum(calls.values())
        counted["deletions"] = total - counted["timeline"] - counted["describe"]
        service = total - counted["deletions"] * (1 - LOOKS_A_POLL) - counted["describe"] * (1 - DESCRIBES_A_POLL)
        found.append({"rate": rate, **counted, "total": total, "per_1000": 1000 * total / rate})
        found[-1]["per_1000_as_service"] = 1000 * service / rate
        table(
            f"{rate:,}",
            *(str(n) for n in counted.values()),
            f"{found[-1]['per_1000']:.2f}",
            f"{found[-1]['per_1000_as_service']:.2f}",
        )
    report.note(
        "Every call is counted. The poll is by a process of its own (--once), which describes the timeline, and looks "
        "for deletions. A service describes once a day and looks once an hour: the last column is the same timeline "
        "calls with a sixth of the look and a 144th of the describe."
    )
    report.data["polls"] = found
    return report
