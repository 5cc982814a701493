"""`connector …`: registering, checking, pausing and changing a customer's connector."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.table import Table

from frame_gainsight.cli import secrets
from frame_gainsight.cli import show_findings as findings
from frame_gainsight.cli.input import read_text
from frame_gainsight.cli.output import FAILED, NARROW, answers, escape, notes, print_json, waiting
from frame_gainsight.connectors import (
    ClientOptions,
    Connector,
    Definition,
    KmsVault,
    Registry,
    check,
    parse_yaml,
    register,
    rotate,
)
from frame_gainsight.connectors.definition.yaml_file import written
from frame_gainsight.connectors.onboarding.register import gone
from frame_gainsight.connectors.registry import State
from frame_gainsight.gainsight import HostPolicy
from frame_gainsight.kafka.topics import require
from frame_gainsight.runtime import Settings, SystemClock, load_settings
from frame_gainsight.runtime.terminal import one_line
from schemas import codec_for

app = typer.Typer(no_args_is_help=True)
LARGEST_DEFINITION = 1_000_000  # bytes; with every field that may be mapped it has a twentieth of that

Id = Annotated[str, typer.Argument(help="The connector's id.")]
OAuth = Annotated[bool, typer.Option("--oauth", help="An OAuth client's key and secret in the API key's place.")]
NoCheck = Annotated[bool, typer.Option("--no-check", help="Make no call to the tenant: it cannot be reached yet.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object.")]


@app.command()
def add(
    file: Annotated[Path, typer.Argument(help="The connector's definition, YAML.")],
    oauth: OAuth = False,
    no_check: NoCheck = False,
    as_json: AsJson = False,
) -> None:
    """Register a connector: check it against its tenant, encrypt its API key, write its definition.

    The key is asked for without echo, or read from standard input when that is not a terminal. Of a connector that is
    registered already the definition is changed, and the stored key is kept unless another one is given.
    """
    settings = load_settings()
    definition = read_definition(file)
    hosts = HostPolicy(settings.allowed_hosts)
    hosts.require(definition.host)
    require(settings)
    registry = registry_of(settings)
    known = registry.all()
    before = known.get(definition.id)
    kept = before is not None and before.definition.host == definition.host
    if before is not None and not kept:
        notes.print(
            f"'{definition.id}' is registered for {before.definition.host}. For another host its key is needed again.",
            markup=False,
        )
    vault = KmsVault(settings.kms_key_id)
    if not kept:
        vault.require_key()
    secret = secrets.ask(oauth, kept=kept)
    if secret is not None:
        vault.require_key()
    with nullcontext() if no_check else waiting("Checking…"):
        result = asyncio.run(
            register(
                registry,
                vault,
                SystemClock(),
                definition,
                secret,
                known=known,
                unchecked=no_check,
                timeout=settings.http_timeout_seconds,
                retry_seconds=settings.retry_seconds,
                hosts=hosts,
            )
        )
    if as_json:
        findings.show_json(definition.id, result.findings, result.calls, registered=result.connector is not None)
    elif not no_check:
        findings.show(result.findings, result.calls)
    if result.connector is None:
        findings.refuse(definition.id, "Not registered.", result.findings)
        raise typer.Exit(FAILED)
    warn_of_start(definition)
    findings.warn_of_types(result.findings)
    if not as_json:
        done = "Changed" if before is not None else "Registered"
        answers.print(f"[bold green]{done}[/] {definition.id}. {_what_now(result.connector)}")


@app.command("check")
def check_one(connector: Id, as_json: AsJson = False) -> None:
    """Check a registered connector against its tenant: every need a line, with the words for its Gainsight admin."""
    settings = load_settings()
    hosts = HostPolicy(settings.allowed_hosts)
    found = registry_of(settings).get(connector)
    secret = KmsVault(settings.kms_key_id).open(found.id, found.definition.host, found.sealed)

    async def run() -> tuple[Any, int]:
        options = ClientOptions(SystemClock(), settings.http_timeout_seconds, settings.retry_seconds, hosts)
        async with options.client(found.definition, secret) as client:
            results = await check(client, found.definition)
            return results, sum(client.calls.values())

    with waiting("Checking…"):
        results, calls = asyncio.run(run())
    blocked = any(finding.blocks for finding in results)
    if as_json:
        findings.show_json(found.id, results, calls, blocked=blocked)
    else:
        findings.show(results, calls)
    if blocked:
        raise typer.Exit(FAILED)


@app.command("list")
def list_connectors(as_json: Annotated[bool, typer.Option("--json", help="One JSON array.")] = False) -> None:
    """List the registered connectors."""
    found = registry_of(load_settings()).all()
    if as_json:
        print_json([summary(connector) for connector in found.values()])
        return
    if not found:
        answers.print("No connector is registered yet. Add one: frame-gainsight connector add FILE")
        return
    narrow = answers.width < NARROW
    table = Table(box=None, padding=(0, 1))
    table.add_column("id", overflow="fold")
    for name in ("state", "period") if narrow else ("state", "period", "updated"):
        table.add_column(name, no_wrap=True)
    table.add_column("host", overflow="fold")
    for connector in found.values():
        definition = connector.definition
        when = () if narrow else (moment(connector.updated_at),)
        state, period = connector.state.lower(), written(definition.period)
        table.add_row(escape(connector.id), state, period, *when, escape(definition.host))
    answers.print(table)


@app.command()
def show(connector: Id, as_json: AsJson = False) -> None:
    """Show a connector's definition; of its key only when it was stored, and under which KMS key."""
    found = registry_of(load_settings()).get(connector)
    if as_json:
        print_json(summary(found))
        return
    kind = "OAuth client" if found.sealed.kind == "oauth_client" else "API key"
    answers.print(f"[bold]{found.id}[/]  {found.state.lower()}")
    answers.print(f"{kind} stored {moment(found.rotated_at)}, encrypted under the KMS key")
    answers.print(f"  {found.sealed.kms_key_id}", markup=False)
    print_json(plain(found), indented=True)


@app.command()
def pause(connector: Id, as_json: AsJson = False) -> None:
    """Stop calling a connector's tenant until it is resumed. What waits is kept; nothing is lost."""
    _set_state(connector, "PAUSED", "Paused", "Calls to its tenant stop within seconds.", as_json)


@app.command()
def resume(connector: Id, as_json: AsJson = False) -> None:
    """Go on with a paused connector from where it stopped: everything changed meanwhile is read."""
    _set_state(connector, "ACTIVE", "Resumed", "It goes on from where it stopped.", as_json)


@app.command("rotate-key")
def rotate_key(connector: Id, oauth: OAuth = False, no_check: NoCheck = False, as_json: AsJson = False) -> None:
    """Put a new API key in the place of the stored one, once the tenant has taken it.

    The key is asked for without echo, or read from standard input. Services go over to it within seconds, and what was
    parked for the old one comes out by itself.
    """
    settings = load_settings()
    vault = KmsVault(settings.kms_key_id)
    vault.require_key()
    registry = registry_of(settings)
    found = registry.get(connector)
    hosts = HostPolicy(settings.allowed_hosts)
    hosts.require(found.definition.host)
    secret = secrets.ask(oauth)
    assert secret is not None
    with nullcontext() if no_check else waiting("Checking…"):
        result = asyncio.run(
            rotate(
                registry,
                vault,
                SystemClock(),
                found,
                secret,
                unchecked=no_check,
                timeout=settings.http_timeout_seconds,
                retry_seconds=settings.retry_seconds,
                hosts=hosts,
            )
        )
    if as_json:
        findings.show_json(found.id, result.findings, result.calls, rotated=result.connector is not None)
    elif not no_check:
        findings.show(result.findings, result.calls)
    if result.connector is None:
        findings.refuse(found.id, "Not rotated: the stored key stays.", result.findings)
        raise typer.Exit(FAILED)
    if not as_json:
        answers.print(f"[bold green]Rotated[/] {found.id}. Services use the new key within seconds.")


def read_definition(file: Path) -> Definition:
    """A definition from its file. Ends the command when the file cannot be read; raises DefinitionError."""
    return parse_yaml(read_text(file, LARGEST_DEFINITION), str(file))


def warn_of_start(definition: Definition) -> None:
    """Warns when a definition's start lies ahead: it may be meant, and it may be the wrong year."""
    if definition.start is not None and definition.start > datetime.now(UTC):
        notes.print(
            f"[bold yellow]Note[/] '{escape(definition.id)}' starts in the future: nothing modified before "
            f"{definition.start} is read. If another date was meant, correct `start` and add it again; that takes "
            "effect at once."
        )


def registry_of(settings: Settings) -> Registry:
    """The registry of this installation. Raises TopicError when its topics are not there."""
    require(settings)
    return Registry(settings, codec_for(settings.schema_registry_url), _show_unreadable)


def _show_unreadable(connector: str, fault: str) -> None:
    text = (
        f"'{connector}': its latest definition does not read and does not count: {fault} "
        f"Add it again (connector add FILE), or take it out (connector remove {connector})."
    )
    notes.print("[yellow]Note[/]", end=" ")
    notes.print(one_line(text), markup=False, emoji=False)


def summary(connector: Connector) -> dict[str, Any]:
    """A connector as JSON, without its key."""
    return {
        "id": connector.id,
        "state": connector.state.lower(),
        "definition": plain(connector),
        "updated_at": connector.updated_at,
        "key": {
            "kind": connector.sealed.kind,
            "stored_at": connector.rotated_at,
            "kms_key_id": connector.sealed.kms_key_id,
        },
    }


def plain(connector: Connector) -> Any:
    """A connector's definition as JSON."""
    return orjson.loads(connector.definition.canonical())


def moment(at: int) -> str:
    """Milliseconds as people read a time."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _set_state(connector: str, state: State, done: str, effect: str, as_json: bool) -> None:
    registry = registry_of(load_settings())
    found = registry.get(connector)
    now = SystemClock().now()

    def changed(latest: Connector | None) -> Connector:
        if latest is None:
            raise gone(connector)
        return replace(latest, state=state, updated_at=now)

    changes = found.state != state
    if changes:
        registry.change(connector, changed)
    if as_json:
        print_json({"id": found.id, "state": state.lower(), "changed": changes})
    elif changes:
        answers.print(f"[bold green]{done}[/] {found.id}. {effect}")
    else:
        answers.print(f"{found.id} is {state.lower()} already.")


def _what_now(connector: Connector) -> str:
    if connector.state == "PAUSED":
        return f"It is paused: frame-gainsight connector resume {connector.id}"
    return f"It is polled every {written(connector.definition.period)}."
