"""The errors of the bus; every text says what happened, where, and what to do next."""

from __future__ import annotations


class BusError(Exception):
    """Root of every error that this room raises; `str(error)` is made for people and holds no secret."""


class ArtifactError(BusError):
    """The broker's files could not be fetched, verified or stored."""


class KafkaStartError(BusError):
    """The embedded broker did not start; the text names its log."""


class MissingExtraError(BusError):
    """A stand-in was asked for whose packages are not installed."""

    def __init__(self, package: str) -> None:
        self.package = package
        super().__init__(
            f"The Python package '{package}' is not installed, and this local stand-in needs it.\n"
            "Install the extra that brings it: pip install 'frame-gainsight[local]'"
        )


class SettingsError(BusError):
    """A setting is missing, wrong or unknown; the text names its variable."""


class BrokerError(BusError):
    """Kafka could not be reached, or refused."""


class TopicError(BusError):
    """A topic is missing, or exists with another cleanup policy or partition count."""


class FencedError(BusError):
    """Another process took over the lane: this one must stop and write nothing more."""
