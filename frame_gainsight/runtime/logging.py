"""Logging: one line an event, to standard error, so that standard output stays for answers."""

from __future__ import annotations

import logging
import sys
import traceback
from typing import TextIO

import structlog

from frame_gainsight.runtime.terminal import one_line


def set_up_logging(level: str) -> None:
    """Sends this project's and the libraries' logs to standard error from `level` on.

    A terminal gets coloured lines, anything else JSON. A traceback never shows local variables, among which keys may
    be, and no text of others begins a line. httpx and botocore are kept to warnings: at lower levels they write about
    every request.
    """
    number = getattr(logging, level)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    terminal = sys.stderr.isatty()
    last: list[structlog.typing.Processor] = (
        [_for_terminal, structlog.dev.ConsoleRenderer(exception_formatter=_traceback)]
        if terminal
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(number, logging.WARNING))


def _for_terminal(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """The event as a terminal may show it: its values can have texts of other people."""
    return {name: one_line(value) if isinstance(value, str) else value for name, value in event.items()}


def _traceback(out: TextIO, exc_info: structlog.typing.ExcInfo) -> None:
    """Writes a traceback, indented, so that no line of an error's text looks like one of the log's."""
    for line in "".join(traceback.format_exception(*exc_info)).splitlines():
        out.write(f"\n  {one_line(line)}")
