"""The services that everything of the enricher works with."""

from __future__ import annotations

from dataclasses import dataclass, field

from enricher.processing.tenants import ClientPool, ConnectorDirectory
from enricher.processing.topic_limits import TopicLimits
from frame_gainsight.runtime import Clock, Settings
from schemas import Codec


@dataclass(frozen=True, slots=True)
class EnricherServices:
    """A process's settings, schemas, registered connectors, clients of their tenants, clock, and the limits of the
    topics."""

    settings: Settings
    codec: Codec
    directory: ConnectorDirectory
    clients: ClientPool
    clock: Clock
    limits: TopicLimits = field(default_factory=TopicLimits)
