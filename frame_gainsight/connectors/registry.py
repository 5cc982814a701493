"""The registry: every connector's definition and sealed key, in their compacted topic."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import structlog

from frame_gainsight.connectors.definition.model import Definition
from frame_gainsight.connectors.definition.yaml_file import parse_canonical
from frame_gainsight.connectors.errors import DefinitionError, UnknownConnectorError, UnreadableConnectorError
from frame_gainsight.connectors.secrets.vault import Sealed
from frame_gainsight.kafka import ConsumedRecord, KafkaLaneWriter, ProducerRecord, lane_of, read_to_end
from frame_gainsight.runtime import BrokerError, FencedError, Settings
from frame_gainsight.runtime.backoff import Backoff
from schemas import Codec, RegistryError, SchemaError

log = structlog.get_logger(__name__)

State = Literal["ACTIVE", "PAUSED"]

ROLE = "registry"  # of the writers of this topic, a lane one
TRIES = 6
_BACKOFF = Backoff(first=0.1, longest=3.2, jitter=1.0)  # from none to twice that: two commands part


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
    """Reads and writes `gainsight.connectors`. Blocks; an administrator's tool, not a hot path.

    No change is made to an outdated connector. Opening a lane's writer fences every other one of this topic's, and the
    connector is read only after that; a command that was fenced before its commit reads again. So of two commands at
    the same time, the second one to write has seen what the first one wrote.
    """

    def __init__(self, settings: Settings, codec: Codec, report: Callable[[str, str], None] | None = None) -> None:
        """`report` is called once for a connector whose latest definition does not read, with its id and the cause."""
        self._settings = settings
        self._codec = codec
        self._report = report
        self._reported: set[str] = set()

    def put(self, connector: Connector) -> None:
        """Writes a connector, replacing an earlier one of its id; returns when Kafka has it. Raises BrokerError."""
        self.change(connector.id, lambda _: connector)

    def change(self, connector: str, change: Callable[[Connector | None], Connector]) -> Connector:
        """Writes the result of `change` of the connector as it is now (None: it is not registered), and returns it.

        `change` may be called more than once. Nothing is written when it raises or returns the connector as it was.
        Raises BrokerError, TopicError, RegistryError.
        """
        lane = lane_of(connector, self._settings.partitions)
        made: Connector | None = None

        def records() -> list[ProducerRecord]:
            nonlocal made
            now = self._read([lane])[0].get(connector)
            if now is not None and now == made:  # our commit was taken, only its answer was lost
                return []
            made = change(now)
            if made == now:
                return []
            value = encode_connector(self._codec, made)
            return [ProducerRecord(self._settings.connectors_topic, lane, connector.encode(), value)]

        self._write(lane, records)
        assert made is not None
        return made

    def remove(self, connector: str) -> bool:
        """Takes a connector and its key out, in whichever lane a record of its id is, also one that does not read.

        Returns whether there was anything, when Kafka has it. Raises BrokerError, TopicError.
        """
        topic = self._settings.connectors_topic
        alive: set[tuple[int, bytes]] = set()
        for record in read_to_end(self._settings, topic, dict.fromkeys(range(self._settings.partitions))):
            if id_of(record) == connector:
                place = (record.partition, record.key or b"")
                alive.discard(place) if record.value is None else alive.add(place)
        for lane in sorted({lane for lane, _ in alive}):
            tombstones = [ProducerRecord(topic, lane, key, None) for place, key in sorted(alive) if place == lane]
            self._write(lane, lambda tombstones=tombstones: tombstones)  # type: ignore[misc]
        return bool(alive)

    def all(self) -> dict[str, Connector]:
        """Every registered connector by id. Of one whose latest definition does not read, the one before counts, as it
        does in running services.

        Raises BrokerError, TopicError, and RegistryError when the schema registry does not answer.
        """
        found, unreadable = self.read()
        for connector, fault in unreadable.items():
            self._report_unreadable(connector, fault)
        return found

    def read(self) -> tuple[dict[str, Connector], dict[str, str]]:
        """The connectors as by `all`; and, by id, why the latest definition does not read, where it does not."""
        return self._read(range(self._settings.partitions))

    def get(self, connector: str) -> Connector:
        """One connector. Raises UnknownConnectorError, UnreadableConnectorError."""
        found, unreadable = self.read()
        if connector in found:
            if connector in unreadable:
                self._report_unreadable(connector, unreadable[connector])
            return found[connector]
        if connector in unreadable:
            raise UnreadableConnectorError(connector, unreadable[connector])
        raise UnknownConnectorError(connector, list(found))

    def _report_unreadable(self, connector: str, fault: str) -> None:
        if self._report is not None and connector not in self._reported:
            self._reported.add(connector)
            self._report(connector, fault)

    def _read(self, lanes: Iterable[int]) -> tuple[dict[str, Connector], dict[str, str]]:
        # By lane, as services read it: a tombstone in another lane than a connector's own takes nothing out of that.
        found: dict[int, dict[str, Connector]] = {lane: {} for lane in lanes}
        unreadable: dict[tuple[int, str], str] = {}
        for record in read_to_end(self._settings, self._settings.connectors_topic, dict.fromkeys(found)):
            place = (record.partition, id_of(record))
            fault = _apply(self._codec, found[record.partition], record)
            if fault is None:
                unreadable.pop(place, None)
            else:
                unreadable[place] = fault
        connectors = {id_: connector for lane in found.values() for id_, connector in lane.items()}
        for lane, own in found.items():
            connectors |= {id_: c for id_, c in own.items() if lane == lane_of(id_, self._settings.partitions)}
        return dict(sorted(connectors.items())), {id_: fault for (_, id_), fault in sorted(unreadable.items())}

    def _write(self, lane: int, records: Callable[[], list[ProducerRecord]]) -> None:
        for failures in range(1, TRIES + 1):
            with KafkaLaneWriter(self._settings, ROLE, lane) as writer:
                try:
                    if made := records():
                        writer.write(made)
                    return
                except FencedError:  # another command has written, or is about to
                    pass
            time.sleep(_BACKOFF.seconds(failures))  # spread, so that two commands do not fence each other again
        raise BrokerError("Other commands kept changing connectors at the same time: nothing was written. Try again.")


def id_of(record: ConsumedRecord) -> str:
    """The connector that a record of the topic is about."""
    return (record.key or b"").decode("utf-8", "replace")


def apply(codec: Codec, connectors: dict[str, Connector], record: ConsumedRecord) -> str | None:
    """Applies one record of the topic; returns the id it was about. A definition that does not read, or that is not
    its key's, changes nothing.

    Raises RegistryError: while the schema registry does not answer, no definition can be judged.
    """
    fault = _apply(codec, connectors, record)
    if fault is not None:
        log.error("definition_unreadable", connector=id_of(record), offset=record.offset, cause=fault)
        return None
    return id_of(record)


def _apply(codec: Codec, connectors: dict[str, Connector], record: ConsumedRecord) -> str | None:
    """Applies a record; returns why it does not read, or None."""
    if record.value is None:
        connectors.pop(id_of(record), None)
        return None
    try:
        connector = decode_connector(codec, record.value)
    except RegistryError:
        raise
    except (SchemaError, DefinitionError) as error:
        return str(error)
    if connector.id != id_of(record):  # it would be polled, and its key be used, as another connector's
        return (
            f"The record's key is {id_of(record)[:64]!r}, and its definition is that of {connector.id!r}: it counts "
            "for neither. Add the connector again, which replaces the record, or remove it."
        )
    connectors[connector.id] = connector
    return None


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
