"""The services that everything of the enricher works with."""

from __future__ import annotations

from dataclasses import dataclass, field

from enricher.processing.tenants import ClientPool, ConnectorDirectory
from frame_gainsight.kafka.record_limits import RecordLimits
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
    limits: RecordLimits = field(default_factory=RecordLimits)
