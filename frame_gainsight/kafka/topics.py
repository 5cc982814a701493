"""The topics: each one's required form, creating them, and checking them."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import structlog
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from frame_gainsight.kafka.clients import MAX_MESSAGE_BYTES, admin, unreachable
from frame_gainsight.runtime.errors import BrokerError, TopicError
from frame_gainsight.runtime.settings import Settings

log = structlog.get_logger(__name__)

Cleanup = Literal["compact", "delete"]
MAX_BYTES = "max.message.bytes"
DEAD_LETTER_DAYS = 30
KNOWN_SECONDS = 10.0  # in which brokers learn of topics that their controller has created


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic's required form: its name, cleanup policy, partition count and further configuration."""

    name: str
    cleanup: Cleanup
    partitions: int
    config: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as it is.

    Attributes:
        fault: why services do not start with it; None when it has the required form.
        too_small: that it takes smaller records than it should; services start all the same, and set aside those that
            do not fit. None when it is large enough.
    """

    spec: TopicSpec
    exists: bool
    fault: str | None
    too_small: str | None = None


def specs(settings: Settings) -> list[TopicSpec]:
    """Every topic of the design, with the names and the partition count that are set."""
    compacted = [
        settings.connectors_topic,
        settings.raw_topic,
        settings.checkpoints_topic,
        settings.entities_topic,
        settings.conversations_topic,
        settings.parked_topic,
    ]
    large = {MAX_BYTES: str(MAX_MESSAGE_BYTES)}
    retention = {"retention.ms": str(DEAD_LETTER_DAYS * 86_400_000)}
    return [
        *(TopicSpec(name, "compact", settings.partitions, large) for name in compacted),
        TopicSpec(settings.dead_letters_topic, "delete", settings.partitions, large | retention),
    ]


def inspect(settings: Settings, client: AdminClient | None = None) -> list[TopicState]:
    """Each topic's state. Raises BrokerError when the cluster does not answer."""
    client = client or admin(settings)
    wanted = specs(settings)
    try:
        present = client.list_topics(timeout=10).topics
    except KafkaException as error:
        raise unreachable(settings, error) from error
    configs = _configs(settings, client, [s.name for s in wanted if s.name in present])
    return [_state(s, configs.get(s.name), len(present[s.name].partitions) if s.name in present else 0) for s in wanted]


def limits(settings: Settings, names: Iterable[str] | None = None, client: AdminClient | None = None) -> dict[str, int]:
    """Topic → the bytes that its largest record may have (`max.message.bytes`), of the named ones or of all that exist.

    Blocks. Raises BrokerError when the cluster does not answer, or when a named topic does not exist.
    """
    client = client or admin(settings)
    if names is None:
        try:
            present = client.list_topics(timeout=10).topics
        except KafkaException as error:
            raise unreachable(settings, error) from error
        names = [s.name for s in specs(settings) if s.name in present]
    return {name: _limit(config) for name, config in _configs(settings, client, list(names)).items()}


def _limit(config: dict[str, ConfigEntry]) -> int:
    return int(config[MAX_BYTES].value or MAX_MESSAGE_BYTES)


def _configs(settings: Settings, client: AdminClient, names: Sequence[str]) -> dict[str, dict[str, ConfigEntry]]:
    """Each topic's configuration."""
    if not names:
        return {}
    try:
        futures = client.describe_configs([ConfigResource(ResourceType.TOPIC, name) for name in names])
        return {resource.name: future.result(timeout=10) for resource, future in futures.items()}
    except (KafkaException, TimeoutError) as error:
        raise unreachable(settings, error) from error


def _state(spec: TopicSpec, config: dict[str, ConfigEntry] | None, partitions: int) -> TopicState:
    if config is None:
        return TopicState(spec, False, missing_topics([spec.name]))
    policy = config["cleanup.policy"].value
    if policy != spec.cleanup:
        return TopicState(
            spec,
            True,
            f"Topic {spec.name} has cleanup.policy={policy}, but must have {spec.cleanup}. Change it (kafka-configs "
            f"--alter --entity-type topics --entity-name {spec.name} --add-config cleanup.policy={spec.cleanup}), "
            "or name another topic in the settings.",
        )
    if partitions != spec.partitions:
        return TopicState(
            spec,
            True,
            f"Topic {spec.name} has {partitions} partitions, but the setting is {spec.partitions}. All topics must "
            f"have the same count: set FRAME_GAINSIGHT_PARTITIONS={partitions}, or name another topic in the settings.",
        )
    return TopicState(spec, True, None, _too_small(spec, _limit(config)))


def _too_small(spec: TopicSpec, limit: int) -> str | None:
    wanted = int(spec.config[MAX_BYTES])
    if limit >= wanted:
        return None
    return (
        f"Topic {spec.name} takes records of at most {limit:,} bytes ({MAX_BYTES}), and should take {wanted:,}: what "
        f"is larger goes to the dead letters, cut. {how_to_raise(spec.name, wanted)}"
    )


def how_to_raise(name: str, size: int) -> str:
    """The command that makes a topic take records of `size` bytes."""
    return (
        f"Raise it (kafka-configs --alter --entity-type topics --entity-name {name} --add-config {MAX_BYTES}={size}); "
        "that takes effect at once."
    )


def require(settings: Settings) -> None:
    """Raises TopicError naming every topic that is missing or not as it must be; BrokerError without a cluster.

    Warns of every one that takes smaller records than it should.
    """
    states = inspect(settings)
    for state in states:
        if state.too_small is not None:
            log.warning("topic_too_small", topic=state.spec.name, cause=state.too_small)
    faults = [state.fault for state in states if state.fault and state.exists]
    if missing := [state.spec.name for state in states if not state.exists]:
        faults.append(missing_topics(missing))
    if faults:
        raise TopicError("\n".join(faults))


def missing_topics(names: Sequence[str]) -> str:
    """The text that topics do not exist, with the command that creates them."""
    if len(names) == 1:
        return f"Topic {names[0]} does not exist. Create it: frame-gainsight topics create"
    return f"{len(names)} topics do not exist ({', '.join(names)}). Create them: frame-gainsight topics create"


def create(settings: Settings) -> list[TopicSpec]:
    """Creates the missing topics and returns them.

    Raises TopicError when one exists with another cleanup policy or partition count (nothing is created then),
    BrokerError without a cluster.
    """
    client = admin(settings)
    states = inspect(settings, client)
    wrong = [state.fault for state in states if state.exists and state.fault]
    if wrong:
        raise TopicError("\n".join(wrong))
    missing = [state.spec for state in states if not state.exists]
    _create(client, settings, missing)
    return missing


def ensure_like_output(settings: Settings, name: str) -> bool:
    """Creates a topic like that of the conversations, unless there is one; returns whether it did.

    Raises TopicError when it exists with another cleanup policy or partition count, BrokerError without a cluster.
    """
    client = admin(settings)
    into = settings.model_copy(update={"conversations_topic": name})
    (state,) = [state for state in inspect(into, client) if state.spec.name == name]
    if state.exists and state.fault is not None:
        raise TopicError(
            f"{name} cannot take conversations: {state.fault.partition('. ')[0]}. It must be like "
            f"{settings.conversations_topic}: compacted, with {settings.partitions} partitions. Name a topic that does "
            "not exist: it is created."
        )
    if not state.exists:
        _create(client, into, [state.spec])
    return not state.exists


def _create(client: AdminClient, settings: Settings, missing: Sequence[TopicSpec]) -> None:
    if not missing:
        return
    futures = client.create_topics(
        [
            NewTopic(s.name, s.partitions, settings.replication, config={"cleanup.policy": s.cleanup, **s.config})
            for s in missing
        ]
    )
    for name, future in futures.items():
        try:
            future.result(timeout=30)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:  # another command was quicker: that is as good
                continue
            raise TopicError(f"Topic {name} could not be created: {error.args[0].str()}.") from error
    names, deadline = {s.name for s in missing}, time.monotonic() + KNOWN_SECONDS
    while not _are_known(client, settings, names) and time.monotonic() < deadline:
        time.sleep(0.05)  # no broker reports that it has learnt of a topic
    require(settings)


def _are_known(client: AdminClient, settings: Settings, names: Collection[str]) -> bool:
    """Whether the broker asked, and the one that describes configurations, know the topics."""
    try:
        return all(state.exists for state in inspect(settings, client) if state.spec.name in names)
    except BrokerError:
        return False
