"""Polls tenants' Timeline APIs and writes raw activities: every version once, page by page in transactions."""

from producer.backfill import Backfill
from producer.checkpoint import Checkpoint, OpenPeriod
from producer.estimate import Estimate, estimate
from producer.lane import Lane
from producer.poller import Poller, PollResult
from producer.requests import Progress, Requests
from producer.run import run
from producer.service import ProducerService
from producer.windows import Window, next_window

__all__ = [
    "Backfill",
    "Checkpoint",
    "Estimate",
    "Lane",
    "OpenPeriod",
    "PollResult",
    "Poller",
    "ProducerService",
    "Progress",
    "Requests",
    "Window",
    "estimate",
    "next_window",
    "run",
]
