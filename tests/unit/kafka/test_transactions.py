"""What a failed transaction means: another owner, or a broker to try again."""

from __future__ import annotations

from unittest.mock import Mock

import pytest
from confluent_kafka import KafkaError, KafkaException

from frame_gainsight.kafka import KafkaLaneWriter
from frame_gainsight.runtime import BrokerError, FencedError, Settings


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        (KafkaError._FENCED, FencedError),
        (KafkaError.PRODUCER_FENCED, FencedError),
        (KafkaError.INVALID_PRODUCER_EPOCH, FencedError),
        # After seven idle days the broker forgets a transactional id: the lane is not taken, it is opened anew.
        (KafkaError.INVALID_PRODUCER_ID_MAPPING, BrokerError),
        (KafkaError.NOT_COORDINATOR, BrokerError),
    ],
)
def test_only_another_owner_is_fencing(code: int, meaning: type[Exception]) -> None:
    writer = KafkaLaneWriter.__new__(KafkaLaneWriter)
    writer._settings = Settings(bootstrap_servers="broker:9092", _env_file=None)
    writer.transactional_id = "x-producer-0"
    writer._producer = Mock()
    writer._producer.begin_transaction.side_effect = KafkaException(KafkaError(code))
    with pytest.raises(Exception) as raised:
        writer.write([])
    assert type(raised.value) is meaning
