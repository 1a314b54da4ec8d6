from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.unit.services.image_site import Site
from tests.unit.services.small_node import SmallNode

from cairn.plugins.simulator.manifest import MANIFEST as SIMULATOR
from cairn.services.cluster.manifest import MANIFEST
from cairn.services.host.manifest import MANIFEST as HOST
from cairn.services.zone.messages import CreateZone


@pytest.fixture
async def node() -> AsyncIterator[SmallNode]:
    node = await SmallNode().start(MANIFEST)
    yield node
    await node.stop()


@pytest.fixture
async def zone(node: SmallNode) -> str:
    return (await node.call(CreateZone(resource_uuid=node.ids.new(), name="z1"))).uuid


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """A cloud with simulated hosts."""
    site = await Site().start([MANIFEST, HOST, SIMULATOR])
    yield site
    await site.stop()
