"""Failures: the classes that decide what happens next, and causes in words."""

from __future__ import annotations

from enum import StrEnum
from pathlib import PurePath

MAX_CAUSE = 4000  # characters; a tenant's error code may be of any length


class Failure(StrEnum):
    """The class of a failure: it passes by itself, a person must set something right, or the data is damaged."""

    TRANSIENT = "transient"
    CONFIG = "config"
    DATA = "data"


class UnforeseenError(Exception):
    """An error that nobody foresaw, at the boundary of the one whose failure it is: its type, message and place."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(
            f"Unforeseen: {_described(error)}. This is a fault of frame-gainsight, or of something that it does not "
            "know; report it with this text. It is tried again by itself, ever more rarely."
        )


def cause_of(error: Exception, connector: str) -> str:
    """The error's text and, of an error with a `remedy`, the command that mends a registered connector (`{id}`).

    At most MAX_CAUSE characters, all of which UTF-8 can write.
    """
    remedy: str | None = getattr(error, "remedy", None)
    cause = _shortened(str(error), MAX_CAUSE)
    return cause if remedy is None else f"{cause} {remedy.format(id=connector)}"


def _described(error: BaseException) -> str:
    """Type, message and place, without the values of any variable."""
    trace, place = error.__traceback__, ""
    while trace is not None:
        code = trace.tb_frame.f_code
        path = PurePath(code.co_filename)
        place = f" (in {path.parent.name}/{path.name}, line {trace.tb_lineno}, {code.co_name})"
        trace = trace.tb_next
    try:
        message = _shortened(str(error), 500)
    except Exception as second:  # noqa: BLE001 - an error without a text is an error all the same
        message = f"without a text: {type(second).__name__}"
    return f"{type(error).__name__}{': ' if message else ''}{message}{place}"


def _shortened(text: str, most: int) -> str:
    text = text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"
    return text.encode("utf-8", "replace").decode()
