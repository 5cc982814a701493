"""A tenant over real HTTP, and the typed `Rig` that polls it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from frame_gainsight.runtime import Settings
from frame_gainsight.sandbox import Clock, Limits, Sandbox, Tenant
from schemas import Codec
from tests.unit.producer.rig import CODEC, START, Rig


@pytest.fixture
def tenant() -> Tenant:
    return Tenant(seed=3, clock=Clock.stopped(START), size=5, limits=Limits(None, None))


@pytest.fixture
def sandbox(tenant: Tenant) -> Iterator[Sandbox]:
    with Sandbox(tenant) as served:
        yield served


@pytest.fixture
async def rig(sandbox: Sandbox) -> AsyncIterator[Rig]:
    made = Rig(sandbox.tenant, sandbox.url)
    yield made
    await made.close()


@pytest.fixture
def settings() -> Settings:
    return Settings(_env_file=None)


@pytest.fixture
def codec() -> Codec:
    return CODEC
