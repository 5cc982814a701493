"""The state of every connector, judged from what the topics have; no service needs to answer for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition

from enricher import decode_parked
from enricher.consumer.lane import lost_position
from enricher.resolution.entity_cache import decode as decode_entity
from enricher.resolution.tenant_capabilities import CAPABILITIES, spent_of
from frame_gainsight.connectors import Connector, Definition, Registry, StartAheadError
from frame_gainsight.connectors.definition.yaml_file import written
from frame_gainsight.gainsight import format_date
from frame_gainsight.kafka import lane_of, read_to_end
from frame_gainsight.kafka.clients import admin, unreachable
from frame_gainsight.runtime import Settings
from producer import Checkpoint
from producer.state.backfill import Backfill
from producer.state.checkpoint_keys import BACKFILL, POLL_FAILURE, parse_key
from producer.state.poll_failure import PollFailure
from schemas import Codec, DecodeError
from schemas.raw_topic import connector_of, is_period_marker

DAY = 86_400_000
LATE_PERIODS = 3  # without a poll that ended, after which a connector is late
MIN_LATE = 120_000  # milliseconds: services follow a change and poll anew within that, however short the period is
MAX_LAG = 200_000  # records of a lane that are counted by connector


@dataclass(frozen=True, slots=True)
class ParkedSummary:
    """Parked activities of a connector: their number, and why the last of them is parked."""

    count: int
    cause: str


@dataclass(frozen=True, slots=True)
class Services:
    """Processes that have lanes now."""

    producers: int
    enrichers: int


@dataclass(frozen=True, slots=True)
class ConnectorStatus:
    """One connector.

    Attributes:
        state: active, starting (not polled yet, and nothing is wrong with that), paused, waiting (a failure that passes
            by itself), late (for more than three periods no poll has ended or got on), broken (somebody must do
            something), unreadable.
        fresh_seconds: since the moment up to which everything has been read, by the tenant's clock; None: it was not
            polled yet.
        polled_seconds: since its last poll ended, by this machine's clock; None: none has, or it is not known.
        lag: raw records that are not settled yet; `lag_more`: there are more than were counted.
        calls_today: API calls of producer and enricher; `calls_ours`: those that both may make a day.
        last_error: what failed last and what to do about it; "" when all is well.
    """

    id: str
    state: str
    fresh_seconds: float | None
    polled_seconds: float | None
    lag: int
    lag_more: bool
    calls_today: int
    calls_ours: int
    calls_allowed: int
    parked: int
    dead: int
    last_error: str

    def plain(self) -> dict[str, Any]:
        """The connector's status as JSON."""
        return asdict(self)


@dataclass(slots=True)
class _Read:
    """The topics' content, by connector.

    Attributes:
        written: when its latest checkpoint was written: by the records' timestamps (milliseconds), which are of the
            producer's clock, whatever the tenant's shows.
        ended: the same of the latest checkpoint that ended a poll.
        backfill_waits: why an open backfill does not go on.
        enricher_calls: day since 1970 (UTC), and the enricher's API calls on it.
        lag: raw records that are not settled; `lag_more`: not all of them were counted.
        stopped: why nothing of the connector is enriched, where its lane stands still.
    """

    checkpoints: dict[str, Checkpoint] = field(default_factory=dict)
    written: dict[str, int] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)
    failures: dict[str, PollFailure] = field(default_factory=dict)
    backfill_waits: dict[str, str] = field(default_factory=dict)
    enricher_calls: dict[str, tuple[int, int]] = field(default_factory=dict)
    parked: dict[str, ParkedSummary] = field(default_factory=dict)
    dead: Counter[str] = field(default_factory=Counter)
    lag: Counter[str] = field(default_factory=Counter)
    lag_more: bool = False
    stopped: dict[str, str] = field(default_factory=dict)


def connector_statuses(settings: Settings, codec: Codec, now: int) -> tuple[list[ConnectorStatus], Services]:
    """Every connector, and how many services run. Raises BrokerError, TopicError, RegistryError."""
    connectors, unreadable = Registry(settings, codec).read()
    services = _services(settings)
    read = _Read()
    _checkpoints(settings, codec, read)
    _enricher_calls(settings, codec, read)
    _parked(settings, codec, read)
    _dead(settings, read)
    _lag(settings, connectors, read)
    found = [_one(c, read, services, unreadable.get(c.id), now) for c in connectors.values()]
    for id_ in sorted(unreadable.keys() - connectors.keys()):
        cause = f"Its definition does not read: add it again (connector add FILE), or remove it. {unreadable[id_]}"
        parked, dead = _count(read.parked, id_), read.dead[id_]
        found.append(ConnectorStatus(id_, "unreadable", None, None, 0, False, 0, 0, 0, parked, dead, cause))
    return found, services


def _one(connector: Connector, read: _Read, services: Services, unreadable: str | None, now: int) -> ConnectorStatus:
    id_, definition = connector.id, connector.definition
    checkpoint, failure = read.checkpoints.get(id_), read.failures.get(id_)
    today = now // DAY
    # A poll that fails writes no checkpoint, but its calls count.
    ours = max((at.calls for at in (checkpoint, failure) if at is not None), default=(0, 0))
    calls = [ours, read.enricher_calls.get(id_, (0, 0))]
    fresh = max(0.0, (now - checkpoint.cursor) / 1000) if checkpoint is not None else None
    ended = read.ended.get(id_)
    late = _late(connector, read, now)
    waiting = read.parked.get(id_)
    state, error = connector.state.lower(), ""
    if unreadable is not None:
        state = "unreadable"
        error = f"Its latest definition does not read; the one before counts. Add it again. {unreadable}"
    elif connector.state == "PAUSED":
        error = f"Paused: connector resume {id_} goes on from where it stopped."
    elif failure is not None and failure.failure in ("config", "data"):
        state, error = "broken", failure.cause
    elif id_ in read.stopped:
        state, error = "broken", read.stopped[id_]
    elif late:
        state, error = "late", f"{late} {_why_late(id_, failure, services)}"
    elif failure is not None:
        state, error = "waiting", failure.cause
    elif waiting is not None:
        state, error = "waiting", waiting.cause
    elif not services.producers:
        state, error = "waiting", "No producer runs. Start one: frame-gainsight poll"
    elif not services.enrichers and read.lag[id_]:
        state, error = "waiting", "No enricher runs. Start one: frame-gainsight enrich"
    elif checkpoint is None and _start(definition) > now:
        state, error = "starting", str(StartAheadError(str(definition.start), 0.0))
    elif checkpoint is None or (checkpoint.period is not None and checkpoint.cursor == checkpoint.begun):
        state = "starting"
    elif (backfill := read.backfill_waits.get(id_)) is not None:
        error = backfill
    elif _is_long(connector, checkpoint, ended, now):
        state, error = (
            "waiting",
            "A long poll is under way: what it has read comes out, and the next one waits for its end.",
        )
    elif definition.activity_types and not checkpoint.proven_rows:
        state, error = "waiting", _no_such_activity(id_, definition, checkpoint)
    return ConnectorStatus(
        id_,
        state,
        fresh,
        None if ended is None else max(0.0, (now - ended) / 1000),
        read.lag[id_],
        read.lag_more,
        sum(count for day, count in calls if day == today),
        int(definition.calls_per_day * definition.api_share),
        definition.calls_per_day,
        _count(read.parked, id_),
        read.dead[id_],
        error,
    )


def _no_such_activity(id_: str, definition: Definition, checkpoint: Checkpoint) -> str:
    """The sentence for a connector of whose types no activity was met so far: they may be misspelt."""
    types = ", ".join(f"'{name}'" for name in definition.activity_types)
    since = "" if checkpoint.begun is None else f" modified since {format_date(checkpoint.begun)}"
    return (
        f"No activity of its types ({types}){since} has been met yet. If one should have been, compare the types with "
        f"those that there are: frame-gainsight connector check {id_}"
    )


def _limit(definition: Definition) -> int:
    """Milliseconds after which a connector is late."""
    return max(LATE_PERIODS * definition.period * 1000, MIN_LATE)


def _start(definition: Definition) -> int:
    return int(definition.start.timestamp() * 1000) if definition.start is not None else 0


def _late(connector: Connector, read: _Read, now: int) -> str:
    """The sentence that a connector has not been read for too long; "" if it has been.

    Judged by this machine's clock, and by the latest checkpoint of all: one that ends no poll is a page of a long
    one, which gets on. A connector that was registered, changed or resumed lately has its time from then.
    """
    began = connector.updated_at
    if connector.id not in read.checkpoints:  # one that has been read goes on, whatever its start is now
        began = max(began, _start(connector.definition))
    since = max(read.written.get(connector.id, 0), began)
    if now - since <= _limit(connector.definition):
        return ""
    span = ago((now - since) / 1000)
    if connector.id not in read.written:
        return f"It has never been read, though it is registered since {span}."
    return f"Nothing has been read of it for {span}; it is polled every {written(connector.definition.period)}."


def _is_long(connector: Connector, checkpoint: Checkpoint, ended: int | None, now: int) -> bool:
    """Tells a poll under way that takes longer than it may, though it gets on."""
    if checkpoint.period is None:
        return False
    if ended is None:  # compacted away: by what the poll reads, then
        return checkpoint.period.window.end - checkpoint.cursor > _limit(connector.definition)
    return now - max(ended, connector.updated_at) > _limit(connector.definition)


def ago(seconds: float) -> str:
    """A span of time as people write it: 90 s, 16 min, 3 h, 2 d."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _why_late(id_: str, failure: PollFailure | None, services: Services) -> str:
    if failure is not None:
        return failure.cause
    if not services.producers:
        return "No producer runs. Start one: frame-gainsight poll"
    return (
        "Does the producer get on (its log, and its metrics)? Does the tenant answer? See with: "
        f"frame-gainsight connector check {id_}"
    )


def _count(parked: Mapping[str, ParkedSummary], connector: str) -> int:
    return parked[connector].count if connector in parked else 0


def _everywhere(settings: Settings) -> dict[int, int | None]:
    return dict.fromkeys(range(settings.partitions))


def _checkpoints(settings: Settings, codec: Codec, read: _Read) -> None:
    backfills: dict[bytes, Backfill] = {}
    for record in read_to_end(settings, settings.checkpoints_topic, _everywhere(settings)):
        connector, part = parse_key(record.key)
        try:
            if part == POLL_FAILURE:
                if record.value is None:
                    read.failures.pop(connector, None)
                else:
                    read.failures[connector] = PollFailure.decode(codec, record.value)
            elif part.startswith(BACKFILL):
                backfills.pop(record.key or b"", None)
                if record.value is not None:
                    backfills[record.key or b""] = Backfill.decode(codec, record.value)
            elif not part:
                if record.value is None:
                    for known in (read.checkpoints, read.written, read.ended):
                        known.pop(connector, None)
                else:
                    checkpoint = read.checkpoints[connector] = Checkpoint.decode(codec, record.value)
                    read.written[connector] = record.timestamp
                    if checkpoint.period is None:
                        read.ended[connector] = record.timestamp
        except DecodeError:  # the producer reports it, as a poll failure
            continue
    for key, backfill in backfills.items():
        if backfill.is_open and backfill.cause is not None:
            read.backfill_waits[parse_key(key)[0]] = f"Backfill {backfill.id}: {backfill.cause}"


def _enricher_calls(settings: Settings, codec: Codec, read: _Read) -> None:
    part = f"/{CAPABILITIES}/".encode()
    for record in read_to_end(settings, settings.entities_topic, _everywhere(settings)):
        if part not in (record.key or b"") or record.value is None:
            continue
        try:
            entity = decode_entity(codec, record.value)
        except DecodeError:  # only a cache
            continue
        if entity.rows and (spent := spent_of(entity.rows[0])):
            read.enricher_calls[entity.key.connector] = spent


def _parked(settings: Settings, codec: Codec, read: _Read) -> None:
    alive: dict[bytes, tuple[str, str]] = {}
    for record in read_to_end(settings, settings.parked_topic, _everywhere(settings)):
        key = record.key or b""
        alive.pop(key, None)
        if record.value is not None:
            try:
                parked = decode_parked(codec, record.value)
            except DecodeError as error:
                alive[key] = (connector_of(key), str(error))
            else:
                alive[key] = (parked.connector, parked.cause)
    for connector, cause in alive.values():
        read.parked[connector] = ParkedSummary(_count(read.parked, connector) + 1, cause)


def _dead(settings: Settings, read: _Read) -> None:
    for record in read_to_end(settings, settings.dead_letters_topic, _everywhere(settings)):
        read.dead[connector_of(record.key)] += 1


def _lag(settings: Settings, ids: Iterable[str], read: _Read) -> None:
    """Counts what the enricher's group has not settled, by connector; of lanes that stand still, with the cause."""
    lanes = range(settings.partitions)
    request = ConsumerGroupTopicPartitions(
        f"{settings.prefix}-enricher", [TopicPartition(settings.raw_topic, lane) for lane in lanes]
    )
    client = admin(settings)
    try:
        (answer,) = client.list_consumer_group_offsets([request]).values()
        committed = {p.partition: p.offset for p in answer.result(timeout=10).topic_partitions or ()}
    except KafkaException as error:
        raise unreachable(settings, error) from error
    starts = {lane: offset if (offset := committed.get(lane, -1)) >= 0 else None for lane in lanes}
    for lane, position in starts.items():
        if (cause := lost_position(settings, lane, position)) is not None:
            starts[lane] = None
            read.stopped |= {id_: cause for id_ in ids if lane_of(id_, settings.partitions) == lane}
    for number, record in enumerate(read_to_end(settings, settings.raw_topic, starts)):
        if number >= MAX_LAG:
            read.lag_more = True
            return
        if not is_period_marker(record.key):
            read.lag[connector_of(record.key)] += 1


def _services(settings: Settings) -> Services:
    groups = [f"{settings.prefix}-producer", f"{settings.prefix}-enricher"]
    client = admin(settings)
    try:
        found = client.describe_consumer_groups(groups)
        counts = [len(found[name].result(timeout=10).members) for name in groups]
    except KafkaException as error:
        raise unreachable(settings, error) from error
    return Services(*counts)
