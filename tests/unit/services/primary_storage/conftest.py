from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.unit.services.storage_rig import StorageRig


@pytest.fixture
async def rig() -> AsyncIterator[StorageRig]:
    rig = await StorageRig().start()
    yield rig
    await rig.stop()
