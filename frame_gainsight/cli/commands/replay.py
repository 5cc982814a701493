"""`replay`: makes conversations anew from the raw topic, into the live topic or another one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from enricher import (
    COUNTS,
    ClientPool,
    Counts,
    EnricherServices,
    FixedConnectors,
    OfflineClients,
    Rebuild,
    Rebuilt,
    Replay,
    ReplayRequests,
    Scope,
    total,
)
from frame_gainsight.cli.output import FAILED, answers, escape, notes, print_json, wrong_use
from frame_gainsight.connectors import Connector, KmsVault, Registry
from frame_gainsight.gainsight import parse_date
from frame_gainsight.kafka import lane_of, topics
from frame_gainsight.kafka.topics import require
from frame_gainsight.runtime import Settings, SystemClock, load_settings
from frame_gainsight.runtime.logging import set_up_logging
from frame_gainsight.runtime.terminal import one_line
from schemas import Codec, codec_for

PATIENCE = 10.0  # seconds without progress after which the reason is shown
SHOWN = 10  # activities that could not be converted


def replay(
    connector: Annotated[str | None, typer.Argument(help="A connector's id; left out: all of them.")] = None,
    to: Annotated[
        str | None, typer.Option(help="Another topic; created like the output topic when it does not exist.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Activities modified (LastModifiedDate) from this date on, such as 2026-01-01.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Those modified before this date.")] = None,
    no_calls: Annotated[
        bool, typer.Option("--no-calls", help="With --to: make no call to the tenant; report what that leaves out.")
    ] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Request it and end; the enrichers go on.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Give up the unfinished replays.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The outcome as one JSON object.")] = False,
) -> None:
    """Make conversations anew from the raw topic, with the mapping as it is now.

    Of each activity the latest version, once. What is known of the tenant's people and accounts is not looked up
    again, however old it is. Into the live topic the enrichers do it, beside their live work: nothing newer is
    overwritten, and ended with Ctrl-C this command only stops showing it. Into another topic (--to) this command does
    it itself.
    """
    settings = load_settings()
    require(settings)
    codec = codec_for(settings.schema_registry_url)
    registered = Registry(settings, codec).all()
    if connector is not None and not cancel:
        Registry(settings, codec).get(connector)
    scope = Scope(connector, _date(since, "--since"), _date(until, "--until"))
    if scope.since is not None and scope.until is not None and scope.since >= scope.until:
        raise typer.BadParameter("it is not after --since", param_hint="--until")
    lanes = list(range(settings.partitions)) if connector is None else [lane_of(connector, settings.partitions)]
    if to is not None:
        if detach or cancel:
            wrong_use("--detach and --cancel are for the live topic: with --to, this command does the work itself.")
        if to in _ours(settings):
            wrong_use(f"--to {to}: for a replay into the live topic leave it out; the others are not for it.")
        _rebuild(settings, codec, registered, to, scope, lanes, no_calls, as_json)
        return
    if no_calls:
        wrong_use("--no-calls is for --to: into the live topic, the enrichers look up what they do not know.")
    requests = ReplayRequests(settings, codec, lanes)
    unfinished = [r for r in requests.known() if r.is_open]
    if cancel:
        _cancel(requests, [r for r in unfinished if connector is None or r.scope.connector == connector])
        return
    running = [r for r in unfinished if r.scope == scope]
    if running:
        running = [r for r in running if r.id == running[0].id]
        notes.print("It is being done already; this shows how far it is.")
    else:
        now = SystemClock().now()
        running = [Replay(lane, f"asked-{now}", now, scope) for lane in lanes]
        for one in running:
            requests.request(one)
        notes.print("Requested. It goes on without this command; [bold]--cancel[/] gives it up.")
    if not detach:
        _follow(requests, running, as_json)


def _date(text: str | None, option: str) -> int | None:
    if text is None:
        return None
    try:
        at = parse_date(text)
    except ValueError as error:
        at, fault = None, str(error)
    else:
        fault = "it is empty"
    if at is None:
        raise typer.BadParameter(f"{fault}; write it as 2026-01-01 or 2026-01-01T08:00:00Z", param_hint=option)
    return at


def _ours(settings: Settings) -> set[str]:
    return {spec.name for spec in topics.specs(settings)}


def _cancel(requests: ReplayRequests, running: Iterable[Replay]) -> None:
    given_up = list(running)
    if not given_up:
        notes.print("There is no unfinished replay.")
    for one in given_up:
        requests.cancel(one)
    for id_ in dict.fromkeys(one.id for one in given_up):
        written = total([one for one in given_up if one.id == id_]).written
        notes.print(f"Given up: {id_}, after {written:,} conversations. What it wrote stays.")


# Into the live topic


def _follow(requests: ReplayRequests, requested: Iterable[Replay], as_json: bool) -> None:
    """Shows the progress of all its lanes until the end."""
    lanes = {one.lane: one for one in requested}
    id_ = next(iter(lanes.values())).id
    try:
        with _bar() as show:
            _watch(requests, id_, lanes, show)
    except KeyboardInterrupt:
        notes.print("The replay goes on. The same command shows it again; [bold]--cancel[/] gives it up.")
        raise typer.Exit(130) from None
    states = {one.state for one in lanes.values()}
    state = "DONE" if states == {"DONE"} else "CANCELLED"
    counts = total(list(lanes.values()))
    if as_json:
        print_json({"id": id_, "state": state, **_counts(counts)})
    else:
        answers.print(f"{state.capitalize()}: {_summary(counts)}")
    if state != "DONE":
        raise typer.Exit(FAILED)


def _watch(requests: ReplayRequests, id_: str, lanes: dict[int, Replay], show: Progress) -> None:
    """Puts the latest state of each lane into `lanes`; returns when all of them have ended."""
    task = show.add_task("waiting for the enrichers", total=None, written=0, calls=0, cause="")
    quiet_since = time.monotonic()
    for news in requests.follow(id_):
        if news is None:
            waiting = [number for number, one in lanes.items() if one.state == "REQUESTED"]
            if waiting and time.monotonic() - quiet_since > PATIENCE:
                which = "it" if len(waiting) == len(lanes) else f"{len(waiting)} of {len(lanes)} lanes"
                cause = f"no enricher has taken {which} yet: that happens when one runs (frame-gainsight enrich)"
                show.update(task, cause=cause)
            continue
        if news.lane not in lanes or news.key != lanes[news.lane].key:
            continue
        before = lanes[news.lane]
        lanes[news.lane] = replace(news, state="CANCELLED") if _gave_up(before, news) else news
        quiet_since = time.monotonic()
        counts = total(list(lanes.values()))
        behind = [b for one in lanes.values() for b in one.behind]
        ends = [one.end for one in lanes.values()]
        known = [end for end in ends if end is not None]
        show.update(
            task,
            description="replaying" if known else "waiting for the enrichers",
            completed=sum(one.position for one in lanes.values()),
            total=max(1, sum(known)) if len(known) == len(ends) else None,
            written=counts.written,
            calls=counts.calls,
            cause=escape(f"{behind[0].connector} waits: {behind[0].cause}") if behind else "",
        )
        if not any(one.is_open for one in lanes.values()):
            return


def _gave_up(before: Replay, news: Replay) -> bool:
    """Tells a replay that was given up before its owner knew of that."""
    return before.state == "CANCELLED" and news.is_open


# Into another topic


def _rebuild(
    settings: Settings,
    codec: Codec,
    registered: dict[str, Connector],
    to: str,
    scope: Scope,
    lanes: list[int],
    no_calls: bool,
    as_json: bool,
) -> None:
    if topics.ensure_like_output(settings, to):
        notes.print(f"Topic {to} is created, like {settings.conversations_topic}.", markup=False)
    set_up_logging("ERROR")  # what cannot be converted is shown below
    try:
        with _bar() as show:
            task = show.add_task("reading", total=None, written=0, calls=0, cause="")

            def show_progress(so_far: Rebuilt) -> None:
                counts = so_far.counts
                show.update(
                    task,
                    description="rebuilding" if counts.rows else "reading",
                    completed=so_far.done,
                    total=max(1, so_far.of),
                    written=counts.written,
                    calls=counts.calls,
                )

            rebuilt = asyncio.run(_run(settings, codec, registered, to, scope, lanes, no_calls, show_progress))
    except KeyboardInterrupt:
        notes.print(f"Ended. What is in {to} is right, but not all there is; the same command does it from the start.")
        raise typer.Exit(130) from None
    if as_json:
        faults = [{"key": fault.key, "cause": fault.cause} for fault in rebuilt.faults]
        print_json(
            {"topic": to, **_counts(rebuilt.counts), "unresolved": rebuilt.unresolved, "faults": faults},
        )
    else:
        answers.print(f"Done: {_summary(rebuilt.counts)}")
        for fault in rebuilt.faults[:SHOWN]:
            answers.print(one_line(f"  {fault.key}: {fault.cause}"), markup=False, emoji=False)
        if more := rebuilt.unresolved + rebuilt.counts.failed - len(rebuilt.faults[:SHOWN]):
            answers.print(f"  and {more:,} more; --json names up to 1,000", markup=False)
    if rebuilt.unresolved:
        notes.print(
            f"[bold red]Not complete[/]: {rebuilt.unresolved:,} activities could not be tried, since the tenant's "
            + ("answers about them are not known, and no call was to be made." if no_calls else "answers failed.")
        )
        raise typer.Exit(FAILED)


async def _run(
    settings: Settings,
    codec: Codec,
    registered: dict[str, Connector],
    to: str,
    scope: Scope,
    lanes: list[int],
    no_calls: bool,
    on_progress: Any,
) -> Rebuilt:
    clock = SystemClock()
    clients = OfflineClients(clock) if no_calls else ClientPool(settings, KmsVault(settings.kms_key_id), clock)
    services = EnricherServices(settings, codec, FixedConnectors(registered), clients, clock)
    try:
        return await Rebuild(services, to, scope, on_progress).run(lanes)
    finally:
        await clients.close()


# What both show


def _counts(counts: Counts) -> dict[str, int]:
    return {name: getattr(counts, name) for name in COUNTS}


def _summary(counts: Counts) -> str:
    parts = [f"{counts.rows:,} rows read", f"{counts.written:,} conversations written"]
    if counts.deleted:
        parts.append(f"{counts.deleted:,} deletions")
    if counts.newer:
        parts.append(f"{counts.newer:,} left out because live traffic wrote something newer")
    if counts.failed:
        parts.append(f"{counts.failed:,} that cannot be converted")
    if counts.unregistered:
        parts.append(f"{counts.unregistered:,} of connectors that are not registered")
    return ", ".join([*parts, f"{counts.calls:,} API calls."])


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[written]:,} conversations, {task.fields[calls]:,} calls"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("[yellow]{task.fields[cause]}"),
        console=notes,
    )
