from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.unit.services.small_node import SmallNode

from cairn.services.offering.manifest import MANIFEST


@pytest.fixture
async def node() -> AsyncIterator[SmallNode]:
    node = await SmallNode().start(MANIFEST)
    yield node
    await node.stop()
