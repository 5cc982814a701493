"""`benchmarks delay`: from the tenant's last reply of a period until its conversations can be read."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from statistics import median

from benchmarks.arrivals import Arrivals
from benchmarks.calls import NEW_PEOPLE, NO_LOOK, Case, companies_of, mapping, poll
from benchmarks.measured import Measured
from benchmarks.show import Report, note
from benchmarks.stage import Stage, Tenants
from frame_gainsight.kafka import read_to_end
from frame_gainsight.runtime import Settings
from schemas.raw_topic import is_period_marker

PATIENCE = 120.0


def run(rates: list[int], periods: int) -> Report:
    """Each rate alone, one after the other: a first period with nothing known, then `periods` more."""
    report = Report("delay", {"rates": rates, "periods": periods})
    table = report.table(
        "Seconds from the tenant's last reply of a period until all its conversations can be read",
        *("emails a period", "cold", "warm, median", "warm, longest", "enricher's processor time, warm, per 1000"),
    )
    report.data["cases"] = []
    for rate in rates:
        delays, seconds = _measured(rate, periods)
        cold, *warm = delays
        table(f"{rate:,}", *(f"{value:.2f}" for value in (cold, median(warm), max(warm), seconds)))
        report.data["cases"].append({"rate": rate, "cold": cold, "warm": warm, "processor_seconds_per_1000": seconds})
    report.note(
        "Producer and enricher as processes, the tenant and Kafka beside them on the same machine; a read_committed "
        "reader notes when it has each conversation. In each warm period 5 % of the people are new."
    )
    return report


def _measured(rate: int, periods: int) -> tuple[list[float], float]:
    """The delays in order, and the enricher's processor seconds per 1000 emails of the warm periods."""
    case = Case(rate, companies_of(rate))
    plan = {"rates": [(rate, case.companies)], "periods": periods + 1, "new_people": NEW_PEOPLE}
    with Stage() as stage, Tenants(plan, stage.folder) as tenants:
        settings = stage.topics(refresh_seconds=NO_LOOK)
        hosts = stage.register(settings, tenants, [mapping(case)], start=tenants.start)
        ((connector, host),) = hosts.items()
        with stage.enricher(settings) as enricher, Arrivals(settings) as arrivals:
            _wait_for(lambda: enricher.log.read_text().count('"lane_opened"') >= settings.partitions, enricher)
            delays, known, used = [], set[str](), 0.0
            for number in range(1, periods + 2):
                tenants.reset()
                before = enricher.cpu_seconds()
                note(f"delay: {rate:,} emails, period {number} of {periods + 1}")
                poll(stage, settings, tenants, hosts)
                new = _emails(settings, connector) - known
                _wait_for(partial(_there, new, arrivals), enricher)
                last = tenants.books()[host]["last"]
                delays.append(max(arrivals.at[key] for key in new) - last)
                used += enricher.cpu_seconds() - before if known else 0.0
                known |= new
    return delays, 1000 * used / (rate * periods)


def _emails(settings: Settings, connector: str) -> set[str]:
    records = read_to_end(settings, settings.raw_topic, dict.fromkeys(range(settings.partitions)))
    keys = ((record.key or b"").decode() for record in records if not is_period_marker(record.key))
    return {key for key in keys if key.startswith(f"{connector}/")}


def _there(wanted: set[str], arrivals: Arrivals) -> bool:
    return wanted <= arrivals.at.keys()


def _wait_for(holds: Callable[[], bool], enricher: Measured) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > deadline or not enricher.running:
            raise RuntimeError(f"the enricher did not come so far: {enricher.tail()}")
        time.sleep(0.05)
