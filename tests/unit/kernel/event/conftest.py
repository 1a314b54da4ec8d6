from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.unit.kernel.event.site import CountingStore, Site

from cairn.kernel.event import EventCursor, EventDelivery, EventRow
from cairn.kernel.store.schema import Schema
from cairn.kernel.store.store import Store
from cairn.testing.clock import VirtualClock


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    clock = VirtualClock()
    store = await Store.memory(Schema([EventRow, EventCursor, EventDelivery]), clock, inline=True)
    site = Site(CountingStore(store, clock), clock)
    yield site
    await site.events.stop()
    site.store.broken = False
    await store.close()
    await clock.settle()
    assert clock.pending() == 0
