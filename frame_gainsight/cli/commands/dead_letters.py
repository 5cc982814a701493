"""`dead-letters`: records that could not be read or converted, why, and trying them again."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
import typer
from rich.table import Table

from enricher import Replay, ReplayRequests, Scope
from frame_gainsight.cli.commands.connector import moment
from frame_gainsight.cli.output import FAILED, answers, error, escape, notes, print_json, wrong_use
from frame_gainsight.connectors import Registry
from frame_gainsight.kafka import ConsumedRecord, lane_of, read_to_end
from frame_gainsight.kafka.topics import require
from frame_gainsight.runtime import Settings, SystemClock, load_settings
from frame_gainsight.runtime.terminal import one_line
from schemas import Codec, SchemaError, codec_for
from schemas.raw_topic import connector_of, gsid_of

app = typer.Typer(no_args_is_help=True)
SHOWN_CAUSE = 100  # characters, in the list

Connector = Annotated[str | None, typer.Option("--connector", help="Only those of this connector.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter. `at`: its place in the dead letters, `partition:offset`; times in milliseconds.

    `written_at` is Kafka's time, which can be compared with that of a conversation.
    """

    at: str
    connector: str
    activity: str
    cause: str
    failed_at: int
    written_at: int
    source: str
    value: bytes | None

    def summary(self) -> dict[str, Any]:
        return {
            "at": self.at,
            "connector": self.connector,
            "activity": self.activity,
            "failed_at": self.failed_at,
            "cause": self.cause,
            "source": self.source,
        }


@dataclass(frozen=True, slots=True)
class Output:
    """The last output of an activity: its LastModifiedDate, None for a deletion, and Kafka's time; milliseconds."""

    version: int | None
    written_at: int


@app.command("list")
def list_(connector: Connector = None, as_json: AsJson = False) -> None:
    """List the dead letters, the oldest first: what, when, why."""
    settings, codec = _start()
    found = list(letters(settings, codec, connector))
    if as_json:
        for letter in found:
            print_json(letter.summary())
        return
    if not found:
        notes.print("There are no dead letters.")
        return
    table = Table(box=None, padding=(0, 1))
    for name in ("at", "connector", "activity", "when", "why"):
        table.add_column(name, overflow="fold")
    for letter in found:
        why = letter.cause if len(letter.cause) <= SHOWN_CAUSE else letter.cause[: SHOWN_CAUSE - 1] + "…"
        table.add_row(letter.at, escape(letter.connector), escape(letter.activity), _when(letter), escape(why))
    answers.print(table)
    counts = Counter(letter.connector for letter in found)
    by_connector = ", ".join(f"{escape(name)}: {count}" for name, count in sorted(counts.items()))
    notes.print(f"{len(found)} dead letters ({by_connector}). [bold]dead-letters show AT[/] shows one in full;")
    notes.print("once the cause is mended, [bold]dead-letters retry[/] makes conversations of them.")


@app.command()
def show(
    which: Annotated[str, typer.Argument(help="Its place, as listed (2:17), or the activity's Gsid.")],
    as_json: AsJson = False,
) -> None:
    """Show a dead letter in full: where it came from, why it failed, and the record itself."""
    settings, codec = _start()
    found = [x for x in letters(settings, codec, None) if which in (x.at, x.activity)]
    if not found:
        error(f"There is no dead letter {which}. List them: dead-letters list")
        raise typer.Exit(FAILED)
    for letter in found:
        content = _content(codec, letter.value)
        if as_json:
            print_json(letter.summary() | {"record": content})
            continue
        answers.print(
            f"[bold]{escape(letter.connector)}/{escape(letter.activity)}[/]  {_when(letter)}  ({escape(letter.source)})"
        )
        answers.print(one_line(letter.cause), markup=False)
        print_json(content, indented=True)


@app.command()
def retry(
    which: Annotated[list[str] | None, typer.Argument(help="Their places, as listed, or activities' Gsids.")] = None,
    connector: Connector = None,
    every: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
) -> None:
    """Make conversations of dead letters whose cause is mended: another mapping, or a newer release.

    The owners of their lanes do it, as a replay of these activities: of each the latest version, and never one that is
    older than what was published meanwhile. What has come out since is not tried again; what fails again is a dead
    letter again.
    """
    chosen = set(which or ())
    if sum((bool(chosen), connector is not None, every)) != 1:
        wrong_use("Say which: places or Gsids, --connector ID, or --all.")
    settings, codec = _start()
    found = [x for x in letters(settings, codec, connector) if every or connector or chosen & {x.at, x.activity}]
    if missing := chosen - {name for x in found for name in (x.at, x.activity)}:
        error(f"There is no dead letter {', '.join(sorted(missing))}.")
        raise typer.Exit(FAILED)
    registered = Registry(settings, codec).all()
    of_registered = [x for x in found if x.connector in registered]
    published = _published(settings, {lane_of(x.connector, settings.partitions) for x in of_registered})
    by_connector: dict[str, set[str]] = {}
    for letter in of_registered:
        if not has_come_out(letter, _version(codec, letter), published.get((letter.connector, letter.activity))):
            by_connector.setdefault(letter.connector, set()).add(letter.activity)
    if not by_connector and of_registered:
        notes.print("There is nothing to do: all of them have come out since.")
    now = SystemClock().now()
    for name, activities in sorted(by_connector.items()):
        lane = lane_of(name, settings.partitions)
        scope = Scope(name, activities=tuple(sorted(activities)))
        ReplayRequests(settings, codec, [lane]).request(Replay(lane, f"retry-{now}", now, scope))
        notes.print(f"{escape(name)}: {len(activities)} activities will be tried again by the owner of the lane.")
    if left := len({x.activity for x in found if x.connector not in registered}):
        notes.print(f"{left} are of no registered connector, and stay as they are.")


def letters(settings: Settings, codec: Codec, connector: str | None) -> Iterator[Letter]:
    """The dead letters, by the time at which they failed. Raises BrokerError, TopicError."""
    starts: dict[int, int | None] = dict.fromkeys(range(settings.partitions))
    found = [_letter(codec, r) for r in read_to_end(settings, settings.dead_letters_topic, starts)]
    return iter(
        sorted((x for x in found if connector in (None, x.connector)), key=lambda x: (x.failed_at, x.connector, x.at))
    )


def _published(settings: Settings, lanes: Iterable[int]) -> dict[tuple[str, str], Output]:
    """Connector and activity → its last output."""
    found: dict[tuple[str, str], Output] = {}
    for record in read_to_end(settings, settings.conversations_topic, dict.fromkeys(lanes)):
        _, _, version = (record.header("ce_id") or "").partition("/")
        at = version.partition("/")[0]
        modified_at = int(at) if record.value is not None and at.isdigit() else None
        found[connector_of(record.key), gsid_of(record.key)] = Output(modified_at, record.timestamp)
    return found


def _version(codec: Codec, letter: Letter) -> int | None:
    """LastModifiedDate (ms) of what failed; None: it does not read."""
    try:
        return int(codec.decode_as("raw_activity", letter.value or b"")["modified_at"])
    except SchemaError:
        return None


def has_come_out(letter: Letter, version: int | None, output: Output | None) -> bool:
    """Tells whether what failed came out since, or something newer.

    The version alone does not decide: a replay by another mapping fails on what an earlier one made a conversation of.
    Their times do, since one owner of the lane writes both. In doubt it is tried again, which at worst repeats.

    Args:
        version: of what failed; None where it does not read.
    """
    if output is None:
        return False
    if version is not None and output.version is not None and version != output.version:
        return output.version > version
    return output.written_at > letter.written_at


def _letter(codec: Codec, record: ConsumedRecord) -> Letter:
    name, activity = connector_of(record.key), gsid_of(record.key)
    at = f"{record.partition}:{record.offset}"
    try:
        value = codec.decode_as("dead_letter", record.value or b"")
    except SchemaError as error:
        when = record.timestamp
        return Letter(at, name, activity, f"It cannot be read: {error}", when, when, "?", record.value)
    source = value["topic"] + (f" {value['partition']}:{value['offset']}" if value["offset"] >= 0 else "")
    return Letter(at, name, activity, value["cause"], value["failed_at"], record.timestamp, source, value["value"])


def _content(codec: Codec, value: bytes | None) -> Any:
    """The record, as far as it can be read."""
    try:
        decoded = codec.decode(value or b"").value
        return decoded | {"row": orjson.loads(decoded["row"])} if "row" in decoded else decoded
    except (SchemaError, orjson.JSONDecodeError):
        pass
    try:
        return orjson.loads(value or b"null")
    except orjson.JSONDecodeError:
        return {"bytes": base64.b64encode(value or b"").decode()}


def _start() -> tuple[Settings, Codec]:
    settings = load_settings()
    require(settings)
    return settings, codec_for(settings.schema_registry_url)


def _when(letter: Letter) -> str:
    return moment(letter.failed_at)
