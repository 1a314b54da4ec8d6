from __future__ import annotations

from tests.unit.services.small_node import SmallNode

from cairn.kernel.api import StateEvent
from cairn.kernel.resource import EnabledState
from cairn.kernel.tag import UserTag
from cairn.services.offering.messages import (
    ChangeDiskOfferingState,
    ChangeInstanceOfferingState,
    CreateDiskOffering,
    CreateInstanceOffering,
    DeleteDiskOffering,
    DeleteInstanceOffering,
    UpdateDiskOffering,
    UpdateInstanceOffering,
)
from cairn.services.offering.model import DiskOffering, InstanceOffering

GIB = 1 << 30


async def instance_offering(node: SmallNode) -> str:
    message = CreateInstanceOffering(
        resource_uuid=node.ids.new(), name="small", cpu_num=2, memory_size=GIB, sort_key=3, user_tags=["cheap"]
    )
    return (await node.call(message)).uuid


async def disk_offering(node: SmallNode) -> str:
    message = CreateDiskOffering(resource_uuid=node.ids.new(), name="disk", disk_size=10 * GIB)
    return (await node.call(message)).uuid


async def test_create_instance_offering_shows_its_size(node: SmallNode) -> None:
    shown = await node.shown("InstanceOffering", await instance_offering(node))

    assert (shown["cpuNum"], shown["memorySize"], shown["reservedMemorySize"]) == (2, GIB, 0)
    assert (shown["sortKey"], shown["type"], shown["state"]) == (3, "UserVm", "Enabled")
    assert shown["allocatorStrategy"] == "DefaultHostAllocatorStrategy"


async def test_an_instance_offering_that_reserves_more_than_it_has_is_refused(node: SmallNode) -> None:
    message = CreateInstanceOffering(
        resource_uuid=node.ids.new(), name="odd", cpu_num=1, memory_size=GIB, reserved_memory_size=2 * GIB
    )

    error = await node.refused(message, "instance-offering.too-much-reserved")

    assert "reservedMemorySize" in error.fields


async def test_instance_offering_is_changed_and_disabled(node: SmallNode) -> None:
    uuid = await instance_offering(node)

    await node.call(UpdateInstanceOffering(uuid=uuid, name="tiny", allocator_strategy="Other"))
    await node.call(ChangeInstanceOfferingState(uuid=uuid, state_event=StateEvent.DISABLE))

    row = await node.one(InstanceOffering, uuid)
    assert (row.name, row.description, row.allocator_strategy) == ("tiny", None, "Other")
    assert (row.cpu_num, row.state) == (2, EnabledState.DISABLED)


async def test_instance_offering_goes_with_its_tags_and_twice(node: SmallNode) -> None:
    uuid = await instance_offering(node)

    await node.call(DeleteInstanceOffering(uuid=uuid))
    await node.call(DeleteInstanceOffering(uuid=uuid))

    assert await node.all(InstanceOffering) == []
    assert await node.all(UserTag) == []


async def test_create_disk_offering_shows_its_size(node: SmallNode) -> None:
    shown = await node.shown("DiskOffering", await disk_offering(node))

    assert (shown["diskSize"], shown["type"], shown["state"]) == (10 * GIB, "zstack", "Enabled")


async def test_disk_offering_is_changed_disabled_and_deleted(node: SmallNode) -> None:
    uuid = await disk_offering(node)

    await node.call(UpdateDiskOffering(uuid=uuid, description="d"))
    await node.call(ChangeDiskOfferingState(uuid=uuid, state_event=StateEvent.DISABLE))
    row = await node.one(DiskOffering, uuid)
    assert (row.name, row.description, row.state) == ("disk", "d", EnabledState.DISABLED)
    await node.call(ChangeDiskOfferingState(uuid=uuid, state_event=StateEvent.ENABLE))
    await node.call(DeleteDiskOffering(uuid=uuid))
    await node.call(DeleteDiskOffering(uuid=uuid))

    assert await node.all(DiskOffering) == []


async def test_offerings_that_are_gone_cannot_be_changed(node: SmallNode) -> None:
    gone = node.ids.new()

    await node.refused(UpdateInstanceOffering(uuid=gone, name="x"), "instance-offering.not-found")
    await node.refused(UpdateDiskOffering(uuid=gone, name="x"), "disk-offering.not-found")
    change = ChangeDiskOfferingState(uuid=gone, state_event=StateEvent.ENABLE)
    await node.refused(change, "disk-offering.not-found")
