"""What every benchmark stands on: an embedded Kafka, a KMS, tenants as a process, and topics of a run's own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson
from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from benchmarks.measured import Measured
from frame_gainsight.cli.demo.stack import start_kafka
from frame_gainsight.connectors import Connector, Definition, KmsVault, Secret
from frame_gainsight.connectors.registry import encode_connector
from frame_gainsight.gainsight import parse_date
from frame_gainsight.kafka import lane_of, read_to_end, topics
from frame_gainsight.kafka.clients import admin, confluent_config
from frame_gainsight.runtime import Settings
from frame_gainsight.runtime.allowed_hosts import LOOPBACK
from frame_gainsight.sandbox.kms import KmsStandIn
from schemas import codec_for
from schemas.raw_topic import PERIOD_MARKER

_OURS = ("FRAME_GAINSIGHT_", "KAFKA_", "KMS_", "AWS_", "SCHEMA_REGISTRY_")
_TOPICS = [name for name in Settings.model_fields if name.endswith("_topic")]


@dataclass(frozen=True, slots=True)
class Landed:
    """What a run left in its topic, read committed.

    `lost` ids are there in no version; `outdated` ones not in their newest. `extra` records repeat an id's version.
    """

    rows: int
    ids: int
    lost: int
    outdated: int
    extra: int
    last_at: float  # epoch seconds, by the broker's clock


class Tenants:
    """The tenants of a plan (see `benchmarks.tenants`), served by a process of their own."""

    def __init__(self, plan: Mapping[str, Any], folder: Path) -> None:
        command = [sys.executable, "-m", "benchmarks.tenants", orjson.dumps(plan).decode()]
        log = folder / "tenants.log"
        self.process = Measured(command, log, every=1.0, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.process.stdout is not None
        if not (line := self.process.process.stdout.readline()):
            raise RuntimeError(f"the tenants did not start: {self.process.tail()}")
        ready = orjson.loads(line)
        self.port: int = ready["port"]
        self.keys: dict[str, str] = ready["keys"]
        self.start: str = ready["start"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.__exit__(None, None, None)

    def url(self, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}"

    def ask(self, path: str, body: Any = None, *, host: str = "127.0.0.1", method: str | None = None) -> Any:
        """A control call; not counted."""
        data = None if body is None else orjson.dumps(body)
        request = urllib.request.Request(self.url(host) + path, data, method=method)
        with urllib.request.urlopen(request, timeout=300) as reply:
            return orjson.loads(reply.read())

    def books(self) -> dict[str, dict[str, Any]]:
        books: dict[str, dict[str, Any]] = self.ask("/_bench/books")
        return books

    def reset(self) -> None:
        self.ask("/_bench/reset")


class Stage:
    """A context manager; everything ends with it."""

    def __enter__(self) -> Self:
        self._exit = ExitStack()
        try:
            self.folder = Path(self._exit.enter_context(tempfile.TemporaryDirectory(prefix="frame-gainsight-bench-")))
            broker = start_kafka()
            self._exit.callback(broker.stop)
            self.bootstrap = broker.bootstrap
            self._kms = self._exit.enter_context(KmsStandIn())
        except BaseException:
            self._exit.close()
            raise
        os.environ.update(self._kms.environment())  # boto3 in this process
        self.vault = KmsVault(self._kms.key_id)
        self.codec = codec_for(None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.close()

    def topics(self, **more: object) -> Settings:
        """Settings with topics, groups and transactional ids that no other run uses; the topics exist.

        The raw topic's records bear the time at which the broker appended them.
        """
        prefix = f"b{uuid.uuid4().hex[:10]}"
        names = {field: f"{prefix}.{field.removesuffix('_topic')}" for field in _TOPICS}
        ours = {"bootstrap_servers": self.bootstrap, "prefix": prefix, "kms_key_id": self._kms.key_id}
        given = ours | {"allow_hosts": LOOPBACK} | names | more
        settings = Settings.model_validate(given)
        topics.create(settings)
        entry = ConfigEntry("message.timestamp.type", "LogAppendTime", incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, settings.raw_topic, incremental_configs=[entry])
        client = admin(settings)  # held: one that is gone never answers
        for future in client.incremental_alter_configs([resource]).values():
            future.result(30)
        return settings

    def drop(self, settings: Settings) -> None:
        """Deletes a run's topics: some hold gigabytes."""
        names = [getattr(settings, name) for name in _TOPICS]
        client = admin(settings)
        for future in client.delete_topics(names).values():
            future.result(30)

    def environment(self, settings: Settings) -> dict[str, str]:
        """What a process needs to join under these settings."""
        fields = {name: str(field.alias) for name, field in Settings.model_fields.items()}
        ours = {fields[name]: str(getattr(settings, name)) for name in settings.model_fields_set}
        theirs = {k: v for k, v in os.environ.items() if not k.startswith(_OURS)}
        return theirs | self._kms.environment() | ours

    def register(
        self, settings: Settings, tenants: Tenants, each: Sequence[Mapping[str, Any]] = (), **changes: Any
    ) -> dict[str, str]:
        """A connector for every tenant, unchecked; connector → host address.

        Args:
            changes: of every definition, and `each` of one, in the tenants' order.
        """
        writer = Producer(confluent_config(settings, **{"enable.idempotence": True}))
        now = int(datetime.now(UTC).timestamp() * 1000)
        made: dict[str, str] = {}
        for number, (host, key) in enumerate(tenants.keys.items()):
            own = changes | dict(each[number] if each else {})
            definition = Definition(id=f"tenant-{number}", host=tenants.url(host), api_share=1.0, **own)
            sealed = self.vault.seal(definition.id, definition.host, Secret.access_key(key))
            value = encode_connector(self.codec, Connector(definition.started(now), sealed, "ACTIVE", now, now))
            lane = lane_of(definition.id, settings.partitions)
            writer.produce(settings.connectors_topic, key=definition.id, value=value, partition=lane)
            made[definition.id] = host
        if writer.flush(60):
            raise RuntimeError("Kafka did not take the definitions")
        return made

    def producer(self, settings: Settings, *arguments: str, every: float = 0.2) -> Measured:
        """The producer, as a process; its log is in the stage's folder."""
        command = [sys.executable, "-m", "producer", *arguments]
        log = self.folder / f"{settings.prefix}-producer.log"
        return Measured(command, log, self.environment(settings), every=every)

    def enricher(self, settings: Settings) -> Measured:
        """The enricher, as a process; its log is in the stage's folder."""
        command = [sys.executable, "-P", "-m", "frame_gainsight.cli.main", "enrich"]
        return Measured(command, self.folder / f"{settings.prefix}-enricher.log", self.environment(settings))

    def enriched(self, settings: Settings, timeout: float = 900.0) -> None:
        """Returns when the enricher has committed everything that is in the raw topic now."""
        client = admin(settings)
        partitions = [TopicPartition(settings.raw_topic, p) for p in range(settings.partitions)]
        starts: dict[int, int | None] = dict.fromkeys(range(settings.partitions))
        ends: dict[int, int] = {}
        for record in read_to_end(settings, settings.raw_topic, starts):
            ends[record.partition] = record.offset + 1
        deadline = time.monotonic() + timeout
        while True:
            request = ConsumerGroupTopicPartitions(f"{settings.prefix}-enricher", partitions)
            (answer,) = client.list_consumer_group_offsets([request]).values()
            reached = {p.partition: p.offset for p in answer.result(30).topic_partitions or ()}
            if all(reached.get(p, -1) >= end for p, end in ends.items()):
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"the enricher is at {reached}, of {ends}")
            time.sleep(0.2)

    def landed(self, settings: Settings, newest: Mapping[str, int]) -> Landed:
        """Reads the raw topic, ours or a peer's, and holds it against the tenant's own versions."""
        versions: Counter[tuple[str, int]] = Counter()
        last = 0
        starts: dict[int, int | None] = dict.fromkeys(range(settings.partitions))
        for record in read_to_end(settings, settings.raw_topic, starts):
            name = (record.key or b"").decode().rpartition("/")[2]
            if name == PERIOD_MARKER or record.value is None:
                continue
            last = max(last, record.timestamp)
            if record.value[:1] == b"{":  # a peer's: the row itself
                row = orjson.loads(record.value)
                name, at = row["Gsid"], parse_date(row["LastModifiedDate"]) or 0
            else:
                at = self.codec.decode(record.value).value["modified_at"]
            versions[name, at] += 1
        there: dict[str, int] = {}
        for name, at in versions:
            there[name] = max(at, there.get(name, 0))
        return Landed(
            rows=versions.total(),
            ids=len(there),
            lost=sum(name not in there for name in newest),
            outdated=sum(there.get(name, at) < at for name, at in newest.items()),
            extra=versions.total() - len(versions),
            last_at=last / 1000,
        )


def python_of(environment: Path) -> str:
    """A virtual environment's interpreter."""
    return str(environment / "bin" / "python")


def sparkline(values: Sequence[float], width: int = 60) -> str:
    """The values as a row of blocks from zero to the highest; each block is the highest of its stretch."""
    if not values:
        return ""
    step = max(1, -(-len(values) // width))
    stretches = [max(values[i : i + step]) for i in range(0, len(values), step)]
    top = max(stretches) or 1.0
    return "".join("▁▂▃▄▅▆▇█"[min(7, int(8 * value / top))] for value in stretches)
