"""The services that every part of a producer process uses, in one object."""

from __future__ import annotations

from dataclasses import dataclass, field

from frame_gainsight.connectors import Vault
from frame_gainsight.gainsight import ReplySlots
from frame_gainsight.runtime import Clock, Settings
from schemas import Codec


@dataclass(frozen=True, slots=True)
class ProducerContext:
    """The process's settings, codec, vault and clock, and the slots for large replies that all its clients share."""

    settings: Settings
    codec: Codec
    vault: Vault
    clock: Clock
    reply_slots: ReplySlots = field(default_factory=ReplySlots)
