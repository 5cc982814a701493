"""`benchmarks calls`: every API call of both services per 1000 new emails, by how many come in a period."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from importlib import resources
from typing import Any

import yaml

from benchmarks.show import Report, note
from benchmarks.stage import Stage, Tenants

PERIOD = 600
HOUR = 6  # periods
BEAT = 3300  # seconds: so that the hour has one look for changes in it, as every hour has
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
    """A first period with nothing known, then an hour in each of whose periods 5 % of the people are new."""
    every = cases(rates)
    plan = {"rates": [(c.rate, c.companies) for c in every], "periods": HOUR + 1, "new_people": NEW_PEOPLE}
    cold: list[Counter[str]] = []
    warm: list[Counter[str]] = [Counter() for _ in every]
    with Stage() as stage, Tenants(plan, stage.folder) as tenants:
        settings = stage.topics(refresh_seconds=BEAT)
        hosts = stage.register(settings, tenants, [_mapping(c) for c in every], start=tenants.start)
        with stage.enricher(settings) as enricher:
            for number in range(HOUR + 1):
                note(f"calls: period {number + 1} of {HOUR + 1}")
                for host in hosts.values():
                    tenants.ask("/_sandbox/clock", {"advance": PERIOD}, host=host, method="POST")
                tenants.reset()
                with stage.producer(settings, "--once") as process:
                    usage = process.wait(900)
                    if usage.code:
                        raise RuntimeError(f"the producer ended with {usage.code}: {process.tail()}")
                stage.enriched(settings)
                if enricher.process.poll() is not None:
                    raise RuntimeError(f"the enricher ended: {enricher.tail()}")
                books = tenants.books()
                for case, host in enumerate(hosts.values()):
                    calls = Counter(books.get(host, {"calls": {}})["calls"])
                    if number == 0:
                        cold.append(calls)
                    else:
                        warm[case] += calls
    return _report(rates, every, cold, warm)


def _split(calls: Counter[str]) -> dict[str, int]:
    """By what they are for; describes, which a service makes once a day, apart."""
    told = {"timeline": calls[_TIMELINE], "deletions": sum(calls[name] for name in _LOGS)}
    told["describe"] = calls["objects/describe"]
    told["people and objects"] = calls.total() - sum(told.values())
    return told


def _report(rates: list[int], every: list[Case], cold: list[Counter[str]], warm: list[Counter[str]]) -> Report:
    report = Report("calls", {"rates": rates})
    table = report.table(
        "API calls per 1000 new emails, 10 min period", "new emails", "cold", "warm", "of it timeline", "deletions",
        "entities", "the page",
    )  # fmt: skip
    found: list[dict[str, Any]] = []
    for case, first, hour in zip(every, cold, warm, strict=True):
        one, six = _split(first), _split(hour)
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
        }
        found.append(told)
        table(
            case.name,
            f"{told['cold']:.2f}",
            f"{told['warm']:.2f}",
            f"{per['timeline']:.2f}",
            f"{per['deletions']:.2f}",
            f"{per['people and objects']:.2f}",
            f"~{PAGE:g}" if case.rate == 1000 else "",
        )
    report.note(
        "Every call of producer and enricher, counted by the tenants; describes apart, which a service makes once a "
        "day and object. Cold: the first period, nothing known. Warm: the hour after it, six periods; in each, 5 % of "
        "the people were never met before, and strangers keep coming. The look for deleted activities, and the looks "
        "for changed and deleted entities, come once an hour. "
        f"Companies: {', '.join(f'{c.companies:,} at {c.rate:,}' for c in every if not c.custom and not c.auto)}; "
        "about 6.5 people each."
    )
    report.data["cases"] = found
    return report
