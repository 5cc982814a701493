"""Unexpected errors: faults of this code that one connector's data brought about. They stay that connector's."""

from __future__ import annotations

import traceback

import structlog

from frame_gainsight.gainsight import GainsightError
from frame_gainsight.runtime import BrokerError, FencedError, TopicError
from schemas import RegistryError, words

log = structlog.get_logger(__name__)

OF_ALL: tuple[type[Exception], ...] = (BrokerError, TopicError, FencedError, RegistryError)
"""What no connector has brought about: it ends the lane's work, and another owner goes on from what is committed."""


class UnexpectedError(GainsightError):
    """A fault of this code that one tenant's data brought about."""


def unexpected(error: Exception, doing: str, **where: object) -> str:
    """Logs an unexpected error with its trace, which has no values of variables; returns the cause for people.

    Args:
        doing: what was done, in the past tense: "an activity was converted".
    """
    trace = "".join(traceback.format_tb(error.__traceback__)[-20:])
    log.error("unexpected_error", doing=doing, cause=f"{type(error).__name__}: {words(error)}", trace=trace, **where)
    return f"Unexpected {type(error).__name__} while {doing}: please report it."
