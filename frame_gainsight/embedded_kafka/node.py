"""One KRaft node's settings and ports, and the check whether it answers."""

from __future__ import annotations

import random
import socket
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

LOOPBACK = "127.0.0.1"

_PORTS = range(15_000, 32_000)
"""Below what systems hand to outgoing connections: a client that retries against a stopped broker on such a port can
end up connected to itself, and the broker can then never have its port again."""

_MESSAGE_BYTES = 16 * 1024 * 1024


def in_use(port: int) -> bool:
    """Whether a listener on this loopback port would be refused."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the broker does: TIME_WAIT is no obstacle
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return True
    return False


def free_port(*, avoid: int | None = None) -> int:
    """A port that nothing listens on now."""
    candidates = (port for port in random.SystemRandom().sample(_PORTS, 1000) if port != avoid)
    return next(port for port in candidates if not in_use(port))


def has_answered(bootstrap: str, cluster_id: str, timeout: float) -> bool:
    """Whether the node of this cluster, and no other one, answers a metadata request within `timeout` seconds."""
    host, port = bootstrap.split(":")
    try:
        socket.create_connection((host, int(port)), timeout=timeout).close()
        quiet: dict[str, Any] = {"bootstrap.servers": bootstrap, "log_level": 0, "error_cb": lambda _error: None}
        metadata: Any = AdminClient(quiet).list_topics(timeout=timeout)
    except (OSError, KafkaException):
        return False
    return bool(metadata.cluster_id == cluster_id) and bool(metadata.brokers)


def server_properties(port: int, controller_port: int, log_dir: str, overrides: Mapping[str, str]) -> str:
    """The text of the node's settings file."""
    settings = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{LOOPBACK}:{controller_port}",
        "listeners": f"PLAINTEXT://{LOOPBACK}:{port},CONTROLLER://{LOOPBACK}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{port}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": log_dir,
        "auto.create.topics.enable": "false",
        "message.max.bytes": str(_MESSAGE_BYTES),
        "replica.fetch.max.bytes": str(_MESSAGE_BYTES),
        # One node: everything has one copy.
        "default.replication.factor": "1",
        "min.insync.replicas": "1",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": "4",
        # Small and quick instead of large and patient.
        "group.initial.rebalance.delay.ms": "0",
        "log.cleaner.dedupe.buffer.size": "2097152",  # the default takes 128 MB of the heap
        "log.cleaner.backoff.ms": "500",
        "num.network.threads": "2",
        "num.io.threads": "4",
        "num.recovery.threads.per.data.dir": "2",
        "broker.heartbeat.interval.ms": "500",
        "broker.session.timeout.ms": "3000",
        **overrides,
    }
    return "".join(f"{name}={_escaped(value)}\n" for name, value in settings.items())


def _escaped(value: str) -> str:
    """The value in the form of a Java properties file: Latin-1, with backslash escapes."""
    return "".join(
        "\\\\" if char == "\\" else "\\n" if char == "\n" else char if char.isascii() else _unicode_escape(char)
        for char in value
    )


def _unicode_escape(char: str) -> str:
    units = char.encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
