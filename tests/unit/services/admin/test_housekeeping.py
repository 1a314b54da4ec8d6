from __future__ import annotations

from datetime import timedelta

import pytest
from tests.unit.services.small_node import SmallNode

from cairn.kernel.event import EventRow
from cairn.kernel.job import Job
from cairn.kernel.resource import FormerUuid
from cairn.services.admin.messages import UpdateGlobalConfig


async def event(node: SmallNode, age_seconds: float = 0.0) -> None:
    when = node.clock.now() - timedelta(seconds=age_seconds)
    await node.insert(EventRow(name="x.y", content={}, create_date=when))


async def test_once_an_hour_what_is_old_goes_and_the_rest_stays(node: SmallNode) -> None:
    for category in ("job", "event"):
        await node.call(UpdateGlobalConfig(category=category, name="retention", value="1800"))
    await node.context.start_background()
    old = await node.job(UpdateGlobalConfig(category="api", name="parallelism", value="7"))
    await event(node)
    await node.clock.advance(3000.0)
    fresh = await node.job(UpdateGlobalConfig(category="api", name="parallelism", value="8"))
    await event(node)
    assert {row.uuid for row in await node.all(Job)} == {old.uuid, fresh.uuid}

    await node.clock.advance(601.0)

    assert [row.uuid for row in await node.all(Job)] == [fresh.uuid]
    assert len(await node.all(EventRow)) == 1


async def test_former_uuid_is_free_again_when_its_time_is_over(node: SmallNode) -> None:
    await node.call(UpdateGlobalConfig(category="resource", name="formerUuid.retention", value="7200"))
    await node.context.start_background()
    for uuid, age_seconds in (("a" * 32, 4000), ("b" * 32, 3000)):
        when = node.clock.now() - timedelta(seconds=age_seconds)
        await node.insert(FormerUuid(uuid=uuid, account_uuid="c" * 32, create_date=when))

    await node.clock.advance(3605.0)

    assert [row.uuid for row in await node.all(FormerUuid)] == ["b" * 32]


async def test_chore_that_fails_keeps_no_other_from_being_done_and_is_tried_again(
    node: SmallNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[float] = []

    async def fail() -> int:
        tries.append(node.clock.monotonic())
        raise OverflowError("date value out of range")

    monkeypatch.setattr(node.context.jobs, "clean", fail)
    began = node.clock.monotonic()
    await node.context.start_background()
    await event(node, age_seconds=1e6)
    await event(node)

    await node.clock.advance(3605.0)

    assert len(await node.all(EventRow)) == 1
    assert [when - began for when in tries] == [3600.0, 3601.0, 3603.0]
    await node.context.stop_background()
    assert node.clock.pending() == 0
