"""Replay requests as a worker follows them."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from enricher.replay import requests
from enricher.replay.requests import RequestFollower
from frame_gainsight.runtime import BrokerError, Settings
from schemas import Codec


def test_a_follower_whose_reading_failed_reads_anew_at_its_next_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    readings: list[str] = []

    def follow(*_: Any, **__: Any) -> Generator[None, None, None]:
        readings.append("begun")
        if len(readings) == 1:
            raise BrokerError("the first one fails")
        while True:
            yield None

    monkeypatch.setattr(requests, "follow", follow)
    follower = RequestFollower(Settings(), Codec())
    with pytest.raises(BrokerError):
        follower.poll()
    follower.poll()
    follower.poll()
    assert len(readings) == 2
