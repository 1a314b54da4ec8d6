from __future__ import annotations

from tests.unit.services.image_site import ZONE, Site, trouble

from cairn.kernel.api import DeleteMode
from cairn.kernel.machine.model import MachineStatus
from cairn.kernel.tag import UserTag
from cairn.services.backup_storage.messages import AttachBackupStorageToZone, DeleteBackupStorage
from cairn.services.backup_storage.model import BackupStorage, BackupStorageZoneRef
from cairn.services.image.model import Image


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


async def test_enforcing_removes_images_first_and_deletes_those_that_are_nowhere_else(site: Site) -> None:
    first, second = await site.add_storage("a"), await site.add_storage("b", "sim-0001")
    lonely, twin = await site.add_image(first), await site.add_image(first, second)

    await site.call(DeleteBackupStorage(uuid=first, delete_mode=DeleteMode.ENFORCING))

    assert site.host().images == {}
    assert len(site.host("sim-0001").images) == 1
    assert (await site.row(Image, lonely)).status.value == "Deleted"
    assert (await site.row(Image, twin)).status.value == "Ready"
    assert await site.refs(lonely) == {}
    assert list(await site.refs(twin)) == [second]


async def test_an_agent_that_cannot_be_taken_off_keeps_it_unless_enforced(site: Site) -> None:
    storage = await site.add_storage("shelf")
    await site.add_image(storage)
    image = (await site.rows(Image))[0].uuid
    site.driver.refuse = trouble()

    await site.refused(DeleteBackupStorage(uuid=storage), "backup-storage.in-use")
    site.kill()
    await site.call(DeleteBackupStorage(uuid=storage, delete_mode=DeleteMode.ENFORCING))

    assert await site.rows(BackupStorage) == []
    assert await site.refs(image) == {}


async def test_a_server_that_is_out_of_reach_is_not_forgotten_without_enforcing(site: Site) -> None:
    storage = await site.add_storage("shelf")
    site.driver.refuse = trouble()

    error = await site.refused(DeleteBackupStorage(uuid=storage), "backup-storage.not-cleaned")

    assert error.cause is not None
    assert error.cause.code == "ssh.unreachable"
    row = await site.storage(storage)
    assert (row.state.value, row.status) == ("Enabled", MachineStatus.CONNECTED)
