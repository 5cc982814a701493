"""`connector preview`: conversations as Frame would get them, and what another mapping would make of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from enricher import Preview, preview
from frame_gainsight.cli import show_findings as findings
from frame_gainsight.cli.commands.connector import AsJson, Id, read_definition, registry_of
from frame_gainsight.cli.output import FAILED, answers, escape, print_json, sample, waiting
from frame_gainsight.connectors import ClientOptions, Connector, Definition, DefinitionError, KmsVault, Secret
from frame_gainsight.gainsight import HostPolicy, ObjectDescription
from frame_gainsight.runtime import Settings, SystemClock, load_settings


def preview_command(
    connector: Id,
    max_activities: Annotated[int, typer.Option("--max", min=1, max=500, help="Activities, the latest first.")] = 3,
    mapping: Annotated[
        Path | None, typer.Option("--mapping", help="Another definition's file: show what it would change.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show a connector's latest conversations as Frame would get them. Nothing is written; the calls are counted.

    With --mapping FILE: the fields that would differ by that file's mapping, side by side.
    """
    settings = load_settings()
    found = registry_of(settings).get(connector)
    definitions = [found.definition]
    if mapping is not None:
        definitions.append(_other(found, mapping))
    secret = KmsVault(settings.kms_key_id).open(found.id, found.definition.host, found.sealed)
    with waiting("Calling the tenant…"):
        made = asyncio.run(make_preview(settings, secret, definitions, max_activities))
    if as_json:
        print_json(_json(made, mapping is not None))
    elif mapping is None:
        show(made)
    else:
        _compare(made, mapping)
    if any(one.causes for one in made.shown):
        raise typer.Exit(FAILED)


async def make_preview(
    settings: Settings,
    secret: Secret,
    definitions: list[Definition],
    max_activities: int,
    known: Mapping[str, ObjectDescription] | None = None,
) -> Preview:
    """Makes the preview; objects in `known` are not described again. Raises GainsightError."""
    clock = SystemClock()
    hosts = HostPolicy(settings.allowed_hosts)
    options = ClientOptions(clock, settings.http_timeout_seconds, settings.retry_seconds, hosts)
    async with options.client(definitions[0], secret) as client:
        return await preview(client, clock, definitions, max_activities, known)


def show(made: Preview) -> None:
    """The conversations, for people."""
    for one in made.shown:
        for value in one.values:
            if value is not None:
                answers.print(sample(value))
        for cause in one.causes:
            answers.print(f"[bold red]{escape(one.gsid)}[/] would be a dead letter: {escape(cause)}")
    if not made.shown:
        answers.print("The tenant has no activity of these types yet.")
    answers.print(f"[dim]{findings.counted(made.count)}; nothing was written.[/]")


def flat(value: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a conversation that a mapping decides: field → value."""
    fields: dict[str, Any] = {}
    for participant in value["participants"]:
        who = participant["email"] or participant["name"] or "?"
        fields |= {f"{who}: {name}": v for name, v in participant["profile"].items()}
    if value["account"]:
        fields |= {f"account: {name}": v for name, v in value["account"]["profile"].items()}
    return fields | {f"tag: {tag['name']}": tag["value"] for tag in value["tags"]}


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Field → its value by each of two mappings (None: it has none), where they differ."""
    old, new = flat(before), flat(after)
    return {
        name: (old.get(name), new.get(name)) for name in dict.fromkeys([*old, *new]) if old.get(name) != new.get(name)
    }


def _compare(made: Preview, file: Path) -> None:
    counts = [0, 0]
    for one in made.shown:
        before, after = one.values
        if before is None or after is None:
            for cause in one.causes:
                answers.print(f"[bold red]{escape(one.gsid)}[/] would be a dead letter: {escape(cause)}")
            continue
        changed = differences(before, after)
        counts[bool(changed)] += 1
        if not changed:
            continue
        title = escape(before["subject"] or one.gsid)
        table = Table(title=title, title_justify="left")
        for heading in ("field", "now", f"by {escape(file.name)}"):
            table.add_column(heading, overflow="fold")
        for name, (old, new) in changed.items():
            table.add_row(escape(name), _cell(old), _cell(new))
        answers.print(table)
    answers.print(f"{counts[1]} of {sum(counts)} conversations would differ.")
    answers.print(f"[dim]{findings.counted(made.count)}; nothing was written.[/]")
    answers.print("To use it: connector add FILE; then for what is there already: replay ID")


def _cell(value: Any) -> str:
    return "[dim]–[/]" if value is None else escape(str(value))


def _json(made: Preview, compared: bool) -> dict[str, Any]:
    shown = []
    for one in made.shown:
        entry: dict[str, Any] = {"activity_id": one.gsid, "conversation": one.values[0]}
        if one.causes:
            entry["causes"] = list(one.causes)
        if compared:
            before, after = one.values
            entry["with_mapping"] = after
            entry["differs"] = sorted(differences(before, after)) if before and after else []
        shown.append(entry)
    return {"conversations": shown, "api_calls": made.count, "api_calls_by_object": made.calls}


def _other(found: Connector, file: Path) -> Definition:
    """The other file's mapping, for this connector."""
    other = read_definition(file)
    if other.host != found.definition.host:
        raise DefinitionError(
            f"{file} is for {other.host}, but '{found.id}' is for {found.definition.host}: its key goes nowhere else."
        )
    return Definition.model_validate(other.model_dump() | {"id": found.id})
