"""A real Apache Kafka for the demo and the tests: one KRaft node as a child process, no Docker and no Java needed.

    with EmbeddedKafka() as kafka:
        AdminClient({"bootstrap.servers": kafka.bootstrap})

`python -m frame_gainsight.embedded_kafka.aot_cache` fetches the files that it runs from and prepares the AOT cache that
makes it start faster.
"""

from __future__ import annotations

import atexit
import base64
import fcntl
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from frame_gainsight.embedded_kafka.artifacts import Progress, fetch
from frame_gainsight.embedded_kafka.broker_log import BrokerLog
from frame_gainsight.embedded_kafka.errors import KafkaStartError
from frame_gainsight.embedded_kafka.jvm import Java, SupervisedProcess, find_java
from frame_gainsight.embedded_kafka.node import LOOPBACK, free_port, has_answered, in_use, server_properties

_LOG_DIR = "log"  # relative to the data folder, the JVM's working directory: any path may then contain anything
_START_ATTEMPTS = 3
_POLL = 0.05  # seconds
_CLAIM_TIMEOUT = 3.0  # seconds; a broker whose owner was killed is just ending


class EmbeddedKafka:
    """One Kafka node on the loopback interface.

    Arguments:
        data_dir: where topics are kept; started again on the same folder, it has them again.  Without one, a
            temporary folder is used and removed at `stop`.
        port: of the listener; without one, a free port is chosen, and kept for later starts of the same object.
        heap_mb: the JVM's largest heap.
        config: broker settings on top of (or instead of) ours.
        progress: called with (bytes done, bytes in all) when the broker's files have to be downloaded first.
        start_timeout: seconds that the broker may take until it answers.
        aot_output: has the JVM record a new AOT cache there at `stop` (for `aot_cache`).

    Neither the node nor its temporary folder outlives this process, not even one ended by SIGKILL.
    """

    def __init__(
        self,
        data_dir: Path | None = None,
        port: int | None = None,
        *,
        heap_mb: int = 256,
        config: Mapping[str, str] | None = None,
        progress: Progress | None = None,
        start_timeout: float = 60.0,
        aot_output: Path | None = None,
    ) -> None:
        self._given_dir = data_dir.expanduser().absolute() if data_dir is not None else None
        self._given_port = port
        self._heap_mb = heap_mb
        self._config = dict(config or {})
        self._progress = progress
        self._start_timeout = start_timeout
        self._aot_output = aot_output
        self._dir = self._given_dir
        self._port = port
        self._process: SupervisedProcess | None = None
        self._owner = 0

    @property
    def data_dir(self) -> Path:
        """The data folder; a temporary one exists from `start` to `stop`."""
        if self._dir is None:
            raise RuntimeError("the broker has not been started")
        return self._dir

    @property
    def log_file(self) -> Path:
        return self.data_dir / "kafka.log"

    @property
    def port(self) -> int:
        if self._port is None:
            raise RuntimeError("the broker has not been started")
        return self._port

    @property
    def bootstrap(self) -> str:
        """`host:port`, the value for `bootstrap.servers`."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int:
        """The JVM's process id."""
        if self._process is None:
            raise RuntimeError("the broker is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Starts the node and waits until it answers; does nothing when it runs already.

        Raises `ArtifactError` when its files cannot be had, `MissingExtraError` without the `local` extra,
        `KafkaStartError` when it cannot run: the text has the end of its log.
        """
        if self.running:
            return self
        if self._given_port is not None and in_use(self._given_port):
            raise KafkaStartError(
                f"Port {self._given_port} on {LOOPBACK} is in use by another program.\n"
                "Stop that program, or name another port (or none: a free one is chosen)."
            )
        java = find_java(fetch(progress=self._progress))
        self._make_folder()
        lock = self._claim_folder()
        try:
            cluster_id = self._formatted(java, lock)
            for attempt in range(1, _START_ATTEMPTS + 1):
                if self._try_start(java, cluster_id, attempt, lock):
                    break
                java = replace(java, aot=None)
        except BaseException as error:
            self._abandon(keep=isinstance(error, KafkaStartError))
            raise
        finally:
            os.close(lock)  # the supervisor holds it from here on
        self._owner = os.getpid()
        atexit.register(self.stop)
        return self

    def stop(self, timeout: float = 20.0) -> None:
        """Ends the node in order; killed when that takes longer than `timeout` seconds.  Safe to call twice."""
        if self._process is not None and os.getpid() == self._owner:
            self._process.stop(timeout)
            self._process = None
            atexit.unregister(self.stop)
        self._remove_temporary()

    def kill(self) -> None:
        """Ends the node with SIGKILL, as a crash would; `start` brings it back on the same port and data."""
        if self._process is not None:
            self._process.kill()
            self._process = None
            atexit.unregister(self.stop)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # ---- starting -----------------------------------------------------------------------------------------------

    def _make_folder(self) -> None:
        if self._given_dir is None:
            if self._dir is None:
                self._dir = Path(tempfile.mkdtemp(prefix="frame-gainsight-kafka-"))
            return
        try:
            self._given_dir.mkdir(parents=True, exist_ok=True)
            with self.log_file.open("ab"):
                pass
        except OSError as error:
            raise KafkaStartError(
                f"The broker's data folder cannot be used: {self._given_dir}: {error.strerror or error}.\n"
                "Name a folder that you may write to."
            ) from error

    def _claim_folder(self) -> int:
        """Locks the folder; returns the lock's descriptor.

        Kafka has a lock of its own, but a second node takes it only after having written to the first one's log.
        """
        lock = os.open(self.data_dir / "in-use.lock", os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + _CLAIM_TIMEOUT
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return lock
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(lock)
                    raise KafkaStartError(
                        f"Another broker is using the data folder {self.data_dir}.\n"
                        "Stop that broker, or name another folder."
                    ) from None
                time.sleep(_POLL)

    def _formatted(self, java: Java, lock: int) -> str:
        """Makes sure that the folder holds a formatted log; returns its cluster id."""
        done = self.data_dir / _LOG_DIR / "meta.properties"
        if not done.exists():
            self._format(java, lock)
        for line in done.read_text(encoding="latin-1").splitlines():
            if line.startswith("cluster.id="):
                return line.removeprefix("cluster.id=").replace("\\", "")
        raise KafkaStartError(
            f"{done} names no cluster: the data folder is damaged.\nRemove {self.data_dir}, or name another folder."
        )

    def _format(self, java: Java, lock: int) -> None:
        """Formats beside and renames, so that a killed format leaves nothing half-made."""
        log = BrokerLog(self.log_file)
        beside = self.data_dir / f"{_LOG_DIR}.formatting"
        shutil.rmtree(beside, ignore_errors=True)
        config = self._write_config("format.properties", beside.name, free_port())
        tool = ("kafka.tools.StorageTool", "format", "-t", _new_cluster_id(), "-c", config.name)
        process = SupervisedProcess(
            java.command(*tool, heap_mb=self._heap_mb), folder=self.data_dir, log=self.log_file, hold=(lock,)
        )
        code = process.wait(self._start_timeout)
        if code != 0:
            process.kill()
            reason = "took too long" if code is None else f"failed (exit code {code})"
            raise KafkaStartError(log.report(f"Formatting the broker's data folder {reason}."))
        config.unlink()
        beside.replace(self.data_dir / _LOG_DIR)

    def _try_start(self, java: Java, cluster_id: str, attempt: int, lock: int) -> bool:
        """Starts the JVM and waits; False when another attempt may work, `KafkaStartError` when none would."""
        port = self._port if self._port is not None else free_port()
        config = self._write_config("kafka.properties", _LOG_DIR, port)
        log = BrokerLog(self.log_file)
        command = java.command("kafka.Kafka", config.name, heap_mb=self._heap_mb, record=self._aot_output)
        temporary = self._dir if self._given_dir is None else None
        process = self._process = SupervisedProcess(
            command, folder=self.data_dir, log=self.log_file, remove=temporary, hold=(lock,)
        )

        deadline = time.monotonic() + self._start_timeout
        while process.wait(_POLL) is None:
            if has_answered(f"{LOOPBACK}:{port}", cluster_id, timeout=2.0):
                self._port = port
                return True
            if time.monotonic() > deadline:
                text = f"The broker did not answer within {self._start_timeout:.0f} seconds."
                raise KafkaStartError(log.report(text))

        code = process.wait(0)
        if attempt < _START_ATTEMPTS:
            if self._port is None and "Address already in use" in log.text():
                return False  # another program took a free port in between
            if code != 1 and java.aot is not None:
                return False  # the JVM itself crashed
        raise KafkaStartError(log.report(f"The broker ended while starting (exit code {code})."))

    def _write_config(self, name: str, log_dir: str, port: int) -> Path:
        path = self.data_dir / name
        properties = server_properties(port, free_port(avoid=port), log_dir, self._config)
        path.write_text(properties, encoding="ascii")
        return path

    # ---- ending -------------------------------------------------------------------------------------------------

    def _abandon(self, *, keep: bool) -> None:
        """After a failed start: no process stays; a temporary folder only where an error names its log."""
        if self._process is not None:
            self._process.kill()
            self._process = None
        if keep and self._given_dir is None:
            self._dir = None
        self._remove_temporary()

    def _remove_temporary(self) -> None:
        if self._given_dir is None and self._dir is not None:
            shutil.rmtree(self._dir, ignore_errors=True)
            self._dir = None


def _new_cluster_id() -> str:
    """22 characters of URL-safe base64; a leading '-' would be taken for an option."""
    while True:
        name = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not name.startswith("-"):
            return name
