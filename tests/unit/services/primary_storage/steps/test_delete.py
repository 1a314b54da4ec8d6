from __future__ import annotations

from tests.unit.services.storage_rig import Disk, StorageRig

from cairn.kernel.api import DeleteMode
from cairn.kernel.resource import EnabledState
from cairn.services.primary_storage.messages import DeletePrimaryStorage
from cairn.services.primary_storage.model import PrimaryStorage, PrimaryStorageClusterRef


async def attached(rig: StorageRig) -> str:
    zone = await rig.zone()
    storage = await rig.storage(zone)
    await rig.attach(storage, await rig.cluster(zone))
    return storage


async def test_an_attached_storage_is_not_deleted_and_it_is_said_how_it_would_be(rig: StorageRig) -> None:
    storage = await attached(rig)

    error = await rig.node.refused(DeletePrimaryStorage(uuid=storage), "primary-storage.in-use")

    assert "attached to 1 cluster. Detach it first, or use deleteMode=Enforcing." in error.message
    assert rig.driver.cleared == []


async def test_an_attached_storage_goes_by_force_with_what_its_driver_keeps_there(rig: StorageRig) -> None:
    storage = await attached(rig)

    await rig.node.call(DeletePrimaryStorage(uuid=storage, delete_mode=DeleteMode.ENFORCING))

    assert (await rig.node.all(PrimaryStorage), await rig.node.all(PrimaryStorageClusterRef)) == ([], [])
    assert rig.driver.cleared == [storage]


async def test_storage_of_a_plugin_that_is_left_out_is_refused_before_anything_goes(rig: StorageRig) -> None:
    storage = await rig.storage(await rig.zone())
    await rig.node.context.store.write(lambda tx: tx.update(PrimaryStorage, storage, type="Unheard-of"))

    message = DeletePrimaryStorage(uuid=storage, delete_mode=DeleteMode.ENFORCING)
    await rig.node.refused(message, "plugin.no-extension")

    assert (await rig.node.one(PrimaryStorage, storage)).state is EnabledState.ENABLED


async def test_what_refers_to_a_storage_keeps_it_and_is_named(rig: StorageRig) -> None:
    storage = await rig.storage(await rig.zone())
    await rig.node.insert(Disk(uuid="d" * 32, primary_storage_uuid=storage))

    error = await rig.node.refused(DeletePrimaryStorage(uuid=storage), "primary-storage.in-use")

    assert "1 paper disk" in error.message
    assert "deleteMode=Enforcing" in error.message


async def test_what_nobody_can_delete_keeps_a_storage_from_going_by_force_and_leaves_it_as_it_was(
    rig: StorageRig,
) -> None:
    storage = await rig.storage(await rig.zone())
    await rig.node.insert(Disk(uuid="d" * 32, primary_storage_uuid=storage))

    message = DeletePrimaryStorage(uuid=storage, delete_mode=DeleteMode.ENFORCING)
    error = await rig.node.refused(message, "primary-storage.in-use")

    assert "Enforcing" not in error.message
    assert (await rig.node.one(PrimaryStorage, storage)).state is EnabledState.ENABLED
    assert rig.driver.cleared == [], "its caches are needed still"
