"""The services that everything of the enricher works with."""

from __future__ import annotations

from dataclasses import dataclass

from enricher.processing.tenants import ClientPool, ConnectorDirectory
from frame_gainsight.runtime import Clock, Settings
from schemas import Codec


@dataclass(frozen=True, slots=True)
class EnricherServices:
    """A process's settings, schemas, registered connectors, clients of their tenants, and clock."""

    settings: Settings
    codec: Codec
    directory: ConnectorDirectory
    clients: ClientPool
    clock: Clock
