"""The embedded broker's log file: where one start's part of it begins, and what it says when that start failed."""

from __future__ import annotations

from pathlib import Path

_LIMIT = 16 * 1024 * 1024  # bytes, after which the next start begins a new log
_TAIL = 15  # lines in an error

_ADVICE = {
    "Address already in use": "Its port was taken by another program: name another port.",
    "ConfigException": "One of the given settings is not accepted: correct it.",
    "No space left on device": "The disk is full: make room, or name a folder on another disk.",
    "OutOfMemoryError": "Its heap is too small: raise heap_mb.",
    "newer version": "The data folder was written by a newer broker: name another folder.",
}
_GENERAL_ADVICE = "Its log says why; if the data folder is damaged, remove it or name another one."


class BrokerLog:
    """The part of the file that is appended from now on; an overlong file is put aside first."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._begin = path.stat().st_size if path.exists() else 0
        if self._begin > _LIMIT:
            path.replace(path.with_name(f"{path.name}.1"))
            self._begin = 0

    def text(self) -> str:
        with self.path.open("rb") as log:
            log.seek(self._begin)
            return log.read().decode(errors="replace")

    def report(self, what: str) -> str:
        """The text of an error: what happened, what to do, and the end of the log without stack traces."""
        text = self.text()
        advice = next((advice for sign, advice in _ADVICE.items() if sign in text), _GENERAL_ADVICE)
        lines = [line for line in text.strip().splitlines() if not line.startswith(("\tat ", "\t... "))]
        tail = "\n".join(f"  | {line[:300]}" for line in lines[-_TAIL:] or ["(empty)"])
        return f"{what}\n{advice}\nThe end of its log, {self.path}:\n{tail}"
