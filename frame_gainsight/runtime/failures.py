"""Failures: whose turn it is to set one right, and its cause in words."""

from __future__ import annotations

from enum import StrEnum


class Failure(StrEnum):
    """The class of a failure: passing by itself, somebody's to set right, or the data's."""

    TRANSIENT = "transient"
    CONFIG = "config"
    DATA = "data"


def cause_of(error: Exception, connector: str) -> str:
    """The error's text and, of an error with a `remedy`, the command that mends a registered connector (`{id}`)."""
    remedy: str | None = getattr(error, "remedy", None)
    return str(error) if remedy is None else f"{error} {remedy.format(id=connector)}"
