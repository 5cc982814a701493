"""Running the producer: by the command, by `python -m producer`, or within another program."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from frame_gainsight.connectors import KmsVault, Registry
from frame_gainsight.kafka.topics import require
from frame_gainsight.runtime import Settings, SystemClock
from frame_gainsight.runtime.aio import use_many_threads
from frame_gainsight.runtime.metrics import Metrics
from producer.backfilling.requests import BackfillRequests
from producer.context import ProducerContext
from producer.polling.poller import PollResult
from producer.service import ProducerService
from producer.state.backfill import Backfill
from schemas import codec_for


def run(
    settings: Settings,
    *,
    only: str | None = None,
    since: int | None = None,
    once: bool = False,
    on_poll: Callable[[PollResult], None] | None = None,
) -> dict[str, str]:
    """Polls until SIGINT or SIGTERM, or once; returns connector → last error of those that failed.

    Args:
        since: milliseconds; requests a backfill of `only` from there first. One that is requested already goes on.
        on_poll: called after every poll that went well.

    Raises BrokerError, TopicError, SettingsError, and UnknownConnectorError when `only` is not registered.
    """
    require(settings)
    codec = codec_for(settings.schema_registry_url)
    clock = SystemClock()
    if only is not None:
        Registry(settings, codec).get(only)
        if since is not None:
            requests = BackfillRequests(settings, codec, only)
            if not any(b.since == since for b in requests.progress().backfills.values()):
                requests.request(Backfill(only, f"since-{since // 1000}", since, clock.now()))
    context = ProducerContext(settings, codec, KmsVault(settings.kms_key_id), clock)
    return asyncio.run(_run(context, only, once, on_poll))


async def _run(
    context: ProducerContext, only: str | None, once: bool, on_poll: Callable[[PollResult], None] | None
) -> dict[str, str]:
    metrics, settings = Metrics(), context.settings
    service = ProducerService(context, only=only, once=once, metrics=metrics, on_poll=on_poll)
    loop = asyncio.get_running_loop()
    use_many_threads()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, service.stop)
    if settings.metrics_port is not None:
        metrics.serve(settings.metrics_port, settings.metrics_address)
    try:
        await service.run()
    finally:
        metrics.close()
    return service.failures
