"""Connections to Kafka: client configurations from settings, and clients' errors in words for people."""

from __future__ import annotations

import logging
import ssl
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from frame_gainsight.runtime.errors import BrokerError
from frame_gainsight.runtime.settings import Settings

log = structlog.get_logger(__name__)

# An activity's body reaches 131,000 characters; as text and as HTML, in UTF-8, that is more than Kafka's 1 MB.
MAX_MESSAGE_BYTES = 8 * 1024 * 1024
"""The size of records that topics are created for; what counts is each topic's own limit (`RecordLimits`)."""
ANY_SIZE = 1_000_000_000  # the most that librdkafka allows: the topic decides, and not the client


def confluent_config(settings: Settings, **more: Any) -> dict[str, Any]:
    """The configuration by which a confluent-kafka client reaches the cluster, and `more`."""
    config: dict[str, Any] = {
        "bootstrap.servers": settings.brokers(),
        "security.protocol": settings.security_protocol,
        "error_cb": _on_error,
        "logger": logging.getLogger("librdkafka"),
    }
    if settings.security_protocol.startswith("SASL"):
        config["sasl.mechanism"] = settings.sasl_mechanism
        config["sasl.username"] = settings.sasl_username or ""
        config["sasl.password"] = settings.sasl_password.get_secret_value() if settings.sasl_password else ""
    if settings.security_protocol.endswith("SSL"):
        paths = {
            "ssl.ca.location": settings.ssl_ca_location,
            "ssl.certificate.location": settings.ssl_certificate_location,
            "ssl.key.location": settings.ssl_key_location,
        }
        config |= {name: str(path) for name, path in paths.items() if path}
    return config | more


def aiokafka_config(settings: Settings) -> dict[str, Any]:
    """The configuration by which an aiokafka client reaches the cluster."""
    config: dict[str, Any] = {
        "bootstrap_servers": settings.brokers(),
        "security_protocol": settings.security_protocol,
    }
    if settings.security_protocol.startswith("SASL"):
        config["sasl_mechanism"] = settings.sasl_mechanism
        config["sasl_plain_username"] = settings.sasl_username
        config["sasl_plain_password"] = settings.sasl_password.get_secret_value() if settings.sasl_password else None
    if (context := ssl_context(settings)) is not None:
        config["ssl_context"] = context
    return config


def ssl_context(settings: Settings) -> ssl.SSLContext | None:
    """The TLS side of the connection; None without TLS."""
    if not settings.security_protocol.endswith("SSL"):
        return None
    context = ssl.create_default_context(cafile=str(settings.ssl_ca_location) if settings.ssl_ca_location else None)
    if settings.ssl_certificate_location:
        key = str(settings.ssl_key_location) if settings.ssl_key_location else None
        context.load_cert_chain(str(settings.ssl_certificate_location), key)
    return context


def admin(settings: Settings, timeout: float = 10.0) -> AdminClient:
    """An admin client of a cluster that answers. Raises BrokerError within `timeout` seconds otherwise."""
    client = AdminClient(confluent_config(settings))
    try:
        client.list_topics(timeout=timeout)
    except KafkaException as error:
        raise unreachable(settings, error) from error
    return client


def unreachable(settings: Settings, error: Exception) -> BrokerError:
    """The error for a person whose broker does not answer."""
    cause = error.args[0] if error.args else error
    text = cause.str() if isinstance(cause, KafkaError) else str(cause)
    return BrokerError(
        f"Kafka at {settings.brokers()} does not answer ({text}). Check KAFKA_BOOTSTRAP_SERVERS, that the broker "
        f"runs, and KAFKA_SECURITY_PROTOCOL (now {settings.security_protocol}); "
        "a local broker starts with: frame-gainsight kafka"
    )


def _on_error(error: KafkaError) -> None:
    """Logs an error of the connection: librdkafka reports a wrong password or CA here only; a call would time out."""
    if error.code() == KafkaError._AUTHENTICATION:
        log.error("kafka_authentication_failed", error=error.str(), hint="check KAFKA_SASL_* and KAFKA_SSL_*")
    else:
        log.debug("kafka_client", error=error.str())
