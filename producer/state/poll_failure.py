"""Poll failures: why a connector is not polled as it should be, in a record that others can read."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from frame_gainsight.connectors import StartAheadError, VaultUnavailableError
from frame_gainsight.gainsight import GainsightError, ThrottledError
from frame_gainsight.runtime import Failure, RecordTooLargeError, UnforeseenError
from producer.state.checkpoint_keys import POLL_FAILURE, format_key
from producer.state.ranges import require_time
from producer.timeline.keyset_reader import StuckError
from schemas import Codec, RegistryError, SchemaError

REPEAT_MS = 60_000  # after which another cause of the same class is worth a record


@dataclass(frozen=True, slots=True)
class PollFailure:
    """A connector's failure as recorded: its class, its cause for people, and times in milliseconds.

    Attributes:
        since: the first failure since a poll went well.
        at: the failure that is recorded.
        calls: day since 1970 (UTC), and API calls on it, those of polls that failed included.
    """

    connector: str
    failure: str
    cause: str
    since: int
    at: int
    calls: tuple[int, int] = (0, 0)

    def after(self, failure: str, cause: str, now: int, calls: tuple[int, int] = (0, 0)) -> PollFailure | None:
        """The record to write after a further failure; None: it brings nothing new."""
        if (failure, cause, calls) == (self.failure, self.cause, self.calls):
            return None
        if failure == self.failure and calls == self.calls and now - self.at < REPEAT_MS:
            return None
        return replace(self, failure=failure, cause=cause, at=now, calls=calls)

    @property
    def key(self) -> bytes:
        return format_key(self.connector, POLL_FAILURE)

    def encode(self, codec: Codec) -> bytes:
        value = {**asdict(self), "calls_day": self.calls[0], "calls_spent": self.calls[1]}
        return codec.encode("trouble", value)

    @staticmethod
    def decode(codec: Codec, data: bytes) -> PollFailure:
        """Raises schemas.DecodeError."""
        value = codec.decode_as("trouble", data)
        for name in ("since", "at"):
            require_time(value[name], name)
        calls = (value.pop("calls_day"), value.pop("calls_spent"))
        return PollFailure(**value, calls=calls)


def failure_of(error: Exception) -> str:
    """The class of an error that ended a poll: transient, throttled, config or data."""
    if isinstance(error, ThrottledError):
        return "throttled"
    if isinstance(error, StuckError | UnforeseenError):
        return Failure.DATA.value
    if isinstance(error, SchemaError):
        return (Failure.TRANSIENT if isinstance(error, RegistryError) else Failure.DATA).value
    if isinstance(error, RecordTooLargeError):
        return Failure.CONFIG.value
    if isinstance(error, VaultUnavailableError | StartAheadError):
        return Failure.TRANSIENT.value
    return error.failure.value if isinstance(error, GainsightError) else Failure.CONFIG.value
