"""Settings: every variable counts, a wrong or unknown one is named, and nothing secret is shown."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from frame_gainsight.runtime import Settings, SettingsError, load_settings
from frame_gainsight.runtime.settings import variables

VALUES = {
    "KAFKA_BOOTSTRAP_SERVERS": ("a:1,b:2", "a:1,b:2"),
    "KAFKA_SECURITY_PROTOCOL": ("SASL_SSL", "SASL_SSL"),
    "KAFKA_SASL_MECHANISM": ("PLAIN", "PLAIN"),
    "KAFKA_SASL_USERNAME": ("app", "app"),
    "KAFKA_SASL_PASSWORD": ("hunter2", SecretStr("hunter2")),
    "KAFKA_SSL_CA_LOCATION": ("/ca.pem", Path("/ca.pem")),
    "KAFKA_SSL_CERTIFICATE_LOCATION": ("/cert.pem", Path("/cert.pem")),
    "KAFKA_SSL_KEY_LOCATION": ("/key.pem", Path("/key.pem")),
    "SCHEMA_REGISTRY_URL": ("http://r:8081", "http://r:8081"),
    "FRAME_GAINSIGHT_CONNECTORS_TOPIC": ("a", "a"),
    "FRAME_GAINSIGHT_RAW_TOPIC": ("b", "b"),
    "FRAME_GAINSIGHT_CHECKPOINTS_TOPIC": ("c", "c"),
    "FRAME_GAINSIGHT_ENTITIES_TOPIC": ("d", "d"),
    "FRAME_GAINSIGHT_CONVERSATIONS_TOPIC": ("e", "e"),
    "FRAME_GAINSIGHT_PARKED_TOPIC": ("f", "f"),
    "FRAME_GAINSIGHT_DEAD_LETTERS_TOPIC": ("g", "g"),
    "FRAME_GAINSIGHT_PARTITIONS": ("12", 12),
    "FRAME_GAINSIGHT_REPLICATION": ("3", 3),
    "FRAME_GAINSIGHT_PREFIX": ("staging", "staging"),
    "FRAME_GAINSIGHT_MARGIN_SECONDS": ("0.5", 0.5),
    "FRAME_GAINSIGHT_PAGE_ROWS": ("100", 100),
    "FRAME_GAINSIGHT_WINDOW_MAX": ("10", 10),
    "FRAME_GAINSIGHT_WINDOW_LINGER_SECONDS": ("0.2", 0.2),
    "FRAME_GAINSIGHT_RETRY_SECONDS": ("3", 3.0),
    "FRAME_GAINSIGHT_UNPARK_SECONDS": ("7", 7.0),
    "FRAME_GAINSIGHT_ENTITY_TTL_HOURS": ("1", 1.0),
    "FRAME_GAINSIGHT_ABSENT_TTL_HOURS": ("2", 2.0),
    "FRAME_GAINSIGHT_REFRESH_SECONDS": ("60", 60.0),
    "FRAME_GAINSIGHT_HANDLE_SECONDS": ("30", 30.0),
    "FRAME_GAINSIGHT_PATIENCE_SECONDS": ("4.5", 4.5),
    "FRAME_GAINSIGHT_STOP_SECONDS": ("45", 45.0),
    "FRAME_GAINSIGHT_DEAD_LETTERS_IN_A_ROW": ("7", 7),
    "FRAME_GAINSIGHT_WHOLE_OBJECT_ROWS": ("0", 0),
    "FRAME_GAINSIGHT_ENTITIES_MAX": ("5000", 5000),
    "KMS_KEY_ID": ("alias/x", "alias/x"),
    "FRAME_GAINSIGHT_HTTP_TIMEOUT_SECONDS": ("9", 9.0),
    "FRAME_GAINSIGHT_ALLOW_HOSTS": ("10.0.0.0/8, tenant.internal", "10.0.0.0/8, tenant.internal"),
    "FRAME_GAINSIGHT_LOG_LEVEL": ("DEBUG", "DEBUG"),
    "FRAME_GAINSIGHT_PRODUCER_SHARE": ("0.7", 0.7),
    "FRAME_GAINSIGHT_METRICS_PORT": ("9464", 9464),
    "FRAME_GAINSIGHT_METRICS_ADDRESS": ("0.0.0.0", "0.0.0.0"),
    "FRAME_GAINSIGHT_CACHE_DIR": ("/cache", Path("/cache")),
}


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of ours from whoever runs the tests; and what the tests set is taken back."""
    for name in [*os.environ]:
        if name.startswith(("FRAME_GAINSIGHT_", "KAFKA_", "KMS_", "SCHEMA_REGISTRY_", "AWS_")):
            monkeypatch.delenv(name)


def fault(dotenv: Path | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(dotenv)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
    return str(caught.value)


@pytest.mark.parametrize("name", sorted(variables()))
def test_every_variable_sets_its_field_from_the_environment_and_from_a_file(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text, expected = VALUES[name]
    field = variables()[name]
    assert getattr(load_settings(None), field) != expected
    (tmp_path / ".env").write_text(f"{name}={text}\n")
    assert getattr(load_settings(tmp_path / ".env"), field) == expected
    monkeypatch.setenv(name, text)
    assert getattr(load_settings(None), field) == expected


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("FRAME_GAINSIGHT_PARTITIONS=5\nFRAME_GAINSIGHT_PREFIX=file\n")
    monkeypatch.setenv("FRAME_GAINSIGHT_PARTITIONS", "6")
    settings = load_settings(tmp_path / ".env")
    assert (settings.partitions, settings.prefix) == (6, "file")


def test_no_file_is_no_fault(tmp_path: Path) -> None:
    assert load_settings(tmp_path / ".env") == load_settings(None)


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAME_GAINSIGHT_PARTITIONS", "")
    monkeypatch.setenv("SCHEMA_REGISTRY_URL", "")
    settings = load_settings(None)
    assert (settings.partitions, settings.schema_registry_url) == (4, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PREFIX", "conda"),
        ("PARTITIONS", "99"),
        ("LOG_LEVEL", "ERROR"),
        ("RAW_TOPIC", "x"),
        ("BOOTSTRAP_SERVERS", "x:1"),
    ],
)
def test_a_variable_that_is_merely_called_like_a_field_is_ignored(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(name, value)
    (tmp_path / ".env").write_text(f"{name}={value}\n")
    assert load_settings(tmp_path / ".env") == Settings()
    assert getattr(Settings(), name.lower()) != value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FRAME_GAINSIGHT_PARTITIONS", "many"),
        ("FRAME_GAINSIGHT_PARTITIONS", "0"),
        ("FRAME_GAINSIGHT_PREFIX", "with space"),
        ("FRAME_GAINSIGHT_PAGE_ROWS", "5001"),
        ("FRAME_GAINSIGHT_WINDOW_LINGER_SECONDS", "0"),
        ("FRAME_GAINSIGHT_LOG_LEVEL", "LOUD"),
        ("KAFKA_SECURITY_PROTOCOL", "TLS"),
        ("KAFKA_SASL_MECHANISM", "GSSAPI"),
    ],
)
def test_a_wrong_value_is_named_with_its_variable(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KAFKA_SASL_PASSWORD", "hunter2")
    (tmp_path / ".env").write_text(f"{name}={value}\n")
    assert fault(tmp_path / ".env").startswith(f"{name}='{value}' is wrong: ")
    monkeypatch.setenv(name, value)
    assert fault().startswith(f"{name}='{value}' is wrong: ")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("KAFKA_BOOTSTRAP_SERVER", "Did you mean KAFKA_BOOTSTRAP_SERVERS?"),
        ("KAFKA_SASL_PASWORD", "Did you mean KAFKA_SASL_PASSWORD?"),
        ("FRAME_GAINSIGHT_PARTITION", "Did you mean FRAME_GAINSIGHT_PARTITIONS?"),
        ("KMS_KEYID", "Did you mean KMS_KEY_ID?"),
        ("KMS_Q", "The settings are listed in docs/settings.md"),
    ],
)
def test_an_unknown_one_is_named_with_what_may_be_meant_and_without_its_value(
    name: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "hunter2")
    assert fault().startswith(f"{name} is not a setting. ")
    assert hint in fault()


def test_every_fault_is_in_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KMS_KEYID", "x")
    monkeypatch.setenv("FRAME_GAINSIGHT_PARTITIONS", "many")
    monkeypatch.setenv("FRAME_GAINSIGHT_PREFIX", "!")
    assert len(fault().splitlines()) == 3


@pytest.mark.parametrize("name", ["KAFKA_HOME", "KAFKA_OPTS", "AWS_PROFILE", "PATH_X", "FRAMEWORK"])
def test_other_programs_variables_are_ignored(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "x")
    assert load_settings(None) == Settings()


def test_the_file_s_aws_variables_reach_boto3_and_do_not_replace_the_environment_s(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "environ", os.environ.copy())
    os.environ["AWS_REGION"] = "here"
    (tmp_path / ".env").write_text("AWS_REGION=there\nAWS_ENDPOINT_URL_KMS=http://127.0.0.1:1\n")
    load_settings(tmp_path / ".env")
    assert os.environ["AWS_REGION"] == "here"
    assert os.environ["AWS_ENDPOINT_URL_KMS"] == "http://127.0.0.1:1"


def test_the_password_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_SASL_PASSWORD", "hunter2")
    settings = load_settings(None)
    assert settings.sasl_password is not None and settings.sasl_password.get_secret_value() == "hunter2"
    for shown in (repr(settings), str(settings), repr(settings.model_dump()), settings.model_dump_json()):
        assert "hunter2" not in shown


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().partitions = 5  # type: ignore[misc]


def test_no_brokers_is_an_error_with_both_ways_out() -> None:
    with pytest.raises(SettingsError, match=r"Set KAFKA_BOOTSTRAP_SERVERS.*frame-gainsight kafka"):
        Settings().brokers()
    assert Settings(bootstrap_servers="a:1").brokers() == "a:1"
