"""The basis of every process: settings, clock, errors, back-off, metrics and logging."""

from frame_gainsight.runtime.clock import Clock, SystemClock
from frame_gainsight.runtime.errors import BrokerError, FencedError, OperationalError, SettingsError, TopicError
from frame_gainsight.runtime.failures import Failure, cause_of
from frame_gainsight.runtime.settings import Settings, load_settings

__all__ = [
    "BrokerError",
    "Clock",
    "Failure",
    "FencedError",
    "OperationalError",
    "Settings",
    "SettingsError",
    "SystemClock",
    "TopicError",
    "cause_of",
    "load_settings",
]
