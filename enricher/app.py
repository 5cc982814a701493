"""The enricher as an application: `faust -A enricher.app worker`, or `frame-gainsight enrich`."""

from __future__ import annotations

import gc
from typing import Any

from enricher.consumer import faust_worker
from enricher.lane_processor import LaneProcessor
from enricher.metrics import EnricherMetrics
from enricher.processing.services import EnricherServices
from enricher.processing.tenants import ClientPool, ConnectorDirectory
from enricher.replay.requests import RequestFollower
from frame_gainsight.connectors import KmsVault
from frame_gainsight.kafka.record_limits import RecordLimits, limit_reader
from frame_gainsight.kafka.topics import require
from frame_gainsight.runtime import Settings, SystemClock, load_settings
from frame_gainsight.runtime.metrics import Metrics
from schemas import codec_for


def build(settings: Settings, *, web_port: int | None = None) -> Any:
    """The Faust app of one worker. Raises TopicError when the topics are not as they must be, BrokerError, and
    SettingsError where the metrics' port is taken."""
    require(settings)
    codec = codec_for(settings.schema_registry_url)
    clock = SystemClock()
    directory = ConnectorDirectory(settings, codec)
    clients = ClientPool(settings, KmsVault(settings.kms_key_id), clock)
    limits = RecordLimits(limit_reader(settings))
    services = EnricherServices(settings, codec, directory, clients, clock, limits)
    requests = RequestFollower(settings, codec)
    metrics = Metrics()
    enricher_metrics = EnricherMetrics(metrics, settings, clock)
    if settings.metrics_port is not None:
        metrics.serve(settings.metrics_port, settings.metrics_address)

    def work(lane: int) -> LaneProcessor:
        return LaneProcessor(services, lane, requests, enricher_metrics)

    async def finish() -> None:
        await clients.close()
        directory.stop()
        requests.stop()
        metrics.close()

    return faust_worker.create(settings, work, room=limits.room, finish=finish, web_port=web_port)


# A full collection visits every cached entity, and no batch moves meanwhile: a tenth of a second at 200,000 objects.
# By Python's own thresholds there is one every half minute; by these, one after four million objects.
GC_THRESHOLDS = (5_000, 10, 80)


def run(settings: Settings, *, web_port: int | None = None) -> int:
    """Runs a worker until it is stopped; the exit code is not 0 when it crashed."""
    gc.set_threshold(*GC_THRESHOLDS)
    return faust_worker.work(build(settings, web_port=web_port), settings)


def __getattr__(name: str) -> Any:
    """`app`, built when Faust's command line reads it, and not by importing this module."""
    if name == "app":
        app = globals()["app"] = build(load_settings(), web_port=6066)
        return app
    raise AttributeError(name)
