"""Every setting, read once from the environment and `.env`; a wrong or unknown one is named with its variable."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from frame_gainsight.runtime.allowed_hosts import AllowedHosts
from frame_gainsight.runtime.errors import SettingsError

# Variables under these prefixes are the project's: an unknown one is a typing mistake, not another program's.
OUR_PREFIXES = (
    "FRAME_GAINSIGHT_",
    "KAFKA_BOOTSTRAP_",
    "KAFKA_SASL_",
    "KAFKA_SSL_",
    "KAFKA_SECURITY_",
    "KMS_",
    "SCHEMA_REGISTRY_",
)
# Read by boto3 itself.
AWS_PREFIX = "AWS_"


def _declared(source: PydanticBaseSettingsSource) -> PydanticBaseSettingsSource:
    """The source without variables that are merely called like a field."""
    if isinstance(source, EnvSettingsSource):
        declared = {str(field.alias).lower() for field in Settings.model_fields.values()}
        source.env_vars = {name: value for name, value in source.env_vars.items() if name.lower() in declared}
    return source


def _variable(name: str) -> str:
    """The environment variable of a setting that is this project's own."""
    return f"FRAME_GAINSIGHT_{name.upper()}"


class Settings(BaseSettings):
    """Settings of every command and service; frozen, built once by `load_settings`."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, env_ignore_empty=True, alias_generator=_variable
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only the declared variables count. A field's bare name is for calls: PREFIX or LOG_LEVEL in an
        environment is meant for another program."""
        return init_settings, _declared(env_settings), _declared(dotenv_settings)

    # Kafka
    bootstrap_servers: str | None = Field(None, alias="KAFKA_BOOTSTRAP_SERVERS", description="Brokers, host:port.")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT",
        alias="KAFKA_SECURITY_PROTOCOL",
        description="How to connect: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.",
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", alias="KAFKA_SASL_MECHANISM", description="PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512."
    )
    sasl_username: str | None = Field(None, alias="KAFKA_SASL_USERNAME", description="User, with SASL.")
    sasl_password: SecretStr | None = Field(None, alias="KAFKA_SASL_PASSWORD", description="Its password.")
    ssl_ca_location: Path | None = Field(
        None, alias="KAFKA_SSL_CA_LOCATION", description="PEM file of the certificate authority; not set: the system's."
    )
    ssl_certificate_location: Path | None = Field(
        None, alias="KAFKA_SSL_CERTIFICATE_LOCATION", description="PEM file of the client's certificate."
    )
    ssl_key_location: Path | None = Field(None, alias="KAFKA_SSL_KEY_LOCATION", description="PEM file of its key.")
    schema_registry_url: str | None = Field(
        None,
        alias="SCHEMA_REGISTRY_URL",
        description="Set: Confluent wire format; not set: Avro single-object encoding.",
    )

    # Topics
    connectors_topic: str = Field("gainsight.connectors", description="Definitions and encrypted API keys.")
    raw_topic: str = Field("gainsight.timeline.raw", description="Raw activities.")
    checkpoints_topic: str = Field("gainsight.checkpoints", description="How far each connector was read.")
    entities_topic: str = Field("gainsight.entities", description="Results of look-ups at tenants.")
    conversations_topic: str = Field("frame.conversations", description="Enriched conversations.")
    parked_topic: str = Field("gainsight.parked", description="Activities that wait for their tenant or connector.")
    dead_letters_topic: str = Field("gainsight.dead-letters", description="Records that could not be read.")
    partitions: int = Field(4, ge=1, le=1000, description="Partitions of every topic.")
    replication: int = Field(1, ge=1, le=9, description="Replicas of a created topic.")

    # Groups and transactions
    prefix: str = Field(
        "frame-gainsight",
        pattern=r"^[A-Za-z0-9._-]+$",
        description="Of consumer groups and transactional ids; two installations on one cluster differ in it.",
    )

    # Producer
    overlap_margin_seconds: float = Field(
        2.0,
        ge=0,
        le=600,
        alias=_variable("margin_seconds"),
        description="A window ends this long before the tenant's clock, so that rows of the last moment are settled.",
    )
    page_rows: int = Field(5000, ge=1, le=5000, description="Rows requested per page.")
    producer_share: float = Field(
        0.5,
        gt=0,
        lt=1,
        description="The producer's part of a connector's share of API calls; the enricher takes the rest.",
    )

    # Enricher
    window_max: int = Field(5000, ge=1, le=100_000, description="Records after which a window closes.")
    window_linger_seconds: float = Field(1.0, gt=0, le=30, description="How long an open window waits for its marker.")
    retry_seconds: float = Field(10.0, ge=0, le=300, description="How long a failing call is tried again.")
    patience_seconds: float = Field(
        3.0,
        ge=0.1,
        le=60,
        description="How long a batch waits for one tenant's answers. Its activities are parked then, and come out "
        "when the answers are there.",
    )
    unpark_seconds: float = Field(
        5.0, gt=0, description="How often parked activities are checked for some to try again."
    )
    handle_seconds: float = Field(
        60.0, ge=5, le=100, description="A worker that takes longer for a batch ends itself, to be started again."
    )
    stop_seconds: float = Field(
        30.0,
        ge=1,
        le=600,
        description="An enricher that has not stopped this long after it was requested to ends itself; nothing is lost "
        "by it.",
    )
    dead_letters_in_a_row: int = Field(
        100,
        ge=1,
        description="After this many activities in a row that cannot be converted, a connector's circuit breaker "
        "opens; the rest are parked.",
    )
    entity_ttl_hours: float = Field(24.0, gt=0, description="How long a resolved entity counts as fresh.")
    absent_ttl_hours: float = Field(6.0, gt=0, description="How long an absent entity is believed absent.")
    refresh_seconds: float = Field(
        3600.0,
        ge=1,
        description="How often the tenant is polled for changed and deleted entities, while activities come.",
    )
    whole_object_rows: int = Field(
        50_000,
        ge=0,
        le=1_000_000,
        description="An object (persons, users, a custom one) of which a tenant has no more rows is read by a full "
        "scan when that costs no more calls than look-ups by value; 0: never.",
    )
    entities_max: int = Field(100_000, ge=1000, description="Entities that a lane keeps in memory; about 1 kB each.")

    # KMS and HTTP
    kms_key_id: str | None = Field(None, alias="KMS_KEY_ID", description="The key that encrypts API keys.")
    http_timeout_seconds: float = Field(60.0, gt=0, le=600, description="How long a reply may take.")
    allow_hosts: str = Field(
        "",
        description="Names, addresses and networks, such as `127.0.0.0/8 tenant.internal`, to which connectors may "
        "connect, on any port, though they are not public: loopback, private or link-local addresses, names of one "
        "part, ports other than 443. Not set: none, so that no definition leads into the network that it runs in.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="DEBUG, INFO, WARNING or ERROR; logs go to standard error."
    )
    metrics_port: int | None = Field(
        None,
        ge=0,
        le=65_535,
        description="Port on which a service shows its [metrics](metrics.md); not set: none, 0: a free one, logged.",
    )
    metrics_address: str = Field(
        "127.0.0.1",
        min_length=1,
        description="Address of that port; 0.0.0.0 lets other machines read connector names and counts.",
    )
    cache_dir: Path | None = Field(None, description="Where the embedded broker's files are kept.")

    @field_validator("allow_hosts")
    @classmethod
    def _are_hosts(cls, text: str) -> str:
        AllowedHosts.parse(text)
        return text

    @property
    def allowed_hosts(self) -> AllowedHosts:
        """The hosts that are allowed though they are not public."""
        return AllowedHosts.parse(self.allow_hosts)

    def brokers(self) -> str:
        """The brokers. Raises SettingsError where none are set."""
        if not self.bootstrap_servers:
            raise SettingsError(
                "No Kafka is named. Set KAFKA_BOOTSTRAP_SERVERS=host:port, or start a local one in another "
                "terminal: frame-gainsight kafka"
            )
        return self.bootstrap_servers


def variables() -> dict[str, str]:
    """Variable → the field that it sets; without the AWS_* ones, which are boto3's."""
    return {str(field.alias): name for name, field in Settings.model_fields.items()}


def settings_page() -> str:
    """docs/settings.md: every variable, its default and its meaning."""
    lines = [
        "# Settings",
        "",
        "Environment variables, or lines of a `.env` file in the working directory (the environment wins). A wrong or",
        "unknown one is named when a command starts. boto3 reads its own `AWS_*` variables besides;",
        "`AWS_ENDPOINT_URL_KMS` points it to a stand-in.",
        "",
        "| variable | default | |",
        "| --- | --- | --- |",
    ]
    for field in Settings.model_fields.values():
        default = (
            ""
            if field.default is None
            else f"`{field.default:g}`"
            if type(field.default) is float
            else f"`{field.default}`"
        )
        lines.append(f"| `{field.alias}` | {default} | {field.description} |")
    return "\n".join(lines) + "\n"


def load_settings(dotenv: Path | None = Path(".env")) -> Settings:
    """Settings from the environment, over those of a `.env` file.

    Raises SettingsError naming every variable that is wrong or unknown.
    """
    from_file = {k: v for k, v in dotenv_values(dotenv).items() if v is not None} if dotenv else {}
    for name, value in from_file.items():  # boto3 reads its own variables from the environment
        if name.startswith(AWS_PREFIX):
            os.environ.setdefault(name, value)
    given = {**from_file, **os.environ}
    known = variables()
    faults = [_unknown(name, known) for name in sorted(given) if name not in known and name.startswith(OUR_PREFIXES)]
    try:
        settings = Settings(_env_file=dotenv)
    except ValidationError as error:
        raise SettingsError(
            "\n".join(faults + [_wrong(dict(e), given) for e in error.errors(include_url=False)])
        ) from error
    if faults:
        raise SettingsError("\n".join(faults))
    return settings


def _unknown(name: str, known: Mapping[str, str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    hint = f"Did you mean {close[0]}?" if close else "The settings are listed in docs/settings.md."
    return f"{name} is not a setting. {hint}"


def _wrong(error: dict[str, Any], given: Mapping[str, str]) -> str:
    name = str(error["loc"][0])
    shown = "" if "PASSWORD" in name else f"={given.get(name, '')!r}"
    return f"{name}{shown} is wrong: {error['msg'].removeprefix('Value error, ')}."
