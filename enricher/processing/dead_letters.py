"""Dead-letter policy: for records that cannot be read or converted, and for those behind them.

Such a record becomes a dead letter, and its lane goes on. When a limit of them comes from one connector with no
conversation between them, the cause is in its definition, or in this release: the rest of its activities is refused.
They are not tried, and wait until the connector has changed.
"""

from __future__ import annotations

from collections import Counter

import structlog

from enricher.processing.circuit_breaker import CircuitBreaker
from enricher.processing.services import EnricherServices
from frame_gainsight.connectors import Connector
from frame_gainsight.kafka import ConsumedRecord, ProducerRecord
from frame_gainsight.kafka.record_limits import size_of_fields
from frame_gainsight.runtime import Failure
from schemas.dead_letter import DeadLetter
from schemas.raw_topic import RawKey

log = structlog.get_logger(__name__)

LOGGED = 1000  # characters of a cause


class DeadLetters:
    """The dead letters of a lane, and how many of a connector there were since its last conversation."""

    def __init__(self, services: EnricherServices, lane: int) -> None:
        self._services = services
        self._lane = lane
        self._in_a_row: Counter[str] = Counter()

    def of_unreadable(self, source: ConsumedRecord, cause: str) -> ProducerRecord:
        """The dead letter of a raw record that cannot be read; cut where its topic does not take it whole."""
        log.warning(
            "dead_letter", topic=source.topic, partition=source.partition, offset=source.offset, cause=cause[:LOGGED]
        )
        letter = DeadLetter(
            key.connector if (key := RawKey.parse(source.key)) is not None else "",
            source.topic,
            source.partition,
            source.offset,
            source.key,
            source.value,
            source.headers,
            Failure.DATA.value,
            cause,
            self._services.clock.now(),
        )
        topic = self._services.settings.dead_letters_topic
        letter = letter.fitting(self._services.limits.room(topic))
        return ProducerRecord(
            topic, self._lane, letter.key or b"", letter.encode(self._services.codec), letter.record_headers
        )

    def unless_taken(self, source: ConsumedRecord, out: ProducerRecord) -> ProducerRecord:
        """What came of a raw record; its dead letter where the topic does not take that, as with a key of megabytes."""
        limits = self._services.limits
        if limits.fits(out):
            return out
        size, room = size_of_fields(out), limits.room(out.topic)
        return self.of_unreadable(source, f"What came of it has {size} bytes; {out.topic} takes {room}.")

    def of_unconverted(self, connector: str, source: ConsumedRecord, cause: str) -> ProducerRecord:
        """The dead letter of an activity that cannot be converted; it counts towards the limit."""
        self._in_a_row[connector] += 1
        return self.of_unreadable(source, cause)

    def converted(self, connector: str) -> None:
        """Resets the connector's count: an activity was converted, or the connector has changed."""
        del self._in_a_row[connector]

    def limit_reached(self, connector: str) -> bool:
        """Whether the connector's further activities are refused."""
        return self._in_a_row[connector] >= self._services.settings.dead_letters_in_a_row

    def stop(self, breaker: CircuitBreaker, connector: Connector, last_cause: str) -> str:
        """Opens the circuit of a connector whose activities were refused; returns the cause that they wait for."""
        count = self._services.settings.dead_letters_in_a_row
        cause = f"The last {count} activities could not be converted; the rest wait. The last cause: {last_cause}"
        breaker.stop(connector, cause)
        log.error("circuit_opened", connector=connector.id, cause=cause)
        return cause


def replay_cause(last_cause: str) -> str:
    """Why a connector whose activities were refused is behind in a replay; `last_cause` of its last dead letter."""
    return f"Too many in a row could not be converted; the rest waits for another mapping. {last_cause}"
