"""`connector init`: a definition written for a tenant, from what fields it has and fills."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from pydantic import ValidationError
from rich.markup import escape
from rich.table import Table

from bus import Settings, load_settings
from cli import findings, secrets
from cli.definitions import schema_text
from cli.output import answers, error, notes, waiting, wrong_use
from cli.preview import look, show
from connectors import Definition, DefinitionError, Line, Secret
from connectors.definition import SCHEMA_FILE, faults_of, to_yaml
from connectors.propose import Proposal, Proposed, propose
from gainsight import GainsightError, SystemClock

_T = TypeVar("_T")
PARTS = {"user_profile": "participants' profile", "org_profile": "account's profile", "tags": "tags"}


def init(
    id_: Annotated[str | None, typer.Option("--id", help="The connector's id, such as acme.")] = None,
    host: Annotated[str | None, typer.Option("--host", help="The tenant's own address.")] = None,
    types: Annotated[
        list[str] | None, typer.Option("--type", help="An activity type to take; Email, when there is one.")
    ] = None,
    period: Annotated[str, typer.Option("--period", help="How often it is polled.")] = "10m",
    oauth: Annotated[bool, typer.Option("--oauth", help="An OAuth client in the API key's place.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="The file to write; <id>.yaml without it.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Take what is proposed, and ask nothing but the key.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    previews: Annotated[int, typer.Option("--max", min=0, max=50, help="Conversations to show.")] = 2,
) -> None:
    """Look at a tenant, propose a mapping from the fields that it has and fills, and write the definition's file.

    Nothing is registered and nothing is written to Kafka. The key is asked for without echo, or read from standard
    input when that is not a terminal (then --yes, --id and --host are needed), and is not kept.
    """
    settings = load_settings()
    if not yes and not sys.stdin.isatty():
        wrong_use("There is no terminal to ask at. Give --yes, --id and --host, and the key on standard input.")
    definition = _bare(id_, host, period, yes)
    file = out or Path(f"{definition.id}.yaml")
    if file.exists() and not force and (yes or not typer.confirm(f"{file} is there already. Write over it?")):
        wrong_use(f"{file} is there already. Name another one with --out, or write over it with --force.")
    secret = secrets.ask(oauth)
    assert secret is not None
    with waiting("Looking at the tenant…"):
        proposal, calls = asyncio.run(_look_at(settings, definition, secret))
    answers.print(_types_shown(proposal))
    chosen = _types(proposal, types, yes)
    answers.print(_fields_shown(proposal.fields))
    taken = proposal.fields if yes else _chosen(proposal.fields)
    complete = _validated(definition, {**proposal.parts(taken), "activity_types": chosen})
    if previews:
        calls += _preview(settings, secret, complete, previews, proposal)
    file.write_text(to_yaml(complete))
    beside = file.with_name(SCHEMA_FILE)
    beside.write_text(schema_text())
    answers.print(f"[bold green]Written[/] {escape(str(file))} (and {SCHEMA_FILE} beside it, for your editor).")
    answers.print(f"[dim]{findings.counted(calls)} in all; nothing was registered.[/]")
    answers.print(f"Look through it, then: frame-gainsight connector add {file}", markup=False, soft_wrap=True)


async def _look_at(settings: Settings, definition: Definition, secret: Secret) -> tuple[Proposal, int]:
    line = Line(SystemClock(), settings.http_timeout_seconds, settings.retry_seconds)
    async with line.to(definition, secret) as client:
        return await propose(client, definition), sum(client.calls.values())


def _preview(settings: Settings, secret: Secret, definition: Definition, most: int, proposal: Proposal) -> int:
    """Shows what the mapping makes of the newest activities; a mapping that fails is still worth its file."""
    try:
        with waiting("Trying it…"):
            told = asyncio.run(look(settings, secret, [definition], most, proposal.described))
    except GainsightError as error:
        notes.print(f"[yellow]It could not be tried:[/] {escape(str(error))}")
        return 0
    show(told)
    return told.count


def _bare(id_: str | None, host: str | None, period: str, yes: bool) -> Definition:
    """The definition without any mapping; what is missing or wrong is asked for until it is right."""
    if yes:
        if not id_ or not host:
            wrong_use("With --yes, --id and --host are needed.")
        return _made(id_ or "", host or "", period)
    name = _until_right("The connector's id", id_, lambda text: _made(text, "https://a.example", period).id)
    address = _until_right("The tenant's address", host, lambda text: _made(name, text, period).host)
    return _made(name, address, period)


def _until_right(label: str, given: str | None, read: Callable[[str], _T]) -> _T:
    text = given
    while True:
        try:
            return read(text if text is not None else str(typer.prompt(label)).strip())
        except DefinitionError as fault:
            error(str(fault))
            text = None


def _made(id_: str, host: str, period: str) -> Definition:
    try:
        return Definition.model_validate({"id": id_, "host": host, "period": period})
    except ValidationError as error:
        raise DefinitionError("; ".join(faults_of(error))) from None


def _validated(definition: Definition, parts: dict[str, object]) -> Definition:
    return Definition.model_validate(definition.model_dump(exclude_defaults=True) | parts)


def _types(proposal: Proposal, given: Sequence[str] | None, yes: bool) -> list[str]:
    """The activity types to take; all of them is an empty list."""
    if given:
        if unknown := [name for name in given if name not in proposal.types]:
            notes.print(f"[yellow]Not seen among the newest activities:[/] {escape(', '.join(unknown))}")
        return list(given)
    default = "Email" if "Email" in proposal.types else ""
    if yes:
        return [default] if default else []
    text = typer.prompt("Activity types to take, with commas between (empty: all)", default, show_default=bool(default))
    return [name for part in text.split(",") if (name := part.strip())]


def _chosen(fields: Sequence[Proposed]) -> list[Proposed]:
    """What a person takes of the proposal: each part as a whole, or field by field."""
    taken: list[Proposed] = []
    for part, label in PARTS.items():
        proposed = [one for one in fields if one.part == part]
        if not proposed:
            continue
        if typer.confirm(f"Take all {len(proposed)} fields for the {label}?", default=True):
            taken += proposed
        else:
            taken += [one for one in proposed if typer.confirm(f"  {one.name} ({one.path})?", default=True)]
    return taken


def _types_shown(proposal: Proposal) -> Table:
    table = Table("activity type", "of the newest", box=None, padding=(0, 1))
    for name, count in proposal.types.items():
        table.add_row(escape(name), f"{count:,}")
    return table


def _fields_shown(fields: Sequence[Proposed]) -> Table:
    table = Table("for", "name", "from", "type", "filled", box=None, padding=(0, 1))
    for one in sorted(fields, key=lambda f: list(PARTS).index(f.part)):
        table.add_row(PARTS[one.part], one.name, one.path, one.data_type.lower(), f"{one.filled:.0%}")
    return table
