"""`benchmarks calls`: every API call of both services per 1000 new emails, by how many come in a period."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from typing import Any

import yaml

from benchmarks.measured import Measured
from benchmarks.show import Report, note
from benchmarks.stage import Stage, Tenants
from bus import Settings

PERIOD = 600
HOUR = 6  # periods
LOOK_AT_ONCE = 30.0  # seconds: less than the hour that has passed, more than the period takes
NEW_PEOPLE = 0.05
PAGE = 5.0  # calls per 1000 emails, at 1000 a period
_TIMELINE = "query/activity_timeline"
_LOGS = ("query/record_delete_log", "query/record_delete_log_high_volume", "activity/deleted")


@dataclass(frozen=True)
class Case:
    """One tenant: its emails a period, its companies, and what differs in its connector."""

    rate: int
    companies: int
    custom: bool = False
    auto: bool = False

    @property
    def name(self) -> str:
        more = [*(["custom object"] if self.custom else []), *(["overlap: auto"] if self.auto else [])]
        return f"{self.rate:,}" + (f" ({', '.join(more)})" if more else "")


def _companies(rate: int) -> int:
    return 60 if rate < 1000 else 300 if rate < 5000 else 1000


def cases(rates: list[int]) -> list[Case]:
    """Each rate with the usual mapping; 1,000 also with a custom object, 10,000 and more also with `overlap: auto`."""
    found = []
    for rate in rates:
        found.append(Case(rate, _companies(rate)))
        if rate == 1000:
            found.append(Case(rate, _companies(rate), custom=True))
        if rate >= 10_000:
            found.append(Case(rate, _companies(rate), auto=True))
    return found


def _mapping(case: Case) -> dict[str, Any]:
    """The demo's mapping; without its custom object, unless that is what is looked at."""
    definition = yaml.safe_load(resources.files("cli").joinpath("demo.yaml").read_text())
    given = {name: definition[name] for name in ("user_profile", "org_profile", "tags")}
    if case.custom:
        given["objects"] = definition["objects"]
    else:
        given["org_profile"] = {k: v for k, v in given["org_profile"].items() if "__gc." not in v}
    return given | ({"overlap": "auto"} if case.auto else {})


def run(rates: list[int]) -> Report:
    """A first period with nothing known, then an hour in each of whose periods 5 % of the people are new.

    The tenants' clocks are advanced and the services' are not, so the look for changed entities, which comes once an
    hour, is made in a period of its own, by an enricher that is started again and looks at once.
    """
    every = cases(rates)
    plan = {"rates": [(c.rate, c.companies) for c in every], "periods": HOUR + 2, "new_people": NEW_PEOPLE}
    with Stage() as stage, Tenants(plan, stage.folder) as tenants:
        settings = stage.topics()
        hosts = stage.register(settings, tenants, [_mapping(c) for c in every], start=tenants.start)
        with stage.enricher(settings) as enricher:
            (cold,) = _periods(stage, settings, tenants, hosts, enricher, [1])
            hour = _periods(stage, settings, tenants, hosts, enricher, range(2, HOUR + 2))
        _poll(stage, settings, tenants, hosts, HOUR + 2)
        tenants.reset()
        at_once = settings.model_copy(update={"refresh_seconds": LOOK_AT_ONCE})
        with stage.enricher(at_once) as enricher:
            look = _calls(stage, settings, tenants, hosts, enricher)
    warm = [sum((period[host] for period in hour), Counter()) for host in hosts.values()]
    return _report(rates, every, [cold[h] for h in hosts.values()], warm, [look[h] for h in hosts.values()])


def _periods(
    stage: Stage,
    settings: Settings,
    tenants: Tenants,
    hosts: dict[str, str],
    enricher: Measured,
    numbers: Iterable[int],
) -> list[dict[str, Counter[str]]]:
    """The calls of each period, by host."""
    found = []
    for number in numbers:
        tenants.reset()
        _poll(stage, settings, tenants, hosts, number)
        found.append(_calls(stage, settings, tenants, hosts, enricher))
    return found


def _poll(stage: Stage, settings: Settings, tenants: Tenants, hosts: dict[str, str], number: int) -> None:
    note(f"calls: period {number} of {HOUR + 2}")
    for host in hosts.values():
        tenants.ask("/_sandbox/clock", {"advance": PERIOD}, host=host, method="POST")
    with stage.producer(settings, "--once") as process:
        usage = process.wait(900)
        if usage.code:
            raise RuntimeError(f"the producer ended with {usage.code}: {process.tail()}")


def _calls(
    stage: Stage, settings: Settings, tenants: Tenants, hosts: dict[str, str], enricher: Measured
) -> dict[str, Counter[str]]:
    """What was asked of each host since it was last reset, once everything is enriched."""
    stage.enriched(settings)
    if enricher.process.poll() is not None:
        raise RuntimeError(f"the enricher ended: {enricher.tail()}")
    books = tenants.books()
    return {host: Counter(books.get(host, {"calls": {}})["calls"]) for host in hosts.values()}


def _split(calls: Counter[str]) -> dict[str, int]:
    """By what they are for; describes, which a service makes once a day, apart."""
    told = {"timeline": calls[_TIMELINE], "deletions": sum(calls[name] for name in _LOGS)}
    told["describe"] = calls["objects/describe"]
    told["people and objects"] = calls.total() - sum(told.values())
    return told


def _report(
    rates: list[int],
    every: list[Case],
    cold: list[Counter[str]],
    warm: list[Counter[str]],
    looks: list[Counter[str]],
) -> Report:
    report = Report("calls", {"rates": rates})
    table = report.table(
        "API calls per 1000 new emails, 10 min period", "new emails", "cold", "warm", "of it timeline", "deletions",
        "entities", "changes", "the page",
    )  # fmt: skip
    found: list[dict[str, Any]] = []
    for case, first, hour, look in zip(every, cold, warm, looks, strict=True):
        one, six = _split(first), _split(hour)
        six["looks for changes"] = look.total()
        emails = case.rate * HOUR
        per = {name: 1000 * count / emails for name, count in six.items()}
        told = {
            "rate": case.rate,
            "companies": case.companies,
            "custom_object": case.custom,
            "overlap": "auto" if case.auto else "10m",
            "cold": 1000 * (first.total() - one["describe"]) / case.rate,
            "warm": sum(per.values()) - per["describe"],
            "calls_cold": dict(first),
            "calls_warm_hour": dict(hour),
            "calls_look": dict(look),
        }
        found.append(told)
        table(
            case.name,
            f"{told['cold']:.2f}",
            f"{told['warm']:.2f}",
            f"{per['timeline']:.2f}",
            f"{per['deletions']:.2f}",
            f"{per['people and objects']:.2f}",
            f"{per['looks for changes']:.2f}",
            f"~{PAGE:g}" if case.rate == 1000 else "",
        )
    report.note(
        "Every call of producer and enricher, counted by the tenants; describes apart, which a service makes once a "
        "day and object. Cold: the first period, nothing known. Warm: the hour after it, six periods; in each, 5 % of "
        "the people were never met before, and strangers keep coming. The looks for deleted activities "
        "and for changed or deleted entities come once an hour. "
        f"Companies: {', '.join(f'{c.companies:,} at {c.rate:,}' for c in every if not c.custom and not c.auto)}; "
        "about 6.5 people each."
    )
    report.data["cases"] = found
    return report
