"""Errors of the embedded broker; every text says what happened, where, and what to do next."""

from __future__ import annotations

from frame_gainsight.runtime.errors import OperationalError


class ArtifactError(OperationalError):
    """The broker's files could not be fetched, verified or stored."""


class KafkaStartError(OperationalError):
    """The embedded broker did not start; the text names its log."""
