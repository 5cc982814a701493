"""Reads what a person hands over, a file or standard input, up to a limit."""

from __future__ import annotations

import sys
from pathlib import Path

from frame_gainsight.cli.output import wrong_use


def read_text(file: Path | None, max_bytes: int) -> str:
    """The text of a file; None: of standard input.

    Ends the command when it cannot be read or has more than `max_bytes`; the message never quotes what was read.
    """
    name = "Standard input" if file is None else str(file)
    try:
        if file is None:
            data = sys.stdin.buffer.read(max_bytes + 1)
        else:
            with file.open("rb") as opened:
                data = opened.read(max_bytes + 1)
    except (OSError, ValueError) as failure:  # ValueError: a name with a NUL in it
        reason = failure.strerror if isinstance(failure, OSError) else None
        wrong_use(f"{name} cannot be read: {reason or failure}.")
    if len(data) > max_bytes:
        wrong_use(f"{name} is too large: {max_bytes:,} bytes are the most that is read.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as failure:
        wrong_use(f"{name} cannot be read: it is no text in UTF-8 (byte {failure.start + 1:,}).")
