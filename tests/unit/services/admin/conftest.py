from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.unit.services.small_node import SmallNode


@pytest.fixture
async def node() -> AsyncIterator[SmallNode]:
    node = await SmallNode().start()
    yield node
    await node.stop()
