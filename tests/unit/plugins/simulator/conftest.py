from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.unit.services.image_site import Site

from cairn.plugins.simulator.manifest import MANIFEST
from cairn.services.cluster.manifest import MANIFEST as CLUSTER
from cairn.services.host.manifest import MANIFEST as HOST


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = await Site().start([CLUSTER, HOST, MANIFEST])
    yield site
    await site.stop()
