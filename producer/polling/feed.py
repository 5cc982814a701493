"""One polled connector: its tenant's client, its records, and the state of what was written."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field

from frame_gainsight.connectors import Definition
from frame_gainsight.gainsight import GainsightClient, Priority
from frame_gainsight.kafka import ProducerRecord
from producer.context import ProducerContext
from producer.polling.columns import Columns
from producer.polling.page_size import PageSize
from producer.polling.timeline_source import TimelineSource
from producer.state.records import Records
from producer.state.seen_versions import Version
from producer.state.write_order import WriteOrder
from producer.timeline.lateness import Lateness

Write = Callable[[Sequence[ProducerRecord], Callable[[Sequence[int]], Sequence[ProducerRecord]]], Awaitable[list[int]]]
"""`LaneWriter.write`, awaited; the lane's transactions come one after the other."""


@dataclass(slots=True)
class Feed:
    """The state that live polling and backfills of one connector share.

    Attributes:
        versions: reads every version ever written of the connector back from the raw topic, in order; blocks.
    """

    context: ProducerContext
    definition: Definition
    client: GainsightClient
    columns: Columns
    records: Records
    write: Write
    write_order: WriteOrder
    versions: Callable[[], Iterator[Version]]
    size: PageSize = field(init=False)
    lateness: Lateness = field(init=False)

    def __post_init__(self) -> None:
        checkpoint = self.write_order.checkpoint
        self.size = PageSize(self.context.settings.page_rows, checkpoint.proven_rows)
        self.lateness = Lateness(checkpoint.lateness)

    def source(self, priority: Priority) -> TimelineSource:
        """A source for one reading; to be closed after it."""
        return TimelineSource(
            self.definition, self.client, self.context.clock, self.columns, self.size, self.write_order, priority
        )

    @property
    def margin(self) -> int:
        """Milliseconds before the tenant's clock at which a window ends."""
        return int(self.context.settings.overlap_margin_seconds * 1000)

    @property
    def beginning(self) -> int:
        """The moment at which live polling began (milliseconds), before which no window reaches; 0 if not known."""
        begun, start = self.write_order.checkpoint.begun, self.definition.start
        if begun is not None:
            return begun
        return int(start.timestamp()) * 1000 if start is not None else 0

    @property
    def overlap(self) -> int:
        """Milliseconds that a window begins before the cursor: as defined, or as measured."""
        fixed = self.definition.fixed_overlap
        return (self.lateness.overlap() if fixed is None else fixed) * 1000
