"""Running the producer: by the command, by `python -m producer`, or within another program."""

from __future__ import annotations

import asyncio
import signal

from bus import Settings
from bus.topics import require
from connectors import KmsVault, Registry
from gainsight import SystemClock
from producer.service import ProducerService
from schemas import Codec, codec_for


def run(settings: Settings, *, only: str | None = None, since: int | None = None, once: bool = False) -> dict[str, str]:
    """Polls until SIGINT or SIGTERM, or once; returns connector → last error of those that failed.

    Raises BrokerError, TopicError, and UnknownConnectorError when `only` is not registered.
    """
    require(settings)
    codec = codec_for(settings.schema_registry_url)
    if only is not None:
        Registry(settings, codec).get(only)
    return asyncio.run(_run(settings, codec, only, since, once))


async def _run(settings: Settings, codec: Codec, only: str | None, since: int | None, once: bool) -> dict[str, str]:
    service = ProducerService(
        settings,
        codec,
        KmsVault(settings.kms_key_id),
        SystemClock(),
        only=only,
        since={only: since} if only and since is not None else None,
        once=once,
    )
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, service.stop)
    await service.run()
    return service.failures
