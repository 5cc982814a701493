"""The local stack of the demo: a broker, a KMS, a simulated tenant, and an enricher as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from frame_gainsight.cli.output import notes, waiting
from frame_gainsight.kafka.topics import create
from frame_gainsight.runtime import OperationalError, Settings, load_settings
from frame_gainsight.runtime.allowed_hosts import LOOPBACK, VARIABLE

if TYPE_CHECKING:
    from frame_gainsight.embedded_kafka.broker import EmbeddedKafka
    from frame_gainsight.sandbox import Sandbox, Tenant

_STOP_SECONDS = 20


def start_kafka(port: int | None = None, data: Path | None = None) -> EmbeddedKafka:
    """Starts the embedded broker, showing the download that its first start needs. Raises OperationalError."""
    from frame_gainsight.embedded_kafka.artifacts import fetch
    from frame_gainsight.embedded_kafka.broker import EmbeddedKafka

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=notes, transient=True) as progress:
        task: Any = None

        def downloaded(done: int, total: int) -> None:
            nonlocal task
            if task is None:
                task = progress.add_task("Fetching Apache Kafka (only once)", total=total)
            progress.update(task, completed=done, total=total)

        fetch(progress=downloaded)
    with waiting("Starting Apache Kafka…"):
        return EmbeddedKafka(data, port).start()


class EnricherDiedError(OperationalError):
    """The demo's enricher process ended by itself."""


class Stack:
    """Everything that the demo runs on; all of it ends with the `with` block.

    `environment` is what other processes need to join. A cluster of one's own (KAFKA_BOOTSTRAP_SERVERS) and a KMS of
    one's own (KMS_KEY_ID) are used where they are set; in such a cluster the demo keeps to topics of its own.
    """

    def __init__(self, tenant: Tenant) -> None:
        self._tenant = tenant
        self._exit = ExitStack()
        self.environment: dict[str, str] = {}
        self.settings: Settings
        self.sandbox: Sandbox
        self.enricher: subprocess.Popen[bytes]
        self.enricher_log: Path

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._exit.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.close()

    def check(self) -> None:
        """Raises EnricherDiedError when the enricher is gone."""
        if (code := self.enricher.poll()) is not None:
            tail = "\n".join(self.enricher_log.read_text(errors="replace").splitlines()[-15:])
            raise EnricherDiedError(f"The enricher ended with code {code}. The end of its log:\n{tail}")

    def _start(self) -> None:
        from frame_gainsight.sandbox import Sandbox
        from frame_gainsight.sandbox.kms import KmsStandIn

        settings = load_settings()
        if settings.bootstrap_servers is None:
            broker = start_kafka()
            self._exit.callback(broker.stop)
            self.environment["KAFKA_BOOTSTRAP_SERVERS"] = broker.bootstrap
        else:
            self._own_topics(settings)
        if settings.kms_key_id is None:
            kms = KmsStandIn().start()
            self._exit.callback(kms.stop)
            self.environment |= kms.environment()
        self.environment[VARIABLE] = ",".join([*settings.allow_hosts.replace(",", " ").split(), LOOPBACK])
        before = {name: os.environ.get(name) for name in self.environment}
        self._exit.callback(_restore, before)
        os.environ.update(self.environment)
        self.settings = load_settings()
        create(self.settings)
        self.sandbox = self._exit.enter_context(Sandbox(self._tenant))
        self._start_enricher()

    def _own_topics(self, settings: Settings) -> None:
        """In somebody's cluster: names that cannot meet theirs."""
        run = f"demo-{uuid.uuid4().hex[:8]}"
        self.environment["FRAME_GAINSIGHT_PREFIX"] = f"{settings.prefix}-{run}"
        for name in ("connectors", "raw", "checkpoints", "entities", "conversations", "parked", "dead_letters"):
            topic = getattr(settings, f"{name}_topic")
            self.environment[f"FRAME_GAINSIGHT_{name.upper()}_TOPIC"] = f"{topic}.{run}"
        notes.print(f"Using the cluster at {settings.bootstrap_servers}, with topics of its own (….{run}).")

    def _start_enricher(self) -> None:
        import tempfile

        folder = Path(self._exit.enter_context(tempfile.TemporaryDirectory(prefix="frame-gainsight-")))
        self.enricher_log = folder / "enricher.log"
        log = self._exit.enter_context(self.enricher_log.open("wb"))
        self.enricher = subprocess.Popen(
            [sys.executable, "-P", "-m", "frame_gainsight.cli.main", "enrich"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        self._exit.callback(_end, self.enricher)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _restore(before: dict[str, str | None]) -> None:
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
