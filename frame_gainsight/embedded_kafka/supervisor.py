"""The process between the broker's owner and the JVM: it runs one command and ends it when the owner is gone.

Run as a plain script (standard library only, `python -I -S supervisor.py [--remove FOLDER] COMMAND…`).  Its standard
input is a pipe whose other end only the owner holds: when it closes, however the owner died, the command is ended and
FOLDER removed.  SIGTERM is passed on, SIGUSR1 kills the command at once.  The command's pid is printed, and its exit
code is the supervisor's.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

_GRACE = 8.0  # seconds that a command gets for a clean end after its owner's death
_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    """In the child: Linux kills it when this process dies, even by SIGKILL."""
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main(arguments: list[str]) -> int:
    remove = arguments[1] if arguments[0] == "--remove" else None
    command = arguments[2:] if remove else arguments
    before: Callable[[], None] | None = _die_with_parent if sys.platform == "linux" else None
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, preexec_fn=before)  # noqa: PLW1509

    # `Popen.send_signal` does nothing once the child has been reaped: no other process can be hit.
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    signal.signal(signal.SIGUSR1, lambda *_: child.kill())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stdout.write(f"{child.pid}\n")
    sys.stdout.flush()

    orphaned = threading.Event()

    def watch_owner() -> None:
        while os.read(0, 1):  # unbuffered: a buffered reader's lock breaks the interpreter's end
            pass
        orphaned.set()
        child.terminate()
        try:
            child.wait(_GRACE)
        except subprocess.TimeoutExpired:
            child.kill()

    threading.Thread(target=watch_owner, daemon=True).start()
    code = child.wait()
    if remove and orphaned.is_set():
        shutil.rmtree(remove, ignore_errors=True)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
