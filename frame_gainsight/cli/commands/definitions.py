"""`connector export|import|schema`: definitions as files, without secrets."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import orjson
import typer
import yaml

from frame_gainsight.cli import secrets
from frame_gainsight.cli import show_findings as findings
from frame_gainsight.cli.commands.connector import NoCheck, OAuth, registry_of, warn_of_start
from frame_gainsight.cli.input import read_text
from frame_gainsight.cli.output import FAILED, answers, escape, notes
from frame_gainsight.connectors import (
    ChangedMeanwhileError,
    Connector,
    Definition,
    DefinitionError,
    KmsVault,
    parse_yaml,
    register,
)
from frame_gainsight.connectors.definition.yaml_file import not_yaml, to_yaml
from frame_gainsight.connectors.definition.yaml_file import schema as schema_of
from frame_gainsight.gainsight import HostPolicy, HostRefusedError
from frame_gainsight.runtime import SystemClock, load_settings

CREDENTIAL = re.compile(r"^# credential: (access_key|oauth_client)\s*$", re.MULTILINE)
LARGEST_IMPORT = 50_000_000  # bytes: tens of thousands of connectors


def export(
    connectors: Annotated[list[str] | None, typer.Argument(help="Ids; all of them, when none is named.")] = None,
) -> None:
    """Print definitions as YAML, without their keys: to keep, to compare, or to import elsewhere.

    A comment says which kind of credential each had, so that import asks for that.
    """
    registry = registry_of(load_settings())
    found = [registry.get(name) for name in connectors] if connectors else list(registry.all().values())
    if not found:
        notes.print("No connector is registered yet.")
    print("---\n".join(exported(connector) for connector in found), end="")  # noqa: T201 - as it is


def exported(connector: Connector) -> str:
    """A connector's definition as YAML, with the kind of its credential as a comment."""
    head, _, body = to_yaml(connector.definition).partition("\n")
    return f"{head}\n# credential: {connector.sealed.kind}\n{body}"


def import_(
    file: Annotated[Path, typer.Argument(help="Definitions, as export prints them; - is standard input.")],
    oauth: OAuth = False,
    no_check: NoCheck = False,
) -> None:
    """Register the definitions of a file: those registered already are changed and keep their keys.

    For the others the API key is asked for, one after the other, at a terminal; of those that had an OAuth client when
    they were exported, and with --oauth of all that do not say, the OAuth client's key and secret.
    """
    settings = load_settings()
    definitions = _read(file)
    registry = registry_of(settings)
    known = registry.all()
    vault, clock, left = KmsVault(settings.kms_key_id), SystemClock(), []
    allowed = HostPolicy(settings.allowed_hosts)
    asks = sys.stdin.isatty() and str(file) != "-"
    hosts = {id_: connector.definition.host for id_, connector in known.items()}
    if asks and any(hosts.get(definition.id) != definition.host for definition, _ in definitions):
        vault.require_key()
    for definition, kind in definitions:
        before = known.get(definition.id)
        secret = None
        if before is None or before.definition.host != definition.host:
            if not asks:
                left.append(definition.id)
                continue
            answers.print(f"[bold]{definition.id}[/] ({definition.host})")
            secret = secrets.ask(oauth if kind is None else kind == "oauth_client")
        elif before.definition == (
            definition
            if definition.start is not None
            else definition.model_copy(update={"start": before.definition.start})
        ):
            answers.print(f"{definition.id}: as it was")
            continue
        try:
            result = asyncio.run(
                register(
                    registry,
                    vault,
                    clock,
                    definition,
                    secret,
                    known=known,
                    unchecked=no_check,
                    timeout=settings.http_timeout_seconds,
                    retry_seconds=settings.retry_seconds,
                    hosts=allowed,
                )
            )
        except (ChangedMeanwhileError, HostRefusedError) as error:
            notes.print(f"[bold red]Error[/] {escape(str(error))}")
            left.append(definition.id)
            continue
        if result.connector is None:
            findings.show(result.findings, result.calls)
            left.append(definition.id)
        else:
            warn_of_start(definition)
            findings.warn_of_types(result.findings)
            answers.print(f"[bold green]{'Changed' if before else 'Registered'}[/] {definition.id}")
    if left:
        notes.print(f"[bold red]Not imported:[/] {escape(', '.join(left))}. Add each with its key: connector add FILE")
        raise typer.Exit(FAILED)


def schema() -> None:
    """Print the JSON Schema of a definition's file, for editors that complete and check while one types."""
    print(schema_text(), end="")  # noqa: T201 - as it is


def schema_text() -> str:
    """The schema as it is published."""
    return orjson.dumps(schema_of(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def _read(file: Path) -> Sequence[tuple[Definition, str | None]]:
    """The definitions of a file, and which kind of credential each had when it was exported; None: not given."""
    source = "standard input" if str(file) == "-" else str(file)
    text = read_text(None if str(file) == "-" else file, LARGEST_IMPORT)
    try:
        nodes = [node for node in yaml.compose_all(text, yaml.SafeLoader) if node is not None]
    except yaml.YAMLError as error:
        raise not_yaml(error, source) from None
    except RecursionError:
        raise DefinitionError(f"{source} has no definitions: lists stand in lists without end.") from None
    parts = [text[node.start_mark.index : node.end_mark.index] for node in nodes]
    found = [parse_yaml(part, f"document {number} of {source}") for number, part in enumerate(parts, 1)]
    ends = [0, *(node.end_mark.index for node in nodes)]
    heads = [text[end : node.start_mark.index] for end, node in zip(ends, nodes, strict=False)]
    kinds = [kind[1] if (kind := CREDENTIAL.search(head)) else None for head in heads]
    if twice := {d.id for d in found if [x.id for x in found].count(d.id) > 1}:
        raise DefinitionError(f"{source} has {', '.join(sorted(twice))} more than once.")
    return list(zip(found, kinds, strict=True))
