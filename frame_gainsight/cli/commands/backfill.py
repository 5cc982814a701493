"""`backfill`: reads a connector's past, with an estimate first and its progress after."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from frame_gainsight.cli.output import FAILED, answers, escape, notes, print_json, wrong_use
from frame_gainsight.connectors import Connector, KmsVault, Registry, open_client
from frame_gainsight.gainsight import format_date, parse_date
from frame_gainsight.kafka.topics import require
from frame_gainsight.runtime import Settings, SystemClock, load_settings
from producer import Backfill, BackfillRequests, Checkpoint, Estimate, estimate
from schemas import codec_for

PATIENCE = 10.0  # seconds without progress after which the reason is shown


def backfill(
    connector: Annotated[str, typer.Argument(help="The connector's id.")],
    since: Annotated[str | None, typer.Option(help="Read from this date on, such as 2026-01-01.")] = None,
    until: Annotated[
        str | None, typer.Option(help="Up to this date; left out: to where the connector has been read already.")
    ] = None,
    newest_first: Annotated[
        bool, typer.Option("--newest-first", help="The recent past first: it is useful first.")
    ] = False,
    only_estimate: Annotated[bool, typer.Option("--estimate", help="Show what it would cost, and end.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Request it and end; the producer goes on.")] = False,
    cancel: Annotated[bool, typer.Option("--cancel", help="Give up the connector's unfinished backfills.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, also when it takes days.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The estimate or the outcome as one JSON object.")] = False,
) -> None:
    """Read a connector's past, beside its polls. The producer that owns its lane does the work.

    What was read before is read again where the dates say so, and only what is missing is written. Ended with Ctrl-C,
    this command only stops showing it: the work goes on.
    """
    settings = load_settings()
    require(settings)
    codec = codec_for(settings.schema_registry_url)
    registered = Registry(settings, codec).get(connector)
    requests = BackfillRequests(settings, codec, connector)
    known = requests.progress()
    if cancel:
        _cancel(requests, [b for b in known.backfills.values() if b.is_open])
        return
    if since is None:
        wrong_use("Say from when on: --since 2026-01-01")
    start, end = _date(since, "--since"), _date(until, "--until") if until is not None else None
    now = SystemClock().now()
    last = _end_of(known.checkpoint, start, end, now)
    if start >= last:
        wrong_use(
            f"{format_date(start)} is not before {format_date(last)}: from there on live polling reads everything. "
            "Give an earlier --since."
        )
    running = next((b for b in known.backfills.values() if b.is_open and b.since == start), None)
    if running is not None and not only_estimate:
        notes.print(f"It is being done already ({running.id}); this shows how far it is.")
    else:
        expected, per_minute, per_day = asyncio.run(_estimate(settings, registered, known.checkpoint, start, last))
        _show_estimate(expected, per_minute, per_day, start, last, as_json and only_estimate)
        if only_estimate:
            return
        _consent(expected.days_share(per_day), yes)
        running = Backfill(connector, f"asked-{now}", start, now, end, newest_first=newest_first, marks=expected.marks)
        requests.request(running)
        notes.print("Requested. It goes on without this command; [bold]--cancel[/] gives it up.")
    if registered.state != "ACTIVE":
        notes.print(f"[yellow]{connector} is paused: it goes on when it is resumed.[/]")
    if not detach:
        _follow(requests, running, as_json)


def _date(text: str, option: str) -> int:
    try:
        at = parse_date(text)
    except ValueError as error:
        at, fault = None, str(error)
    else:
        fault = "it is empty"
    if at is None:
        raise typer.BadParameter(f"{fault}; write it as 2026-01-01 or 2026-01-01T08:00:00Z", param_hint=option)
    return at // 1000 * 1000


def _end_of(checkpoint: Checkpoint | None, start: int, end: int | None, now: int) -> int:
    """Where the span ends: as given, else where live polling began, or, for a start after that, where it is now."""
    if checkpoint is None:
        return now if end is None else min(end, now)
    begun = checkpoint.begun if checkpoint.begun is not None else checkpoint.cursor
    live_from = max(begun, checkpoint.remembered_from or 0)
    if end is not None:
        return min(end, live_from)
    return begun if start < begun else live_from


async def _estimate(
    settings: Settings, connector: Connector, checkpoint: Checkpoint | None, start: int, end: int
) -> tuple[Estimate, int, int]:
    """The estimate, and the producer's calls a minute and a day."""
    client = await open_client(
        settings,
        KmsVault(settings.kms_key_id),
        SystemClock(),
        connector,
        role="producer",
        spent_today=checkpoint.calls if checkpoint is not None else None,
    )
    async with client:
        found = await estimate(client, connector.definition, start, end, settings.page_rows)
        return found, client.calls_per_minute, client.calls_per_day


def _show_estimate(found: Estimate, per_minute: int, per_day: int, start: int, end: int, as_json: bool) -> None:
    minutes, part = found.minutes(per_minute), found.days_share(per_day)
    if as_json:
        answer: dict[str, Any] = {
            "since": format_date(start),
            "until": format_date(end),
            "rows": found.rows,
            "calls": found.calls,
            "share_of_day": round(part, 4),
            "minutes": round(minutes, 1),
            "probing_calls": found.probes,
        }
        print_json(answer)
        return
    several = part > 1
    rows = "at most" if len(found.marks) == 1 else "about"
    answers.print(
        f"{format_date(start)} to {format_date(end)}: {rows} [bold]{found.rows:,}[/] activities, "
        f"[bold]{found.calls:,}[/] API calls, [bold]{part:.1%}[/] of the producer's {per_day:,} calls a day; "
        + (f"[bold]{part:.1f} days[/]." if several else f"[bold]{_span(minutes)}[/] at {per_minute} calls a minute.")
        + f" [dim](estimated with {found.probes} calls)[/]"
    )


def _span(minutes: float) -> str:
    if minutes < 1:
        return "less than a minute"
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


def _consent(days: float, yes: bool) -> None:
    if days <= 1 or yes:
        return
    notes.print("It takes more than a day's calls: live polling goes first, and it goes on day after day.")
    if not sys.stdin.isatty():
        wrong_use("Say --yes to request it all the same.")
    typer.confirm("Request it?", abort=True, err=True)


def _cancel(requests: BackfillRequests, running: list[Backfill]) -> None:
    if not running:
        notes.print("There is no unfinished backfill.")
    for one in running:
        requests.cancel(one)
        notes.print(f"Given up: {one.id}, after {one.rows:,} rows. What it wrote stays.")


def _follow(requests: BackfillRequests, requested: Backfill, as_json: bool) -> None:
    """Shows the progress until the end."""
    last = requested
    try:
        with _bar() as show:
            for news in _states(requests, requested.id, show):
                last = news
    except KeyboardInterrupt:
        notes.print("The backfill goes on. The same command shows it again; [bold]--cancel[/] gives it up.")
        raise typer.Exit(130) from None
    if as_json:
        print_json(
            {
                "id": last.id,
                "state": last.state,
                "since": format_date(last.since),
                "until": format_date(last.until) if last.until is not None else None,
                "rows": last.rows,
                "written": last.written,
                "calls": last.calls,
            }
        )
    else:
        answers.print(
            f"{last.state.capitalize()}: {last.rows:,} rows read, {last.written:,} written, {last.calls:,} API calls."
        )
    if last.state != "DONE":
        raise typer.Exit(FAILED)


def _states(requests: BackfillRequests, id_: str, show: Progress) -> Iterator[Backfill]:
    task = show.add_task("waiting for the producer", total=None, calls=0, cause="")
    quiet_since, taken = time.monotonic(), False
    for news in requests.follow(id_):
        if news is None:
            if not taken and time.monotonic() - quiet_since > PATIENCE:
                show.update(task, cause="no producer has taken it yet: it begins when one runs (frame-gainsight poll)")
            continue
        yield news
        taken = taken or news.state == "RUNNING"
        show.update(
            task,
            description=news.state.lower(),
            completed=news.rows,
            total=max(news.expected_rows, news.rows) if news.expected_rows and news.is_open else news.rows or None,
            calls=news.calls,
            cause=escape(news.cause or ""),
        )
        if not news.is_open:
            return


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows, {task.fields[calls]} calls"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("[yellow]{task.fields[cause]}"),
        console=notes,
    )
