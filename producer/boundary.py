"""The boundary of a connector: which errors are its own failure, and which end the ownership of its lane."""

from __future__ import annotations

from frame_gainsight.connectors import ConnectorError
from frame_gainsight.gainsight import GainsightError
from frame_gainsight.runtime import BrokerError, FencedError, RecordTooLargeError, TopicError, UnforeseenError
from producer.timeline.keyset_reader import StuckError
from schemas import SchemaError

FORESEEN = (GainsightError, ConnectorError, StuckError, SchemaError, RecordTooLargeError, UnforeseenError)


def ends_lane(error: Exception) -> bool:
    """Whether the lane's writer, or its position, is lost; whatever else is raised is one connector's failure."""
    return isinstance(error, BrokerError | FencedError | TopicError) and not isinstance(error, RecordTooLargeError)


def foreseen(error: Exception) -> Exception:
    """The error, with words for people: as it is where it has them, else as an UnforeseenError."""
    return error if isinstance(error, FORESEEN) else UnforeseenError(error)
