from __future__ import annotations

import msgspec
from tests.unit.services.small_node import SmallNode

from cairn.kernel.api import StateEvent
from cairn.kernel.job import JobState
from cairn.kernel.resource import EnabledState
from cairn.kernel.tag import SystemTag, UserTag
from cairn.services.zone.messages import ChangeZoneState, CreateZone, DeleteZone, UpdateZone
from cairn.services.zone.model import Zone


async def create(node: SmallNode, name: str = "z1", *, is_default: bool = False) -> str:
    return (await node.call(CreateZone(resource_uuid=node.ids.new(), name=name, is_default=is_default))).uuid


async def test_create_as_a_job_shows_the_zone(node: SmallNode) -> None:
    uuid = node.ids.new()

    job = await node.job(CreateZone(resource_uuid=uuid, name="z1", description="first"))

    assert job.state is JobState.SUCCEEDED
    shown = msgspec.json.decode(job.answer or b"")["inventory"]
    assert shown["uuid"] == uuid
    assert (shown["name"], shown["description"], shown["state"], shown["type"]) == ("z1", "first", "Enabled", "zstack")


async def test_create_with_tags_hangs_them_on_the_zone(node: SmallNode) -> None:
    message = CreateZone(resource_uuid=node.ids.new(), name="z", system_tags=["hostname::web"], user_tags=["gold"])

    zone = (await node.call(message)).uuid

    assert [tag.tag for tag in await node.all(SystemTag, resource_uuid=zone)] == ["hostname::web"]
    assert [tag.tag for tag in await node.all(UserTag, resource_uuid=zone)] == ["gold"]


async def test_create_with_a_system_tag_nobody_understands_makes_nothing(node: SmallNode) -> None:
    await node.refused(CreateZone(resource_uuid=node.ids.new(), name="z", system_tags=["colour::red"]), "tag.unknown")

    assert await node.all(Zone) == []


async def test_a_new_default_zone_takes_that_from_the_old_one(node: SmallNode) -> None:
    first = await create(node, is_default=True)
    second = await create(node, is_default=True)

    assert (await node.one(Zone, first)).is_default is False
    assert (await node.one(Zone, second)).is_default is True
    await node.call(UpdateZone(uuid=first, is_default=True))
    assert (await node.one(Zone, second)).is_default is False


async def test_update_changes_only_what_is_given(node: SmallNode) -> None:
    zone = await create(node)
    await node.call(UpdateZone(uuid=zone, description="two"))
    await node.call(UpdateZone(uuid=zone, name="other"))

    row = await node.one(Zone, zone)
    assert (row.name, row.description, row.is_default) == ("other", "two", False)
    await node.call(UpdateZone(uuid=zone, description=""))
    assert (await node.one(Zone, zone)).description == ""


async def test_disable_and_enable_again(node: SmallNode) -> None:
    zone = await create(node)

    await node.call(ChangeZoneState(uuid=zone, state_event=StateEvent.DISABLE))
    assert (await node.one(Zone, zone)).state is EnabledState.DISABLED
    await node.call(ChangeZoneState(uuid=zone, state_event=StateEvent.ENABLE))
    assert (await node.one(Zone, zone)).state is EnabledState.ENABLED


async def test_changing_a_zone_that_is_not_there_is_refused(node: SmallNode) -> None:
    gone = node.ids.new()

    await node.refused(UpdateZone(uuid=gone, name="x"), "zone.not-found")
    await node.refused(ChangeZoneState(uuid=gone, state_event=StateEvent.ENABLE), "zone.not-found")


async def test_deleting_a_zone_that_is_gone_is_success(node: SmallNode) -> None:
    await node.call(DeleteZone(uuid=node.ids.new()))
