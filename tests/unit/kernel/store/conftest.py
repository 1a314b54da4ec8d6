from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.unit.kernel import sample

from cairn.kernel.store import Store
from cairn.testing.clock import VirtualClock
from cairn.testing.stores import private_store


@pytest.fixture(params=["sqlite inline", "sqlite threads", "mariadb inline", "mariadb threads"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """A store of the sample's records, both ways, on each kind of database."""
    database, _, way = request.param.partition(" ")
    made = await private_store(sample.schema(), VirtualClock(), inline=way == "inline", mariadb=database == "mariadb")
    yield made
    await made.close()
