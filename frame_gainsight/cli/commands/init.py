"""`connector init`: writes a definition for a tenant, from the fields that it has and fills."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from pydantic import ValidationError
from rich.table import Table

from frame_gainsight.cli import secrets
from frame_gainsight.cli import show_findings as findings
from frame_gainsight.cli.commands.definitions import schema_text
from frame_gainsight.cli.commands.preview import make_preview, show
from frame_gainsight.cli.output import NARROW, answers, error, escape, notes, waiting, wrong_use
from frame_gainsight.connectors import ClientOptions, Definition, DefinitionError, Secret
from frame_gainsight.connectors.definition.messages import faults_of
from frame_gainsight.connectors.definition.yaml_file import SCHEMA_FILE, to_yaml
from frame_gainsight.connectors.onboarding.other_needs import SKEW
from frame_gainsight.connectors.onboarding.propose import Proposal, Proposed, propose
from frame_gainsight.gainsight import BadKeyError, GainsightError, HostPolicy
from frame_gainsight.runtime import Settings, SystemClock, load_settings
from frame_gainsight.runtime.terminal import one_line, strip_control_characters

_T = TypeVar("_T")
PARTS = {"user_profile": "participants' profile", "org_profile": "account's profile", "tags": "tags"}
KEYS_ASKED = 3  # before a person at a terminal has to begin anew


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
    """Propose a mapping from the fields that a tenant has and fills, and write the definition's file.

    Nothing is registered and nothing is written to Kafka. The key is asked for without echo, or read from standard
    input when that is not a terminal (then --yes, --id and --host are needed), and is not kept.
    """
    settings = load_settings()
    if not yes and not sys.stdin.isatty():
        wrong_use("There is no terminal to ask at. Give --yes, --id and --host, and the key on standard input.")
    if out is not None:
        _writable(out)
    definition = _bare(id_, host, period, yes)
    HostPolicy(settings.allowed_hosts).require(definition.host)
    file = out or Path(f"{definition.id}.yaml")
    _writable(file)
    if file.exists() and not force and (yes or not typer.confirm(f"{file} is there already. Write over it?")):
        wrong_use(f"{file} is there already. Name another one with --out, or write over it with --force.")
    secret, proposal, calls = _key_and_proposal(settings, definition, oauth)
    definition = _started(definition, proposal)
    answers.print(_types_shown(proposal))
    chosen = _types(proposal, types, yes)
    _show_fields(proposal.fields)
    taken = proposal.fields if yes else _chosen(proposal.fields)
    complete = _validated(definition, {**proposal.parts(taken), "activity_types": chosen})
    if previews:
        calls += _preview(settings, secret, complete, previews, proposal)
    try:
        file.write_text(to_yaml(complete))
        file.with_name(SCHEMA_FILE).write_text(schema_text())
    except OSError as failure:  # the disk is full, say
        wrong_use(f"{failure.filename or file} cannot be written: {failure.strerror}.")
    answers.print(f"[bold green]Written[/] {escape(str(file))} (and {SCHEMA_FILE} beside it, for your editor).")
    answers.print(f"[dim]{findings.counted(calls)} in all; nothing was registered.[/]")
    answers.print(f"Look through it, then: frame-gainsight connector add {file}", markup=False, soft_wrap=True)


def _writable(file: Path) -> None:
    """Ends the command where the file could not be written, before anything is asked."""
    folder = file.parent
    try:
        if not folder.is_dir():
            wrong_use(f"{file} cannot be written: there is no folder {folder}.")
        for one in (file, file.with_name(SCHEMA_FILE)):
            if one.is_dir():
                wrong_use(f"{one} cannot be written: it is a folder. Name a file with --out.")
            if not os.access(one if one.exists() else folder, os.W_OK):
                wrong_use(f"{one} cannot be written: that is not permitted here. Name another place with --out.")
    except (OSError, ValueError) as failure:  # a name that no file can have
        wrong_use(f"That cannot be the name of a file: {getattr(failure, 'strerror', None) or failure}.")


def _key_and_proposal(settings: Settings, definition: Definition, oauth: bool) -> tuple[Secret, Proposal, int]:
    """The key that the tenant accepted, the proposal, and the calls; at a terminal, a refused key is asked for again.

    Raises GainsightError.
    """
    for left in reversed(range(KEYS_ASKED if sys.stdin.isatty() else 1)):
        secret = secrets.ask(oauth)
        assert secret is not None
        try:
            with waiting("Reading the tenant's fields…"):
                return secret, *asyncio.run(_propose(settings, definition, secret))
        except BadKeyError:
            if not left:
                raise
            error(f"The tenant does not accept {'this OAuth client' if oauth else 'this key'}. Try again.")
    raise AssertionError


async def _propose(settings: Settings, definition: Definition, secret: Secret) -> tuple[Proposal, int]:
    hosts = HostPolicy(settings.allowed_hosts)
    options = ClientOptions(SystemClock(), settings.http_timeout_seconds, settings.retry_seconds, hosts)
    async with options.client(definition, secret) as client:
        return await propose(client, definition), sum(client.calls.values())


def _preview(settings: Settings, secret: Secret, definition: Definition, previews: int, proposal: Proposal) -> int:
    """Shows what the mapping makes of the latest activities; a mapping that fails is still worth its file."""
    try:
        with waiting("Trying it…"):
            made = asyncio.run(make_preview(settings, secret, [definition], previews, proposal.described))
    except GainsightError as error:
        notes.print(f"[yellow]It could not be tried:[/] {escape(str(error))}")
        return 0
    show(made)
    return made.count


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


def _started(definition: Definition, proposal: Proposal) -> Definition:
    """The definition with the tenant's present as its start, where the tenant's clock is another than ours."""
    if proposal.clock_skew is None or abs(proposal.clock_skew) <= SKEW or proposal.tenant_now is None:
        return definition
    started = definition.started(proposal.tenant_now)
    notes.print(
        f"[yellow]The tenant's clock differs from ours:[/] processing starts at its present, {started.start}. For its "
        "past, write an earlier `start`."
    )
    return started


def _validated(definition: Definition, parts: dict[str, object]) -> Definition:
    return Definition.model_validate(definition.model_dump(exclude_defaults=True) | parts)


def _types(proposal: Proposal, given: Sequence[str] | None, yes: bool) -> list[str]:
    """The activity types to take; all of them is an empty list."""
    if given:
        if unknown := [name for name in given if name not in proposal.types]:
            notes.print(f"[yellow]Not seen among the latest activities:[/] {escape(', '.join(unknown))}")
        return list(given)
    default = "Email" if "Email" in proposal.types else ""
    if yes:
        return [default] if default else []
    label, refused = "Activity types to take, with commas between (empty: all)", None
    while True:
        text = strip_control_characters(typer.prompt(label, default, show_default=bool(default)))
        spelt = {name.lower(): name for name in proposal.types}
        chosen = [spelt.get(name.lower(), name) for part in text.split(",") if (name := part.strip())]
        unknown = [name for name in chosen if name not in proposal.types]
        if not unknown or unknown == refused:
            return list(dict.fromkeys(chosen))
        seen = ", ".join(proposal.types) or "none yet"
        error(f"Not seen in this tenant: {', '.join(unknown)}. Seen: {seen}. If it is right, type it again.")
        refused = unknown


def _chosen(fields: Sequence[Proposed]) -> list[Proposed]:
    """The fields that a person takes of the proposal: all of a part, or field by field."""
    taken: list[Proposed] = []
    for part, label in PARTS.items():
        proposed = [one for one in fields if one.part == part]
        if not proposed:
            continue
        if typer.confirm(f"Take all {len(proposed)} fields for the {label}?", default=True):
            taken += proposed
        else:
            taken += [one for one in proposed if typer.confirm(one_line(f"  {one.name} ({one.path})?"), default=True)]
    return taken


def _types_shown(proposal: Proposal) -> Table:
    table = Table(box=None, padding=(0, 1))
    table.add_column("activity type", overflow="fold")
    table.add_column("of the latest", justify="right")
    for name, count in proposal.types.items():
        table.add_row(escape(name), f"{count:,}")
    return table


def _show_fields(fields: Sequence[Proposed]) -> None:
    """A table for each part of the mapping. Where there is little room the types are left out: they decide nothing."""
    narrow = answers.width < NARROW
    widest = max((len(one.name) for one in fields), default=0)
    for part, label in PARTS.items():
        proposed = [one for one in fields if one.part == part]
        if not proposed:
            continue
        answers.print(f"\n[bold]{label}[/]")
        table = Table(box=None, padding=(0, 1))
        table.add_column("name", min_width=min(widest, answers.width // 3), overflow="fold")
        table.add_column("from", overflow="fold")
        if not narrow:
            table.add_column("type", overflow="fold")
        table.add_column("filled", justify="right", no_wrap=True)
        for one in proposed:
            kind = () if narrow else (one.data_type.lower(),)
            table.add_row(*map(escape, (one.name, one.path, *kind)), f"{one.filled:.0%}")
        answers.print(table)
    answers.print()
