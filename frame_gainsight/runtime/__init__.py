"""What every process needs: settings, clock, errors, back-off, metrics and logging."""

from frame_gainsight.runtime.clock import Clock, SystemClock
from frame_gainsight.runtime.errors import BrokerError, BusError, FencedError, SettingsError, TopicError
from frame_gainsight.runtime.settings import Settings, load_settings

__all__ = [
    "BrokerError",
    "BusError",
    "Clock",
    "FencedError",
    "Settings",
    "SettingsError",
    "SystemClock",
    "TopicError",
    "load_settings",
]
