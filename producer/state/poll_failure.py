"""Poll failures: why a connector is not polled as it should be, in a record that others can read."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from frame_gainsight.connectors import StartAheadError, VaultUnavailableError
from frame_gainsight.gainsight import GainsightError, ThrottledError
from frame_gainsight.runtime import Failure
from producer.state.checkpoint_keys import POLL_FAILURE, format_key
from producer.timeline.keyset_reader import StuckError
from schemas import Codec

REPEAT_MS = 60_000  # after which another cause of the same class is worth a record


@dataclass(frozen=True, slots=True)
class PollFailure:
    """A connector's failure as recorded: its class, its cause for people, and times in milliseconds.

    Attributes:
        since: the first failure since a poll went well.
        at: the failure that is recorded.
    """

    connector: str
    failure: str
    cause: str
    since: int
    at: int

    def after(self, failure: str, cause: str, now: int) -> PollFailure | None:
        """The record to write after a further failure; None: it brings nothing new."""
        if (failure, cause) == (self.failure, self.cause):
            return None
        if failure == self.failure and now - self.at < REPEAT_MS:
            return None
        return replace(self, failure=failure, cause=cause, at=now)

    @property
    def key(self) -> bytes:
        return format_key(self.connector, POLL_FAILURE)

    def encode(self, codec: Codec) -> bytes:
        return codec.encode("trouble", asdict(self))

    @staticmethod
    def decode(codec: Codec, data: bytes) -> PollFailure:
        """Raises schemas.DecodeError."""
        return PollFailure(**codec.decode_as("trouble", data))


def failure_of(error: Exception) -> str:
    """The class of an error that ended a poll: transient, throttled, config or data."""
    if isinstance(error, ThrottledError):
        return "throttled"
    if isinstance(error, StuckError):
        return Failure.DATA.value
    if isinstance(error, VaultUnavailableError | StartAheadError):
        return Failure.TRANSIENT.value
    return error.failure.value if isinstance(error, GainsightError) else Failure.CONFIG.value
