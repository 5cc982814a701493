"""One connector in its owner's hands: its tenant, its part of the lane, and what was written of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field

from frame_gainsight.connectors import Definition
from frame_gainsight.gainsight import GainsightClient, Priority
from frame_gainsight.kafka import ProducerRecord
from frame_gainsight.runtime import Clock
from producer.polling.page_size import Columns, PageSize, TimelineSource
from producer.state.records import Records
from producer.state.write_order import WriteOrder
from producer.timeline.lateness import Lateness

Write = Callable[[Sequence[ProducerRecord], Callable[[Sequence[int]], Sequence[ProducerRecord]]], Awaitable[list[int]]]
"""`LaneWriter.write`, awaited; the lane's transactions come one after the other."""


@dataclass(frozen=True, slots=True)
class Version:
    """A version in the raw topic: LastModifiedDate (or time of deletion) in milliseconds; fingerprint None: deleted."""

    gsid: str
    at: int
    fingerprint: str | None


def _nothing_written() -> Iterator[Version]:
    return iter(())


@dataclass(slots=True)
class Feed:
    """What live polling and backfills of one connector share.

    Attributes:
        written: reads everything ever written of the connector back from the raw topic, in order; it blocks.
    """

    definition: Definition
    client: GainsightClient
    records: Records
    write: Write
    clock: Clock
    ledger: WriteOrder
    written: Callable[[], Iterator[Version]] = _nothing_written
    columns: Columns = None  # type: ignore[assignment] # made below where it is not given
    size: PageSize = field(init=False)
    lateness: Lateness = field(init=False)

    def __post_init__(self) -> None:
        checkpoint = self.ledger.checkpoint
        self.columns = self.columns or Columns(self.definition, self.client, self.clock)
        self.size = PageSize(self.records.settings.page_rows, checkpoint.proven_rows)
        self.lateness = Lateness(checkpoint.lateness)

    def source(self, priority: Priority) -> TimelineSource:
        """For one reading; to be closed after it."""
        return TimelineSource(self.definition, self.client, self.columns, self.size, self.ledger, priority)

    @property
    def margin(self) -> int:
        """Milliseconds before the tenant's clock at which a window ends."""
        return int(self.records.settings.overlap_margin_seconds * 1000)

    @property
    def beginning(self) -> int:
        """Where live polling began (milliseconds): no window reaches further back. 0 where that is not known."""
        begun, start = self.ledger.checkpoint.begun, self.definition.start
        if begun is not None:
            return begun
        return int(start.timestamp()) * 1000 if start is not None else 0

    @property
    def overlap(self) -> int:
        """Milliseconds that a window begins before the cursor: as defined, or as measured."""
        fixed = self.definition.fixed_overlap
        return (self.lateness.overlap() if fixed is None else fixed) * 1000
