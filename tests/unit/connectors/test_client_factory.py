"""A connector's tenant, opened: whose calls of its allowance a service may make."""

from __future__ import annotations

from typing import Any

import pytest

from frame_gainsight.connectors import Connector, Definition, Sealed, Secret, open_client
from frame_gainsight.connectors.client_factory import Role
from frame_gainsight.gainsight import GainsightClient, ReplySlots
from frame_gainsight.runtime import Settings, SystemClock

BASE: dict[str, Any] = {"id": "acme", "host": "https://acme.gainsightcloud.com"}


class OpenVault:
    """A vault that keeps keys as they are."""

    def seal(self, connector: str, host: str, secret: Secret) -> Sealed:
        raise NotImplementedError

    def open(self, connector: str, host: str, sealed: Sealed) -> Secret:
        return Secret.access_key("key")


async def opened(
    settings: Settings, definition: dict[str, Any], role: Role | None = None, **more: Any
) -> GainsightClient:
    made = Connector(Definition.model_validate(BASE | definition), Sealed("kms", b"", "arn"), "ACTIVE", 0, 0)
    return await open_client(settings, OpenVault(), SystemClock(), made, role=role, **more)


@pytest.mark.parametrize(
    ("share", "role", "calls"),
    [
        (0.5, None, (25, 12_500)),
        (0.5, "producer", (25, 12_500)),
        (0.5, "enricher", (25, 12_500)),
        (0.8, "producer", (40, 20_000)),
        (0.8, "enricher", (10, 5_000)),
        (0.8, None, (25, 12_500)),
    ],
)
async def test_producer_and_enricher_take_the_connector_s_share_between_them(
    share: float, role: Role | None, calls: tuple[int, int]
) -> None:
    settings = Settings(_env_file=None, producer_share=share)
    async with await opened(settings, {"api_share": 0.5}, role) as client:
        assert (client.calls_per_minute, client.calls_per_day) == calls


async def test_a_tenant_s_own_allowance_is_what_the_share_is_of(settings: Settings) -> None:
    definition = {"api_share": 1, "calls_per_minute": 30, "calls_per_day": 600}
    async with await opened(settings, definition, "producer") as client:
        assert (client.calls_per_minute, client.calls_per_day) == (15, 300)


async def test_calls_made_before_a_restart_count(settings: Settings) -> None:
    today = SystemClock().now() // 86_400_000
    async with await opened(settings, {}, spent_today=(today, 500)) as client:
        assert client.left_today == 12_000 or SystemClock().now() // 86_400_000 > today


async def test_the_slots_for_large_replies_are_passed_on(settings: Settings) -> None:
    slots = ReplySlots()
    async with await opened(settings, {}, reply_slots=slots) as client:
        assert client._transport._reply_slots is slots  # type: ignore[attr-defined]


@pytest.fixture
def settings() -> Settings:
    return Settings(_env_file=None)
