from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.unit.services.image_site import Site


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = await Site().start()
    yield site
    await site.stop()
