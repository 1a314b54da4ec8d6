from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.unit.gateway.world import World, world

from cairn.testing.clock import VirtualClock


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def cloud(clock: VirtualClock) -> AsyncIterator[World]:
    made = await world(clock)
    yield made
    await made.gateway.stop()
    await made.jobs.stop()
    await made.store.close()
