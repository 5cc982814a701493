"""The services that every part of a producer process uses, in one object."""

from __future__ import annotations

from dataclasses import dataclass, field

from frame_gainsight.connectors import Vault
from frame_gainsight.gainsight import CallBudget, ReplySlots
from frame_gainsight.kafka.record_limits import RecordLimits, limit_reader
from frame_gainsight.runtime import Clock, Settings
from schemas import Codec


@dataclass(frozen=True, slots=True)
class ProducerContext:
    """The process's settings, codec, vault and clock, and what outlives its lanes and clients.

    Attributes:
        reply_slots: the slots for large replies that all clients share.
        budgets: connector → its call budget, which counts on when its lane or client is opened anew.
        limits: the sizes of records that topics take.
    """

    settings: Settings
    codec: Codec
    vault: Vault
    clock: Clock
    reply_slots: ReplySlots = field(default_factory=ReplySlots)
    budgets: dict[str, CallBudget] = field(default_factory=dict)
    limits: RecordLimits = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "limits", RecordLimits(limit_reader(self.settings)))
