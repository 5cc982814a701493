"""The topics: each one's required form, creating them, and checking them."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from frame_gainsight.kafka.clients import MAX_MESSAGE_BYTES, admin, unreachable
from frame_gainsight.runtime.errors import BrokerError, TopicError
from frame_gainsight.runtime.settings import Settings

Cleanup = Literal["compact", "delete"]
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
    """A topic as it is. `fault` is None when it has the required form."""

    spec: TopicSpec
    exists: bool
    fault: str | None


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
    large = {"max.message.bytes": str(MAX_MESSAGE_BYTES)}
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
        resources = [ConfigResource(ResourceType.TOPIC, s.name) for s in wanted if s.name in present]
        futures = client.describe_configs(resources) if resources else {}
        policies = {r.name: f.result(timeout=10)["cleanup.policy"].value for r, f in futures.items()}
    except KafkaException as error:
        raise unreachable(settings, error) from error
    return [
        _state(s, policies.get(s.name), len(present[s.name].partitions) if s.name in present else 0) for s in wanted
    ]


def _state(spec: TopicSpec, policy: str | None, partitions: int) -> TopicState:
    if policy is None:
        return TopicState(spec, False, missing_topics([spec.name]))
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
    return TopicState(spec, True, None)


def require(settings: Settings) -> None:
    """Raises TopicError naming every topic that is missing or not as it must be; BrokerError without a cluster."""
    states = inspect(settings)
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
