from __future__ import annotations

from tests.unit.services.storage_rig import StorageRig

from cairn.kernel.api import DeleteMode, StateEvent
from cairn.kernel.resource import EnabledState, Resource
from cairn.services.primary_storage.messages import (
    ChangePrimaryStorageState,
    DeletePrimaryStorage,
    DetachPrimaryStorageFromCluster,
    UpdatePrimaryStorage,
)
from cairn.services.primary_storage.model import PrimaryStorage, PrimaryStorageClusterRef
from cairn.services.zone.messages import DeleteZone


async def test_update_changes_only_what_is_given(rig: StorageRig) -> None:
    storage = await rig.storage(await rig.zone())
    await rig.node.call(UpdatePrimaryStorage(uuid=storage, description="fast"))
    await rig.node.call(UpdatePrimaryStorage(uuid=storage, name="disks"))

    row = await rig.node.one(PrimaryStorage, storage)
    assert (row.name, row.description) == ("disks", "fast")


async def test_disabled_and_enabled_again(rig: StorageRig) -> None:
    storage = await rig.storage(await rig.zone())
    states = []
    for event in (StateEvent.DISABLE, StateEvent.ENABLE):
        await rig.node.call(ChangePrimaryStorageState(uuid=storage, state_event=event))
        states.append((await rig.node.one(PrimaryStorage, storage)).state)

    assert states == [EnabledState.DISABLED, EnabledState.ENABLED]


async def test_detach_is_refused_while_the_driver_says_that_it_is_needed(rig: StorageRig) -> None:
    zone = await rig.zone()
    storage, cluster = await rig.storage(zone), await rig.cluster(zone)
    await rig.attach(storage, cluster)
    message = DetachPrimaryStorageFromCluster(primary_storage_uuid=storage, cluster_uuid=cluster)
    rig.driver.kept_by = "3 volumes are on it"

    error = await rig.node.refused(message, "primary-storage.in-use")
    assert "3 volumes are on it" in error.message
    rig.driver.kept_by = None
    await rig.node.call(message)

    assert await rig.node.all(PrimaryStorageClusterRef) == []


async def test_delete_leaves_nothing_and_is_safe_to_repeat(rig: StorageRig) -> None:
    storage = await rig.storage(await rig.zone())
    for _ in range(2):
        await rig.node.call(DeletePrimaryStorage(uuid=storage))

    assert await rig.node.all(PrimaryStorage) == []
    assert await rig.node.all(Resource, uuid=storage) == []


async def test_a_zone_that_is_deleted_with_all_takes_attached_storage_along(rig: StorageRig) -> None:
    zone = await rig.zone()
    await rig.attach(await rig.storage(zone), await rig.cluster(zone))

    await rig.node.call(DeleteZone(uuid=zone, delete_mode=DeleteMode.ENFORCING))

    assert await rig.node.all(PrimaryStorage) == []
