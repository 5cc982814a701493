"""Failures: the classes that decide what happens next, and causes in words."""

from __future__ import annotations

from enum import StrEnum


class Failure(StrEnum):
    """The class of a failure: it passes by itself, a person must set something right, or the data is damaged."""

    TRANSIENT = "transient"
    CONFIG = "config"
    DATA = "data"


def cause_of(error: Exception, connector: str) -> str:
    """The error's text and, of an error with a `remedy`, the command that mends a registered connector (`{id}`)."""
    remedy: str | None = getattr(error, "remedy", None)
    return str(error) if remedy is None else f"{error} {remedy.format(id=connector)}"
