"""Polls tenants' Timeline APIs and writes raw activities: every version once, page by page in transactions."""

from producer.app import run
from producer.backfilling.estimate import Estimate, estimate
from producer.backfilling.requests import Progress, Requests
from producer.lane import Lane
from producer.polling.poller import Poller, PollResult
from producer.service import ProducerService
from producer.state.backfill import Backfill
from producer.state.checkpoint import Checkpoint, OpenPeriod
from producer.timeline.window import Window, next_window

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
