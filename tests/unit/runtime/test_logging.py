"""Logs at a terminal and elsewhere: no local variable is shown, and no text of others begins a line."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
from collections.abc import Callable, Iterator

import pytest
import structlog

from frame_gainsight.runtime.logging import set_up_logging

KEY = "c4nary+/key=%55&d1-9a77"
BREAKS = ("\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x1e", "\x85", "\u2028", "\u2029", "\n\n\x1b[2K")


class Stream(io.StringIO):
    """Standard error, of a terminal or not."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.fixture(params=[True, False], ids=["terminal", "file"])
def err(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stream]:
    stream = Stream(request.param)
    monkeypatch.setattr(sys, "stderr", stream)
    before = logging.getLogger().handlers[:], logging.getLogger().level
    set_up_logging("DEBUG")
    yield stream
    logging.getLogger().handlers[:], _ = before
    logging.getLogger().setLevel(before[1])
    structlog.reset_defaults()


def by_structlog(text: str) -> None:
    structlog.get_logger("ours").exception("crashed")


def by_logging(text: str) -> None:
    logging.getLogger("faust").exception("Crashed reason=%r", text)


def by_the_loop(text: str) -> None:
    loop = asyncio.new_event_loop()
    loop.call_exception_handler({"message": "unhandled", "exception": sys.exception()})
    loop.close()


WAYS = [by_structlog, by_logging, by_the_loop]


def _fail(key: str, text: str) -> None:
    header = {"Accesskey": key}
    raise ValueError(f"cannot send {len(header)}: {text}")


@pytest.mark.parametrize("way", WAYS)
def test_a_traceback_shows_no_local_variable_and_still_where_it_failed(err: Stream, way: Callable[[str], None]) -> None:
    secret = KEY[:4] + KEY[4:]
    try:
        _fail(secret, "x")
    except ValueError:
        way("x")
    said = err.getvalue()
    assert "cannot send 1: x" in said and "test_logging.py" in said
    assert KEY not in said and KEY[::-1] not in said


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mark", BREAKS)
def test_the_text_of_an_error_begins_no_line(err: Stream, way: Callable[[str], None], mark: str) -> None:
    text = f"bad{mark}FORGED polled connector=acme"
    try:
        _fail(KEY, text)
    except ValueError:
        way(text)
    assert "FORGED" in err.getvalue()
    assert not [line for line in err.getvalue().splitlines() if line.startswith("FORGED")]


@pytest.mark.parametrize("mark", BREAKS)
def test_no_value_of_an_event_begins_a_line(err: Stream, mark: str) -> None:
    text = f"bad{mark}FORGED"
    structlog.get_logger("ours").warning("poll_failed", connector=text, cause=text, many=[text], by={text: text})
    structlog.get_logger("ours").warning(text)
    logging.getLogger("faust").warning("%s", text)
    lines = err.getvalue().splitlines()
    assert len(lines) == 3 and all("FORGED" in line for line in lines)
    if not err.isatty():
        assert json.loads(lines[0])["cause"] == text
