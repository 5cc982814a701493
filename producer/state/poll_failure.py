"""Poll failures: why a connector is not polled as it should be, in a record that others can read."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from frame_gainsight.kafka import ProducerRecord
from frame_gainsight.runtime import Settings
from schemas import Codec

KEY_PART = "/!trouble"
AGAIN_MS = 60_000  # after which another cause of the same class is worth a record


@dataclass(frozen=True, slots=True)
class PollFailure:
    """`failure` is its class; times are milliseconds."""

    connector: str
    failure: str
    cause: str
    since: int
    at: int

    def then(self, failure: str, cause: str, now: int) -> PollFailure | None:
        """What there is to tell after a further failure; None: nothing new."""
        if (failure, cause) == (self.failure, self.cause):
            return None
        if failure == self.failure and now - self.at < AGAIN_MS:
            return None
        return replace(self, failure=failure, cause=cause, at=now)


def connector_of(key: str) -> str | None:
    """The connector whose trouble a record of the checkpoints topic tells; None: it tells something else."""
    return key.removesuffix(KEY_PART) if key.endswith(KEY_PART) else None


def record(codec: Codec, settings: Settings, lane: int, trouble: PollFailure) -> ProducerRecord:
    key = f"{trouble.connector}{KEY_PART}".encode()
    return ProducerRecord(settings.checkpoints_topic, lane, key, codec.encode("trouble", asdict(trouble)))


def over(settings: Settings, lane: int, connector: str) -> ProducerRecord:
    """The tombstone: all is well again."""
    return ProducerRecord(settings.checkpoints_topic, lane, f"{connector}{KEY_PART}".encode(), None)


def decode(codec: Codec, data: bytes) -> PollFailure:
    """Raises schemas.DecodeError."""
    return PollFailure(**codec.decode_as("trouble", data))
