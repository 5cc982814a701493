"""Errors of settings, of Kafka and of local stand-ins; every text says what happened, where, and what to do next."""

from __future__ import annotations


class OperationalError(Exception):
    """Root of the errors of what a process runs on; `str(error)` is made for people and holds no secret."""


class MissingExtraError(OperationalError):
    """A local stand-in was started whose packages are not installed."""

    def __init__(self, package: str) -> None:
        self.package = package
        super().__init__(
            f"The Python package '{package}' is not installed, and this local stand-in needs it.\n"
            "Install the extra that brings it: pip install 'frame-gainsight[local]'"
        )


class SettingsError(OperationalError):
    """A setting is missing, wrong or unknown; the text names its variable."""


class BrokerError(OperationalError):
    """Kafka could not be reached, or refused."""


class RecordTooLargeError(BrokerError):
    """A topic does not take a record of this size; nothing of its transaction was written."""


class TopicError(OperationalError):
    """A topic is missing, or exists with another cleanup policy or partition count."""


class FencedError(OperationalError):
    """Another process took over the lane: this one must stop and write nothing more."""
