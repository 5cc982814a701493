"""`connector add|list|show`."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.markup import escape
from rich.table import Table

from bus import load_settings
from bus.topics import require
from cli.output import FAILED, WRONG_USE, answers, notes, print_json
from connectors import Connector, Finding, KmsVault, Registry, parse_yaml, register
from gainsight import SystemClock
from schemas import codec_for

app = typer.Typer(no_args_is_help=True)


@app.command()
def add(
    file: Annotated[Path, typer.Argument(help="The connector's definition, YAML.")],
    as_json: Annotated[bool, typer.Option("--json", help="The findings as one JSON object.")] = False,
) -> None:
    """Register a connector: check it against its tenant, encrypt its API key, write its definition.

    The key is asked for without echo, or read from standard input when that is not a terminal.
    """
    settings = load_settings()
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        notes.print(f"[bold red]Error[/] {escape(str(file))} cannot be read: {escape(str(error))}")
        raise typer.Exit(WRONG_USE) from None
    definition = parse_yaml(text, str(file))
    require(settings)
    key = read_key()
    result = asyncio.run(
        register(
            Registry(settings, codec_for(settings.schema_registry_url)),
            KmsVault(settings.kms_key_id),
            SystemClock(),
            definition,
            key,
            timeout=settings.http_timeout_seconds,
            retry_seconds=settings.retry_seconds,
        )
    )
    if as_json:
        findings = [{"need": f.need, "state": f.state, "evidence": f.evidence, "ask": f.ask} for f in result.findings]
        print_json({"id": definition.id, "registered": result.connector is not None, "findings": findings})
    else:
        answers.print(findings_table(result.findings))
        answers.print(f"[dim]{result.calls} API calls[/]")
    if result.connector is None:
        notes.print("[bold red]Not registered.[/] Nothing was written; settle what failed and add it again.")
        raise typer.Exit(FAILED)
    if not as_json:
        answers.print(f"[bold green]Registered[/] {definition.id}. It is polled every {duration(definition.period)}.")


@app.command("list")
def list_connectors(as_json: Annotated[bool, typer.Option("--json", help="One JSON array.")] = False) -> None:
    """List the registered connectors."""
    settings = load_settings()
    require(settings)
    found = Registry(settings, codec_for(settings.schema_registry_url)).all()
    if as_json:
        print_json([summary(connector) for connector in found.values()])
        return
    if not found:
        answers.print("No connector is registered yet. Add one: frame-gainsight connector add FILE")
        return
    table = Table("id", "state", "host", "period", "starts", "updated")
    for connector in found.values():
        definition = connector.definition
        table.add_row(
            connector.id,
            connector.state.lower(),
            definition.host,
            duration(definition.period),
            moment(definition.start),
            moment(datetime.fromtimestamp(connector.updated_at / 1000, UTC)),
        )
    answers.print(table)


@app.command()
def show(
    connector: Annotated[str, typer.Argument(help="The connector's id.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show a connector's definition; of its key only when it was stored, and under which KMS key."""
    settings = load_settings()
    require(settings)
    found = Registry(settings, codec_for(settings.schema_registry_url)).get(connector)
    if as_json:
        print_json(summary(found))
        return
    answers.print(f"[bold]{found.id}[/]  {found.state.lower()}")
    answers.print(
        f"API key stored {moment(datetime.fromtimestamp(found.rotated_at / 1000, UTC))}, encrypted by KMS key"
    )
    answers.print(f"  {found.sealed.kms_key_id}", markup=False)
    answers.print(orjson.dumps(_definition(found), option=orjson.OPT_INDENT_2).decode(), markup=False)


def read_key() -> str:
    """The API key from a prompt without echo, or from standard input."""
    key = (typer.prompt("API access key", hide_input=True) if sys.stdin.isatty() else sys.stdin.read()).strip()
    if not key or any(character.isspace() or not character.isprintable() for character in key) or not key.isascii():
        notes.print(
            "[bold red]Error[/] That is not an API access key: it is one word of printable characters. "
            "Paste it at the prompt, or pipe it in: secret-command | frame-gainsight connector add FILE"
        )
        raise typer.Exit(WRONG_USE)
    return str(key)


def findings_table(findings: Any) -> Table:
    """One line a need; what to ask the customer's admin for stands under what failed."""
    table = Table("", "need", "evidence", box=None, padding=(0, 1))
    marks = {"ok": "[green]✓[/]", "missing": "[yellow]–[/]", "failed": "[bold red]✗[/]"}
    for finding in findings:
        assert isinstance(finding, Finding)
        ask = f"\n[bold]→ {escape(finding.ask)}[/]" if finding.ask else ""
        table.add_row(marks[finding.state], escape(finding.need), escape(finding.evidence) + ask)
    return table


def summary(connector: Connector) -> dict[str, Any]:
    """A connector as JSON, without its key."""
    return {
        "id": connector.id,
        "state": connector.state.lower(),
        "definition": _definition(connector),
        "updated_at": connector.updated_at,
        "key": {"stored_at": connector.rotated_at, "kms_key_id": connector.sealed.kms_key_id},
    }


def duration(seconds: int) -> str:
    """As a definition writes it."""
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def moment(at: datetime | None) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ") if at else ""


def _definition(connector: Connector) -> Any:
    return orjson.loads(connector.definition.canonical())
