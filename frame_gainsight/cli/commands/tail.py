"""`tail TOPIC`: decoded records, for people or for programs."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import closing
from typing import Annotated, Any

import typer

from frame_gainsight.cli.output import answers, print_json
from frame_gainsight.kafka import ConsumedRecord, PartitionEnd, follow
from frame_gainsight.kafka.clients import admin
from frame_gainsight.runtime import Settings, TopicError, load_settings
from frame_gainsight.runtime.terminal import one_line
from schemas import Codec, SchemaError, codec_for


def tail(
    topic: Annotated[str, typer.Argument(help="A topic, such as frame.conversations.")],
    from_beginning: Annotated[bool, typer.Option("--from-beginning", help="Start at the first record.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    exit_at_end: Annotated[bool, typer.Option("--exit-at-end", help="End when all has been shown.")] = False,
) -> None:
    """Show a topic's committed records, decoded."""
    settings = load_settings()
    codec = codec_for(settings.schema_registry_url)
    try:
        for record in records(settings, topic, from_beginning, exit_at_end):
            show(codec, record, as_json)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def records(settings: Settings, topic: str, from_beginning: bool, exit_at_end: bool) -> Iterator[ConsumedRecord]:
    """The committed records of all partitions, as they come. Raises TopicError when there is no such topic."""
    known = admin(settings).list_topics(timeout=10).topics
    if topic not in known:
        listed = ", ".join(sorted(name for name in known if not name.startswith("_"))) or "none"
        raise TopicError(f"There is no topic '{topic}'. There are: {listed}.")
    unread = set(known[topic].partitions)
    with closing(follow(settings, topic, unread.copy(), 0.5, from_end=not from_beginning, strict=True)) as followed:
        for found in followed:
            if isinstance(found, ConsumedRecord):
                yield found
            elif isinstance(found, PartitionEnd):
                unread.discard(found.partition)
                if exit_at_end and not unread:
                    return


def show(codec: Codec, record: ConsumedRecord, as_json: bool) -> None:
    """Prints one record."""
    try:
        value: Any = None if record.value is None else plain(codec.decode(record.value).value)
    except SchemaError as error:
        value = {"undecodable": base64.b64encode(record.value or b"").decode(), "cause": str(error)}
    key = (record.key or b"").decode("utf-8", "replace")
    if as_json:
        print_json(
            {
                "topic": record.topic,
                "partition": record.partition,
                "offset": record.offset,
                "timestamp": record.timestamp,
                "key": key,
                "headers": {name: (v or b"").decode("utf-8", "replace") for name, v in record.headers},
                "value": value,
            }
        )
        return
    answers.print(f"[bold]{record.partition}:{record.offset}[/] ", end="")
    answers.print(one_line(key), end="  ", markup=False, emoji=False)
    if value is None:
        answers.print("[dim]deleted[/]")
        return
    text = "  ".join(f"{k}={_short(v)}" for k, v in value.items() if v not in (None, [], {}))
    answers.print(one_line(text), markup=False, emoji=False)


def plain(value: Any) -> Any:
    """A decoded value as JSON takes it: bytes as text where they are text, as base64 where not."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [plain(v) for v in value]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return base64.b64encode(value).decode()
    return value


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else text[:59] + "…"
