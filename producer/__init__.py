"""Polls tenants' Timeline APIs and writes raw activities: every version once, page by page in transactions."""

from producer.checkpoint import Checkpoint, OpenPeriod
from producer.lane import Lane
from producer.poller import Poller, PollResult
from producer.run import run
from producer.service import ProducerService
from producer.windows import Window, next_window

__all__ = [
    "Checkpoint",
    "Lane",
    "OpenPeriod",
    "PollResult",
    "Poller",
    "ProducerService",
    "Window",
    "next_window",
    "run",
]
