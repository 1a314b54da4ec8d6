from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.unit.services.image_site import Site

from cairn.plugins.backup_server.manifest import MANIFEST


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = await Site().start([MANIFEST])
    yield site
    await site.stop()
