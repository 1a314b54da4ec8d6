from __future__ import annotations

from datetime import timedelta

import pytest
from tests.unit.services.small_node import SmallNode

from cairn.kernel.error import CairnError
from cairn.kernel.event import EventRow
from cairn.kernel.jobs import Job
from cairn.services.admin.housekeeping import Housekeeping
from cairn.services.admin.messages import UpdateGlobalConfig


def housekeeping(node: SmallNode) -> Housekeeping:
    parts = node.context
    return Housekeeping(parts.clock, parts.store, parts.jobs, parts.events)


async def event(node: SmallNode, age_seconds: float = 0.0) -> None:
    when = node.clock.now() - timedelta(seconds=age_seconds)
    await node.insert(EventRow(name="x.y", content={}, create_date=when))


async def test_once_an_hour_what_is_old_goes_and_the_rest_stays(node: SmallNode) -> None:
    keeper = housekeeping(node)
    for category in ("job", "event"):
        await node.call(UpdateGlobalConfig(category=category, name="retention", value="1800"))
    await keeper.start()
    old = await node.job(UpdateGlobalConfig(category="api", name="parallelism", value="7"))
    await event(node)
    await node.clock.advance(3000.0)
    fresh = await node.job(UpdateGlobalConfig(category="api", name="parallelism", value="8"))
    await event(node)
    assert {row.uuid for row in await node.all(Job)} == {old.uuid, fresh.uuid}

    await node.clock.advance(601.0)

    assert [row.uuid for row in await node.all(Job)] == [fresh.uuid]
    assert len(await node.all(EventRow)) == 1
    await keeper.stop()


async def test_a_chore_that_fails_keeps_no_other_from_being_done(
    node: SmallNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> int:
        raise CairnError("store.full", "The disk is full.")

    monkeypatch.setattr(node.context.jobs, "clean", fail)
    keeper = housekeeping(node)
    await keeper.start()
    await event(node, age_seconds=1e6)

    await node.clock.advance(3601.0)

    assert await node.all(EventRow) == []
    await keeper.stop()
    assert node.clock.pending() == 0


async def test_stopping_before_starting_is_nothing(node: SmallNode) -> None:
    await housekeeping(node).stop()
