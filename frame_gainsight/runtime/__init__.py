"""The basis of every process: settings, clock, errors, back-off, metrics and logging."""

from frame_gainsight.runtime.clock import Clock, SystemClock
from frame_gainsight.runtime.errors import (
    BrokerError,
    FencedError,
    OperationalError,
    RecordTooLargeError,
    SettingsError,
    TopicError,
)
from frame_gainsight.runtime.failures import Failure, UnforeseenError, cause_of
from frame_gainsight.runtime.settings import Settings, load_settings

__all__ = [
    "BrokerError",
    "Clock",
    "Failure",
    "FencedError",
    "OperationalError",
    "RecordTooLargeError",
    "Settings",
    "SettingsError",
    "SystemClock",
    "TopicError",
    "UnforeseenError",
    "cause_of",
    "load_settings",
]
