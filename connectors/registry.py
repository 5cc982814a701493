"""The registry: every connector's definition and sealed key, in their compacted topic."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import structlog

from bus import Incoming, Outgoing, Settings, lane_of, put, read_to_end
from connectors.definition import Definition, parse_canonical
from connectors.errors import DefinitionError, UnknownConnectorError
from connectors.vault import Sealed
from schemas import Codec, RegistryError, SchemaError

log = structlog.get_logger(__name__)

State = Literal["ACTIVE", "PAUSED"]


@dataclass(frozen=True, slots=True)
class Connector:
    """A registered connector. Times are milliseconds."""

    definition: Definition
    sealed: Sealed
    state: State
    updated_at: int
    rotated_at: int

    @property
    def id(self) -> str:
        return self.definition.id


class Registry:
    """Reads and writes `gainsight.connectors`. Blocks; an administrator's tool, not a hot path."""

    def __init__(self, settings: Settings, codec: Codec) -> None:
        self._settings = settings
        self._codec = codec

    def put(self, connector: Connector) -> None:
        """Writes a connector, replacing an earlier one of its id; returns when Kafka has it. Raises BrokerError."""
        value = encode_connector(self._codec, connector)
        lane = lane_of(connector.id, self._settings.partitions)
        put(self._settings, Outgoing(self._settings.connectors_topic, lane, connector.id.encode(), value))

    def remove(self, connector: str) -> None:
        """Takes a connector and its key out; returns when Kafka has it. Raises BrokerError."""
        lane = lane_of(connector, self._settings.partitions)
        put(self._settings, Outgoing(self._settings.connectors_topic, lane, connector.encode(), None))

    def all(self) -> dict[str, Connector]:
        """Every registered connector by id. Of one whose newest definition does not read, the one before counts, as it
        does in running services.

        Raises BrokerError, TopicError, and RegistryError when the schema registry is away.
        """
        return self.read()[0]

    def read(self) -> tuple[dict[str, Connector], set[str]]:
        """As `all`, and the ids of those whose newest definition does not read."""
        starts: dict[int, int | None] = dict.fromkeys(range(self._settings.partitions))
        found: dict[str, Connector] = {}
        unreadable: set[str] = set()
        for record in read_to_end(self._settings, self._settings.connectors_topic, starts):
            connector = (record.key or b"").decode("utf-8", "replace")
            if apply(self._codec, found, record) is None:
                unreadable.add(connector)
            else:
                unreadable.discard(connector)
        return dict(sorted(found.items())), unreadable

    def get(self, connector: str) -> Connector:
        """One connector. Raises UnknownConnectorError."""
        found = self.all()
        if connector not in found:
            raise UnknownConnectorError(connector, list(found))
        return found[connector]


def apply(codec: Codec, connectors: dict[str, Connector], record: Incoming) -> str | None:
    """Applies one record of the topic; returns the id it was about. A definition that does not read changes nothing.

    Raises RegistryError: while the schema registry is away, nothing can be said about any definition.
    """
    connector = (record.key or b"").decode("utf-8", "replace")
    if record.value is None:
        connectors.pop(connector, None)
        return connector
    try:
        connectors[connector] = decode_connector(codec, record.value)
    except RegistryError:
        raise
    except (SchemaError, DefinitionError) as error:
        log.error("definition_unreadable", connector=connector, offset=record.offset, cause=str(error))
        return None
    return connector


def encode_connector(codec: Codec, connector: Connector) -> bytes:
    return codec.encode(
        "connector",
        {
            "id": connector.id,
            "state": connector.state,
            "definition": connector.definition.canonical(),
            "credentials": {
                "kind": connector.sealed.kind,
                "ciphertext": connector.sealed.ciphertext,
                "kms_key_id": connector.sealed.kms_key_id,
            },
            "updated_at": connector.updated_at,
            "rotated_at": connector.rotated_at,
        },
    )


def decode_connector(codec: Codec, data: bytes) -> Connector:
    """Raises SchemaError or DefinitionError."""
    value = codec.decode_as("connector", data)
    return Connector(
        parse_canonical(value["definition"]),
        Sealed(**value["credentials"]),
        value["state"],
        value["updated_at"],
        value["rotated_at"],
    )


def with_definition(connector: Connector, definition: Definition, now: int) -> Connector:
    """The connector with another definition and the key it has."""
    return replace(connector, definition=definition, updated_at=now)


def lanes_of(connectors: Iterable[Connector], partitions: int) -> dict[int, list[Connector]]:
    """Connectors by lane."""
    lanes: dict[int, list[Connector]] = {}
    for connector in connectors:
        lanes.setdefault(lane_of(connector.id, partitions), []).append(connector)
    return lanes
