"""`benchmarks calls`: every API call of both services per 1000 new emails, by how many come in a period."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from typing import Any

import yaml

from benchmarks.measured import Measured
from benchmarks.show import Report, note
from benchmarks.stage import Stage, Tenants
from frame_gainsight.gainsight import format_date, parse_date
from frame_gainsight.runtime import Settings

PERIOD = 600
HOUR = 6  # periods
LAST = HOUR + 2
NO_LOOK = 86_400.0  # seconds between looks for changes: none while the periods are counted
LOOK_AT_ONCE = 1800.0  # less than has passed by the tenants' clocks, more than a period takes
NEW_PEOPLE = 0.05
MANY_COMPANIES = 3500  # whose persons take several pages
PAGE = 5.0  # calls per 1000 emails, at 1000 a period
_TIMELINE = "query/activity_timeline"
_DESCRIBE = "objects/describe"
_LOGS = ("query/record_delete_log", "query/record_delete_log_high_volume", "activity/deleted")

Calls = dict[str, Counter[str]]
"""By host, the calls of each kind."""


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


def companies_of(rate: int) -> int:
    return 60 if rate < 1000 else 300 if rate < 5000 else 1000


def cases(rates: list[int]) -> list[Case]:
    """Each rate with the usual mapping; with a custom object, a larger tenant, or `overlap: auto` where it matters."""
    found = []
    for rate in rates:
        companies = companies_of(rate)
        found.append(Case(rate, companies))
        if rate in (1000, 10_000):
            found += [Case(rate, companies, custom=True), Case(rate, MANY_COMPANIES)]
        if rate >= 10_000:
            found.append(Case(rate, companies, auto=True))
    return found


def mapping(case: Case) -> dict[str, Any]:
    """The demo's mapping; without its custom object, unless that is what is looked at."""
    definition = yaml.safe_load(resources.files("frame_gainsight.cli.demo").joinpath("demo.yaml").read_text())
    given = {name: definition[name] for name in ("user_profile", "org_profile", "tags")}
    if case.custom:
        given["objects"] = definition["objects"]
    else:
        given["org_profile"] = {k: v for k, v in given["org_profile"].items() if "__gc." not in v}
    return given | ({"overlap": "auto"} if case.auto else {})


@dataclass(frozen=True)
class Counted:
    """The calls of one case: of the first period, of the hour after it, of an hourly look, and of a replay."""

    case: Case
    persons: int
    cold: Counter[str]
    hour: Counter[str]
    look: Counter[str]
    replay: Counter[str]

    @property
    def emails(self) -> int:
        """Of the hour."""
        return self.case.rate * HOUR

    def per_thousand(self) -> dict[str, float]:
        """Of the warm hour, by what the calls are for."""
        warm = _split(self.hour) | {"changes": self.look.total()}
        return {name: 1000 * count / self.emails for name, count in warm.items()}

    @property
    def warm(self) -> float:
        return sum(self.per_thousand().values())

    @property
    def first(self) -> float:
        """The first period's calls per 1000 emails, describes apart."""
        return 1000 * sum(_split(self.cold).values()) / self.case.rate


def _split(calls: Counter[str]) -> dict[str, int]:
    """By what they are for; without describes."""
    told = {"timeline": calls[_TIMELINE], "deletions": sum(calls[name] for name in _LOGS)}
    return told | {"people": calls.total() - calls[_DESCRIBE] - sum(told.values())}


def run(rates: list[int]) -> Report:
    """A first period with nothing known, then an hour in each of whose periods 5 % of the people are new.

    The tenants' clocks are advanced and the services' are not. So the look for changed entities, which comes once an
    hour, is kept out of these periods and made in one of its own, by an enricher that looks as soon as it is started.
    """
    every = cases(rates)
    plan = {"rates": [(c.rate, c.companies) for c in every], "periods": LAST, "new_people": NEW_PEOPLE}
    with Stage() as stage, Tenants(plan, stage.folder) as tenants:
        settings = stage.topics(patience_seconds=60, handle_seconds=100)  # a period is counted when all of it is there
        hosts = stage.register(settings, tenants, [mapping(c) for c in every], start=tenants.start)
        sizes = tenants.ask("/_bench/sizes")
        with stage.enricher(settings.model_copy(update={"refresh_seconds": NO_LOOK})) as enricher:
            (cold,) = _periods(stage, settings, tenants, hosts, enricher, [1])
            hour = _periods(stage, settings, tenants, hosts, enricher, range(2, HOUR + 2))
        note(f"calls: period {LAST} of {LAST}")
        poll(stage, settings, tenants, hosts)
        tenants.reset()
        at_once = settings.model_copy(update={"refresh_seconds": LOOK_AT_ONCE})
        with stage.enricher(at_once) as enricher:
            look = _calls(stage, settings, tenants, hosts, enricher)
            tenants.reset()
            _replay(stage, settings, tenants.start)
            replay = _calls(stage, settings, tenants, hosts, enricher)
    warm = {host: sum((period[host] for period in hour), Counter()) for host in hosts.values()}
    return _report(
        rates,
        [
            Counted(case, sizes[h]["person"], cold[h], warm[h], look[h], replay[h])
            for case, h in zip(every, hosts.values(), strict=True)
        ],
    )


def _periods(
    stage: Stage,
    settings: Settings,
    tenants: Tenants,
    hosts: dict[str, str],
    enricher: Measured,
    numbers: Iterable[int],
) -> list[Calls]:
    """The calls of each period."""
    found = []
    for number in numbers:
        tenants.reset()
        note(f"calls: period {number} of {LAST}")
        poll(stage, settings, tenants, hosts)
        found.append(_calls(stage, settings, tenants, hosts, enricher))
    return found


def poll(stage: Stage, settings: Settings, tenants: Tenants, hosts: dict[str, str]) -> None:
    """Ten minutes pass, and every connector is polled once."""
    for host in hosts.values():
        tenants.ask("/_sandbox/clock", {"advance": PERIOD}, host=host, method="POST")
    with stage.producer(settings, "--once") as process:
        usage = process.wait(900)
        if usage.code:
            raise RuntimeError(f"the producer ended with {usage.code}: {process.tail()}")


def _replay(stage: Stage, settings: Settings, start: str) -> None:
    """The last period into the live topic again, by the enricher that is running."""
    note("calls: replay")
    since = (parse_date(start) or 0) + (LAST - 1) * PERIOD * 1000
    command = [
        sys.executable,
        "-P",
        "-m",
        "frame_gainsight.cli.main",
        "replay",
        "--since",
        format_date(since),
        "--json",
    ]
    with Measured(command, stage.folder / "replay.log", stage.environment(settings)) as process:
        usage = process.wait(1800)
        if usage.code:
            raise RuntimeError(f"the replay ended with {usage.code}: {process.tail()}")


def _calls(stage: Stage, settings: Settings, tenants: Tenants, hosts: dict[str, str], enricher: Measured) -> Calls:
    """What was asked of each host since it was last reset, once everything is enriched."""
    stage.enriched(settings)
    if enricher.process.poll() is not None:
        raise RuntimeError(f"the enricher ended: {enricher.tail()}")
    books = tenants.books()
    return {host: Counter(books.get(host, {"calls": {}})["calls"]) for host in hosts.values()}


def _report(rates: list[int], counted: list[Counted]) -> Report:
    report = Report("calls", {"rates": rates})
    table = report.table(
        "API calls per 1000 new emails, 10 min period",
        *("emails a period", "companies", "persons", "cold", "warm", "replay", "the page"),
    )
    parts = report.table("What the warm hour's calls are for", "emails a period", *(counted[0].per_thousand()))
    for one in counted:
        per = one.per_thousand()
        sizes = (f"{one.case.companies:,}", f"{one.persons:,}")
        page = f"~{PAGE:g}" if one.case.rate == 1000 else ""
        table(one.case.name, *sizes, f"{one.first:.2f}", f"{one.warm:.2f}", f"{one.replay.total()}", page)
        parts(one.case.name, *(f"{per[name]:.2f}" for name in per))
    report.note(
        "Every call of producer and enricher, counted by the tenants. Cold: the first period, nothing known. Warm: the "
        "hour after it, six periods. In each of them 5 % of the people were never met before, nor were their "
        "companies; and whoever the tenant does not know is met for the first time. The looks for deleted activities "
        "and for changed or deleted entities come once an hour. Replay: all calls of one for the last period. Not in "
        f"it, once a tenant and day: {_describes(counted)} describes, and what the first period asks of people."
    )
    report.data["cases"] = [
        {
            "rate": one.case.rate,
            "companies": one.case.companies,
            "persons": one.persons,
            "custom_object": one.case.custom,
            "overlap": "auto" if one.case.auto else "10m",
            "cold": one.first,
            "warm": one.warm,
            "warm_by_purpose": one.per_thousand(),
            "calls_cold": dict(one.cold),
            "calls_warm_hour": dict(one.hour),
            "calls_look": dict(one.look),
            "calls_replay": dict(one.replay),
        }
        for one in counted
    ]
    return report


def _describes(counted: list[Counted]) -> str:
    """As many as the first period has: each service keeps them for a day."""
    least, most = (pick(one.cold[_DESCRIBE] for one in counted) for pick in (min, max))
    return str(most) if least == most else f"{least} to {most}"
