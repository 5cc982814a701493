"""Topic identity: whether the raw topic is still the one that a worker began with.

Offsets of a topic that was deleted and created anew begin again, and a reader of the old one sees nothing of that: its
position lies beyond the new log's end, or in the middle of other records.
"""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException, TopicCollection

from frame_gainsight.kafka.clients import admin, unreachable
from frame_gainsight.runtime import Settings, TopicError


class TopicIdentity:
    """The raw topic's id, as the broker gave it first. The methods block."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._first: str | None = None

    def check(self) -> None:
        """Raises TopicError when the topic is gone, or is another one of the same name; BrokerError when Kafka does
        not answer."""
        topic = self._settings.raw_topic
        client = admin(self._settings)  # held: a client that is gone never answers
        try:
            (found,) = client.describe_topics(TopicCollection([topic])).values()
            now = str(found.result(timeout=10).topic_id)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise TopicError(
                    f"Topic {topic} was deleted while it was read. Create it (frame-gainsight topics create), and "
                    "start the worker again."
                ) from error
            raise unreachable(self._settings, error) from error
        except TimeoutError as error:
            raise unreachable(self._settings, error) from error
        if self._first is not None and now != self._first:
            raise TopicError(
                f"Topic {topic} was deleted and created anew while it was read: its offsets begin again, and what this "
                "worker knows of its positions is of the old one. Start the worker again; backfill what the old topic "
                "had and the new one lacks."
            )
        self._first = now
