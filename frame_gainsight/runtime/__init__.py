"""What every process needs: settings, clock, errors, back-off, metrics and logging."""

from frame_gainsight.runtime.clock import Clock, SystemClock
from frame_gainsight.runtime.errors import BrokerError, BusError, FencedError, SettingsError, TopicError
from frame_gainsight.runtime.failures import Failure, cause_of
from frame_gainsight.runtime.settings import Settings, load_settings

__all__ = [
    "BrokerError",
    "BusError",
    "Clock",
    "Failure",
    "FencedError",
    "Settings",
    "SettingsError",
    "SystemClock",
    "TopicError",
    "cause_of",
    "load_settings",
]
