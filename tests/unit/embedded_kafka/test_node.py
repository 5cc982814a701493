"""The embedded node's settings."""

from __future__ import annotations

import socket

from frame_gainsight.embedded_kafka.node import LOOPBACK, free_port, in_use, server_properties


def test_settings_can_be_overridden_and_survive_javas_reading() -> None:
    text = server_properties(1, 2, "log", {"message.max.bytes": "7", "odd": "a\\b é 𝄞"})
    assert "message.max.bytes=7\n" in text
    assert "odd=a\\\\b \\u00e9 \\ud834\\udd1e\n" in text
    assert text.isascii()


def test_everything_listens_on_the_loopback_interface() -> None:
    lines = dict(line.split("=", 1) for line in server_properties(1, 2, "log", {}).splitlines())
    assert lines["listeners"] == "PLAINTEXT://127.0.0.1:1,CONTROLLER://127.0.0.1:2"


def test_a_chosen_port_is_free_and_below_those_of_outgoing_connections() -> None:
    port = free_port()
    assert port < 32_768
    assert not in_use(port)
    with socket.create_server((LOOPBACK, port)):
        assert in_use(port)
