from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.unit.plugins.local_storage.cache_rig import CacheRig


@pytest.fixture
async def rig() -> AsyncIterator[CacheRig]:
    rig = await CacheRig().start()
    yield rig
    await rig.stop()
