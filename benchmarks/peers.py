"""The peers as processes, in a virtual environment of their own that is made when it is missing or stale."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path

import orjson

from benchmarks.measured import ROOT, Measured, Usage
from benchmarks.stage import python_of

ENVIRONMENT = ROOT / ".venv-bench"
PEER = Path(__file__).with_name("peer")
PATIENCE = 900.0

Job = Mapping[str, str]
"""host, path, url, key, query (ours), start, bootstrap, topic, and a folder for state."""


def prepare(say: Callable[[str], None]) -> None:
    """Makes the environment from the lock. Raises RuntimeError with pip's words."""
    lock = PEER / "requirements.lock"
    stamp = ENVIRONMENT / ".frame-gainsight-stamp"
    wanted = sha256(f"{sys.version}\n{ENVIRONMENT.resolve()}\n".encode() + lock.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    say(f"Making the peers' environment ({ENVIRONMENT.name}), once…")
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    install = ["-m", "pip", "install", "--quiet", "--no-input", "--require-hashes", "-r", str(lock)]
    for command in ([sys.executable, "-I", "-m", "venv", str(ENVIRONMENT)], [python_of(ENVIRONMENT), *install]):
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"The peers' environment was not made: {done.stderr.strip()[-2000:]}")
    (ENVIRONMENT / ".gitignore").write_text("*\n")
    stamp.write_text(wanted)


def dlt(job: Job, log: Path) -> Usage:
    """Runs the pipeline once; it goes on from the state in the job's folder."""
    command = [python_of(ENVIRONMENT), str(PEER / "dlt_timeline.py"), orjson.dumps(dict(job)).decode()]
    with Measured(command, log) as process:
        return _well(process, process.wait(PATIENCE))


def singer(job: Job, log: Path) -> Usage:
    """Runs tap | target-kafka once; it goes on from the state in the job's folder."""
    folder = Path(job["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    (tap_config := folder / "tap.json").write_bytes(
        orjson.dumps({name: job[name] for name in ("host", "path", "key", "query", "start")})
    )
    (target_config := folder / "target.json").write_bytes(
        orjson.dumps(
            {
                "bootstrap_servers": job["bootstrap"],
                "common_topic": job["topic"],  # also spares it the validation
                "add_stream_to_record": False,
                "include_sdc_properties": False,
                "key_properties": ["Gsid"],
                "batch_size": 5000,
                "compression_type": "gzip",  # snappy and lz4 need packages that it does not bring
            }
        )
    )
    state, given = folder / "state.json", []
    if state.exists():
        given = ["--state", str(state)]
    python = python_of(ENVIRONMENT)
    tap_command = [python, str(PEER / "singer_timeline.py"), "--config", str(tap_config), *given]
    target_command = [python, "-m", "target_kafka", "--config", str(target_config)]
    with (folder / "states").open("wb") as states:
        tap = Measured(tap_command, log, stdout=subprocess.PIPE)
        assert tap.process.stdout is not None
        with tap, Measured(target_command, log, stdin=tap.process.stdout, stdout=states.fileno()) as target:
            tap.process.stdout.close()
            second = _well(target, target.wait(PATIENCE))
            first = _well(tap, tap.wait(PATIENCE))
    if lines := (folder / "states").read_bytes().splitlines():
        state.write_bytes(lines[-1])
    return Usage(
        max(first.seconds, second.seconds),
        first.cpu_seconds + second.cpu_seconds,
        first.peak_mb + second.peak_mb,
        (),
        0,
    )


def _well(process: Measured, usage: Usage) -> Usage:
    if usage.code:
        raise RuntimeError(f"{process.process.args!r} ended with {usage.code}: {process.tail()}")
    return usage
