"""Polls tenants' Timeline APIs and writes raw activities: every version once, page by page in transactions."""

from producer.app import run
from producer.backfilling.estimate import Estimate, estimate
from producer.backfilling.requests import BackfillRequests
from producer.context import ProducerContext
from producer.polling.poller import PollResult
from producer.service import ProducerService
from producer.state.backfill import Backfill
from producer.state.checkpoint import Checkpoint

__all__ = [
    "Backfill",
    "BackfillRequests",
    "Checkpoint",
    "Estimate",
    "PollResult",
    "ProducerContext",
    "ProducerService",
    "estimate",
    "run",
]
