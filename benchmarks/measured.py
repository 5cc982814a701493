"""A process whose memory and processor time are measured from outside, by /proc."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

ROOT = Path(__file__).parents[1]
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process took. Memory in MB; `resident` is one value per sampling."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    resident: tuple[float, ...]
    code: int


class Measured:
    """Runs a command from the project's root; a context manager that ends it.

    Args:
        every: seconds between samplings of its memory.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
        *,
        every: float = 0.2,
        stdin: int | IO[bytes] | None = subprocess.DEVNULL,
        stdout: int | None = None,
    ) -> None:
        self.log = log
        self._every = every
        self._resident: list[float] = []
        self._peak = 0.0
        self._begun = time.monotonic()
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                command, env=environment, cwd=ROOT, stdin=stdin, stdout=out if stdout is None else stdout, stderr=out
            )
        self._ended = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._sampler.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.running:
            self.process.kill()
            self.wait(10)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether it still runs; it is not reaped by asking."""
        if self.process.returncode is not None:
            return False
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def cpu_seconds(self) -> float:
        """Processor time of a running process so far, user and system."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory_mb(self) -> tuple[float, float]:
        """Resident now, and the most that it ever was."""
        found = {"VmRSS": 0.0, "VmHWM": 0.0}
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in found:
                found[name] = int(value.split()[0]) / 1024
        return found["VmRSS"], found["VmHWM"]

    def stop(self, seconds: float = 60.0) -> Usage:
        """SIGTERM, then `wait`."""
        if self.running:
            self.process.send_signal(signal.SIGTERM)
        return self.wait(seconds)

    def wait(self, seconds: float) -> Usage:
        """Its usage when it has ended. Raises TimeoutError, having killed it."""
        deadline = time.monotonic() + seconds
        late = False
        while self.running:
            if time.monotonic() > deadline:
                self.process.kill()
                late = True
            time.sleep(0.02)
        took = time.monotonic() - self._begun
        _, status, used = os.wait4(self.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        self._ended.set()
        self._sampler.join()
        if late:
            raise TimeoutError(f"{self.process.args!r} took more than {seconds:.0f} s: {self.tail()}")
        cpu = used.ru_utime + used.ru_stime
        return Usage(took, cpu, self._peak, tuple(self._resident), self.process.returncode)

    def tail(self, lines: int = 15) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _sample(self) -> None:
        due = time.monotonic()
        while not self._ended.is_set():
            try:
                resident, peak = self.memory_mb()
            except OSError:
                return
            self._peak = max(self._peak, peak)  # a zombie has no memory: its line is missing
            if resident:
                self._resident.append(resident)
            due += self._every
            self._ended.wait(max(0.0, due - time.monotonic()))
