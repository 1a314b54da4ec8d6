from __future__ import annotations

from tests.unit.services.image_site import ZONE, Site, trouble

from cairn.kernel.api import DeleteMode
from cairn.kernel.machine.model import MachineStatus
from cairn.kernel.tag import UserTag
from cairn.services.backup_storage.messages import AttachBackupStorageToZone, DeleteBackupStorage
from cairn.services.backup_storage.model import BackupStorage, BackupStorageZoneRef


async def test_deleting_takes_the_agent_the_rows_and_the_tags_away(site: Site) -> None:
    storage = await site.add_storage()
    await site.call(AttachBackupStorageToZone(zone_uuid=ZONE, backup_storage_uuid=storage))

    await site.call(DeleteBackupStorage(uuid=storage))

    assert (site.driver.taken_off, site.driver.forgotten) == ([storage], [storage])
    for kind in (BackupStorage, BackupStorageZoneRef, UserTag):
        assert await site.rows(kind) == []


async def test_with_images_on_it_it_stays_and_their_number_is_named(site: Site) -> None:
    storage = await site.add_storage("shelf")
    await site.add_image(storage)
    await site.add_image(storage)

    error = await site.refused(DeleteBackupStorage(uuid=storage), "backup-storage.in-use")

    assert "2 images are on it" in error.message
    assert (await site.storage(storage)).state.value == "Enabled"
    assert site.driver.taken_off == []


async def test_a_server_that_is_out_of_reach_is_not_forgotten_without_enforcing(site: Site) -> None:
    storage = await site.add_storage("shelf")
    site.driver.refuse = trouble()

    error = await site.refused(DeleteBackupStorage(uuid=storage), "backup-storage.not-cleaned")

    assert error.cause is not None
    assert error.cause.code == "ssh.unreachable"
    row = await site.storage(storage)
    assert (row.state.value, row.status) == ("Enabled", MachineStatus.CONNECTED)


async def test_one_whose_plugin_is_left_out_can_be_forgotten(site: Site) -> None:
    storage = await site.add_storage()
    await site.context.store.write(lambda tx: tx.update(BackupStorage, storage, type="Gone"))

    await site.refused(DeleteBackupStorage(uuid=storage), "backup-storage.not-cleaned")
    await site.call(DeleteBackupStorage(uuid=storage, delete_mode=DeleteMode.ENFORCING))

    assert await site.rows(BackupStorage) == []
