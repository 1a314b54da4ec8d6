from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.unit.services.network_rig import Rig


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = await Rig().start()
    yield rig
    await rig.stop()
