from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.unit.kernel import sample

from cairn.kernel.store import Store
from cairn.testing.clock import VirtualClock


@pytest.fixture(params=["inline", "threads"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """A store of the sample's records, both ways."""
    made = await Store.memory(sample.schema(), VirtualClock(), inline=request.param == "inline")
    yield made
    await made.close()
