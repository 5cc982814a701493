"""The demo's report: numbers as JSON, and as people like to read them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from frame_gainsight.cli.demo.topic_watcher import TopicWatcher
from frame_gainsight.cli.demo.verify import Conversation, Verdict
from frame_gainsight.runtime.terminal import strip_control_characters

_SHOWN_FAULTS = 8
_BODY_LINES = 12


def figures(watch: TopicWatcher, verdict: Verdict, calls: Mapping[str, Any], polls: int) -> dict[str, Any]:
    """The report's numbers; every one is counted or measured in this run."""
    live = [c for c in watch.conversations.values() if c is not None]
    people = [p for c in live for p in c["participants"]]
    tombstones = sum(1 for c in watch.conversations.values() if c is None)
    activities = len(watch.conversations)
    return {
        "activities": activities,
        "conversations": len(live),
        "tombstones": tombstones,
        "duplicates": verdict.duplicates,
        "missing": len(verdict.missing) + len(verdict.undeleted),
        "surplus": len(verdict.surplus),
        "mismatches": len(verdict.mismatches),
        "dead_letters": len(watch.dead_letters),
        "versions": watch.outputs - tombstones,
        "polls": polls,
        "api_calls": calls["total"],
        "api_calls_per_1000": round(1000 * calls["total"] / max(1, activities), 2),
        "api_calls_by_endpoint": dict(calls["by_endpoint"]),
        "p99_seconds_poll_to_conversation": round(percentile(watch.delays, 0.99), 3),
        "participants": len(people),
        "participants_identified": sum(1 for p in people if p["user_id"]),
        "people": len({p["user_id"] for p in people if p["user_id"]}),
        "accounts": len({c["account"]["id"] for c in live if c["account"]}),
    }


def purposes(calls: Mapping[str, int]) -> dict[str, int]:
    """What calls were for, by endpoint, for people."""
    found = dict.fromkeys(
        ("for the timeline", "for people and companies", "for deletions", "descriptions, once a day"), 0
    )
    for endpoint, count in calls.items():
        if endpoint.startswith("describe"):
            found["descriptions, once a day"] += count
        elif "delete" in endpoint:
            found["for deletions"] += count
        elif endpoint.endswith("activity_timeline"):
            found["for the timeline"] += count
        else:
            found["for people and companies"] += count
    return {what: count for what, count in found.items() if count}


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed; 0 of none."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)] if values else 0.0


def render(numbers: Mapping[str, Any], verdict: Verdict, samples: Sequence[Conversation]) -> RenderableType:
    """The report for a terminal."""
    right = verdict.right
    table = Table(show_header=False, box=None, padding=(0, 2))
    table.add_column(justify="right", style="bold")
    table.add_column()
    table.add_row(f"{numbers['conversations']:,}", "conversations, each in its newest version")
    table.add_row(f"{numbers['tombstones']:,}", "deleted again, as the tenant deleted the activity")
    table.add_row(_count(numbers["missing"]), "missing")
    table.add_row(_count(numbers["duplicates"]), "published twice")
    table.add_row(_count(numbers["mismatches"]), "fields that differ from the tenant's own truth")
    table.add_row(_count(numbers["dead_letters"]), "dead letters")
    share = numbers["participants_identified"] / max(1, numbers["participants"])
    table.add_row(
        f"{share:.0%}",
        f"of {numbers['participants']:,} participants re-identified: "
        f"{numbers['people']:,} people, {numbers['accounts']:,} accounts",
    )
    table.add_row(
        f"{numbers['api_calls_per_1000']:g}",
        f"API calls per 1000 emails, from an empty cache, in {numbers['polls']} polls: "
        + ", ".join(f"{count} {what}" for what, count in purposes(numbers["api_calls_by_endpoint"]).items()),
    )
    table.add_row(
        f"{numbers['p99_seconds_poll_to_conversation']:.2f} s", "from the tenant's reply to the conversation, 99 of 100"
    )
    parts: list[RenderableType] = [sample(one) for one in samples]
    verdict_line = (
        Text("Nothing missing, nothing twice, every field as the tenant has it.", style="bold green")
        if right
        else Text("Not right:", style="bold red")
    )
    parts += [table, Text(), verdict_line]
    parts += [Text(f"  {fault}") for fault in faults(verdict)]
    return Group(*parts)


def faults(verdict: Verdict) -> list[str]:
    """The first few faults of each kind, for people."""
    lists = {
        "missing": verdict.missing,
        "still there, though deleted": verdict.undeleted,
        "not the tenant's": verdict.surplus,
        "differs": verdict.mismatches,
    }
    shown = [f"{kind}: {one}" for kind, all_ in lists.items() for one in all_[:_SHOWN_FAULTS]]
    return shown + ([f"{verdict.duplicates} versions published twice"] if verdict.duplicates else [])


def pick_samples(conversations: Mapping[str, Conversation | None]) -> list[Conversation]:
    """Two conversations that show the most: identified customers, tags, text; the same ones every time."""

    def rank(c: Conversation) -> tuple[int, int, str]:
        known = sum(1 for p in c["participants"] if p["user_id"])
        return (-known, -len(c["tags"]), c["activity_id"])

    live = sorted((c for c in conversations.values() if c is not None and c["body_text"]), key=rank)
    return [*live[:1], *[c for c in live[1:] if c["account"] != live[0]["account"]][:1]]


def sample(c: Conversation) -> Panel:
    """A conversation as people like to read it."""
    grid = Table(show_header=False, box=None, padding=(0, 1))
    grid.add_column(style="dim", justify="right")
    grid.add_column(overflow="fold")
    for p in c["participants"]:
        identity = f"[green]{p['role']}[/]" if p["user_id"] else f"[yellow]{p['role']}[/]"
        name = escape(p["name"] or "")
        grid.add_row(identity, f"{name} <{escape(p['email'] or '')}>  [dim]{_profile(p['profile'])}[/]")
    if c["account"]:
        grid.add_row("account", f"{escape(c['account']['name'] or '')}  [dim]{_profile(c['account']['profile'])}[/]")
    if c["relationship"]:
        grid.add_row("relationship", escape(c["relationship"]["name"] or ""))
    if c["tags"]:
        grid.add_row("tags", escape("  ".join(f"{t['name']}={t['value']}" for t in c["tags"])))
    at = datetime.fromtimestamp((c["occurred_at"] or c["version"]) / 1000, UTC).strftime("%Y-%m-%d %H:%M")
    title = Text(c["subject"] or "(no subject)")  # a text: of markup, codes such as :warning: would become pictures
    return Panel(Group(grid, Text(), _Body(c["body_text"] or "")), title=title, subtitle=at, width=100)


@dataclass(frozen=True, slots=True)
class _Body:
    """The beginning of a body, wrapped to the room that there is, and how much more of it there would be."""

    text: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        paragraphs = [strip_control_characters(line) for line in self.text.splitlines() if line.strip()]
        lines = Text("\n".join(paragraphs)).wrap(console, options.max_width, overflow="fold", no_wrap=False)
        yield from lines[:_BODY_LINES]
        if (more := len(lines) - _BODY_LINES) > 0:
            yield Text(f"… {more:,} more {'line' if more == 1 else 'lines'}", style="dim")


def _profile(profile: Mapping[str, Any]) -> str:
    return escape(", ".join(f"{k} {v}" for k, v in profile.items()))


def _count(number: int) -> str:
    return f"[green]{number}[/]" if number == 0 else f"[bold red]{number}[/]"
