"""docker-compose.yml and the Dockerfile fit what they start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
OURS = ("topics", "sandbox", "producer", "enricher")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    document = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return dict(document["services"])


def test_every_part_is_there(services: dict[str, Any]) -> None:
    assert {"kafka", "kms", *OURS} <= services.keys()


def test_what_is_waited_for_exists_and_can_say_that_it_is_ready(services: dict[str, Any]) -> None:
    for name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            assert needed in services, f"{name} waits for {needed}"
            if how["condition"] == "service_healthy":
                assert "healthcheck" in services[needed], f"{name} waits for the health of {needed}"
            else:
                assert how["condition"] == "service_completed_successfully"
                assert "restart" not in services[needed], f"{needed} never completes"


def test_every_command_exists_with_its_options(services: dict[str, Any]) -> None:
    import typer.main

    from frame_gainsight.cli.main import app

    for name in OURS:
        command: Any = typer.main.get_command(app)
        words = list(services[name]["command"])
        while words and hasattr(command, "commands"):
            word = words.pop(0)
            assert word in command.commands, f"{name}: frame-gainsight has no command {word}"
            command = command.commands[word]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, name


def test_every_variable_is_one_that_is_read(services: dict[str, Any]) -> None:
    from frame_gainsight.runtime.settings import variables

    for name in OURS:
        given = services[name]["environment"].keys()
        unknown = {variable for variable in given if not variable.startswith("AWS_")} - variables().keys()
        assert not unknown, name
        assert {"KAFKA_BOOTSTRAP_SERVERS", "KMS_KEY_ID", "FRAME_GAINSIGHT_PARTITIONS"} <= given


def test_the_broker_takes_what_the_embedded_one_takes(services: dict[str, Any]) -> None:
    environment = services["kafka"]["environment"]
    assert environment["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    assert environment["KAFKA_MESSAGE_MAX_BYTES"] == environment["KAFKA_REPLICA_FETCH_MAX_BYTES"] == "16777216"


def test_the_image_runs_the_command_without_root() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    assert 'ENTRYPOINT ["frame-gainsight"]' in lines
    assert lines.index("USER frame") > max(at for at, line in enumerate(lines) if line.startswith("RUN"))


def test_everything_that_the_image_copies_is_let_through() -> None:
    import tomllib

    allowed = {
        line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] == "!"
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = project["tool"]["setuptools"]["packages"]["find"]["include"]
    needed = {*(p.rstrip("*") for p in packages), "pyproject.toml", "requirements.lock", "README.md", "LICENSE"}
    assert needed <= allowed
